//! Single values: numbers, text, bytes.

use std::ops::Deref;

use bytes::Bytes;
use num_bigint::BigInt;
use num_traits::{FromPrimitive, ToPrimitive};

use super::{ConvertError, FromValue};
use crate::brine::{Str, Value};

/// Bytes that become a Python `bytes`, where `Vec<u8>` becomes a tuple of integers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteBuf(pub Vec<u8>);

impl Deref for ByteBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<ByteBuf> for Value {
    fn from(bytes: ByteBuf) -> Self {
        Self::Bytes(bytes.0.into())
    }
}

impl FromValue for ByteBuf {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        Bytes::from_value(value).map(|bytes| Self(bytes.into()))
    }
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        Ok(value)
    }
}

/// `From` into one variant, and back out of it.
macro_rules! variant {
    ($($type:ty => $variant:ident, $expected:literal;)*) => {$(
        impl From<$type> for Value {
            fn from(inner: $type) -> Self {
                Self::$variant(inner.into())
            }
        }

        impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, ConvertError> {
                match value {
                    Value::$variant(inner) => Ok(inner.into()),
                    other => Err(ConvertError::kind($expected, &other)),
                }
            }
        }
    )*};
}

variant! {
    bool => Bool, "bool";
    Str => Str, "str";
    String => Str, "str";
    Bytes => Bytes, "bytes";
}

macro_rules! integers {
    ($($type:ident),*) => {$(
        impl From<$type> for Value {
            fn from(number: $type) -> Self {
                match i64::try_from(number) {
                    Ok(number) => Self::Int(number),
                    Err(_) => Self::BigInt(Box::new(number.into())),
                }
            }
        }

        impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, ConvertError> {
                match &value {
                    Value::Int(number) => Self::try_from(*number).ok(),
                    Value::BigInt(number) => Self::try_from(&**number).ok(),
                    _ => return Err(ConvertError::kind("int", &value)),
                }
                .ok_or_else(|| ConvertError::range(stringify!($type), &value))
            }
        }
    )*};
}

integers!(
    i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize
);

impl FromValue for BigInt {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match value {
            Value::Int(number) => Ok(number.into()),
            Value::BigInt(number) => Ok(*number),
            other => Err(ConvertError::kind("int", &other)),
        }
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        let exact = match &value {
            Value::Float(number) => return Ok(*number),
            Value::Int(number) => Some(*number as Self)
                // The float nearest to i64::MAX is 2^63, which converts back to i64::MAX.
                .filter(|float| *float as i128 == i128::from(*number)),
            Value::BigInt(number) => number
                .to_f64()
                .filter(|float| BigInt::from_f64(*float).as_ref() == Some(&**number)),
            _ => return Err(ConvertError::kind("float", &value)),
        };
        exact.ok_or_else(|| ConvertError::range("f64", &value))
    }
}

impl From<f32> for Value {
    fn from(number: f32) -> Self {
        Self::Float(number.into())
    }
}

impl FromValue for f32 {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        f64::from_value(value).map(|number| number as Self)
    }
}

impl From<char> for Value {
    fn from(char: char) -> Self {
        Self::from(&*char.encode_utf8(&mut [0; 4]))
    }
}

impl FromValue for char {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        let Value::Str(text) = &value else {
            return Err(ConvertError::kind("str", &value));
        };
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => Ok(char),
            _ => Err(ConvertError::range("char", &value)),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Str(text.into())
    }
}
