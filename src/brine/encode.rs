//! Writing brine: whole values, and the parts a message is written from without building one.
//!
//! Everything is appended with `extend_from_slice`: the methods of `BufMut` do the same but are
//! not inlined for `BytesMut`, which costs 5 ns a byte written.

use bytes::BytesMut;
use num_bigint::BigInt;

use super::{BrineError, Limits, Value, tag};

/// Appends `value` to `out`, in the shortest form, as Python's encoder does.
///
/// The limits are [`Limits::DEFAULT`]; [`encode_with`] takes others.
///
/// ```
/// use bytes::BytesMut;
/// use rpyc::brine::{Limits, Value, decode, encode};
///
/// let value = Value::from((1, "text", 2.5));
/// let mut out = BytesMut::new();
/// encode(&value, &mut out)?;
/// assert_eq!(&out[..], b"\x12\x51\x08\x0dtext\x18\x40\x04\0\0\0\0\0\0");
/// assert_eq!(decode(&out.freeze(), &Limits::DEFAULT)?, value);
/// # Ok::<(), rpyc::brine::BrineError>(())
/// ```
///
/// # Errors
///
/// [`BrineError::LimitExceeded`] for a value nested too deeply, an integer with too many digits,
/// or a string, byte string or tuple that a `u32` cannot count. `out` is left as it was.
pub fn encode(value: &Value, out: &mut BytesMut) -> Result<(), BrineError> {
    encode_with(value, out, &Limits::DEFAULT)
}

/// [`encode`] with other limits; [`Limits::items`] binds only what is read.
///
/// # Errors
///
/// As for [`encode`].
pub fn encode_with(value: &Value, out: &mut BytesMut, limits: &Limits) -> Result<(), BrineError> {
    let start = out.len();
    let written = put_value(value, out, limits, 0);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn put_value(
    value: &Value,
    out: &mut BytesMut,
    limits: &Limits,
    depth: usize,
) -> Result<(), BrineError> {
    match value {
        Value::None => put_none(out),
        Value::Bool(flag) => put_bool(out, *flag),
        Value::Int(number) => put_int(out, *number),
        Value::BigInt(number) => put_big_int(out, number, limits)?,
        Value::Float(number) => put_float(out, *number),
        Value::Complex { re, im } => put_complex(out, *re, *im),
        Value::Str(text) => put_str(out, text)?,
        Value::Bytes(bytes) => put_bytes(out, bytes)?,
        Value::Tuple(items) => put_items(items, out, limits, depth)?,
        Value::Slice(parts) => {
            out.extend_from_slice(&[tag::SLICE]);
            put_items(&parts[..], out, limits, depth)?;
        }
        Value::FrozenSet(members) => {
            out.extend_from_slice(&[tag::FROZEN_SET]);
            put_items(members, out, limits, depth)?;
        }
        Value::Ellipsis => out.extend_from_slice(&[tag::ELLIPSIS]),
        Value::NotImplemented => out.extend_from_slice(&[tag::NOT_IMPLEMENTED]),
    }
    Ok(())
}

fn put_items(
    items: &[Value],
    out: &mut BytesMut,
    limits: &Limits,
    depth: usize,
) -> Result<(), BrineError> {
    let depth = depth + 1;
    check("depth of nesting", limits.depth, depth)?;
    put_tuple_header(out, items.len())?;
    items
        .iter()
        .try_for_each(|item| put_value(item, out, limits, depth))
}

/// Appends `None`.
#[inline]
pub fn put_none(out: &mut BytesMut) {
    out.extend_from_slice(&[tag::NONE]);
}

/// Appends `True` or `False`.
#[inline]
pub fn put_bool(out: &mut BytesMut, flag: bool) {
    out.extend_from_slice(&[if flag { tag::TRUE } else { tag::FALSE }]);
}

/// Appends an integer, without allocating: one byte for −48…159, decimal text for the others.
#[inline]
pub fn put_int(out: &mut BytesMut, number: i64) {
    if (tag::SMALL_INT_MIN..=tag::SMALL_INT_MAX).contains(&number) {
        out.extend_from_slice(&[(number + i64::from(tag::SMALL_INT_ZERO)) as u8]);
    } else {
        put_int_text(out, itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Appends an unsigned integer, such as the id of an object; the same form as [`put_int`].
#[inline]
pub fn put_uint(out: &mut BytesMut, number: u64) {
    match i64::try_from(number) {
        Ok(number) => put_int(out, number),
        Err(_) => put_int_text(out, itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// The text must fit the short form; all 64-bit integers do.
fn put_int_text(out: &mut BytesMut, text: &[u8]) {
    out.extend_from_slice(&[tag::INT_U8, text.len() as u8]);
    out.extend_from_slice(text);
}

/// Appends an integer of any size.
///
/// # Errors
///
/// [`BrineError::LimitExceeded`] if it has more than [`Limits::digits`] digits; it is then not
/// converted to text at all, which takes time quadratic in its length.
pub fn put_big_int(out: &mut BytesMut, number: &BigInt, limits: &Limits) -> Result<(), BrineError> {
    const WHAT: &str = "digits of an integer";
    if let Ok(small) = i64::try_from(number) {
        put_int(out, small);
        return Ok(());
    }
    // A number of b bits has at least (b - 1) * log10(2) digits; 0.30102 is just below log10(2).
    let at_least = u128::from(number.bits() - 1) * 30_102 / 100_000;
    check(
        WHAT,
        limits.digits,
        usize::try_from(at_least).unwrap_or(usize::MAX),
    )?;
    let text = number.to_string();
    let digits = text.strip_prefix('-').unwrap_or(&text).len();
    check(WHAT, limits.digits, digits)?;
    // The sign counts in the length: 255 digits with a minus take the long form.
    if text.len() <= usize::from(u8::MAX) {
        put_int_text(out, text.as_bytes());
    } else {
        out.extend_from_slice(&[tag::INT_U32]);
        out.extend_from_slice(&count(WHAT, text.len())?.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

/// Appends a float, bit for bit.
#[inline]
pub fn put_float(out: &mut BytesMut, number: f64) {
    let mut encoded = [tag::FLOAT; 9];
    encoded[1..].copy_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&encoded);
}

/// Appends a complex number, bit for bit.
#[inline]
pub fn put_complex(out: &mut BytesMut, re: f64, im: f64) {
    let mut encoded = [tag::COMPLEX; 17];
    encoded[1..9].copy_from_slice(&re.to_be_bytes());
    encoded[9..].copy_from_slice(&im.to_be_bytes());
    out.extend_from_slice(&encoded);
}

/// Appends a `str`.
///
/// # Errors
///
/// [`BrineError::LimitExceeded`] above 4 GiB; nothing is written.
#[inline]
pub fn put_str(out: &mut BytesMut, text: &str) -> Result<(), BrineError> {
    count("bytes of a string", text.len())?;
    out.extend_from_slice(&[tag::STR]);
    put_bytes(out, text.as_bytes())
}

/// Appends a `bytes`.
///
/// # Errors
///
/// [`BrineError::LimitExceeded`] above 4 GiB; nothing is written.
#[inline]
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) -> Result<(), BrineError> {
    match bytes.len() {
        0 => out.extend_from_slice(&[tag::EMPTY_BYTES]),
        len @ 1..=4 => out.extend_from_slice(&[tag::BYTES_1 + (len - 1) as u8]),
        len @ 5..=255 => out.extend_from_slice(&[tag::BYTES_U8, len as u8]),
        len => {
            let len = count("bytes of a byte string", len)?;
            out.reserve(5 + bytes.len());
            out.extend_from_slice(&[tag::BYTES_U32]);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends what stands before the items of a tuple; the caller appends exactly `len` values.
///
/// ```
/// use bytes::BytesMut;
/// use rpyc::brine::{put_int, put_str, put_tuple_header};
///
/// let mut out = BytesMut::new();
/// put_tuple_header(&mut out, 2)?;
/// put_int(&mut out, 7);
/// put_str(&mut out, "x")?;
/// assert_eq!(&out[..], b"\x11\x57\x08\x0ax");
/// # Ok::<(), rpyc::brine::BrineError>(())
/// ```
///
/// # Errors
///
/// [`BrineError::LimitExceeded`] if a `u32` cannot count the items; nothing is written.
#[inline]
pub fn put_tuple_header(out: &mut BytesMut, len: usize) -> Result<(), BrineError> {
    match len {
        0 => out.extend_from_slice(&[tag::EMPTY_TUPLE]),
        1..=4 => out.extend_from_slice(&[tag::TUPLE_1 + (len - 1) as u8]),
        5..=255 => out.extend_from_slice(&[tag::TUPLE_U8, len as u8]),
        _ => {
            let len = count("items of a tuple", len)?;
            out.extend_from_slice(&[tag::TUPLE_U32]);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
    Ok(())
}

fn count(what: &'static str, got: usize) -> Result<u32, BrineError> {
    u32::try_from(got).map_err(|_| BrineError::LimitExceeded {
        what,
        limit: u32::MAX as usize,
        got,
    })
}

pub(super) fn check(what: &'static str, limit: usize, got: usize) -> Result<(), BrineError> {
    if got > limit {
        return Err(BrineError::LimitExceeded { what, limit, got });
    }
    Ok(())
}
