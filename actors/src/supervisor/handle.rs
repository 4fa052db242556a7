//! [`SupervisedChannel`]: a channel that outlives its connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use actix::{Addr, Context};
use parking_lot::Mutex;

use super::{
    ConnectionSupervisor, Drain, Events, Generation, Meanwhile, SupervisorConfig, SupervisorStats,
    Watch, line::Line,
};
use crate::{chain::Chain, channel::Subscribe, error::StreamError, runtime::Runtime};

/// What all clones of a handle share.
pub(super) struct Shared {
    pub(super) line: Arc<Line>,
    pub(super) meanwhile: Meanwhile,
    /// Bytes of frames that wait for a connection.
    pub(super) waiting: AtomicUsize,
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
    ///
    /// # Panics
    ///
    /// When the operating system refuses the shared [`Runtime`] its threads or descriptors: [`try_supervise`](Self::try_supervise) says so in
    /// an error.
    pub fn supervise(&self, config: SupervisorConfig) -> SupervisedChannel {
        self.supervise_on(&self.own_runtime().unwrap_or_else(Runtime::current), config)
    }

    /// As [`supervise`](Self::supervise).
    ///
    /// # Errors
    ///
    /// [`StreamError::Runtime`], when the operating system refuses the shared [`Runtime`] its threads or descriptors.
    pub fn try_supervise(
        &self,
        config: SupervisorConfig,
    ) -> Result<SupervisedChannel, StreamError> {
        let runtime = Runtime::or_current(self.own_runtime().as_ref())?;
        Ok(self.supervise_on(&runtime, config))
    }

    fn supervise_on(&self, runtime: &Runtime, config: SupervisorConfig) -> SupervisedChannel {
        let chain = self.clone();
        let line = Arc::new(Line::new(chain.endpoint().text().clone()));
        let meanwhile = config.meanwhile;
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

    pub(super) fn line(&self) -> &Line {
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

    // ---- what was sent ----

    /// A generation took something that this handle sent.
    pub(super) fn took(&self, generation: u64) {
        self.unflushed.lock().took(generation);
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

    /// Sends what is given already, the frames that wait for a connection among it, and then closes as [`close`](Self::close) does. What
    /// is given from now on is refused with `Closed`; so is, after `within`, what still waits. Receivers go on until then.
    ///
    /// # Errors
    ///
    /// As `close`.
    ///
    /// # Cancellation
    ///
    /// The connection drains and closes all the same.
    pub async fn drain(&self, within: Duration) -> Result<(), StreamError> {
        self.line().drain();
        // A supervisor that is gone has closed.
        let _ = self.shared.supervisor.try_send(Drain { within });
        self.line().wait_closed().await
    }

    /// True when nothing is sent any more: somebody closed the connection, or drains it.
    pub fn closed(&self) -> bool {
        self.line().is_closed()
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
