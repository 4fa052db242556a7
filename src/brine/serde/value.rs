//! [`Value`] itself in other formats, JSON before all.

use std::fmt;

use ::serde::{
    de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor},
    ser::{Serialize, SerializeStruct, Serializer},
};
use bytes::Bytes;

use crate::brine::Value;

/// Tuples and frozen sets are sequences, a complex number is `{re, im}`, a slice
/// `{start, stop, step}`, `Ellipsis` and `NotImplemented` are their names.
///
/// Integers beyond `u64` are decimal strings, except for formats that are not human readable where
/// 128 bits stay numbers. `bytes` are base64 strings in formats for humans, as is common in JSON
/// (`jq` has `@base64d`), and bytes elsewhere. So other formats do not bring every value back.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::BigInt(number) => {
                if let Ok(number) = u64::try_from(&**number) {
                    return serializer.serialize_u64(number);
                }
                if !serializer.is_human_readable() {
                    if let Ok(number) = i128::try_from(&**number) {
                        return serializer.serialize_i128(number);
                    }
                    if let Ok(number) = u128::try_from(&**number) {
                        return serializer.serialize_u128(number);
                    }
                }
                serializer.collect_str(number)
            }
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Complex { re, im } => {
                let mut parts = serializer.serialize_struct("complex", 2)?;
                parts.serialize_field("re", re)?;
                parts.serialize_field("im", im)?;
                parts.end()
            }
            Self::Str(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) if serializer.is_human_readable() => {
                serializer.serialize_str(&base64(bytes))
            }
            Self::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Self::Tuple(items) | Self::FrozenSet(items) => serializer.collect_seq(items),
            Self::Slice(parts) => {
                let [start, stop, step] = &**parts;
                let mut parts = serializer.serialize_struct("slice", 3)?;
                parts.serialize_field("start", start)?;
                parts.serialize_field("stop", stop)?;
                parts.serialize_field("step", step)?;
                parts.end()
            }
            Self::Ellipsis | Self::NotImplemented => serializer.collect_str(self),
        }
    }
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(padded);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) as usize & 63;
            let padding = place > group.len();
            text.push(if padding {
                '='
            } else {
                char::from(ALPHABET[sextet])
            });
        }
    }
    text
}

/// Sequences become tuples, maps tuples of (key, value) pairs.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

macro_rules! scalars {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E>(self, value: $type) -> Result<Value, E> {
            Ok(value.into())
        }
    )*};
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that brine can carry")
    }

    scalars! {
        visit_bool(bool) visit_i64(i64) visit_i128(i128) visit_u64(u64) visit_u128(u128)
        visit_f64(f64) visit_str(&str) visit_string(String)
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.into()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        // No length is taken on trust here.
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Tuple(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, value)) = access.next_entry::<Value, Value>()? {
            pairs.push((key, value).into());
        }
        Ok(Value::Tuple(pairs))
    }
}
