//! [`FramesBuilder`]: lays frames out in blocks.

use bytes::{Bytes, BytesMut};

use super::{COPY_LIMIT, FLUSHER, FRAME_OVERHEAD, Frames, Part, head};
use crate::piece::{HEADROOM, Own, TAILROOM};

/// What closes a run: the flusher that is not written yet, and room behind it.
const RUN_END: usize = FLUSHER.len() + TAILROOM;
/// Bytes of a block that a run needs besides its frames.
pub(crate) const RUN_ROOM: usize = HEADROOM + RUN_END;
/// Bytes of a block that a frame needs at most besides its payload.
const FRAME_ROOM: usize = FRAME_OVERHEAD + RUN_ROOM;

/// Lays frames out behind each other.
///
/// Payloads up to [`COPY_LIMIT`] are copied into one block; larger ones keep their buffer.
#[derive(Debug, Default)]
pub struct FramesBuilder {
    /// The open run, behind room for layers that write around it. The flusher of its last frame is not written yet: it goes with
    /// the next head, in one copy.
    block: BytesMut,
    run_count: usize,
    frames: Frames,
}

impl FramesBuilder {
    /// An empty builder; it allocates with the first frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a frame, copying a small payload and sharing a large one.
    ///
    /// # Panics
    ///
    /// When the payload is longer than `u32::MAX` bytes, which the wire cannot say.
    #[inline]
    pub fn push(&mut self, payload: Bytes) {
        if payload.len() <= COPY_LIMIT {
            self.push_slice(&payload);
        } else {
            self.push_uncopied(payload);
        }
    }

    /// Appends a frame whose payload is copied.
    ///
    /// # Panics
    ///
    /// When the payload is longer than `u32::MAX` bytes, which the wire cannot say.
    #[inline]
    pub fn push_slice(&mut self, payload: &[u8]) {
        self.block.reserve(payload.len() + FRAME_ROOM);
        let [a, b, c, d, flag] = head(payload.len());
        if self.run_count == 0 {
            self.block.extend_from_slice(&[0; HEADROOM]);
            self.block.extend_from_slice(&[a, b, c, d, flag]);
        } else {
            self.block
                .extend_from_slice(&[FLUSHER[0], a, b, c, d, flag]);
        }
        self.block.extend_from_slice(payload);
        self.run_count += 1;
    }

    fn push_uncopied(&mut self, payload: Bytes) {
        self.close_run();
        self.block.extend_from_slice(&head(payload.len()));
        let head = self.block.split().freeze();
        self.frames.push_part(Part::Single {
            head,
            payload,
            as_is: false,
        });
    }

    /// Appends all frames of a batch.
    pub fn append(&mut self, frames: Frames) {
        self.close_run();
        self.frames.append(frames);
    }

    fn close_run(&mut self) {
        if self.run_count > 0 {
            self.block.extend_from_slice(FLUSHER);
            self.block.extend_from_slice(&[0; TAILROOM]);
            let run = Own::new(self.block.split(), HEADROOM, TAILROOM);
            self.frames.push_run(run, self.run_count);
            self.run_count = 0;
        }
    }

    /// True when nothing was appended since the last `take`.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.run_count == 0 && self.frames.is_empty()
    }

    /// Bytes that `take` would give.
    #[inline]
    pub fn wire_len(&self) -> usize {
        let open_run = if self.run_count > 0 {
            self.block.len() - HEADROOM + FLUSHER.len()
        } else {
            0
        };
        self.frames.bytes + open_run
    }

    /// Room left in the block before it must grow.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        let kept = if self.run_count > 0 {
            RUN_END
        } else {
            RUN_ROOM
        };
        (self.block.capacity() - self.block.len()).saturating_sub(kept)
    }

    /// Goes on in another block. Gives what is left of the one before.
    pub(crate) fn set_block(&mut self, block: BytesMut) -> BytesMut {
        self.close_run();
        std::mem::replace(&mut self.block, block)
    }

    /// Gives the batch away and starts a new one in the rest of the block.
    pub fn take(&mut self) -> Frames {
        self.close_run();
        std::mem::take(&mut self.frames)
    }
}
