//! [`Object`]: an argument or a result as an application sees it, a value or a reference.

use std::sync::Arc;

use bytes::BytesMut;

use crate::{
    brine::{BrineError, ConvertError, FromValue, Value},
    connection::Exported,
    netref::Netref,
    protocol::{Pack, Packer, Refusal},
    service::{Function, Service},
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
    /// A service of this end: the one at the root of the connection, when it comes from the peer.
    Root(Arc<Service>),
}

impl Object {
    /// What Python calls its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Value(value) => value.type_name(),
            Self::Tuple(_) => "tuple with references",
            Self::Netref(_) => "reference",
            Self::Function(_) => "function",
            Self::Root(_) => "object",
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

/// As an argument, too: what is a reference travels as one, also inside a tuple.
impl Pack<Exported> for Object {
    fn is_plain(&self) -> bool {
        match self {
            Self::Value(_) => true,
            Self::Tuple(items) => items.iter().all(Pack::is_plain),
            Self::Netref(_) | Self::Function(_) | Self::Root(_) => false,
        }
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        match self {
            Self::Value(value) => Pack::<Exported>::put_plain(value, out),
            Self::Tuple(items) => Pack::<Exported>::put_plain(&items[..], out),
            Self::Netref(_) | Self::Function(_) | Self::Root(_) => {
                unreachable!("only a plain object is asked for its value")
            }
        }
    }

    fn put_box(&self, packer: &mut Packer<'_, Exported>) -> Result<(), Refusal> {
        match self {
            Self::Value(value) => value.put_box(packer),
            Self::Tuple(items) => items[..].put_box(packer),
            Self::Netref(netref) => netref.put_box(packer),
            Self::Function(function) => function.put_box(packer),
            Self::Root(service) => packer.ours(&Exported::Root(service.clone())),
        }
    }
}

/// What can be made of an [`Object`]: everything that can be made of a value, and references.
pub trait FromObject: Sized {
    /// Whether this is made of a value alone. In classic mode a copy is then asked for where the object itself is one that is
    /// passed by reference, such as a list.
    const BY_VALUE: bool = false;

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
    const BY_VALUE: bool = true;

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

/// The items of a tuple, references among them.
impl FromObject for Vec<Object> {
    fn from_object(object: Object) -> Result<Self, ConvertError> {
        match object {
            Object::Tuple(items) => Ok(items),
            Object::Value(value) => {
                let values = Vec::<Value>::from_value(value)?;
                Ok(values.into_iter().map(Object::Value).collect())
            }
            other => Err(ConvertError::other("a tuple", other.type_name())),
        }
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
