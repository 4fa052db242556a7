//! Rust types as values and back: `From` for [`Value`], [`FromValue`], and the same for the
//! arguments of a call.
//!
//! | Rust | Python | notes |
//! |---|---|---|
//! | `()` | `None` | as a function without a result returns it; the empty tuple is `Value::tuple([])` |
//! | `Option<T>` | `None` or the value | |
//! | integers, `BigInt` | `int` | reading refuses what does not fit, and `bool` |
//! | `f32`, `f64` | `float` | reading takes an `int` too if it survives exactly; `f32` rounds |
//! | `char`, `&str`, `String`, [`Str`](super::Str) | `str` | |
//! | `bytes::Bytes`, [`ByteBuf`] | `bytes` | `Vec<u8>` is a tuple of integers, as any `Vec` |
//! | tuples to 12, arrays, `Vec<T>` | `tuple` | `Vec<T>` reads a `frozenset` too |
//! | `HashMap`, `BTreeMap` | `tuple` of pairs | what Python's `dict()` takes |
//! | `HashSet`, `BTreeSet` | `frozenset` | reading takes a tuple too |

mod compound;
mod scalar;

use std::{fmt, ops::Deref};

use thiserror::Error;

pub use self::scalar::ByteBuf;
use super::Value;

/// A type that can be read out of a [`Value`].
///
/// The other direction is `Value: From<T>`. This is a trait of its own because `TryFrom` is taken
/// for `Option<Value>`.
///
/// ```
/// use rpyc::brine::{FromValue, Value};
///
/// let value = Value::from(("a", vec![1, 2]));
/// let (name, numbers) = <(String, Vec<u8>)>::from_value(value)?;
/// assert_eq!((&*name, &*numbers), ("a", &[1, 2][..]));
///
/// let error = <(String, Vec<u8>)>::from_value(Value::from(("a", (1, "b")))).unwrap_err();
/// assert_eq!(error.to_string(), "expected int, got str at [1][1]");
/// # Ok::<(), rpyc::brine::ConvertError>(())
/// ```
pub trait FromValue: Sized {
    /// Reads `value` as this type.
    ///
    /// # Errors
    ///
    /// [`ConvertError`] if the value is of another type, too large or of another length.
    fn from_value(value: Value) -> Result<Self, ConvertError>;

    /// What an argument of this type is when the caller left it out. `None` where it must be there.
    fn missing() -> Option<Self> {
        None
    }
}

/// A type that can be the positional arguments of a call: tuples to 12, `()` being no argument,
/// and `Vec<Value>`.
pub trait IntoArgs {
    /// The arguments in order.
    fn into_args(self) -> Vec<Value>;
}

/// A type that can be read out of the positional arguments of a call.
pub trait FromArgs: Sized {
    /// Reads all of `args` as this type.
    ///
    /// # Errors
    ///
    /// [`ConvertError`] if the number of arguments or one of them does not fit.
    fn from_args(args: Vec<Value>) -> Result<Self, ConvertError>;
}

/// Why a value is not what the receiver wants.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Another type.
    #[error("expected {expected}, got {got}{at}")]
    Type {
        /// What is wanted, in Python's terms.
        expected: &'static str,
        /// The type that came, in Python's terms.
        got: &'static str,
        /// Where.
        at: Path,
    },
    /// The right type, but a value that the Rust type cannot hold.
    #[error("{got} does not fit {target}{at}")]
    Range {
        /// The Rust type.
        target: &'static str,
        /// The type that came, in Python's terms.
        got: &'static str,
        /// Where.
        at: Path,
    },
    /// A sequence of another length.
    #[error("expected {expected} items, got {got}{at}")]
    Length {
        /// How many are wanted.
        expected: usize,
        /// How many came.
        got: usize,
        /// Where.
        at: Path,
    },
}

impl ConvertError {
    fn kind(expected: &'static str, got: &Value) -> Self {
        Self::Type {
            expected,
            got: got.type_name(),
            at: Path::default(),
        }
    }

    /// Something else than a value was there: a reference, say.
    pub(crate) fn other(expected: &'static str, got: &'static str) -> Self {
        Self::Type {
            expected,
            got,
            at: Path::default(),
        }
    }

    fn range(target: &'static str, got: &Value) -> Self {
        Self::Range {
            target,
            got: got.type_name(),
            at: Path::default(),
        }
    }

    /// The same error, said of the item at `index` of something larger.
    #[must_use]
    pub fn within(mut self, index: usize) -> Self {
        let (Self::Type { at, .. } | Self::Range { at, .. } | Self::Length { at, .. }) = &mut self;
        at.0.insert(0, index);
        self
    }
}

/// The way from the outermost tuple to the item at fault, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(Vec<usize>);

impl Deref for Path {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

/// Prints ` at [1][0]`, or nothing for the value itself.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() {
            f.write_str(" at ")?;
        }
        self.0.iter().try_for_each(|index| write!(f, "[{index}]"))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet, HashMap, HashSet},
        fmt::Debug,
    };

    use bytes::Bytes;
    use num_bigint::BigInt;

    use super::*;

    fn round_trip<T>(rust: T, value: Value)
    where
        T: Into<Value> + FromValue + Clone + PartialEq + Debug,
    {
        let converted: Value = rust.clone().into();
        assert!(converted.same_bits(&value), "{rust:?} became {converted}");
        assert_eq!(T::from_value(value), Ok(rust));
    }

    fn message<T: FromValue + Debug>(value: impl Into<Value>) -> String {
        T::from_value(value.into()).unwrap_err().to_string()
    }

    #[test]
    fn rust_types_survive_a_round_trip() {
        let big = |number: u128| Value::BigInt(Box::new(number.into()));
        round_trip((), Value::None);
        round_trip(true, Value::Bool(true));
        round_trip(-1_i8, Value::Int(-1));
        round_trip(u64::MAX, big(u64::MAX.into()));
        round_trip(u128::MAX, big(u128::MAX));
        round_trip(i128::from(i64::MIN), Value::Int(i64::MIN));
        round_trip(7_usize, Value::Int(7));
        round_trip(BigInt::from(7), Value::Int(7));
        round_trip(BigInt::from(1_u64 << 63), big(1 << 63));
        round_trip(1.5_f32, Value::Float(1.5));
        round_trip(-0.0_f64, Value::Float(-0.0));
        round_trip('é', Value::Str("é".into()));
        round_trip(String::from("text"), Value::Str("text".into()));
        round_trip(Bytes::from("raw"), Value::Bytes("raw".into()));
        round_trip(ByteBuf(vec![1, 2]), Value::Bytes(vec![1, 2].into()));
        round_trip(Some(1), Value::Int(1));
        round_trip(None::<i64>, Value::None);
        round_trip(vec![1_u8, 2], Value::tuple([1.into(), 2.into()]));
        round_trip([1, 2], Value::tuple([1.into(), 2.into()]));
        round_trip((1, true), Value::tuple([1.into(), true.into()]));
        round_trip(
            (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
            (1..=12).collect::<Vec<_>>().into(),
        );
        round_trip(BTreeMap::from([("a".to_owned(), 1)]), (("a", 1),).into());
        round_trip(HashMap::from([("a".to_owned(), 1)]), (("a", 1),).into());
        round_trip(
            BTreeSet::from([2, 1]),
            Value::FrozenSet(vec![1.into(), 2.into()]),
        );
        round_trip(HashSet::from([1]), Value::FrozenSet(vec![1.into()]));
    }

    #[test]
    fn errors_name_what_was_expected_what_came_and_where() {
        assert_eq!(message::<u8>(300), "int does not fit u8");
        assert_eq!(message::<i64>(u64::MAX), "int does not fit i64");
        assert_eq!(message::<u64>(true), "expected int, got bool");
        assert_eq!(message::<bool>(1), "expected bool, got int");
        assert_eq!(message::<char>("ab"), "str does not fit char");
        assert_eq!(message::<f64>((1_i64 << 53) + 1), "int does not fit f64");
        assert_eq!(message::<f64>(i64::MAX), "int does not fit f64");
        assert_eq!(message::<(i64, i64)>((1,)), "expected 2 items, got 1");
        assert_eq!(message::<[i64; 1]>((1, 2)), "expected 1 items, got 2");
        assert_eq!(
            message::<Vec<u8>>(Bytes::from("a")),
            "expected tuple, got bytes"
        );
        assert_eq!(
            message::<BTreeMap<String, Vec<i64>>>((("a", (1, 2)), ("b", (1, ())))),
            "expected int, got None at [1][1][1]"
        );
        let error = <(i64, String)>::from_args((1, 2).into_args()).unwrap_err();
        assert_eq!(error.to_string(), "expected str, got int at [1]");
        assert_eq!(
            <()>::from_args(vec![Value::None]).unwrap_err().to_string(),
            "expected 0 items, got 1"
        );
    }

    #[test]
    fn a_float_takes_integers_that_survive() {
        assert_eq!(f64::from_value(3.into()), Ok(3.0));
        assert_eq!(
            f64::from_value(i64::MIN.into()),
            Ok(-9_223_372_036_854_775_808.0)
        );
        assert_eq!(
            f64::from_value(Value::from(1_u64 << 63)),
            Ok(9_223_372_036_854_775_808.0)
        );
        assert!(f64::from_value(Value::from((1_u64 << 63) + 1)).is_err());
    }

    #[test]
    fn no_argument_is_not_none() {
        assert_eq!(().into_args(), vec![]);
        assert_eq!(((),).into_args(), vec![Value::None]);
        assert_eq!(<(Option<i64>,)>::from_args(vec![Value::None]), Ok((None,)));
    }
}
