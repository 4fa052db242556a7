//! [`Object`]: an argument or a result as an application sees it, a value or a reference.

use crate::{
    brine::{ConvertError, FromValue, Value},
    netref::Netref,
    service::Function,
};

/// An argument or a result: a value, or something that stays where it is and is referred to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Object {
    /// Passed by copy.
    Value(Value),
    /// A tuple with a reference somewhere in it.
    Tuple(Vec<Self>),
    /// An object of the peer.
    Netref(Netref),
    /// A function of this end.
    Function(Function),
    /// The service of this end, which the peer passed back.
    Root,
}

impl Object {
    /// What Python calls its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Value(value) => value.type_name(),
            Self::Tuple(_) => "tuple with references",
            Self::Netref(_) => "reference",
            Self::Function(_) => "function",
            Self::Root => "object",
        }
    }

    /// The value, if this is one.
    ///
    /// # Errors
    ///
    /// `ConvertError` when it is or contains a reference.
    pub fn into_value(self) -> Result<Value, ConvertError> {
        match self {
            Self::Value(value) => Ok(value),
            other => Err(ConvertError::other("a value", other.type_name())),
        }
    }
}

impl<T: Into<Value>> From<T> for Object {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

/// What can be made of an [`Object`]: everything that can be made of a value, and references.
pub trait FromObject: Sized {
    /// Converts.
    ///
    /// # Errors
    ///
    /// `ConvertError` when it is something else.
    fn from_object(object: Object) -> Result<Self, ConvertError>;

    /// What an argument of this type is when the caller left it out. `None` where it must be there.
    fn missing() -> Option<Self> {
        None
    }
}

impl<T: FromValue> FromObject for T {
    fn from_object(object: Object) -> Result<Self, ConvertError> {
        T::from_value(object.into_value()?)
    }

    fn missing() -> Option<Self> {
        T::missing()
    }
}

impl FromObject for Object {
    fn from_object(object: Object) -> Result<Self, ConvertError> {
        Ok(object)
    }
}

impl FromObject for Netref {
    fn from_object(object: Object) -> Result<Self, ConvertError> {
        match object {
            Object::Netref(netref) => Ok(netref),
            other => Err(ConvertError::other("a reference", other.type_name())),
        }
    }
}
