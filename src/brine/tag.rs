//! The first byte of each value, as in rpyc 6.0.2 `core/brine.py`, `TAG_*` and `IMM_INTS`.

pub(super) const NONE: u8 = 0x00;
pub(super) const EMPTY_BYTES: u8 = 0x01;
pub(super) const EMPTY_TUPLE: u8 = 0x02;
pub(super) const TRUE: u8 = 0x03;
pub(super) const FALSE: u8 = 0x04;
pub(super) const NOT_IMPLEMENTED: u8 = 0x05;
pub(super) const ELLIPSIS: u8 = 0x06;
pub(super) const STR: u8 = 0x08;
pub(super) const BYTES_1: u8 = 0x0a;
pub(super) const BYTES_4: u8 = 0x0d;
pub(super) const BYTES_U8: u8 = 0x0e;
pub(super) const BYTES_U32: u8 = 0x0f;
pub(super) const TUPLE_1: u8 = 0x10;
pub(super) const TUPLE_4: u8 = 0x13;
pub(super) const TUPLE_U8: u8 = 0x14;
pub(super) const TUPLE_U32: u8 = 0x15;
pub(super) const INT_U8: u8 = 0x16;
pub(super) const INT_U32: u8 = 0x17;
pub(super) const FLOAT: u8 = 0x18;
pub(super) const SLICE: u8 = 0x19;
pub(super) const FROZEN_SET: u8 = 0x1a;
pub(super) const COMPLEX: u8 = 0x1b;
pub(super) const SMALL_INT_FIRST: u8 = 0x20;
pub(super) const SMALL_INT_LAST: u8 = 0xef;

/// The tag of 0: a small integer is its tag less this.
pub(super) const SMALL_INT_ZERO: u8 = 0x50;

/// The smallest integer that is all tag.
pub(super) const SMALL_INT_MIN: i64 = SMALL_INT_FIRST as i64 - SMALL_INT_ZERO as i64;
/// The largest integer that is all tag.
pub(super) const SMALL_INT_MAX: i64 = SMALL_INT_LAST as i64 - SMALL_INT_ZERO as i64;

/// What a value with this tag is called in errors; `None` if no value has it.
pub(super) fn name(tag: u8) -> Option<&'static str> {
    Some(match tag {
        NONE => "None",
        EMPTY_BYTES | BYTES_1..=BYTES_U32 => "bytes",
        EMPTY_TUPLE | TUPLE_1..=TUPLE_U32 => "tuple",
        TRUE | FALSE => "bool",
        NOT_IMPLEMENTED => "NotImplemented",
        ELLIPSIS => "ellipsis",
        STR => "str",
        INT_U8 | INT_U32 | SMALL_INT_FIRST..=SMALL_INT_LAST => "int",
        FLOAT => "float",
        SLICE => "slice",
        FROZEN_SET => "frozenset",
        COMPLEX => "complex",
        _ => return None,
    })
}
