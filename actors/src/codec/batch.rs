//! [`Batch`]: holds small frames back for a moment, so that several go in one write.
//!
//! It stands among the layers of frames. Without it a channel batches under load by itself, without any delay; this layer
//! trades a delay for fewer writes when frames come one by one. Whoever waits for something is not delayed: a flush, a
//! finish, or somebody who waits for credit lets go of all that is held.
//!
//! # Wire format
//!
//! None of its own: the peer sees frames, some of them together.
//!
//! # States
//!
//! Going down, either nothing is held, or frames are since a moment that is remembered. Going up there is none.
//!
//! # Limits
//!
//! What is held keeps its credit, and is passed on when that is a quarter of all there is.

use std::time::{Duration, Instant};

use super::{Codec, Host, Output, Outputs};
use crate::{
    error::StreamError,
    limits::{DEFAULT_BATCH_SIZE, DEFAULT_BATCH_TIMEOUT},
    message::{Read, Write},
    unit::Frames,
};

/// The share of a direction's credit that is held back at most: a quarter.
const HELD_SHARE: usize = 4;

/// How long frames are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    batch_size: usize,
    batch_timeout: Duration,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            batch_size: DEFAULT_BATCH_SIZE,
            batch_timeout: DEFAULT_BATCH_TIMEOUT,
        }
    }
}

impl BatchConfig {
    /// Sets how many frames go together; 10 by default, 1 holds none back. More that come at once go at once.
    #[must_use]
    pub fn batch_size(mut self, frames: usize) -> Self {
        self.batch_size = frames;
        self
    }

    /// Sets how long the oldest frame waits for others; 100 ms by default. A longer time makes larger batches and slower
    /// answers.
    #[must_use]
    pub fn batch_timeout(mut self, timeout: Duration) -> Self {
        self.batch_timeout = timeout;
        self
    }
}

/// Gathers frames on their way down.
///
/// ```
/// use rpyc_actors::{Frames, codec::{Batch, BatchConfig, Framing, testing::{Bench, Over}}};
///
/// let end = || Over::new(Batch::new(BatchConfig::default()), Framing::new(1024));
/// let mut bench = Bench::new(end(), end());
/// for _ in 0..9 {
///     bench.left.write(Frames::single("hello".into()));
///     assert!(bench.left.wire().is_empty());
/// }
/// bench.left.write(Frames::single("hello".into()));
/// bench.run();
/// let batches = bench.right.received();
/// assert_eq!((batches.len(), batches[0].len()), (1, 10));
/// ```
#[derive(Debug)]
pub struct Batch {
    config: BatchConfig,
    held: Option<Held>,
    outputs: Outputs<Frames, Frames>,
}

#[derive(Debug)]
struct Held {
    write: Write<Frames>,
    /// When the oldest frame has waited long enough; never, with a timeout beyond the clock.
    until: Option<Instant>,
}

impl Batch {
    /// A codec that holds back as `config` says.
    pub fn new(config: BatchConfig) -> Self {
        Self {
            config,
            held: None,
            outputs: Outputs::default(),
        }
    }

    fn pass_on(&mut self) {
        if let Some(Held { write, .. }) = self.held.take() {
            self.outputs.down(write.unit, write.credit);
        }
    }
}

impl Codec for Batch {
    type Above = Frames;
    type Below = Frames;

    fn handle_write(&mut self, write: Write<Frames>, host: &dyn Host) -> Result<(), StreamError> {
        let held = match &mut self.held {
            Some(held) => {
                held.write.unit.append(write.unit);
                held.write.credit.merge(write.credit);
                held
            }
            none => none.insert(Held {
                write,
                until: host.now().checked_add(self.config.batch_timeout),
            }),
        };
        let Write { unit, credit } = &held.write;
        let gate = host.down_gate();
        if unit.len() >= self.config.batch_size
            || credit.amount() >= gate.cap() / HELD_SHARE
            || gate.is_contended()
        {
            self.pass_on();
        }
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Frames>, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.up(read.unit, read.credit);
        Ok(())
    }

    fn handle_finish(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.pass_on();
        self.outputs.finish();
        Ok(())
    }

    fn handle_end(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.end();
        Ok(())
    }

    fn handle_flush(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.pass_on();
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant, _: &dyn Host) -> Result<(), StreamError> {
        if self.poll_timeout().is_some_and(|until| until <= now) {
            self.pass_on();
        }
        Ok(())
    }

    fn poll_output(
        &mut self,
        _: bool,
        _: &dyn Host,
    ) -> Result<Option<Output<Frames, Frames>>, StreamError> {
        Ok(self.outputs.poll())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.held.as_ref().and_then(|held| held.until)
    }

    fn holds_back(&self) -> bool {
        self.held.is_some()
    }
}
