//! The peer's objects that we hold references to.
//!
//! Each time a reference arrives the peer counts one more, and keeps the object until we give all of them back. What is given back
//! is only noted here; [`Protocol::poll_release`](super::Protocol::poll_release) makes a DEL of it when the host finds it convenient.

use std::collections::{HashMap, VecDeque};

use super::boxing::Refusal;
use super::idpack::{IdPack, RawIdPack};

#[derive(Debug)]
pub(super) struct Imports {
    held: HashMap<IdPack, Held>,
    /// Ids with something to give back, oldest first. The map is never iterated: its order is random.
    queue: VecDeque<IdPack>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// Received and still in use.
    used: u64,
    /// Received, no longer used, and not given back yet.
    due: u64,
}

impl Imports {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            held: HashMap::new(),
            queue: VecDeque::new(),
            limit,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Counts a reference that arrived.
    pub(super) fn receive(&mut self, raw: &RawIdPack<'_>) -> Result<IdPack, Refusal> {
        let known = match self.held.get_key_value(raw.wire) {
            Some((id, _)) => id.clone(),
            None => raw.to_id_pack()?,
        };
        if let Some(held) = self.held.get_mut(&known) {
            held.used += 1;
            return Ok(known);
        }
        if self.held.len() >= self.limit {
            return Err(Refusal::TooManyReferences { limit: self.limit });
        }
        self.held.insert(known.clone(), Held { used: 1, due: 0 });
        Ok(known)
    }

    /// Notes that `count` of the received references are no longer used; what was never received is not counted.
    pub(super) fn release(&mut self, id: &IdPack, count: u64) {
        let Some(held) = self.held.get_mut(id) else {
            return;
        };
        let count = count.min(held.used);
        if count == 0 {
            return;
        }
        if held.due == 0 {
            self.queue.push_back(id.clone());
        }
        held.used -= count;
        held.due += count;
    }

    pub(super) fn has_due(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next reference to give back, and how many of it.
    pub(super) fn next_due(&mut self) -> Option<(IdPack, u64)> {
        let id = self.queue.pop_front()?;
        let held = self.held.get_mut(&id)?;
        let due = std::mem::take(&mut held.due);
        if held.used == 0 {
            self.held.remove(&id);
        }
        Some((id, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brine::{Limits, Reader};
    use bytes::Bytes;

    fn receive(imports: &mut Imports, instance: i64) -> Result<IdPack, Refusal> {
        let id = IdPack::new("a.A", 1, instance).unwrap();
        let wire = Bytes::copy_from_slice(id.wire());
        let mut reader = Reader::new(&wire, &Limits::DEFAULT);
        let Ok(raw) = RawIdPack::read(&mut reader) else {
            panic!("a triple")
        };
        imports.receive(&raw)
    }

    #[test]
    fn releases_of_one_object_become_one_del() {
        let mut imports = Imports::new(10);
        let id = receive(&mut imports, 5).unwrap();
        receive(&mut imports, 5).unwrap();
        receive(&mut imports, 5).unwrap();
        imports.release(&id, 1);
        imports.release(&id, 1);
        assert!(imports.has_due());
        assert_eq!(imports.next_due(), Some((id.clone(), 2)));
        assert_eq!((imports.next_due(), imports.len()), (None, 1));
        imports.release(&id, 99);
        assert_eq!(imports.next_due(), Some((id.clone(), 1)));
        imports.release(&id, 1);
        assert_eq!((imports.next_due(), imports.len()), (None, 0));
    }

    #[test]
    fn an_object_received_again_stays_until_all_is_given_back() {
        let mut imports = Imports::new(10);
        let id = receive(&mut imports, 5).unwrap();
        imports.release(&id, 1);
        assert_eq!(receive(&mut imports, 5).unwrap(), id);
        assert_eq!(imports.next_due(), Some((id.clone(), 1)));
        assert_eq!(imports.len(), 1);
        imports.release(&id, 1);
        assert_eq!(imports.next_due(), Some((id, 1)));
        assert_eq!(imports.len(), 0);
    }

    #[test]
    fn the_limit_counts_objects() {
        let mut imports = Imports::new(2);
        receive(&mut imports, 1).unwrap();
        receive(&mut imports, 2).unwrap();
        receive(&mut imports, 1).unwrap();
        assert!(matches!(
            receive(&mut imports, 3),
            Err(Refusal::TooManyReferences { limit: 2 })
        ));
    }
}
