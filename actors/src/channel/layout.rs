//! [`Layout`]: frames that are laid out behind each other, in blocks that go round.

use bytes::Bytes;

use super::blocks::Blocks;
use crate::unit::{COPY_LIMIT, FRAME_OVERHEAD, Frames, FramesBuilder};

/// What can be appended to a [`Layout`].
///
/// It is appended where it stands: moving a frame through the results of three functions cost more than
/// laying it out (the moves straddle the stores before them, so the processor has to wait for each).
pub(crate) trait Append {
    /// Bytes it takes in a block.
    fn room(&self) -> usize;
    /// Frames it is.
    fn count(&self) -> usize {
        1
    }
    /// Appends it. What is not copied is taken out.
    fn append(&mut self, builder: &mut FramesBuilder);
}

impl Append for &[u8] {
    #[inline]
    fn room(&self) -> usize {
        self.len() + FRAME_OVERHEAD
    }

    #[inline]
    fn append(&mut self, builder: &mut FramesBuilder) {
        builder.push_slice(self);
    }
}

impl Append for Bytes {
    #[inline]
    fn room(&self) -> usize {
        if self.len() <= COPY_LIMIT {
            self.len() + FRAME_OVERHEAD
        } else {
            FRAME_OVERHEAD
        }
    }

    #[inline]
    fn append(&mut self, builder: &mut FramesBuilder) {
        if self.len() <= COPY_LIMIT {
            builder.push_slice(self);
        } else {
            builder.push(std::mem::take(self));
        }
    }
}

impl Append for Frames {
    fn room(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn append(&mut self, builder: &mut FramesBuilder) {
        builder.append(std::mem::take(self));
    }
}

/// Where a batch grows.
#[derive(Default)]
pub(crate) struct Layout {
    builder: FramesBuilder,
    blocks: Blocks,
}

impl Layout {
    /// Appends something. Gives the bytes of memory that this leaves unused and still in use: the tail of a full block.
    #[inline]
    pub(crate) fn append<A: Append>(&mut self, item: &mut A) -> usize {
        let room = item.room();
        let abandoned = if self.builder.room() < room {
            self.new_block(room)
        } else {
            0
        };
        item.append(&mut self.builder);
        abandoned
    }

    /// Starts a block with at least `room` bytes.
    #[cold]
    fn new_block(&mut self, room: usize) -> usize {
        let Self { builder, blocks } = self;
        let abandoned = if builder.is_empty() {
            0
        } else {
            builder.room()
        };
        blocks.next(room + 1, |block| builder.set_block(block));
        abandoned
    }

    /// Gives the batch away.
    pub(crate) fn take(&mut self) -> Frames {
        let frames = self.builder.take();
        self.blocks.after_batch(frames.wire_len());
        frames
    }
}
