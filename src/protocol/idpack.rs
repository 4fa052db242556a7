//! [`IdPack`]: the name under which an object travels.
//!
//! # Wire format
//!
//! A brine tuple `(name, class_id, instance_id)` of a str and two ints (`rpyc/lib/__init__.py`, `get_id_pack`). The three together
//! are the key: a receiver compares and echoes all of them and gives the numbers no meaning, but that an `instance_id` of 0 marks a class.

use std::{borrow::Borrow, fmt, hash, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::boxing::{Fault, Refusal};
use crate::brine::{self, BrineError, Reader, Value};

/// Identifies an object to the end of the connection that owns it. Cheap to clone.
///
/// The ids are kept as they came, whatever their size: some Pythons send addresses above 2^63.
#[derive(Clone)]
pub struct IdPack(Arc<Inner>);

struct Inner {
    /// The whole triple in the shortest brine, so that echoing it is one copy and comparing it one `memcmp`.
    wire: Bytes,
    name: Box<str>,
    class_id: Value,
    instance_id: Value,
}

/// The longest triple we take, in bytes of brine. A held reference costs about twice this.
const MAX_WIRE: usize = 4096;

impl IdPack {
    /// The triple of these parts.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAReference`] if the name makes it longer than 4 KiB.
    pub fn new(name: &str, class_id: i64, instance_id: i64) -> Result<Self, Refusal> {
        Self::build(name, Value::Int(class_id), Value::Int(instance_id))
    }

    fn build(name: &str, class_id: Value, instance_id: Value) -> Result<Self, Refusal> {
        if name.len() > MAX_WIRE {
            return Err(Refusal::NotAReference);
        }
        let mut wire = BytesMut::with_capacity(name.len() + 48);
        let written = brine::put_tuple_header(&mut wire, 3)
            .and_then(|()| brine::put_str(&mut wire, name))
            .and_then(|()| brine::encode(&class_id, &mut wire))
            .and_then(|()| brine::encode(&instance_id, &mut wire));
        if written.is_err() || wire.len() > MAX_WIRE {
            return Err(Refusal::NotAReference);
        }
        Ok(Self(Arc::new(Inner {
            wire: wire.freeze(),
            name: name.into(),
            class_id,
            instance_id,
        })))
    }

    /// What kind of object it is: the full name of its class, or of itself if it is a class or a module.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The id of the object's class.
    #[must_use]
    pub fn class_id(&self) -> &Value {
        &self.0.class_id
    }

    /// The id of the object; 0 for a class.
    #[must_use]
    pub fn instance_id(&self) -> &Value {
        &self.0.instance_id
    }

    /// Whether the object is a class.
    #[must_use]
    pub fn is_class(&self) -> bool {
        self.0.instance_id == Value::Int(0)
    }

    /// The triple as Python sees it, for instance in the `KeyError` for an unknown one.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let name = Value::Str(self.name().into());
        Value::Tuple(vec![
            name,
            self.0.class_id.clone(),
            self.0.instance_id.clone(),
        ])
    }

    /// Reads a triple that was passed by value, as `INSPECT` does.
    pub(super) fn from_value(value: &Value) -> Result<Self, Refusal> {
        match value.as_tuple() {
            Some(
                [
                    Value::Str(name),
                    class_id @ (Value::Int(_) | Value::BigInt(_)),
                    instance_id @ (Value::Int(_) | Value::BigInt(_)),
                ],
            ) => Self::build(name, class_id.clone(), instance_id.clone()),
            _ => Err(Refusal::NotAReference),
        }
    }

    /// The triple in brine.
    pub(super) fn wire(&self) -> &[u8] {
        &self.0.wire
    }
}

/// A triple inside a frame, before anything is allocated for it.
pub(super) struct RawIdPack<'a> {
    /// As it stands there, perhaps not in the shortest form.
    pub(super) wire: &'a [u8],
    name: &'a str,
    class_id: Value,
    pub(super) instance_id: Value,
}

impl<'a> RawIdPack<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let shape = |error| match error {
            BrineError::Unexpected { .. } | BrineError::ItemCount { .. } => {
                Fault::Refused(Refusal::NotAReference)
            }
            error => Fault::from(error),
        };
        let before = reader.rest();
        let start = reader.offset();
        reader.tuple_of(3).map_err(shape)?;
        let name = reader.str_ref().map_err(shape)?;
        let mut id = || match reader.value()? {
            id @ (Value::Int(_) | Value::BigInt(_)) => Ok(id),
            _ => Err(Fault::Refused(Refusal::NotAReference)),
        };
        let (class_id, instance_id) = (id()?, id()?);
        Ok(Self {
            wire: &before[..reader.offset() - start],
            name,
            class_id,
            instance_id,
        })
    }

    pub(super) fn to_id_pack(&self) -> Result<IdPack, Refusal> {
        IdPack::build(self.name, self.class_id.clone(), self.instance_id.clone())
    }
}

impl PartialEq for IdPack {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.wire() == other.wire()
    }
}

impl Eq for IdPack {}

impl hash::Hash for IdPack {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.wire().hash(state);
    }
}

/// Lets a map keyed by `IdPack` be asked with the bytes of a frame.
impl Borrow<[u8]> for IdPack {
    fn borrow(&self) -> &[u8] {
        self.wire()
    }
}

impl fmt::Debug for IdPack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            name,
            class_id,
            instance_id,
            ..
        } = &*self.0;
        write!(f, "IdPack({name:?}, {class_id}, {instance_id})")
    }
}

impl fmt::Display for IdPack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_value(), f)
    }
}

/// The class names for which a Python peer has a proxy class ready. Objects of any other class cost it one INSPECT each, while
/// it waits (`rpyc/core/netref.py`, `_builtin_types`).
pub const NAMES_WITHOUT_INSPECT: [&str; 34] = [
    "builtins.BaseException",
    "builtins.Exception",
    "builtins.NoneType",
    "builtins.bool",
    "builtins.builtin_function_or_method",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.code",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frame",
    "builtins.frozenset",
    "builtins.function",
    "builtins.generator",
    "builtins.int",
    "builtins.list",
    "builtins.list_iterator",
    "builtins.mappingproxy",
    "builtins.memoryview",
    "builtins.method",
    "builtins.method-wrapper",
    "builtins.module",
    "builtins.object",
    "builtins.range_iterator",
    "builtins.set",
    "builtins.set_iterator",
    "builtins.slice",
    "builtins.str",
    "builtins.traceback",
    "builtins.tuple",
    "builtins.tuple_iterator",
    "builtins.type",
    "builtins.wrapper_descriptor",
];

/// Whether a Python peer needs no INSPECT to make a proxy of an object of this class.
#[must_use]
pub fn spares_inspect(name: &str) -> bool {
    NAMES_WITHOUT_INSPECT.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brine::Limits;

    fn raw_round_trip(wire: &[u8]) -> Result<IdPack, Refusal> {
        let input = Bytes::copy_from_slice(wire);
        let mut reader = Reader::new(&input, &Limits::DEFAULT);
        match RawIdPack::read(&mut reader) {
            Ok(raw) => {
                assert_eq!(raw.wire, wire);
                raw.to_id_pack()
            }
            Err(Fault::Refused(refusal)) => Err(refusal),
            Err(_) => panic!("not brine"),
        }
    }

    #[test]
    fn ids_of_any_size_are_echoed_unchanged() {
        let big = b"\x12\x08\x0aa\x16\x1418446744073709551615\x16\x02-9";
        // -9 is an immediate in the shortest form; the id is the same one.
        let short = b"\x12\x08\x0aa\x16\x1418446744073709551615\x47";
        let id = raw_round_trip(big).unwrap();
        assert_eq!(id.wire(), short);
        assert_eq!(id, raw_round_trip(short).unwrap());
        assert_eq!(id, IdPack::from_value(&id.to_value()).unwrap());
        assert_eq!(id.to_string(), "('a', 18446744073709551615, -9)");
        assert!(!id.is_class());
    }

    #[test]
    fn what_is_no_triple_is_refused() {
        for wire in [
            &b"\x51"[..],
            b"\x11\x08\x0aa\x51",
            b"\x12\x51\x51\x51",
            b"\x12\x08\x0aa\x03\x51",
            b"\x12\x08\x0aa\x51\x00",
        ] {
            assert!(
                matches!(raw_round_trip(wire), Err(Refusal::NotAReference)),
                "{wire:02x?}"
            );
        }
        assert!(IdPack::new(&"x".repeat(MAX_WIRE), 1, 1).is_err());
        assert!(IdPack::new(&"x".repeat(MAX_WIRE - 20), 1, 1).is_ok());
        assert!(IdPack::from_value(&Value::Int(1)).is_err());
    }

    #[test]
    fn builtin_names_are_sorted_for_the_search() {
        assert!(NAMES_WITHOUT_INSPECT.is_sorted());
        assert!(spares_inspect("builtins.function"));
        assert!(!spares_inspect("calc.CalcService"));
    }
}
