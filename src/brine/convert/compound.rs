//! Values made of values: options, tuples, sequences, maps, sets, and arguments.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{BuildHasher, Hash},
};

use super::{ConvertError, FromArgs, FromValue, IntoArgs, Path};
use crate::brine::Value;

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl FromValue for () {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match value {
            Value::None => Ok(()),
            other => Err(ConvertError::kind("None", &other)),
        }
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match value {
            Value::None => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

fn items(value: Value) -> Result<Vec<Value>, ConvertError> {
    match value {
        Value::Tuple(items) => Ok(items),
        other => Err(ConvertError::kind("tuple", &other)),
    }
}

/// Reads each item and collects them.
fn collect<T: FromValue, C: FromIterator<T>>(items: Vec<Value>) -> Result<C, ConvertError> {
    let read = |(index, item)| T::from_value(item).map_err(|error| error.within(index));
    items.into_iter().enumerate().map(read).collect()
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::tuple(items.into_iter().map(Into::into))
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        match value {
            Value::FrozenSet(members) => collect(members),
            value => collect(items(value)?),
        }
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Self {
        Self::tuple(items.into_iter().map(Into::into))
    }
}

impl<T: FromValue, const N: usize> FromValue for [T; N] {
    fn from_value(value: Value) -> Result<Self, ConvertError> {
        let items: Vec<T> = collect(items(value)?)?;
        Self::try_from(items).map_err(|items| ConvertError::Length {
            expected: N,
            got: items.len(),
            at: Path::default(),
        })
    }
}

macro_rules! maps {
    ($($map:ident<K: $($key:ident)+ $(, $hasher:ident)?>),*) => {$(
        impl<K: Into<Self>, V: Into<Self> $(, $hasher)?> From<$map<K, V $(, $hasher)?>> for Value {
            fn from(map: $map<K, V $(, $hasher)?>) -> Self {
                Self::tuple(map.into_iter().map(Into::into))
            }
        }

        impl<K: FromValue $(+ $key)+, V: FromValue $(, $hasher: BuildHasher + Default)?> FromValue
            for $map<K, V $(, $hasher)?>
        {
            fn from_value(value: Value) -> Result<Self, ConvertError> {
                collect::<(K, V), _>(items(value)?)
            }
        }
    )*};
}

maps!(BTreeMap<K: Ord>, HashMap<K: Eq Hash, S>);

macro_rules! sets {
    ($($set:ident<T: $($key:ident)+ $(, $hasher:ident)?>),*) => {$(
        impl<T: Into<Self> $(, $hasher)?> From<$set<T $(, $hasher)?>> for Value {
            fn from(set: $set<T $(, $hasher)?>) -> Self {
                Self::FrozenSet(set.into_iter().map(Into::into).collect())
            }
        }

        impl<T: FromValue $(+ $key)+ $(, $hasher: BuildHasher + Default)?> FromValue
            for $set<T $(, $hasher)?>
        {
            fn from_value(value: Value) -> Result<Self, ConvertError> {
                match value {
                    Value::Tuple(items) | Value::FrozenSet(items) => collect::<T, _>(items),
                    other => Err(ConvertError::kind("frozenset", &other)),
                }
            }
        }
    )*};
}

sets!(BTreeSet<T: Ord>, HashSet<T: Eq Hash, S>);

impl IntoArgs for Vec<Value> {
    fn into_args(self) -> Vec<Value> {
        self
    }
}

impl FromArgs for Vec<Value> {
    fn from_args(args: Vec<Value>) -> Result<Self, ConvertError> {
        Ok(args)
    }
}

impl IntoArgs for () {
    fn into_args(self) -> Vec<Value> {
        Vec::new()
    }
}

impl FromArgs for () {
    fn from_args(args: Vec<Value>) -> Result<Self, ConvertError> {
        let [] = exactly(args)?;
        Ok(())
    }
}

fn exactly<const N: usize>(items: Vec<Value>) -> Result<[Value; N], ConvertError> {
    items
        .try_into()
        .map_err(|items: Vec<Value>| ConvertError::Length {
            expected: N,
            got: items.len(),
            at: Path::default(),
        })
}

macro_rules! tuples {
    ($($name:ident $index:literal),*) => {
        #[allow(non_snake_case)]
        impl<$($name: Into<Value>),*> IntoArgs for ($($name,)*) {
            fn into_args(self) -> Vec<Value> {
                let ($($name,)*) = self;
                vec![$($name.into()),*]
            }
        }

        impl<$($name: Into<Self>),*> From<($($name,)*)> for Value {
            fn from(items: ($($name,)*)) -> Self {
                Self::Tuple(items.into_args())
            }
        }

        #[allow(non_snake_case)]
        impl<$($name: FromValue),*> FromArgs for ($($name,)*) {
            fn from_args(args: Vec<Value>) -> Result<Self, ConvertError> {
                let [$($name),*] = exactly(args)?;
                Ok(($($name::from_value($name).map_err(|error| error.within($index))?,)*))
            }
        }

        impl<$($name: FromValue),*> FromValue for ($($name,)*) {
            fn from_value(value: Value) -> Result<Self, ConvertError> {
                Self::from_args(items(value)?)
            }
        }
    };
}

tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
