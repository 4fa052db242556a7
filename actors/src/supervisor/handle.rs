//! [`SupervisedChannel`]: a channel that outlives its connections.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use actix::{Addr, Context};
use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    ConnectionSupervisor, Events, Generation, Meanwhile, SupervisorConfig, SupervisorStats, Watch,
    line::Line,
};
use crate::{
    chain::Chain,
    channel::{Channel, Subscribe},
    error::{BufferOverflowError, StreamError, WriteError},
    runtime::Runtime,
    unit::{FRAME_OVERHEAD, Frames},
};

/// What all clones of a handle share.
pub(super) struct Shared {
    pub(super) line: Arc<Line>,
    meanwhile: Meanwhile,
    /// Bytes of frames that wait for a connection.
    waiting: AtomicUsize,
    supervisor: Addr<ConnectionSupervisor>,
    pub(super) arbiter: actix_rt::ArbiterHandle,
}

/// The last handle closes the connection.
impl Drop for Shared {
    fn drop(&mut self) {
        self.line.close();
    }
}

/// A channel over a supervised connection: it stays valid while connections come and go.
///
/// A cheap handle for any thread and any runtime. Clones share the connection; each of them is told by itself where
/// a generation ended ([`recv`](Self::recv)). Dropping the last one closes the connection, with nobody waiting for it.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{Chain, Received, SupervisorConfig};
///
/// let channel = Chain::to("tcp://localhost:12345")?.supervise(SupervisorConfig::default());
/// channel.send("hello").await?;
/// loop {
///     match channel.recv().await? {
///         Received::Frame(frame) => println!("{frame:?}"),
///         Received::Lost(error) => println!("{error}; frames may be missing here"),
///     }
/// }
/// # }
/// ```
pub struct SupervisedChannel {
    pub(super) shared: Arc<Shared>,
    /// The generation whose frames this handle receives.
    pub(super) cursor: AtomicU64,
    unflushed: Mutex<Unflushed>,
}

/// What a handle sent and has not flushed.
#[derive(Clone, Copy, Default)]
struct Unflushed {
    /// The first generation that took some of it; 0 when there is nothing.
    oldest: u64,
    /// The last one.
    newest: u64,
    sends: u64,
}

impl Unflushed {
    fn took(&mut self, generation: u64) {
        self.newest = self.newest.max(generation);
        if self.oldest == 0 {
            self.oldest = generation;
        }
        self.sends += 1;
    }

    /// A flush that began with `before` is over. What other generations took, and what was sent since, is the next one's.
    fn settle(&mut self, before: &Self, is_lost: bool) {
        if self.oldest != before.oldest {
            return;
        }
        if self.newest > self.oldest {
            self.oldest = self.newest;
        } else if is_lost || self.sends == before.sends {
            self.oldest = 0;
        }
    }
}

impl Clone for SupervisedChannel {
    /// The clone begins with the present connection.
    fn clone(&self) -> Self {
        Self::of(self.shared.clone())
    }
}

impl std::fmt::Debug for SupervisedChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisedChannel")
            .field("endpoint", &self.endpoint())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Chain {
    /// Keeps a connection of this chain up from now on. It is dialled at once; nothing waits for that.
    pub fn supervise(&self, config: SupervisorConfig) -> SupervisedChannel {
        let chain = self.clone();
        let line = Arc::new(Line::new(chain.endpoint().text().clone()));
        let meanwhile = config.meanwhile;
        let runtime = self.own_runtime().unwrap_or_else(Runtime::current);
        let arbiter = runtime.arbiter().clone();
        // Zero means without a limit: who subscribes is never refused.
        let (sender, receiver) = actix::dev::channel::channel(0);
        // An arbiter that has stopped drops this without running it.
        let unstarted = Unstarted(Some(line.clone()));
        arbiter.spawn_fn(move || {
            let mut unstarted = unstarted;
            if let Some(line) = unstarted.0.take() {
                let context = Context::with_receiver(receiver);
                context.run(ConnectionSupervisor::new(chain, config, line));
            }
        });
        SupervisedChannel::of(Arc::new(Shared {
            line,
            meanwhile,
            waiting: AtomicUsize::new(0),
            supervisor: Addr::new(sender),
            arbiter,
        }))
    }
}

/// Ends a supervised connection whose arbiter stops before it starts.
struct Unstarted(Option<Arc<Line>>);

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            let what = "the arbiter that should supervise this connection has stopped";
            line.closed(Err(StreamError::misuse(what)));
        }
    }
}

impl SupervisedChannel {
    fn of(shared: Arc<Shared>) -> Self {
        Self {
            cursor: AtomicU64::new(shared.line.present()),
            unflushed: Mutex::default(),
            shared,
        }
    }

    fn line(&self) -> &Line {
        &self.shared.line
    }

    // ---- what happens ----

    /// What happens from now on, beginning with the present state.
    pub fn events(&self) -> Events {
        let (newcomer, events) = Events::new();
        // A message that is not handled tells the newcomer itself.
        let _ = self
            .shared
            .supervisor
            .try_send(Watch::new(newcomer, &self.shared.line));
        events
    }

    /// Sends all frames, of every generation, and facts to actors from now on.
    ///
    /// # Errors
    ///
    /// When the connection is closed.
    pub fn subscribe(&self, subscription: Subscribe) -> Result<(), StreamError> {
        self.shared
            .supervisor
            .try_send(subscription)
            .map_err(|_| StreamError::Closed)
    }

    /// The supervisor, for actors that would rather pass messages. An address does not keep the connection up, a
    /// handle does.
    pub fn address(&self) -> &Addr<ConnectionSupervisor> {
        &self.shared.supervisor
    }

    /// Counts so far.
    pub fn stats(&self) -> SupervisorStats {
        self.line().stats()
    }

    /// The endpoint in the form in which it was given.
    pub fn endpoint(&self) -> &str {
        self.line().endpoint()
    }

    /// The connection that is up, for protocols of their own.
    pub fn generation(&self) -> Option<Generation> {
        self.line().try_up().ok()
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// The reason, when the connection is taken for broken; `Closed`.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn connected(&self) -> Result<Generation, StreamError> {
        self.line().wait_up().await
    }

    /// Takes a connection for lost, though it may still be read for a while: nothing is sent on it any more. For protocols that
    /// find theirs to be of no use.
    pub fn give_up(&self, generation: u64) {
        self.line().cannot_write(generation);
    }

    /// The arbiter on which the supervisor lives.
    pub fn arbiter(&self) -> &actix_rt::ArbiterHandle {
        &self.shared.arbiter
    }

    // ---- sending ----

    /// Waits for a connection to send `bytes` on, as the policy says.
    async fn wait_to_send(&self, bytes: usize) -> Result<Generation, StreamError> {
        let reason = match self.line().try_up() {
            Ok(generation) => return Ok(generation),
            Err(reason) => reason,
        };
        let Meanwhile::Wait {
            deadline,
            bytes: most,
        } = self.shared.meanwhile
        else {
            return Err(reason.unwrap_or(StreamError::TimedOut {
                what: "waiting for a connection",
                after: std::time::Duration::ZERO,
            }));
        };
        let _waiting = Waiting::new(&self.shared.waiting, bytes, most)?;
        let line = self.line();
        tokio::select! {
            generation = line.wait_up() => generation,
            () = Line::sleep(&self.shared.arbiter, deadline) => Err(StreamError::TimedOut {
                what: "waiting for a connection",
                after: deadline,
            }),
        }
    }

    /// Sends on one generation after the other, until one takes it.
    async fn send_item<T, F>(
        &self,
        mut item: T,
        bytes: usize,
        mut send: impl FnMut(Channel, T) -> F,
    ) -> Result<(), WriteError<T>>
    where
        F: Future<Output = Result<(), WriteError<T>>>,
    {
        loop {
            let generation = match self.wait_to_send(bytes).await {
                Ok(generation) => generation,
                Err(reason) => return Err(WriteError::new(item, reason)),
            };
            let number = generation.number;
            let error = match send(generation.channel, item).await {
                Ok(()) => {
                    self.unflushed.lock().took(number);
                    return Ok(());
                }
                Err(error) => error,
            };
            if !matches!(
                error.reason,
                StreamError::ConnectionLost(_) | StreamError::Closed
            ) {
                return Err(error);
            }
            self.line().cannot_write(number);
            if self.shared.meanwhile == Meanwhile::Fail {
                let reason = error.reason.clone().of_generation(number);
                return Err(WriteError::new(error.into_item(), reason));
            }
            item = error.into_item();
        }
    }

    /// Sends one frame. Resolves when a connection took it: if that one is lost, the frame may have arrived or not.
    ///
    /// A frame that no connection took yet waits for the next one, if the policy is to wait.
    ///
    /// # Errors
    ///
    /// With the frame that was not sent: `TimedOut` or `BufferOverflow` as [`Meanwhile::Wait`] says; the reason, when the connection
    /// is taken for broken, or with [`Meanwhile::Fail`]; `Closed`; `LimitExceeded` for a frame above the limit.
    ///
    /// # Cancellation
    ///
    /// A send that waits sent nothing.
    pub async fn send(&self, frame: impl Into<Bytes>) -> Result<(), WriteError<Bytes>> {
        let frame = frame.into();
        let bytes = frame.len() + FRAME_OVERHEAD;
        self.send_item(frame, bytes, |channel, frame| async move {
            channel.send(frame).await
        })
        .await
    }

    /// Sends a batch, whole and on one connection.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with the batch.
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    pub async fn send_batch(&self, frames: Frames) -> Result<(), WriteError<Frames>> {
        let bytes = frames.wire_len();
        self.send_item(frames, bytes, |channel, frames| async move {
            channel.send_batch(frames).await
        })
        .await
    }

    /// Resolves when every frame that this handle sent before has reached the kernel.
    ///
    /// # Errors
    ///
    /// `ConnectionLost`, with the number of the generation, when a connection was lost that had taken some of them: they may have
    /// arrived or not. That is told once.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn flush(&self) -> Result<(), StreamError> {
        let before = *self.unflushed.lock();
        let number = before.oldest;
        if number == 0 {
            return Ok(());
        }
        let result = match self.line().current() {
            Some(generation) if generation.number == number => generation.channel.flush().await,
            _ => Err(self
                .line()
                .loss_since(number)
                .map_or(StreamError::Closed, StreamError::from)),
        };
        self.unflushed.lock().settle(&before, result.is_err());
        result.map_err(|error| error.of_generation(number))
    }

    // ---- the end ----

    /// Flushes what the present connection accepted, closes it, and dials no more. Whoever waits to send or to receive is told
    /// `Closed`. Closing twice is no error.
    ///
    /// # Errors
    ///
    /// When what was accepted did not all reach the kernel.
    ///
    /// # Cancellation
    ///
    /// The connection closes all the same.
    pub async fn close(&self) -> Result<(), StreamError> {
        self.line().close();
        self.line().wait_closed().await
    }

    /// True when nothing is sent any more: somebody closed the connection.
    pub fn closed(&self) -> bool {
        self.line().is_closed()
    }

    /// [`send`](Self::send) for plain threads.
    ///
    /// # Errors
    ///
    /// As `send`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn send_blocking(&self, frame: impl Into<Bytes>) -> Result<(), WriteError<Bytes>> {
        match crate::runtime::may_block() {
            Ok(()) => pollster::block_on(self.send(frame)),
            Err(reason) => Err(WriteError::new(frame.into(), reason)),
        }
    }

    /// [`flush`](Self::flush) for plain threads.
    ///
    /// # Errors
    ///
    /// As `flush`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn flush_blocking(&self) -> Result<(), StreamError> {
        crate::runtime::block_on(self.flush())?
    }

    /// [`close`](Self::close) for plain threads.
    ///
    /// # Errors
    ///
    /// As `close`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn close_blocking(&self) -> Result<(), StreamError> {
        crate::runtime::block_on(self.close())?
    }
}

/// Bytes that wait for a connection, for as long as they do.
struct Waiting<'a> {
    waiting: &'a AtomicUsize,
    bytes: usize,
}

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize, bytes: usize, most: usize) -> Result<Self, StreamError> {
        let add = |now: usize| now.checked_add(bytes).filter(|sum| *sum <= most);
        match waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => Ok(Self { waiting, bytes }),
            Err(now) => Err(BufferOverflowError::new(
                "frames that wait for a connection",
                most,
                now.saturating_add(bytes),
            )
            .into()),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
