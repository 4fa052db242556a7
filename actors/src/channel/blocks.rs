//! [`Blocks`]: the memory that an outbox lays small frames out in.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Size of the first block of a batch; blocks double while it grows.
pub(super) const FIRST_BLOCK: usize = 512;

/// Size of the very first block of an outbox: many a connection asks for little in its whole life.
const SMALLEST_BLOCK: usize = 256;

/// Size of the largest block. A batch is several of them, since a block stays as a whole until the last of its bytes has
/// left: what is not filled of the last one, and not written of the first one, is memory that no credit counts.
const BLOCK: usize = 32 << 10;

/// Gives blocks, and takes them back once their bytes have left.
///
/// Under load the same few blocks go round and stay warm. Without that the allocator returns their pages and the
/// kernel clears new ones, which took more time than all else that a sender does.
#[derive(Default)]
pub(super) struct Blocks {
    /// That of the last block, or less if the next one begins a batch; 0 before the very first one.
    size: usize,
    /// What is left of full blocks whose bytes may have left meanwhile, oldest first.
    used: VecDeque<BytesMut>,
}

impl Blocks {
    /// The next block, with room for at least `room` bytes, and a place for what is left of the one before.
    pub(super) fn next(&mut self, room: usize, replace: impl FnOnce(BytesMut) -> BytesMut) {
        let is_recyclable = self.size == BLOCK;
        self.size = match self.size {
            0 => SMALLEST_BLOCK,
            size => (size * 2).clamp(FIRST_BLOCK, BLOCK),
        };
        let rest = replace(self.take(room));
        if is_recyclable {
            self.used.push_back(rest);
        }
    }

    fn take(&mut self, room: usize) -> BytesMut {
        let size = self.size.max(room);
        // They leave in order: if the oldest has bytes under way, so has every other.
        match self.used.front_mut().map(|block| block.try_reclaim(size)) {
            Some(true) => self.used.pop_front(),
            _ => None,
        }
        .unwrap_or_else(|| BytesMut::with_capacity(size))
    }

    /// Sizes the next block after a batch of `bytes`, on the guess that the next batch is like it. A channel that
    /// falls idle holds next to nothing.
    pub(super) fn after_batch(&mut self, bytes: usize) {
        if bytes <= FIRST_BLOCK {
            self.size = self.size.min(SMALLEST_BLOCK);
        }
        if bytes < BLOCK && !self.used.is_empty() {
            self.used = VecDeque::new();
        }
    }
}
