//! What a channel counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{credit::Gate, unit::Frames};

/// Counts of one channel since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Frames given to the layers below.
    pub frames_sent: u64,
    /// Their bytes, laid out as plain frames.
    pub bytes_sent: u64,
    /// Batches they went in.
    pub batches_sent: u64,
    /// Frames that came up.
    pub frames_received: u64,
    /// Their bytes, laid out as plain frames.
    pub bytes_received: u64,
    /// Batches they came in.
    pub batches_received: u64,
    /// Bytes of credit taken by what is on its way down.
    pub bytes_under_way: u64,
}

/// Written by the channel's actor alone, read by anybody.
#[derive(Default)]
pub(super) struct Counters {
    frames_sent: AtomicU64,
    bytes_sent: AtomicU64,
    batches_sent: AtomicU64,
    frames_received: AtomicU64,
    bytes_received: AtomicU64,
    batches_received: AtomicU64,
}

/// An addition by the only writer.
fn add(counter: &AtomicU64, count: usize) {
    counter.store(counter.load(Relaxed).wrapping_add(count as u64), Relaxed);
}

impl Counters {
    pub(super) fn sent(&self, frames: &Frames) {
        add(&self.frames_sent, frames.len());
        add(&self.bytes_sent, frames.wire_len());
        add(&self.batches_sent, 1);
    }

    pub(super) fn received(&self, frames: &Frames) {
        add(&self.frames_received, frames.len());
        add(&self.bytes_received, frames.wire_len());
        add(&self.batches_received, 1);
    }

    pub(super) fn snapshot(&self, down_gate: &Gate) -> ChannelStats {
        ChannelStats {
            frames_sent: self.frames_sent.load(Relaxed),
            bytes_sent: self.bytes_sent.load(Relaxed),
            batches_sent: self.batches_sent.load(Relaxed),
            frames_received: self.frames_received.load(Relaxed),
            bytes_received: self.bytes_received.load(Relaxed),
            batches_received: self.batches_received.load(Relaxed),
            bytes_under_way: down_gate.used() as u64,
        }
    }
}
