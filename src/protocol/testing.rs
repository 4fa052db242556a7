//! What the tests of several files need: an object to export, and a source of numbers that repeats.

use std::sync::Arc;

use super::Export;

/// An object with a class.
#[derive(Debug, Clone)]
pub(super) struct Thing(Arc<Class>);

#[derive(Debug)]
struct Class {
    name: String,
    id: i64,
}

impl Thing {
    pub(super) fn new(class: &str) -> Self {
        Self::of_class(class, 7)
    }

    pub(super) fn of_class(name: &str, id: i64) -> Self {
        let name = name.to_owned();
        Self(Arc::new(Class { name, id }))
    }
}

impl Export for Thing {
    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn class_name(&self) -> &str {
        &self.0.name
    }

    fn class_id(&self) -> i64 {
        self.0.id
    }
}

impl PartialEq for Thing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// xorshift64: enough to shuffle a schedule.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % n
    }
}
