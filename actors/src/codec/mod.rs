//! Codecs: what the layers of a chain do, without input, output or a clock.
//!
//! A [`Codec`] turns what comes down from above into what goes down below, and the other way round. It names no
//! actor, no runtime and no socket; [`Layer`](crate::layer::Layer) is the only code that joins codecs and actors.

pub mod batch;
pub mod buffer;
pub mod compress;
#[cfg(feature = "encrypt")]
pub mod encrypt;
pub mod framing;
pub mod heartbeat;
pub mod inflate;
pub mod monitor;
pub mod passthrough;
mod pulse;
pub mod resume;
pub mod testing;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::{
    credit::{Credit, Gate},
    error::StreamError,
    event::ConnectionEvent,
    message::{Read, Write},
    queue,
    unit::Unit,
};

pub use batch::{Batch, BatchConfig};
pub use buffer::{Buffer, BufferConfig};
pub use compress::{Compress, CompressConfig};
#[cfg(feature = "encrypt")]
pub use encrypt::{Encrypt, EncryptConfig};
pub use framing::Framing;
pub use heartbeat::Heartbeat;
pub use inflate::Inflation;
pub use monitor::Monitor;
pub use passthrough::PassThrough;
pub use pulse::{Liveness, MIN_SILENCE};
pub use resume::{Resume, ResumeConfig};

/// The feature bit of frames that are snappy blocks; both are in `docs/PROTOCOL.md`.
pub(crate) const SNAPPY: u32 = 1;
/// The feature bit of resumable sessions.
pub(crate) const RESUME: u32 = 1 << 1;

/// What a codec may ask its host while it handles an input.
pub trait Host {
    /// The time, read only by codecs that need it.
    fn now(&self) -> Instant;
    /// The gate of the downward direction, where those wait who have something to send.
    fn down_gate(&self) -> &Arc<Gate>;
    /// The gate of the upward direction, which is charged for what grows on its way.
    fn up_gate(&self) -> &Arc<Gate>;
}

/// What a codec gives to its host.
#[derive(Debug)]
pub enum Output<A: Unit, B: Unit> {
    /// Goes to the neighbour below.
    Down(Write<B>),
    /// Goes to the neighbour above.
    Up(Read<A>),
    /// The neighbour below shall finish its direction.
    Finish,
    /// The neighbour above learns that the peer finished its direction.
    End,
    /// A fact for whoever watches the connection.
    Event(ConnectionEvent),
    /// The codec is finished with this error, and what it gave out before tells the peer so: the neighbour below
    /// finishes its direction instead of dropping that, as it would after an `Err`.
    Fail(StreamError),
}

/// One layer's work, as a state machine without input and output.
///
/// # The single-mutation rule
///
/// After each input the host polls outputs until `None`, and again when the gate above opens. No input is given
/// while outputs that can be taken are left.
///
/// # Contract
///
/// - Not enough bytes yet is no error: there is just no output.
/// - Any split of the input gives the same outputs.
/// - A length from the wire is compared with a limit before anything is allocated for it.
/// - After an error a codec is finished: the host gives it nothing more. A codec is never reset; a new
///   connection gets a new one.
pub trait Codec: Send + Unpin + 'static {
    /// What travels between this codec and its neighbour above.
    type Above: Unit;
    /// What travels between this codec and its neighbour below.
    type Below: Unit;

    /// Takes data on its way down.
    ///
    /// # Errors
    ///
    /// When the data cannot be sent at all; the codec is finished then.
    fn handle_write(
        &mut self,
        write: Write<Self::Above>,
        host: &dyn Host,
    ) -> Result<(), StreamError>;

    /// Takes data on its way up.
    ///
    /// # Errors
    ///
    /// When the peer broke the protocol or a limit; the codec is finished then.
    fn handle_read(&mut self, read: Read<Self::Below>, host: &dyn Host) -> Result<(), StreamError>;

    /// [`handle_write`](Self::handle_write), with what goes down of it at once and alone, if it does and nothing waits before it: the
    /// host then passes it on without a detour. By default everything waits to be polled.
    ///
    /// # Errors
    ///
    /// As `handle_write`.
    fn write_through(
        &mut self,
        write: Write<Self::Above>,
        host: &dyn Host,
    ) -> Result<Option<Write<Self::Below>>, StreamError> {
        self.handle_write(write, host)?;
        Ok(None)
    }

    /// [`handle_read`](Self::handle_read), as `write_through`.
    ///
    /// # Errors
    ///
    /// As `handle_read`.
    fn read_through(
        &mut self,
        read: Read<Self::Below>,
        host: &dyn Host,
    ) -> Result<Option<Read<Self::Above>>, StreamError> {
        self.handle_read(read, host)?;
        Ok(None)
    }

    /// Nothing more comes down. By default the finish is passed on.
    ///
    /// # Errors
    ///
    /// When the end cannot be told to the peer.
    fn handle_finish(&mut self, host: &dyn Host) -> Result<(), StreamError>;

    /// Nothing more comes up.
    ///
    /// # Errors
    ///
    /// When the peer's stream ended inside a unit.
    fn handle_end(&mut self, host: &dyn Host) -> Result<(), StreamError>;

    /// What is held back is to go now.
    ///
    /// # Errors
    ///
    /// As [`handle_write`](Self::handle_write).
    fn handle_flush(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        let _ = host;
        Ok(())
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come.
    ///
    /// # Errors
    ///
    /// When what should have happened until now did not.
    fn handle_timeout(&mut self, now: Instant, host: &dyn Host) -> Result<(), StreamError> {
        let _ = (now, host);
        Ok(())
    }

    /// The next output. What is charged already may always go up; work that makes data grow is done only when
    /// `may_grow` says that there is room above.
    ///
    /// # Errors
    ///
    /// As [`handle_read`](Self::handle_read), when the work is done only as there is room above.
    #[expect(
        clippy::type_complexity,
        reason = "an alias would only hide what is written out once"
    )]
    fn poll_output(
        &mut self,
        may_grow: bool,
        host: &dyn Host,
    ) -> Result<Option<Output<Self::Above, Self::Below>>, StreamError>;

    /// Credit of what is held back until there is room above, in bytes.
    fn held(&self) -> usize {
        0
    }

    /// True while something on its way down is held back that [`handle_flush`](Self::handle_flush) cannot let go;
    /// flushes then wait behind it.
    fn holds_writes(&self) -> bool {
        false
    }

    /// True when something on its way down is held back though it could go. The host lets go of it with
    /// [`handle_flush`](Self::handle_flush) when somebody waits for the credit of it.
    fn holds_back(&self) -> bool {
        false
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// True when what was read last ended inside a unit, so that more is under way.
    fn expects_more(&self) -> bool {
        false
    }
}

/// A queue of outputs, for codecs whose work is done when the input arrives.
#[derive(Debug)]
pub(crate) struct Outputs<A: Unit, B: Unit>(VecDeque<Output<A, B>>);

impl<A: Unit, B: Unit> Default for Outputs<A, B> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<A: Unit, B: Unit> Outputs<A, B> {
    pub(crate) fn down(&mut self, unit: B, credit: Credit) {
        self.push(Output::Down(Write { unit, credit }));
    }

    pub(crate) fn up(&mut self, unit: A, credit: Credit) {
        self.push(Output::Up(Read { unit, credit }));
    }

    /// Gives back what nothing waits before, and takes the rest.
    pub(crate) fn down_through(&mut self, write: Write<B>) -> Option<Write<B>> {
        if self.is_empty() {
            return Some(write);
        }
        self.push(Output::Down(write));
        None
    }

    /// As `down_through`.
    pub(crate) fn up_through(&mut self, read: Read<A>) -> Option<Read<A>> {
        if self.is_empty() {
            return Some(read);
        }
        self.push(Output::Up(read));
        None
    }

    pub(crate) fn finish(&mut self) {
        self.push(Output::Finish);
    }

    pub(crate) fn end(&mut self) {
        self.push(Output::End);
    }

    #[cfg(feature = "encrypt")]
    pub(crate) fn event(&mut self, event: ConnectionEvent) {
        self.push(Output::Event(event));
    }

    #[cfg(feature = "encrypt")]
    pub(crate) fn fail(&mut self, error: StreamError) {
        self.push(Output::Fail(error));
    }

    fn push(&mut self, output: Output<A, B>) {
        queue::push(&mut self.0, output);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn poll(&mut self) -> Option<Output<A, B>> {
        self.0.pop_front()
    }
}
