//! Writing boxes, straight from the caller's values into the output.
//!
//! A Rust tuple `(7, "text")` is a Python tuple, and so is a slice. Nothing is converted to a [`Value`] on the way and nothing is
//! allocated but what the output needs; the table of exported objects grows with the objects that are sent.

use bytes::{BufMut, Bytes, BytesMut};

use super::boxing::{Item, LABEL_LOCAL_REF, LABEL_REMOTE_REF, LABEL_TUPLE, LABEL_VALUE, Refusal};
use super::exports::{Export, Exports};
use super::idpack::IdPack;
use crate::brine::{self, BrineError, Str, Value};

/// What can be an argument or a result. `T` is the type of our own objects.
///
/// Implemented for [`Item`] and [`Value`], for numbers, text and tuples, for [`IdPack`] (the peer's object of this name) and
/// [`Ours`]. Implement it for other types to save building a `Value`.
pub trait Pack<T> {
    /// Whether this travels by value, so that [`put_plain`](Self::put_plain) may be called.
    fn is_plain(&self) -> bool;

    /// Appends the value in brine.
    ///
    /// # Errors
    ///
    /// What [`brine::encode`] refuses; the output is then in an undefined state, and so it is for a type that is not plain.
    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError>;

    /// Appends the box. The provided method is right for all that is plain.
    ///
    /// # Errors
    ///
    /// What cannot be written, or one reference too many; the output is then in an undefined state.
    fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
        packer.head(LABEL_VALUE);
        self.put_plain(packer.out).map_err(Refusal::Limit)
    }
}

/// What travels as a Python tuple: Rust tuples, slices, arrays and vectors.
pub trait PackTuple<T>: Pack<T> {}

/// An object of ours, to be sent as a reference; as [`Item::Ours`], but borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Ours<'a, T>(pub &'a T);

/// The name of a peer's object as a plain tuple, not as a reference: what `INSPECT` takes.
#[derive(Debug, Clone, Copy)]
pub struct ByName<'a>(pub &'a IdPack);

/// Where boxes are written to.
pub struct Packer<'p, T> {
    out: &'p mut BytesMut,
    exports: &'p mut Exports<T>,
    /// Instance ids of the references in this message, to take them back if it is not sent.
    given: &'p mut Vec<i64>,
    /// Tuples around the place that is written to, and how many there may be.
    depth: usize,
    limit: usize,
    tag: usize,
}

impl<'p, T: Export> Packer<'p, T> {
    pub(super) fn new(
        out: &'p mut BytesMut,
        exports: &'p mut Exports<T>,
        given: &'p mut Vec<i64>,
        limit: usize,
        tag: usize,
    ) -> Self {
        Self {
            out,
            exports,
            given,
            depth: 0,
            limit,
            tag,
        }
    }

    /// Appends one of our objects and counts the reference.
    ///
    /// # Errors
    ///
    /// [`Refusal::TooManyReferences`], or [`Refusal::NotAReference`] for a class name that is too long.
    pub fn ours(&mut self, object: &T) -> Result<(), Refusal> {
        let (instance, id) = self.exports.give(object)?;
        self.out.put_slice(&[PAIR, small(LABEL_REMOTE_REF)]);
        self.out.put_slice(id.wire());
        self.given.push(instance);
        Ok(())
    }
}

impl<T> Packer<'_, T> {
    /// What [`Protocol::tagged`](super::Protocol::tagged) was given: tells connections apart.
    #[must_use]
    pub const fn tag(&self) -> usize {
        self.tag
    }

    /// Appends one of the peer's objects.
    pub fn theirs(&mut self, id: &IdPack) {
        self.head(LABEL_LOCAL_REF);
        self.out.put_slice(id.wire());
    }

    /// Appends a tuple of which not all is plain.
    ///
    /// # Errors
    ///
    /// What the items refuse, and nesting beyond the limit.
    pub fn tuple<P: Pack<T>>(&mut self, items: &[P]) -> Result<(), Refusal> {
        self.nested(items.len(), |packer| {
            items.iter().try_for_each(|item| item.put_box(packer))
        })
    }

    fn nested(
        &mut self,
        len: usize,
        items: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        if self.depth >= self.limit {
            return Err(Refusal::Limit(BrineError::LimitExceeded {
                what: "depth of nesting",
                limit: self.limit,
                got: self.depth + 1,
            }));
        }
        self.depth += 1;
        self.head(LABEL_TUPLE);
        brine::put_tuple_header(self.out, len).map_err(Refusal::Limit)?;
        items(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn head(&mut self, label: i64) {
        self.out.put_slice(&[PAIR, small(label)]);
    }
}

/// Tag of a brine tuple of two.
pub(super) const PAIR: u8 = 0x11;

/// An integer of −48 to 159 in brine.
pub(super) const fn small(number: i64) -> u8 {
    0x50 + number as u8
}

macro_rules! plain {
    ($($type:ty => |$value:ident, $out:ident| $put:expr;)*) => {$(
        impl<T> Pack<T> for $type {
            fn is_plain(&self) -> bool {
                true
            }

            fn put_plain(&self, $out: &mut BytesMut) -> Result<(), BrineError> {
                let $value = self;
                $put
            }
        }
    )*};
}

plain! {
    Value => |value, out| brine::encode(value, out);
    str => |text, out| brine::put_str(out, text);
    String => |text, out| brine::put_str(out, text);
    Str => |text, out| brine::put_str(out, text);
    Bytes => |bytes, out| brine::put_bytes(out, bytes);
    i64 => |number, out| { brine::put_int(out, *number); Ok(()) };
    i32 => |number, out| { brine::put_int(out, i64::from(*number)); Ok(()) };
    u32 => |number, out| { brine::put_int(out, i64::from(*number)); Ok(()) };
    u64 => |number, out| { brine::put_uint(out, *number); Ok(()) };
    f64 => |number, out| { brine::put_float(out, *number); Ok(()) };
    bool => |flag, out| { brine::put_bool(out, *flag); Ok(()) };
    ByName<'_> => |name, out| { out.put_slice(name.0.wire()); Ok(()) };
}

impl<T, P: Pack<T> + ?Sized> Pack<T> for &P {
    fn is_plain(&self) -> bool {
        (**self).is_plain()
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        (**self).put_plain(out)
    }

    fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
        (**self).put_box(packer)
    }
}

impl<T, P: PackTuple<T> + ?Sized> PackTuple<T> for &P {}

impl<T, P: Pack<T>> Pack<T> for Option<P> {
    fn is_plain(&self) -> bool {
        self.as_ref().is_none_or(P::is_plain)
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        match self {
            Some(some) => some.put_plain(out),
            None => {
                brine::put_none(out);
                Ok(())
            }
        }
    }

    fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
        match self {
            Some(some) => some.put_box(packer),
            None => Value::None.put_box(packer),
        }
    }
}

impl<T> Pack<T> for IdPack {
    fn is_plain(&self) -> bool {
        false
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        Err(not_plain(out))
    }

    fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
        packer.theirs(self);
        Ok(())
    }
}

impl<T: Export> Pack<T> for Ours<'_, T> {
    fn is_plain(&self) -> bool {
        false
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        Err(not_plain(out))
    }

    fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
        packer.ours(self.0)
    }
}

impl<T: Export> Pack<T> for Item<T> {
    fn is_plain(&self) -> bool {
        match self {
            Self::Value(_) => true,
            Self::Tuple(items) => Pack::<T>::is_plain(&items[..]),
            Self::Theirs(_) | Self::Ours(_) => false,
        }
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        match self {
            Self::Value(value) => brine::encode(value, out),
            Self::Tuple(items) => Pack::<T>::put_plain(&items[..], out),
            Self::Theirs(_) | Self::Ours(_) => Err(not_plain(out)),
        }
    }

    fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
        match self {
            Self::Value(value) => value.put_box(packer),
            Self::Tuple(items) => items[..].put_box(packer),
            Self::Theirs(id) => id.put_box(packer),
            Self::Ours(object) => packer.ours(object),
        }
    }
}

fn not_plain(out: &BytesMut) -> BrineError {
    BrineError::Unexpected {
        offset: out.len(),
        expected: "a value",
        got: "reference",
    }
}

impl<T, P: Pack<T>> Pack<T> for [P] {
    fn is_plain(&self) -> bool {
        self.iter().all(P::is_plain)
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        brine::put_tuple_header(out, self.len())?;
        self.iter().try_for_each(|item| item.put_plain(out))
    }

    fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
        if !self.is_plain() {
            return packer.tuple(self);
        }
        packer.head(LABEL_VALUE);
        self.put_plain(packer.out).map_err(Refusal::Limit)
    }
}

impl<T, P: Pack<T>> PackTuple<T> for [P] {}

macro_rules! as_slice {
    ($([$($generic:tt)*] $type:ty;)*) => {$(
        impl<T, P: Pack<T>, $($generic)*> Pack<T> for $type {
            fn is_plain(&self) -> bool {
                self[..].is_plain()
            }

            fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
                self[..].put_plain(out)
            }

            fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
                self[..].put_box(packer)
            }
        }

        impl<T, P: Pack<T>, $($generic)*> PackTuple<T> for $type {}
    )*};
}

as_slice! {
    [] Vec<P>;
    [const N: usize] [P; N];
}

macro_rules! tuples {
    ($($len:literal: $($name:ident $index:tt),*;)*) => {$(
        impl<T, $($name: Pack<T>),*> Pack<T> for ($($name,)*) {
            fn is_plain(&self) -> bool {
                $(self.$index.is_plain() &&)* true
            }

            fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
                brine::put_tuple_header(out, $len)?;
                $(self.$index.put_plain(out)?;)*
                Ok(())
            }

            fn put_box(&self, packer: &mut Packer<'_, T>) -> Result<(), Refusal> {
                if Pack::<T>::is_plain(self) {
                    packer.head(LABEL_VALUE);
                    return Pack::<T>::put_plain(self, packer.out).map_err(Refusal::Limit);
                }
                packer.nested($len, |_packer| {
                    $(self.$index.put_box(_packer)?;)*
                    Ok(())
                })
            }
        }

        impl<T, $($name: Pack<T>),*> PackTuple<T> for ($($name,)*) {}
    )*};
}

tuples! {
    0: ;
    1: A 0;
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
    7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}
