//! One end of the simulated world.

use std::{cell::Cell, collections::VecDeque, sync::Arc, time::Instant};

use super::super::Resume;
use crate::{
    codec::Host,
    credit::Gate,
    error::{LossReason, StreamError},
    message::Read,
    unit::Chunk,
};

/// Largest write of the simulated applications.
pub(super) const LARGEST_WRITE: usize = 40_000;

/// The byte at an offset of a stream.
pub(super) fn byte_at(stream: u64, offset: u64) -> u8 {
    let word = (offset / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream;
    let word = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word.to_le_bytes()[usize::try_from(offset % 8).expect("small")]
}

/// One end: its session, its application, its clock.
pub(super) struct End {
    pub(super) session: Option<Resume>,
    pub(super) now: Cell<Instant>,
    pub(super) down: Arc<Gate>,
    up: Arc<Gate>,
    /// Which link it uses.
    pub(super) link: Option<usize>,
    /// Number of the stream it writes, and of that which it reads.
    pub(super) writes: u64,
    pub(super) reads: u64,
    pub(super) written: u64,
    pub(super) delivered: u64,
    /// Delivered and not taken yet.
    pub(super) waiting: VecDeque<Read<Chunk>>,
    pub(super) has_ended: bool,
    pub(super) is_confirmed: bool,
    /// How often it was told that the peer will go.
    pub(super) goings: usize,
    pub(super) over: Option<Option<StreamError>>,
}

impl Host for End {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn down_gate(&self) -> &Arc<Gate> {
        &self.down
    }

    fn up_gate(&self) -> &Arc<Gate> {
        &self.up
    }
}

impl End {
    pub(super) fn new(now: Instant, cap: usize, writes: u64, reads: u64) -> Self {
        Self {
            session: None,
            now: Cell::new(now),
            down: Gate::new(cap),
            up: Gate::new(cap),
            link: None,
            writes,
            reads,
            written: 0,
            delivered: 0,
            waiting: VecDeque::new(),
            has_ended: false,
            is_confirmed: false,
            goings: 0,
            over: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Takes what was delivered: one unit, or all of it.
    pub(super) fn consume(&mut self, all: bool) {
        let count = if all { self.waiting.len() } else { 1 };
        self.waiting.drain(..count.min(self.waiting.len()));
    }

    /// Memory is bounded: what is kept to be sent again, and what the application has not taken.
    pub(super) fn check_memory(&self) {
        let Some(session) = &self.session else { return };
        let kept = usize::try_from(session.written() - session.acknowledged()).expect("in memory");
        // What is larger than the cap passes alone.
        let most = self.down.cap().max(LARGEST_WRITE);
        assert!(kept <= most, "{kept} bytes are kept");
        // Beside the bytes there is the cost of a batch for each read.
        let waiting: usize = self.waiting.iter().map(|read| read.unit.len()).sum();
        assert!(waiting <= self.up.cap(), "{waiting} bytes wait above");
    }
}

/// The reason of a loss, as its `Debug` form begins.
pub(super) fn reason(end: &End) -> String {
    match &end.over {
        None => "not over".into(),
        Some(None) => "in order".into(),
        Some(Some(StreamError::ConnectionLost(lost))) => match &lost.reason {
            LossReason::SessionLost(why) => format!("{why:?}"),
            other => format!("{other:?}"),
        },
        Some(Some(other)) => format!("{other:?}"),
    }
}
