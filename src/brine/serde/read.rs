//! [`Input`]: a serde deserializer that takes a [`Value`] apart.

use ::serde::{
    de::IntoDeserializer,
    de::{
        DeserializeSeed, Deserializer, EnumAccess, Error, Unexpected, VariantAccess, Visitor,
        value::{MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::SerdeError;
use crate::brine::{FromValue, Value};

pub(super) struct Input(pub(super) Value);

impl IntoDeserializer<'_, SerdeError> for Input {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn unexpected(value: &Value, expected: &str) -> SerdeError {
    Error::invalid_type(Unexpected::Other(value.type_name()), &expected)
}

fn visit_items<'de, V: Visitor<'de>>(
    items: Vec<Value>,
    visitor: V,
) -> Result<V::Value, SerdeError> {
    let mut access = SeqDeserializer::new(items.into_iter().map(Input));
    let visited = visitor.visit_seq(&mut access)?;
    access.end()?;
    Ok(visited)
}

fn visit_pairs<'de, V: Visitor<'de>>(value: Value, visitor: V) -> Result<V::Value, SerdeError> {
    const PAIR: &str = "a pair of key and value";
    let Value::Tuple(items) = value else {
        return Err(unexpected(&value, "a tuple of pairs"));
    };
    let pair = |item| match item {
        Value::Tuple(pair) => <[Value; 2]>::try_from(pair)
            .map(|[key, value]| (Input(key), Input(value)))
            .map_err(|pair| Error::invalid_length(pair.len(), &PAIR)),
        other => Err(unexpected(&other, PAIR)),
    };
    let pairs: Vec<_> = items.into_iter().map(pair).collect::<Result<_, _>>()?;
    let mut access = MapDeserializer::new(pairs.into_iter());
    let visited = visitor.visit_map(&mut access)?;
    access.end()?;
    Ok(visited)
}

impl<'de> Deserializer<'de> for Input {
    type Error = SerdeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::None => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::Int(number) => visitor.visit_i64(number),
            Value::BigInt(number) => {
                if let Ok(number) = u64::try_from(&*number) {
                    visitor.visit_u64(number)
                } else if let Ok(number) = i128::try_from(&*number) {
                    visitor.visit_i128(number)
                } else if let Ok(number) = u128::try_from(&*number) {
                    visitor.visit_u128(number)
                } else {
                    visitor.visit_string(number.to_string())
                }
            }
            Value::Float(number) => visitor.visit_f64(number),
            Value::Str(text) => visitor.visit_str(&text),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes.into()),
            Value::Tuple(items) | Value::FrozenSet(items) => visit_items(items, visitor),
            other @ (Value::Complex { .. }
            | Value::Slice(_)
            | Value::Ellipsis
            | Value::NotImplemented) => Err(Error::invalid_type(
                Unexpected::Other(other.type_name()),
                &visitor,
            )),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::None => visitor.visit_none(),
            value => visitor.visit_some(Self(value)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        match self.0 {
            Value::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            value => Self(value).deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SerdeError> {
        visit_pairs(self.0, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visit_pairs(self.0, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        let (name, content) = match self.0 {
            name @ Value::Str(_) => (name, None),
            other => <(Value, Value)>::from_value(other)
                .map(|(name, content)| (name, Some(content)))
                .map_err(Error::custom)?,
        };
        visitor.visit_enum(Variant { name, content })
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Variant {
    name: Value,
    content: Option<Value>,
}

impl<'de> EnumAccess<'de> for Variant {
    type Error = SerdeError;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(
        mut self,
        seed: T,
    ) -> Result<(T::Value, Self), SerdeError> {
        let name = std::mem::take(&mut self.name);
        Ok((seed.deserialize(Input(name))?, self))
    }
}

impl Variant {
    fn content(self) -> Result<Value, SerdeError> {
        let missing = || Error::invalid_type(Unexpected::UnitVariant, &"a variant with content");
        self.content.ok_or_else(missing)
    }
}

impl<'de> VariantAccess<'de> for Variant {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<(), SerdeError> {
        match self.content {
            None => Ok(()),
            Some(content) => Err(unexpected(&content, "a variant without content")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, SerdeError> {
        seed.deserialize(Input(self.content()?))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, SerdeError> {
        match self.content()? {
            Value::Tuple(items) => visit_items(items, visitor),
            other => Err(unexpected(&other, "a tuple")),
        }
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SerdeError> {
        visit_pairs(self.content()?, visitor)
    }
}
