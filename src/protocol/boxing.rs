//! The box: how arguments and results travel, by value or by reference.
//!
//! # Wire format
//!
//! A brine pair `(label, value)` (`rpyc/core/protocol.py`, `_box` and `_unbox`):
//!
//! | label | value | to the receiver |
//! |---|---|---|
//! | 1 | any brine value | use as is |
//! | 2 | tuple of boxes | a tuple that contains references |
//! | 3 | [`IdPack`] | one of the receiver's own objects |
//! | 4 | [`IdPack`] | one of the sender's objects; the sender counts one more reference to it |
//!
//! This file reads boxes, [`pack`](super::pack) writes them. References are resolved and counted while reading, in the order of the
//! wire, because a DEL that follows in a later frame may remove what this frame names.

use super::Exception;
use super::exports::{Export, Exports};
use super::idpack::{IdPack, RawIdPack};
use super::imports::Imports;
use crate::brine::{BrineError, Reader, Str, Value};

/// An argument or a result, at this end of the connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<T> {
    /// Something that is passed by copy.
    Value(Value),
    /// A tuple with a reference somewhere in it. (One without is a [`Value::Tuple`].)
    Tuple(Vec<Self>),
    /// An object of the peer.
    ///
    /// Each one that arrives is one reference held; [`Protocol::release`](super::Protocol::release) gives it back.
    Theirs(IdPack),
    /// An object of ours, which the peer refers to.
    Ours(T),
}

impl<T> Item<T> {
    /// The value, if this is one.
    ///
    /// # Errors
    ///
    /// The item itself if it is or contains a reference.
    pub fn into_value(self) -> Result<Value, Self> {
        match self {
            Self::Value(value) => Ok(value),
            other => Err(other),
        }
    }

    /// What a Python error message calls it.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Self::Value(value) => value.type_name(),
            Self::Tuple(_) => "tuple",
            Self::Theirs(id) => id.name(),
            Self::Ours(_) => "object",
        }
    }
}

impl<T> From<Value> for Item<T> {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

pub(super) const LABEL_VALUE: i64 = 1;
pub(super) const LABEL_TUPLE: i64 = 2;
pub(super) const LABEL_LOCAL_REF: i64 = 3;
pub(super) const LABEL_REMOTE_REF: i64 = 4;

/// Why the content of one message was refused. The connection lives on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Where a box should be there is something else.
    #[error("a box is not a pair of label and value")]
    NotABox,
    /// A label other than 1 to 4.
    #[error("invalid label {0}")]
    InvalidLabel(Value),
    /// Where the name of an object should be there is something else, or one above 4 KiB.
    #[error("a reference is not (name, class id, instance id), or is too long")]
    NotAReference,
    /// The peer names an object of ours that it was not given, or gave back.
    #[error("unknown reference {0}")]
    UnknownReference(IdPack),
    /// One end holds as many references as the connection may have.
    #[error("more than {limit} references on one connection")]
    TooManyReferences {
        /// The limit, for each direction.
        limit: usize,
    },
    /// The body of an exception message has another form than exceptions have.
    #[error("{0}")]
    NotAnException(&'static str),
    /// A value that cannot be read or written: nested too deeply, an integer with too many digits, too many items.
    #[error(transparent)]
    Limit(BrineError),
    /// A request with the wrong arguments; this is what to raise at the peer.
    #[error(transparent)]
    BadRequest(Box<Exception>),
}

impl Refusal {
    /// What a Python peer raises in this case.
    pub(super) fn to_exception(&self) -> Exception {
        match self {
            Self::NotABox | Self::NotAReference | Self::NotAnException(_) => {
                Exception::type_error(self.to_string())
            }
            Self::InvalidLabel(_) | Self::Limit(_) => Exception::value_error(self.to_string()),
            Self::UnknownReference(id) => Exception::key_error(id.to_value()),
            Self::TooManyReferences { .. } => Exception::memory_error(self.to_string()),
            Self::BadRequest(exception) => (**exception).clone(),
        }
    }
}

/// What goes wrong while reading a message.
#[derive(Debug)]
pub(super) enum Fault {
    /// Not brine: nothing after this can be trusted.
    Fatal(BrineError),
    Refused(Refusal),
}

impl From<BrineError> for Fault {
    fn from(error: BrineError) -> Self {
        match error {
            // The frame is known to end where it ends, so too much of something spoils this message only.
            BrineError::LimitExceeded { .. } => Self::Refused(Refusal::Limit(error)),
            error => Self::Fatal(error),
        }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Exception> for Fault {
    fn from(exception: Exception) -> Self {
        Self::Refused(Refusal::BadRequest(Box::new(exception)))
    }
}

/// Reads the boxes of one message and keeps account of the references in them.
pub(super) struct Unpacker<'p, T> {
    pub(super) exports: &'p mut Exports<T>,
    pub(super) imports: &'p mut Imports,
    /// Every reference received by this message, so that they can all be given back if it is refused or unwanted.
    pub(super) received: &'p mut Vec<IdPack>,
}

impl<T: Export> Unpacker<'_, T> {
    /// Reads one box.
    pub(super) fn item(&mut self, reader: &mut Reader<'_>) -> Result<Item<T>, Fault> {
        match label(reader)? {
            LABEL_VALUE => Ok(Item::Value(reader.value()?)),
            LABEL_TUPLE => Ok(Item::Tuple(self.boxes(reader)?)),
            label => self.reference(reader, label),
        }
    }

    /// Reads the value of a box with label 2.
    fn boxes(&mut self, reader: &mut Reader<'_>) -> Result<Vec<Item<T>>, Fault> {
        let count = count_of_boxes(reader)?;
        // The smallest box takes three bytes, so no more can follow than this.
        let mut items = Vec::with_capacity(count.min(reader.rest().len() / 3));
        reader.nested(|reader| {
            for _ in 0..count {
                items.push(self.item(reader)?);
            }
            Ok(items)
        })
    }

    /// Reads the value of a box with label 3 or 4.
    pub(super) fn reference(
        &mut self,
        reader: &mut Reader<'_>,
        label: i64,
    ) -> Result<Item<T>, Fault> {
        if label == LABEL_LOCAL_REF
            && let Some((wire, object)) = self.exports.recent()
            && reader.skip_if(wire)
        {
            return Ok(Item::Ours(object.clone()));
        }
        let raw = RawIdPack::read(reader)?;
        if label == LABEL_LOCAL_REF {
            return Ok(Item::Ours(self.exports.find_raw(&raw)?.clone()));
        }
        let id = self.imports.receive(&raw)?;
        self.received.push(id.clone());
        Ok(Item::Theirs(id))
    }

    /// Reads one box that must be a tuple, whatever its items.
    pub(super) fn tuple(
        &mut self,
        reader: &mut Reader<'_>,
        what: &'static str,
    ) -> Result<Vec<Item<T>>, Fault> {
        match label(reader)? {
            LABEL_VALUE => values(reader, what),
            LABEL_TUPLE => self.boxes(reader),
            label => {
                let item = self.reference(reader, label)?;
                Err(not_a_tuple(what, item.type_name()).into())
            }
        }
    }

    /// Gives every reference of this message back.
    pub(super) fn give_back(&mut self) {
        for id in self.received.drain(..) {
            self.imports.release(&id, 1);
        }
    }
}

/// Reads the header of a box and its label; the value follows.
pub(super) fn label(reader: &mut Reader<'_>) -> Result<i64, Fault> {
    match reader.pair_of_small() {
        Some(label @ LABEL_VALUE..=LABEL_REMOTE_REF) => return Ok(label),
        Some(other) => return Err(Refusal::InvalidLabel(Value::Int(other)).into()),
        None => {}
    }
    match reader.tuple_len() {
        Ok(2) => {}
        Ok(_) | Err(BrineError::Unexpected { .. }) => return Err(Refusal::NotABox.into()),
        Err(error) => return Err(error.into()),
    }
    match reader.value()? {
        Value::Int(label @ LABEL_VALUE..=LABEL_REMOTE_REF) => Ok(label),
        other => Err(Refusal::InvalidLabel(other).into()),
    }
}

/// Reads the header of the value of a box with label 2.
pub(super) fn count_of_boxes(reader: &mut Reader<'_>) -> Result<usize, Fault> {
    match reader.tuple_len() {
        Err(BrineError::Unexpected { .. }) => Err(Refusal::NotABox.into()),
        count => Ok(count?),
    }
}

/// Reads a tuple of values as items.
pub(super) fn values<T>(
    reader: &mut Reader<'_>,
    what: &'static str,
) -> Result<Vec<Item<T>>, Fault> {
    let count = match reader.tuple_len() {
        Err(BrineError::Unexpected { got, .. }) => return Err(not_a_tuple(what, got).into()),
        count => count?,
    };
    let mut items = Vec::with_capacity(count);
    reader.nested(|reader| {
        for _ in 0..count {
            items.push(Item::Value(reader.value()?));
        }
        Ok(items)
    })
}

fn not_a_tuple(what: &str, got: &str) -> Exception {
    Exception::type_error(format!("{what} must be a tuple, not {got}"))
}

/// Takes the pairs of keyword arguments apart.
pub(super) fn keywords<T>(items: Vec<Item<T>>) -> Result<Vec<(Str, Item<T>)>, Fault> {
    let pair = |item| {
        let (name, value) = match item {
            Item::Value(Value::Tuple(pair)) => {
                let [name, value] = <[Value; 2]>::try_from(pair).ok()?;
                (name, Item::Value(value))
            }
            Item::Tuple(pair) => match <[Item<T>; 2]>::try_from(pair).ok()? {
                [Item::Value(name), value] => (name, value),
                _ => return None,
            },
            _ => return None,
        };
        match name {
            Value::Str(name) => Some((name, value)),
            _ => None,
        }
    };
    let pairs: Option<_> = items.into_iter().map(pair).collect();
    pairs.ok_or_else(|| Exception::type_error("keywords must be pairs of string and value").into())
}
