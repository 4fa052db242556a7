//! Room for what became of a batch: one for all connections of a thread, since thousands of them may be idle.

use std::cell::Cell;

use super::link::Incoming;

/// Messages for which a thread keeps room.
const MOST_KEPT: usize = 1024;

/// What the frames of a batch were, each with its size.
pub(super) type Batch = Vec<(usize, Incoming)>;

thread_local! {
    static BATCH: Cell<Batch> = const { Cell::new(Vec::new()) };
}

/// An empty one.
pub(super) fn take() -> Batch {
    BATCH.take()
}

/// Keeps the room of one that is empty again.
pub(super) fn keep(batch: Batch) {
    if batch.capacity() <= MOST_KEPT {
        BATCH.set(batch);
    }
}
