//! [`Value`]: every Python value that brine carries by copy.

use std::mem::discriminant;

use bytes::Bytes;
use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::Str;

/// An immutable Python value.
///
/// The variants are exactly what Python's RPyC passes by value; everything else (lists, dicts,
/// instances, functions) goes by reference and is not brine's business.
///
/// `Display` prints Python source: `(1, 'a', b'raw')`.
///
/// # Equality
///
/// Values are equal when they have the same variant and equal content: unlike Python's,
/// `1`, `1.0` and `True` differ. Floats compare as floats do, so a NaN equals nothing, itself
/// included, and `0.0 == -0.0`. Frozen sets compare as sets, whatever the order of their
/// members, and in there a NaN equals one with the same bits. [`Value::same_bits`] is the comparison that tells NaNs and zeros apart.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// `True` or `False`; never an integer here.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer that does not fit `i64`.
    ///
    /// Build it with [`Value::from`], which picks [`Value::Int`] for what fits: decoding does
    /// so too, and a small number in this variant would differ from itself after a round trip.
    BigInt(Box<BigInt>),
    /// A double; all its bits survive, those of a NaN too.
    Float(f64),
    /// A complex number.
    Complex {
        /// The real part.
        re: f64,
        /// The imaginary part.
        im: f64,
    },
    /// `str`: text without lone surrogates.
    Str(Str),
    /// `bytes`.
    Bytes(Bytes),
    /// `tuple`.
    Tuple(Vec<Self>),
    /// `slice(start, stop, step)`, in this order.
    Slice(Box<[Self; 3]>),
    /// `frozenset`, in no order. Decoding leaves duplicates out; encoding writes what is there.
    FrozenSet(Vec<Self>),
    /// `...`.
    Ellipsis,
    /// `NotImplemented`.
    NotImplemented,
}

impl Value {
    /// A tuple of these values.
    pub fn tuple(items: impl IntoIterator<Item = Self>) -> Self {
        Self::Tuple(items.into_iter().collect())
    }

    /// The name of the Python type: `int` for both kinds of integer.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::BigInt(_) => "int",
            Self::Float(_) => "float",
            Self::Complex { .. } => "complex",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::Tuple(_) => "tuple",
            Self::Slice(_) => "slice",
            Self::FrozenSet(_) => "frozenset",
            Self::Ellipsis => "ellipsis",
            Self::NotImplemented => "NotImplemented",
        }
    }

    /// Whether this is [`Value::None`].
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The number, if this is an integer that fits `i64`.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if this is a `str`.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The bytes, if this is a `bytes`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The items, if this is a tuple.
    pub fn as_tuple(&self) -> Option<&[Self]> {
        match self {
            Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Whether both are the same value down to the bits of their floats: a NaN is the same as
    /// itself, and `0.0` is not the same as `-0.0`.
    pub fn same_bits(&self, other: &Self) -> bool {
        let key = |value: &Self| {
            let mut key = Vec::new();
            value.write_key(&mut key, f64::to_bits);
            key
        };
        key(self) == key(other)
    }

    /// Appends bytes that are equal for equal values and not for others.
    ///
    /// Sets are compared by these keys, sorted. Sorting the members themselves would compare
    /// (and so sort) nested sets again and again: sets of two sets of two sets… made that
    /// quadratic, and a peer chooses the nesting.
    fn write_key(&self, key: &mut Vec<u8>, bits: fn(f64) -> u64) {
        let sized = |key: &mut Vec<u8>, tag: u8, content: &[u8]| {
            key.push(tag);
            key.extend_from_slice(&content.len().to_be_bytes());
            key.extend_from_slice(content);
        };
        let each = |key: &mut Vec<u8>, tag: u8, items: &[Self]| {
            sized(key, tag, &[]);
            key.extend_from_slice(&items.len().to_be_bytes());
            for item in items {
                item.write_key(key, bits);
            }
        };
        match self {
            Self::None => key.push(0),
            Self::Bool(flag) => key.extend_from_slice(&[1, u8::from(*flag)]),
            Self::Int(number) => sized(key, 2, &number.to_be_bytes()),
            Self::BigInt(number) => sized(key, 3, &number.to_signed_bytes_be()),
            Self::Float(number) => sized(key, 4, &bits(*number).to_be_bytes()),
            Self::Complex { re, im } => {
                sized(key, 5, &bits(*re).to_be_bytes());
                key.extend_from_slice(&bits(*im).to_be_bytes());
            }
            Self::Str(text) => sized(key, 6, text.as_bytes()),
            Self::Bytes(bytes) => sized(key, 7, bytes),
            Self::Tuple(items) => each(key, 8, items),
            Self::Slice(parts) => each(key, 9, &parts[..]),
            Self::FrozenSet(members) => {
                sized(key, 10, &[]);
                key.extend_from_slice(&members.len().to_be_bytes());
                key.extend(sorted_keys(members, bits).into_iter().flatten());
            }
            Self::Ellipsis => key.push(11),
            Self::NotImplemented => key.push(12),
        }
    }
}

fn sorted_keys(members: &[Value], bits: fn(f64) -> u64) -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = members
        .iter()
        .map(|member| {
            let mut key = Vec::new();
            member.write_key(&mut key, bits);
            key
        })
        .collect();
    keys.sort_unstable();
    keys
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::BigInt(a), Self::BigInt(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Complex { re: a, im: c }, Self::Complex { re: b, im: d }) => a == b && c == d,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Tuple(a), Self::Tuple(b)) => a == b,
            (Self::Slice(a), Self::Slice(b)) => a == b,
            (Self::FrozenSet(a), Self::FrozenSet(b)) => {
                // Adding zero turns -0.0 into 0.0.
                let bits = |number: f64| (number + 0.0).to_bits();
                a.len() == b.len() && sorted_keys(a, bits) == sorted_keys(b, bits)
            }
            _ => discriminant(self) == discriminant(other),
        }
    }
}

impl From<BigInt> for Value {
    /// Picks [`Value::Int`] for what fits `i64`.
    fn from(number: BigInt) -> Self {
        match number.to_i64() {
            Some(small) => Self::Int(small),
            None => Self::BigInt(Box::new(number)),
        }
    }
}
