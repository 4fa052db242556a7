//! The memory in which records are sealed, which goes round.
//!
//! Under load blocks that have left are used again while they are warm. Without that the allocator returns their pages and
//! the kernel clears new ones, which took a fifth of a sender's time. Blocks belong to the thread, so an idle connection
//! holds none.

use std::{cell::RefCell, collections::VecDeque};

use bytes::{Bytes, BytesMut};

use super::{config::MAX_RECORD, record::RECORD_OVERHEAD};

/// Size of a block: little is left over behind four records of the default size, or one of the largest.
const BLOCK: usize = 66 << 10;
/// Blocks that a thread keeps: as much as a connection has under way by default, 1 MiB.
const KEPT: usize = 16;

/// Any record fits, and another in front of it that brings the next key.
const _: () = assert!(BLOCK >= MAX_RECORD + 2 * RECORD_OVERHEAD);

thread_local! {
    /// What is left of full blocks whose bytes may have left meanwhile, oldest first.
    static USED: RefCell<VecDeque<BytesMut>> = const { RefCell::new(VecDeque::new()) };
}

/// Where records are sealed, one behind the other.
#[derive(Default)]
pub(super) struct Block {
    pub(super) bytes: BytesMut,
    /// Not made for less than that.
    is_whole: bool,
}

impl Block {
    /// What was sealed here since the last time.
    pub(super) fn take(&mut self) -> Bytes {
        if self.is_whole {
            return self.bytes.split().freeze();
        }
        // Nothing more comes into this one, so it needs no count of who shares it.
        std::mem::take(&mut self.bytes).freeze()
    }

    /// Goes on in another block, with room for `rest` bytes or for the first of them.
    pub(super) fn replace(&mut self, rest: usize) {
        *self = Self {
            bytes: if rest < BLOCK {
                BytesMut::with_capacity(rest)
            } else {
                recycled().unwrap_or_else(|| BytesMut::with_capacity(BLOCK))
            },
            is_whole: rest >= BLOCK,
        };
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.is_whole {
            USED.with_borrow_mut(|used| {
                used.push_back(std::mem::take(&mut self.bytes));
                if used.len() > KEPT {
                    used.pop_front();
                }
            });
        }
    }
}

/// A block whose bytes have left.
fn recycled() -> Option<BytesMut> {
    USED.with_borrow_mut(|used| {
        let at = used.iter_mut().position(|block| block.try_reclaim(BLOCK))?;
        used.remove(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(rest: usize) -> Bytes {
        let mut block = Block::default();
        block.replace(rest);
        block.bytes.extend_from_slice(b"a record");
        block.take()
    }

    #[test]
    fn a_block_is_used_again_once_its_bytes_have_left() {
        let first = sealed(BLOCK);
        let second = sealed(usize::MAX);
        assert_ne!(first.as_ptr(), second.as_ptr());
        let at = first.as_ptr();
        drop(first);
        assert_eq!(sealed(BLOCK).as_ptr(), at);
        assert_eq!(&second[..], b"a record");
    }

    #[test]
    fn a_thread_keeps_so_many_whole_blocks_and_no_smaller_ones() {
        let small = sealed(BLOCK - 1);
        USED.with_borrow(|used| assert!(used.is_empty()));
        let all: Vec<_> = (0..KEPT + 3).map(|_| sealed(BLOCK)).collect();
        USED.with_borrow(|used| assert_eq!(used.len(), KEPT));
        drop((small, all));
    }
}
