//! Recycled blocks for outboxes, shared by all channels of an arbiter.
//!
//! Without them a busy channel asks the allocator for a block at a time, which gives pages back to the kernel and takes
//! cold ones from it all day long.

use std::{cell::RefCell, collections::VecDeque};

use bytes::BytesMut;

/// Size of a recycled block.
pub(super) const BLOCK: usize = 120 << 10;
/// Blocks that an arbiter keeps.
const KEPT: usize = 1;

thread_local! {
    static BLOCKS: RefCell<VecDeque<BytesMut>> = const { RefCell::new(VecDeque::new()) };
}

/// Keeps a block whose bytes may still be under way.
pub(super) fn put(block: BytesMut) {
    BLOCKS.with_borrow_mut(|blocks| {
        blocks.push_back(block);
        if blocks.len() > KEPT {
            blocks.pop_front();
        }
    });
}

/// A block that nobody uses any more, or a new one.
pub(super) fn take() -> BytesMut {
    let reclaimed = BLOCKS.with_borrow_mut(|blocks| {
        let at = blocks
            .iter_mut()
            .position(|block| block.try_reclaim(BLOCK))?;
        blocks.remove(at)
    });
    reclaimed.unwrap_or_else(|| BytesMut::with_capacity(BLOCK))
}
