//! Our objects that the peer holds references to.
//!
//! The peer names one of them in a request, and gives it back with DEL and the number of times it was sent. Both are only claims:
//! the whole triple must match, and a count can only take what was given.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::boxing::Refusal;
use super::idpack::{IdPack, RawIdPack};
use crate::brine::Value;

/// What can be sent to the peer by reference, usually an `Arc` of something.
pub trait Export: Clone {
    /// Tells one object from another, for instance `Arc::as_ptr(…) as usize`. It must stay the same and unique as long as a clone
    /// of the object exists; the table keeps one.
    fn identity(&self) -> usize;

    /// The full name of the object's class, such as `builtins.function`; at most 2 KiB. See
    /// [`NAMES_WITHOUT_INSPECT`](super::NAMES_WITHOUT_INSPECT).
    fn class_name(&self) -> &str;

    /// A number for the object's class: at least 1, and the same for all objects of a class.
    fn class_id(&self) -> i64;
}

#[derive(Debug)]
pub(super) struct Exports<T> {
    objects: HashMap<i64, Entry<T>, BuildHasherDefault<IdHasher>>,
    /// Instance ids by the identity of the object.
    ids: HashMap<usize, i64, BuildHasherDefault<IdHasher>>,
    /// Never used twice: an id that comes back late must not name another object.
    next: i64,
    /// What the peer named last, and is likely to name next: most connections call one object.
    recent: i64,
    limit: usize,
}

#[derive(Debug)]
struct Entry<T> {
    id: IdPack,
    object: T,
    /// How often it was sent and not given back; never 0.
    count: u64,
}

/// Why a reference could not be given back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadDel {
    Unknown,
    /// The count is not between 1 and this.
    Count(u64),
}

impl<T: Export> Exports<T> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            objects: HashMap::default(),
            ids: HashMap::default(),
            next: 1,
            recent: 0,
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Counts one more reference to `object` and returns its instance id and triple.
    pub(super) fn give(&mut self, object: &T) -> Result<(i64, &IdPack), Refusal> {
        let identity = object.identity();
        if let Some(instance) = self.ids.get(&identity) {
            let entry = self
                .objects
                .get_mut(instance)
                .expect("every id in `ids` has its entry in `objects`");
            entry.count += 1;
            return Ok((*instance, &entry.id));
        }
        if self.objects.len() >= self.limit {
            return Err(Refusal::TooManyReferences { limit: self.limit });
        }
        let instance = self.next;
        let id = IdPack::new(object.class_name(), object.class_id(), instance)?;
        self.next += 1;
        self.ids.insert(identity, instance);
        let entry = self.objects.entry(instance).or_insert(Entry {
            id,
            object: object.clone(),
            count: 1,
        });
        Ok((instance, &entry.id))
    }

    /// The object under this triple.
    pub(super) fn find(&self, id: &IdPack) -> Option<&T> {
        let entry = self.objects.get(&id.instance_id().as_int()?)?;
        (entry.id == *id).then_some(&entry.object)
    }

    /// The object that was named last and its triple in brine.
    pub(super) fn recent(&self) -> Option<(&[u8], &T)> {
        let entry = self.objects.get(&self.recent)?;
        Some((entry.id.wire(), &entry.object))
    }

    /// [`find`](Self::find) without building an [`IdPack`] for what is found.
    pub(super) fn find_raw(&mut self, raw: &RawIdPack<'_>) -> Result<&T, Refusal> {
        if let Value::Int(instance) = raw.instance_id
            && let Some(entry) = self.objects.get(&instance)
            && (entry.id.wire() == raw.wire || entry.id == raw.to_id_pack()?)
        {
            self.recent = instance;
            return Ok(&entry.object);
        }
        Err(Refusal::UnknownReference(raw.to_id_pack()?))
    }

    /// Takes `count` references back. Returns the object when they were the last, for the caller to drop where its destructor
    /// may do as it likes.
    pub(super) fn take_back(&mut self, object: &T, count: i64) -> Result<Option<T>, BadDel> {
        let instance = *self.ids.get(&object.identity()).ok_or(BadDel::Unknown)?;
        self.take_back_id(instance, count)
    }

    /// [`take_back`](Self::take_back) by instance id.
    pub(super) fn take_back_id(&mut self, instance: i64, count: i64) -> Result<Option<T>, BadDel> {
        let entry = self.objects.get_mut(&instance).ok_or(BadDel::Unknown)?;
        let given = entry.count;
        let count = u64::try_from(count).map_err(|_| BadDel::Count(given))?;
        if !(1..=given).contains(&count) {
            return Err(BadDel::Count(given));
        }
        entry.count -= count;
        if entry.count > 0 {
            return Ok(None);
        }
        let entry = self.objects.remove(&instance);
        let object = entry.map(|entry| entry.object);
        if let Some(object) = &object {
            self.ids.remove(&object.identity());
        }
        Ok(object)
    }

    /// Lets a test choose the next instance id.
    #[cfg(test)]
    pub(super) fn set_next(&mut self, next: i64) {
        self.next = next;
    }

    /// Takes every object out, in the order of their ids.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.ids.clear();
        let mut objects: Vec<_> = self.objects.drain().collect();
        objects.sort_unstable_by_key(|(instance, _)| *instance);
        objects.into_iter().map(|(_, entry)| entry.object).collect()
    }
}

/// A multiplication. Both tables are keyed by numbers of our own making, which a peer cannot choose to collide.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio. The table takes its index from the low bits and the product is good in its high ones.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }

    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Thing;
    use super::*;

    #[test]
    fn one_object_has_one_id_until_it_is_given_back() {
        let mut exports = Exports::new(10);
        let thing = Thing::new("builtins.list");
        let first = exports.give(&thing).unwrap().0;
        assert_eq!(exports.give(&thing.clone()).unwrap().0, first);
        let id = exports
            .give(&Thing::new("builtins.list"))
            .unwrap()
            .1
            .clone();
        assert!(exports.find(&id).is_some());
        assert_eq!(exports.take_back(&thing, 1), Ok(None));
        assert_eq!(exports.take_back(&thing, 1), Ok(Some(thing.clone())));
        assert_eq!(exports.take_back(&thing, 1), Err(BadDel::Unknown));
        assert!(exports.give(&thing).unwrap().0 > first);
        assert_eq!((exports.len(), exports.ids.len()), (2, 2));
    }

    #[test]
    fn a_count_takes_only_what_was_given() {
        let mut exports = Exports::new(10);
        let thing = Thing::new("builtins.list");
        for _ in 0..3 {
            exports.give(&thing).unwrap();
        }
        for count in [0, -1, 4, i64::MIN, i64::MAX] {
            assert_eq!(exports.take_back(&thing, count), Err(BadDel::Count(3)));
        }
        assert_eq!(exports.take_back(&thing, 3), Ok(Some(thing)));
    }

    #[test]
    fn the_whole_triple_must_match() {
        let mut exports = Exports::new(10);
        let thing = Thing::new("builtins.list");
        let (instance, id) = exports.give(&thing).unwrap();
        let (name, class) = (id.name().to_owned(), id.class_id().as_int().unwrap());
        let find = |name: &str, class, instance| {
            let id = IdPack::new(name, class, instance).unwrap();
            exports.find(&id).is_some()
        };
        assert!(find(&name, class, instance));
        assert!(!find("builtins.dict", class, instance));
        assert!(!find(&name, class + 1, instance));
        assert!(!find(&name, class, instance + 1));
    }

    #[test]
    fn the_limit_counts_objects() {
        let mut exports = Exports::new(2);
        let (a, b) = (Thing::new("a.A"), Thing::new("a.A"));
        exports.give(&a).unwrap();
        exports.give(&b).unwrap();
        exports.give(&a).unwrap();
        let refused = exports.give(&Thing::new("a.A"));
        assert!(matches!(
            refused,
            Err(Refusal::TooManyReferences { limit: 2 })
        ));
        exports.take_back(&b, 1).unwrap();
        exports.give(&Thing::new("a.A")).unwrap();
    }
}
