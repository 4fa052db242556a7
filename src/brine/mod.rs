//! Brine: the self-delimiting encoding of immutable Python values.
//!
//! A message of the RPyC protocol is one brine value. This module turns bytes into [`Value`]s and
//! back, and lets the protocol write and read the outline of a message without building values:
//! `put_*` append parts to a buffer, a [`Reader`] pulls parts from one. It knows nothing of
//! messages, references, frames or input and output.
//!
//! # Wire format
//!
//! As in rpyc 6.0.2, `core/brine.py`. One tag byte, then what the tag demands; numbers are big
//! endian.
//!
//! | tag | value | after the tag |
//! |---|---|---|
//! | `00` | `None` | |
//! | `01` | empty `bytes` | |
//! | `02` | empty `tuple` | |
//! | `03`, `04` | `True`, `False` | |
//! | `05`, `06` | `NotImplemented`, `Ellipsis` | |
//! | `08` | `str` | a whole `bytes` value that holds UTF-8 |
//! | `0a`…`0d` | `bytes` of 1…4 | the bytes |
//! | `0e`, `0f` | `bytes` of 5…255, of more | length as u8, as u32; the bytes |
//! | `10`…`13` | `tuple` of 1…4 | the items |
//! | `14`, `15` | `tuple` of 5…255, of more | count as u8, as u32; the items |
//! | `16`, `17` | `int` of up to 255 characters, of more | length as u8, as u32; decimal text with its sign |
//! | `18` | `float` | 8 bytes, IEEE 754 |
//! | `19` | `slice` | a whole `tuple` of start, stop, step |
//! | `1a` | `frozenset` | a whole `tuple` of the members, in any order |
//! | `1b` | `complex` | 8 bytes real part, 8 bytes imaginary part |
//! | `20`…`ef` | `int` −48…159 | none: the value is the tag less `0x50` |
//!
//! Every other tag is an error. Encoding writes the shortest form. Decoding takes longer forms
//! too, and integers as Python's `int()` takes them (`+5`, ` 5 `, `1_0`, `005`). It is stricter
//! than Python in one case: a byte string cut short by the end of the input is an error.
//!
//! # Memory
//!
//! Decoded strings and byte strings of more than 256 bytes share the memory of the input, and so
//! keep it alive; shorter ones are copied. See [`Limits`] for what a peer may ask for.

mod convert;
mod decode;
mod display;
mod encode;
mod error;
mod integer;
mod limits;
mod serde;
mod tag;
mod text;
mod value;

pub use self::serde::{SerdeError, from_value, to_value};
pub use convert::{ByteBuf, ConvertError, FromArgs, FromValue, IntoArgs, Path};
pub use decode::{Reader, decode, decode_prefix};
pub use encode::{
    encode, encode_with, put_big_int, put_bool, put_bytes, put_complex, put_float, put_int,
    put_none, put_str, put_tuple_header, put_uint,
};
pub use error::BrineError;
pub use limits::Limits;
pub use text::Str;
pub use value::Value;
