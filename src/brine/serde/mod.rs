//! Serde types as values and back.
//!
//! | serde | Python |
//! |---|---|
//! | unit, unit struct, `None` | `None` |
//! | `Some(x)`, newtype struct | as `x` |
//! | `bool`, integers, floats, `char`, strings | `bool`, `int`, `float`, `str` |
//! | bytes (`serde_bytes`, `serialize_bytes`) | `bytes` |
//! | sequences, tuples, tuple structs | `tuple` |
//! | maps, structs | `tuple` of (key, value) pairs, which `dict()` takes |
//! | enum, unit variant | its name |
//! | enum, other variant | (name, content): the value, tuple or pairs of the variant |
//!
//! Reading also takes a `bytes` where a sequence of integers is wanted, and a `frozenset` for any
//! sequence.
//! What serde buffers before it knows the type (`untagged` and internally tagged enums) sees maps as
//! the sequences they are, so structs inside those are not found.

mod read;
mod value;
mod write;

use std::fmt::Display;

use ::serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

use super::Value;

/// Why a type could not be written as or read from a value, in the words of the type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SerdeError {
    message: String,
}

impl ::serde::ser::Error for SerdeError {
    fn custom<T: Display>(message: T) -> Self {
        let message = message.to_string();
        Self { message }
    }
}

impl ::serde::de::Error for SerdeError {
    fn custom<T: Display>(message: T) -> Self {
        ::serde::ser::Error::custom(message)
    }
}

/// Writes any serializable type as a value.
///
/// ```
/// use rpyc::brine::{from_value, to_value};
///
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Point {
///     x: i32,
///     name: Option<String>,
/// }
///
/// let point = Point { x: 1, name: None };
/// let value = to_value(&point)?;
/// assert_eq!(value.to_string(), "(('x', 1), ('name', None))");
/// assert_eq!(from_value::<Point>(value)?, point);
/// # Ok::<(), rpyc::brine::SerdeError>(())
/// ```
///
/// # Errors
///
/// [`SerdeError`] if the type's own `Serialize` fails.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, SerdeError> {
    value.serialize(write::Writer)
}

/// Reads a value as any deserializable type.
///
/// # Errors
///
/// [`SerdeError`] if the value does not have the form that the type asks for.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, SerdeError> {
    T::deserialize(read::Input(value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ::serde::Deserialize;
    use bytes::Bytes;
    use num_bigint::BigInt;

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    enum Shape {
        Empty,
        Circle(f64),
        Line(i8, u64),
        Rect { w: u8, h: u8 },
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Unit;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Meters(i128);

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Everything {
        unit: Unit,
        meters: Meters,
        shapes: Vec<Shape>,
        map: BTreeMap<u8, (bool, char)>,
        some: Option<String>,
        none: Option<String>,
        octets: Vec<u8>,
        float: f32,
    }

    #[test]
    fn a_struct_with_everything_survives() {
        let everything = Everything {
            unit: Unit,
            meters: Meters(i128::MAX),
            shapes: vec![
                Shape::Empty,
                Shape::Circle(1.5),
                Shape::Line(-1, u64::MAX),
                Shape::Rect { w: 1, h: 2 },
            ],
            map: BTreeMap::from([(1, (true, 'é'))]),
            some: Some("x".to_owned()),
            none: None,
            octets: vec![1, 2],
            float: 0.1,
        };
        let value = to_value(&everything).unwrap();
        assert_eq!(
            to_value(&everything.shapes).unwrap().to_string(),
            "('Empty', ('Circle', 1.5), ('Line', (-1, 18446744073709551615)), \
             ('Rect', (('w', 1), ('h', 2))))"
        );
        assert_eq!(from_value::<Everything>(value).unwrap(), everything);
    }

    #[test]
    fn bytes_serve_as_a_sequence_and_sets_too() {
        let bytes = Value::from(Bytes::from_static(b"ab"));
        assert_eq!(from_value::<Vec<u8>>(bytes).unwrap(), b"ab");
        let set = Value::FrozenSet(vec![1.into()]);
        assert_eq!(from_value::<Vec<i64>>(set).unwrap(), [1]);
    }

    #[test]
    fn errors_say_what_came() {
        let error = |value: Value| from_value::<(u8, bool)>(value).unwrap_err().to_string();
        assert_eq!(
            error("x".into()),
            "invalid type: string \"x\", expected a tuple of size 2"
        );
        assert_eq!(
            error((300, true).into()),
            "invalid value: integer `300`, expected u8"
        );
        assert_eq!(
            error((1,).into()),
            "invalid length 1, expected a tuple of size 2"
        );
        assert_eq!(
            error((1, true, 3).into()),
            "invalid length 3, expected 2 elements in sequence"
        );
        let error = from_value::<BTreeMap<u8, u8>>((1, 2).into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid type: int, expected a pair of key and value"
        );
        assert!(from_value::<Shape>("Circle".into()).is_err());
        assert!(from_value::<Shape>(("Empty", 1).into()).is_err());
        assert!(from_value::<Shape>(1.into()).is_err());
        assert!(from_value::<i64>(Value::Ellipsis).is_err());
    }

    #[test]
    fn json_shows_every_value() {
        let big = |text: &str| Value::from(text.parse::<BigInt>().unwrap());
        let slice = Value::Slice(Box::new([Value::None, 1.into(), Value::None]));
        let complex = Value::Complex { re: 1.0, im: -2.5 };
        let raw = |bytes: &'static [u8]| Value::from(Bytes::from_static(bytes));
        for (value, json) in [
            (Value::None, "null"),
            ((1, true, "a", 1.5).into(), r#"[1,true,"a",1.5]"#),
            (big("18446744073709551615"), "18446744073709551615"),
            (big("18446744073709551616"), r#""18446744073709551616""#),
            (f64::NAN.into(), "null"),
            (raw(b""), r#""""#),
            (raw(b"f"), r#""Zg==""#),
            (raw(b"fo"), r#""Zm8=""#),
            (raw(b"foo\xff\xfe\xfd"), r#""Zm9v//79""#),
            (complex, r#"{"re":1.0,"im":-2.5}"#),
            (slice, r#"{"start":null,"stop":1,"step":null}"#),
            (Value::FrozenSet(vec![1.into()]), "[1]"),
            (Value::Ellipsis, r#""Ellipsis""#),
            (Value::NotImplemented, r#""NotImplemented""#),
        ] {
            assert_eq!(serde_json::to_string(&value).unwrap(), json);
        }
    }

    #[test]
    fn json_is_read_as_a_value() {
        let read = |json| serde_json::from_str::<Value>(json).unwrap();
        assert_eq!(
            read(r#"[null, true, -1, 18446744073709551615, 1.5, "é", {"a": [1]}, []]"#).to_string(),
            "(None, True, -1, 18446744073709551615, 1.5, 'é', (('a', (1,)),), ())"
        );
    }

    #[test]
    fn a_value_passes_through_serde_itself() {
        let value = Value::from((
            "a",
            (1, Bytes::from_static(b"raw")),
            2.5,
            u128::MAX,
            Value::None,
        ));
        let through: Value = from_value(to_value(&value).unwrap()).unwrap();
        assert_eq!(through, value);
    }
}
