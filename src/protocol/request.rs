//! [`Request`]: what the peer asks for, with its arguments checked.

use super::boxing::{
    Fault, Item, LABEL_TUPLE, LABEL_VALUE, Refusal, Unpacker, count_of_boxes, keywords, label,
    values,
};
use super::exports::{BadDel, Export};
use super::{Exception, Handler, IdPack};
use crate::brine::{BrineError, Reader, Str, Value};

/// A request of the peer.
///
/// `object` is usually one of ours, but a peer may ask about any item, such as the `repr` of a tuple.
/// See [`Handler`] for what each one means and for the result it should have.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Request<T> {
    /// Answer `data`.
    Ping {
        /// What to answer.
        data: Item<T>,
    },
    /// Answer the root object.
    GetRoot,
    /// Answer an attribute, or raise `AttributeError`.
    GetAttr {
        /// Whose attribute.
        object: Item<T>,
        /// Its name.
        name: Str,
    },
    /// Delete an attribute; answer `None`.
    DelAttr {
        /// Whose attribute.
        object: Item<T>,
        /// Its name.
        name: Str,
    },
    /// Set an attribute; answer `None`.
    SetAttr {
        /// Whose attribute.
        object: Item<T>,
        /// Its name.
        name: Str,
        /// Its new value.
        value: Item<T>,
    },
    /// Call an object; answer its result.
    Call {
        /// What to call.
        object: Item<T>,
        /// The positional arguments.
        args: Vec<Item<T>>,
        /// The keyword arguments, in the order they were given.
        kwargs: Vec<(Str, Item<T>)>,
    },
    /// Call an attribute of an object; answer its result.
    CallAttr {
        /// Whose attribute.
        object: Item<T>,
        /// Its name.
        name: Str,
        /// The positional arguments.
        args: Vec<Item<T>>,
        /// The keyword arguments, in the order they were given.
        kwargs: Vec<(Str, Item<T>)>,
    },
    /// Answer `repr(object)`.
    Repr {
        /// What to describe.
        object: Item<T>,
    },
    /// Answer `str(object)`.
    Str {
        /// What to describe.
        object: Item<T>,
    },
    /// Answer `type(object).op(object, other)`, which may be `NotImplemented`.
    Cmp {
        /// The left side.
        object: Item<T>,
        /// The right side.
        other: Item<T>,
        /// The method, such as `__eq__`.
        op: Str,
    },
    /// Answer `hash(object)`, an int.
    Hash {
        /// What to hash.
        object: Item<T>,
    },
    /// Answer the names of the attributes, a tuple of str.
    Dir {
        /// What to list.
        object: Item<T>,
    },
    /// Answer the object pickled, or raise `ValueError("pickling is disabled")`.
    Pickle {
        /// What to pickle.
        object: Item<T>,
        /// The version of the format.
        protocol: Item<T>,
    },
    /// References were given back, which is done already; answer `None`.
    Del {
        /// The object, if that was the last reference to it.
        freed: Option<T>,
    },
    /// Answer the methods of an object: a tuple of (name, docstring or `None`).
    Inspect {
        /// What to list.
        object: T,
    },
    /// Answer a tuple of the next items; an empty one at the end.
    BuffIter {
        /// What to iterate over.
        object: Item<T>,
        /// How many items at most; all if there is no number.
        count: Option<u64>,
    },
    /// Slice as Python 2 did; no current client asks for it.
    OldSlicing {
        /// What to slice.
        object: Item<T>,
        /// The method to try with a slice.
        attempt: Str,
        /// The method to try else, with start and stop.
        fallback: Str,
        /// First index.
        start: Item<T>,
        /// Index after the last, or `None`.
        stop: Item<T>,
        /// More arguments for either method.
        args: Vec<Item<T>>,
    },
    /// Leave the context of an object; answer whether the exception is dealt with.
    CtxExit {
        /// The context manager.
        object: Item<T>,
        /// `None`, or the class of the exception.
        exc: Item<T>,
    },
    /// Answer whether the other object is an instance of the class.
    InstanceCheck {
        /// The class.
        class: Item<T>,
        /// The name of the other object, whoever owns it.
        other: IdPack,
    },
}

impl<T> Request<T> {
    /// All the items it holds, to be given back with [`Protocol::release_item`](super::Protocol::release_item) by a host that
    /// does not use them.
    #[must_use]
    pub fn into_items(self) -> Vec<Item<T>> {
        match self {
            Self::GetRoot | Self::Del { .. } | Self::Inspect { .. } => Vec::new(),
            Self::Ping { data: item }
            | Self::GetAttr { object: item, .. }
            | Self::DelAttr { object: item, .. }
            | Self::Repr { object: item }
            | Self::Str { object: item }
            | Self::Hash { object: item }
            | Self::Dir { object: item }
            | Self::BuffIter { object: item, .. }
            | Self::InstanceCheck { class: item, .. } => vec![item],
            Self::SetAttr {
                object,
                value: other,
                ..
            }
            | Self::Cmp { object, other, .. }
            | Self::Pickle {
                object,
                protocol: other,
            }
            | Self::CtxExit { object, exc: other } => vec![object, other],
            Self::Call {
                object,
                args,
                kwargs,
            }
            | Self::CallAttr {
                object,
                args,
                kwargs,
                ..
            } => {
                let kwargs = kwargs.into_iter().map(|(_, item)| item);
                std::iter::once(object).chain(args).chain(kwargs).collect()
            }
            Self::OldSlicing {
                object,
                start,
                stop,
                args,
                ..
            } => [object, start, stop].into_iter().chain(args).collect(),
        }
    }
}

/// Reads the body of a request. `None` stands for CLOSE.
pub(super) fn decode<T: Export>(
    unpacker: &mut Unpacker<'_, T>,
    reader: &mut Reader<'_>,
) -> Result<Option<Request<T>>, Fault> {
    let number = match reader.pair_of_small() {
        Some(number) => Value::Int(number),
        None => odd_number(reader)?,
    };
    let handler = number.as_int().and_then(Handler::from_number);
    if handler == Some(Handler::Close) {
        return Ok(None);
    }

    let mut arguments = Arguments::begin(unpacker, reader)?;
    let before = arguments.reader.clone();
    let decoded = match handler {
        Some(handler) => arguments
            .check(handler)
            .and_then(|()| arguments.take(handler)),
        None => Err(Exception::key_error(number).into()),
    };
    if decoded.is_err() {
        // The arguments behind the one at fault may hold references as well, which are ours to give back.
        arguments.unpacker.give_back();
        *arguments.reader = before;
        arguments.left = arguments.count;
        while arguments.left > 0 && arguments.item().is_ok() {}
    }
    decoded.map(Some)
}

/// Reads the handler of a request that is no handler.
fn odd_number(reader: &mut Reader<'_>) -> Result<Value, Fault> {
    match reader.tuple_len() {
        Ok(2) => Ok(reader.value()?),
        Ok(_) | Err(BrineError::Unexpected { .. }) => {
            Err(Exception::type_error("a request is a pair of handler and arguments").into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The arguments of a request, to be taken from first to last.
struct Arguments<'u, 'p, 'a, T> {
    unpacker: &'u mut Unpacker<'p, T>,
    reader: &'u mut Reader<'a>,
    /// Whether they were packed by value together, so that none of them has a label.
    plain: bool,
    count: usize,
    left: usize,
}

impl<'u, 'p, 'a, T: Export> Arguments<'u, 'p, 'a, T> {
    fn begin(unpacker: &'u mut Unpacker<'p, T>, reader: &'u mut Reader<'a>) -> Result<Self, Fault> {
        let (plain, count) = match label(reader)? {
            LABEL_VALUE => match reader.tuple_len() {
                Err(BrineError::Unexpected { got, .. }) => return Err(no_arguments(got).into()),
                count => (true, count?),
            },
            LABEL_TUPLE => (false, count_of_boxes(reader)?),
            label => {
                let item = unpacker.reference(reader, label)?;
                return Err(no_arguments(item.type_name()).into());
            }
        };
        Ok(Self {
            unpacker,
            reader,
            plain,
            count,
            left: count,
        })
    }

    fn check(&self, handler: Handler) -> Result<(), Fault> {
        let (least, most) = handler.arity();
        if (least..=most).contains(&self.count) {
            return Ok(());
        }
        let range = if least == most {
            format!("{least}")
        } else {
            format!("{least} to {most}")
        };
        let text = format!("{handler} takes {range} arguments, not {}", self.count);
        Err(Exception::type_error(text).into())
    }

    fn take(&mut self, handler: Handler) -> Result<Request<T>, Fault> {
        Ok(match handler {
            Handler::Ping => Request::Ping { data: self.item()? },
            // CLOSE has no arguments and was dealt with by the caller.
            Handler::GetRoot | Handler::Close => Request::GetRoot,
            Handler::GetAttr => Request::GetAttr {
                object: self.item()?,
                name: self.name()?,
            },
            Handler::DelAttr => Request::DelAttr {
                object: self.item()?,
                name: self.name()?,
            },
            Handler::SetAttr => Request::SetAttr {
                object: self.item()?,
                name: self.name()?,
                value: self.item()?,
            },
            Handler::Call => Request::Call {
                object: self.item()?,
                args: self.tuple("args")?,
                kwargs: self.kwargs()?,
            },
            Handler::CallAttr => Request::CallAttr {
                object: self.item()?,
                name: self.name()?,
                args: self.tuple("args")?,
                kwargs: self.kwargs()?,
            },
            Handler::Repr => Request::Repr {
                object: self.item()?,
            },
            Handler::Str => Request::Str {
                object: self.item()?,
            },
            Handler::Cmp => Request::Cmp {
                object: self.item()?,
                other: self.item()?,
                op: match self.left {
                    0 => Str::from_static("__cmp__"),
                    _ => self.name()?,
                },
            },
            Handler::Hash => Request::Hash {
                object: self.item()?,
            },
            Handler::Dir => Request::Dir {
                object: self.item()?,
            },
            Handler::Pickle => Request::Pickle {
                object: self.item()?,
                protocol: self.item()?,
            },
            Handler::Del => Request::Del { freed: self.del()? },
            Handler::Inspect => Request::Inspect {
                object: self.inspect()?,
            },
            Handler::BuffIter => Request::BuffIter {
                object: self.item()?,
                count: self.buffer_size()?,
            },
            Handler::OldSlicing => Request::OldSlicing {
                object: self.item()?,
                attempt: self.name()?,
                fallback: self.name()?,
                start: self.item()?,
                stop: self.item()?,
                args: self.tuple("args")?,
            },
            Handler::CtxExit => Request::CtxExit {
                object: self.item()?,
                exc: self.item()?,
            },
            Handler::InstanceCheck => Request::InstanceCheck {
                class: self.item()?,
                other: self.id_pack()?,
            },
        })
    }

    fn item(&mut self) -> Result<Item<T>, Fault> {
        self.left = self.left.saturating_sub(1);
        if self.plain {
            return Ok(Item::Value(self.reader.value()?));
        }
        self.unpacker.item(self.reader)
    }

    /// A name is a str, or bytes that hold UTF-8.
    fn name(&mut self) -> Result<Str, Fault> {
        let name = match self.item()? {
            Item::Value(Value::Str(name)) => Some(name),
            Item::Value(Value::Bytes(name)) => Str::try_from(name).ok(),
            _ => None,
        };
        name.ok_or_else(|| Exception::type_error("name must be a string").into())
    }

    fn tuple(&mut self, what: &'static str) -> Result<Vec<Item<T>>, Fault> {
        self.left = self.left.saturating_sub(1);
        if self.plain {
            return values(self.reader, what);
        }
        self.unpacker.tuple(self.reader, what)
    }

    /// The last argument of the calls may be left out.
    fn kwargs(&mut self) -> Result<Vec<(Str, Item<T>)>, Fault> {
        if self.left == 0 {
            return Ok(Vec::new());
        }
        keywords(self.tuple("kwargs")?)
    }

    fn del(&mut self) -> Result<Option<T>, Fault> {
        let object = self.item()?;
        let count = match self.left {
            0 => Item::Value(Value::Int(1)),
            _ => self.item()?,
        };
        let Item::Ours(object) = object else {
            return Err(Exception::type_error("only references can be given back").into());
        };
        let Item::Value(Value::Int(count)) = count else {
            return Err(Exception::type_error("a count of references must be an int").into());
        };
        match self.unpacker.exports.take_back(&object, count) {
            Ok(freed) => Ok(freed),
            // The reference was resolved a moment ago.
            Err(BadDel::Unknown) => Ok(None),
            Err(BadDel::Count(given)) => {
                let text = format!("{count} references given back of {given}");
                Err(Exception::value_error(text).into())
            }
        }
    }

    fn id_pack(&mut self) -> Result<IdPack, Fault> {
        match self.item()? {
            Item::Value(value) => Ok(IdPack::from_value(&value)?),
            _ => Err(Refusal::NotAReference.into()),
        }
    }

    /// INSPECT names its object by value; by reference is taken as well.
    fn inspect(&mut self) -> Result<T, Fault> {
        match self.item()? {
            Item::Ours(object) => Ok(object),
            Item::Value(value) => {
                let id = IdPack::from_value(&value)?;
                let object = self.unpacker.exports.find(&id).cloned();
                object.ok_or_else(|| Refusal::UnknownReference(id).into())
            }
            _ => Err(Refusal::NotAReference.into()),
        }
    }

    fn buffer_size(&mut self) -> Result<Option<u64>, Fault> {
        let count = match self.item()? {
            Item::Value(Value::None) => return Ok(None),
            Item::Value(Value::Int(count)) => u64::try_from(count).ok(),
            _ => None,
        };
        let wrong =
            || Exception::value_error("a count must be None or an integer from 0 to sys.maxsize");
        Ok(Some(count.ok_or_else(wrong)?))
    }
}

fn no_arguments(got: &str) -> Exception {
    Exception::type_error(format!("arguments must be a tuple, not {got}"))
}
