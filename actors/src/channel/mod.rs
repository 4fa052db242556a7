//! [`Channel`]: the handle an application holds, between its outbox and its inbox.
//!
//! ```text
//! Channel::send  ─▶ outbox ─▶ Head ─▶ layers ─▶ Framing ─▶ layers ─▶ ByteStream
//! Channel::recv  ◀─ inbox  ◀─ Head ◀─ layers ◀─ Framing ◀─ layers ◀─ ByteStream
//! ```

mod attached;
mod blocking;
mod blocks;
mod down;
mod error;
mod established;
mod front;
mod head;
mod inbox;
mod kinds;
mod outbox;
mod post;
mod receiver;
mod send;
mod stats;

use std::{
    future::poll_fn,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use actix::{Addr, WeakAddr};
use bytes::Bytes;
use tokio::sync::oneshot;

pub(crate) use down::Down;
pub use error::{TryRecvError, TrySendError};
pub use head::{Close, Head, Subscribe};
pub use kinds::{BatchingChannel, CompressedChannel, MonitoredChannel};
pub use receiver::Receiver;
pub use send::Sending;
pub use stats::ChannelStats;

use self::{
    inbox::{Inbox, State},
    outbox::{Control, Outbox, Taken},
    stats::Counters,
};
use crate::{
    chain::Layers,
    credit::Gate,
    error::{ConnectionLostError, LossReason, StreamError},
    limits::Limits,
    mail::Mail,
    message::Flush,
    panics,
    runtime::Runtime,
    stream::{Address, StreamHandle, StreamInfo},
    work,
};

/// What handles and the actor of a channel share.
struct Shared {
    outbox: Outbox,
    inbox: Inbox,
    down_gate: Arc<Gate>,
    info: Arc<StreamInfo>,
    /// Somebody on another thread waits for frames, or did lately.
    waits_elsewhere: AtomicBool,
    /// From `info`, nearer to whoever sends.
    max_frame: usize,
    head: OnceLock<(WeakAddr<Head>, Arc<Mail<Head>>)>,
    arbiter: actix_rt::ArbiterHandle,
    stats: Counters,
    /// Some layer may hold frames back.
    gathers: bool,
}

impl Shared {
    /// What `take` finds in the inbox, or will.
    async fn receive<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        poll_fn(|cx| self.urging(self.inbox.poll(cx, &mut take))).await
    }

    /// Lets frames go that were sent on the channel's own arbiter, if who sent them waits now: mostly for the answer.
    /// The actor's next turn would come later.
    #[inline]
    fn urging<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending()
            && let Some((_, mail)) = self.head.get()
        {
            if !mail.is_here() {
                self.waits_elsewhere.store(true, Ordering::Relaxed);
            } else if !self.outbox.is_idle() {
                mail.urge();
            }
        }
        polled
    }

    /// Tells everybody who waits that there is no actor any more, or that there never was one.
    ///
    /// Gives back the subscriptions that nobody served.
    fn abandon(&self, error: &StreamError) -> Vec<Subscribe> {
        let mut subscriptions = Vec::new();
        self.outbox.close(error.clone());
        let Taken {
            owed,
            spare,
            controls,
            ..
        } = self.outbox.abandon();
        self.down_gate.give_back(owed + spare);
        self.down_gate.close(error.clone());
        self.inbox.end(Err(error.clone()));
        for control in controls {
            match control {
                Control::Flush(flush) => flush.answer(Err(error.clone())),
                // What came while the channel closed is told the same as what comes later.
                Control::Close(answer) => drop(answer.send(match error {
                    StreamError::Closed => Ok(()),
                    error => Err(error.clone()),
                })),
                Control::Subscribe(subscription) => subscriptions.push(subscription),
                Control::Attach(above) => above.lost(error.clone()),
                Control::Finish
                | Control::Abort(_)
                | Control::ExpectMore
                | Control::SeparateFrames
                | Control::HandlesGone => {}
            }
        }
        subscriptions
    }
}

/// Ends a channel whose arbiter stops before it starts the actor.
struct Unstarted(Arc<Shared>);

impl Drop for Unstarted {
    fn drop(&mut self) {
        if self.0.head.get().is_none() {
            self.tell(LossReason::ActorGone);
        }
    }
}

impl Unstarted {
    fn tell(&self, reason: LossReason) {
        let error = ConnectionLostError::new(&self.0.info.endpoint, reason);
        // Subscribers would live on the arbiter that stopped.
        drop(self.0.abandon(&error.into()));
    }
}

/// Tells the actor when the last handle is gone.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        // An actor that is gone needs no telling.
        let _ = self.0.outbox.control(Control::HandlesGone);
    }
}

/// A channel of frames in both directions.
///
/// A cheap handle: clones share the channel, and all of them work from any thread and any runtime. Frames sent by
/// one task arrive in order; frames of several tasks interleave whole.
///
/// Dropping the last clone closes the channel as [`close`](Self::close) does, with nobody waiting for it.
///
/// A channel whose user runs on another thread than the channel's arbiter pays about 10 µs for each round trip.
#[derive(Clone)]
pub struct Channel {
    shared: Arc<Shared>,
    /// Never read: its drop says that the last handle is gone.
    _guard: Arc<Guard>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("endpoint", &self.endpoint())
            .field("closed", &self.closed())
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// Frames over a stream; what the stream had read ahead comes first.
    ///
    /// If the arbiter of the stream has stopped, the channel is there but closed.
    pub fn new(stream: impl Into<StreamHandle>) -> Self {
        Layers::default().channel(stream)
    }

    /// Spawns the actors of a channel on the arbiter of its stream. `build` stacks the layers there, of which some
    /// may hold frames back if it `gathers`.
    pub(crate) fn spawn(
        stream: StreamHandle,
        gathers: bool,
        build: impl FnOnce(&StreamHandle) -> Down + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            down_gate: stream.gates().0.clone(),
            info: stream.info().clone(),
            waits_elsewhere: AtomicBool::new(false),
            max_frame: stream.info().limits.max_frame,
            head: OnceLock::new(),
            arbiter: stream.arbiter().clone(),
            stats: Counters::default(),
            gathers,
        });
        let unstarted = Unstarted(shared.clone());
        // An arbiter that has stopped, or stops first, drops this without running it.
        shared.arbiter.spawn_fn(move || {
            let shared = &unstarted.0;
            match panics::catch(|| build(&stream)) {
                Ok(down) => {
                    let address = work::start(Head::new(shared.clone(), down));
                    let mail = address.mail().clone();
                    let _ = shared.head.set((address.address().downgrade(), mail));
                }
                Err(reason) => {
                    unstarted.tell(reason);
                    stream.abort();
                }
            }
        });
        Self {
            _guard: Arc::new(Guard(shared.clone())),
            shared,
        }
    }

    /// Receives one frame; `None` when the peer ended its direction and all frames were taken.
    ///
    /// Several tasks may receive at once; each frame goes to one of them.
    ///
    /// # Errors
    ///
    /// `ConnectionLost`, `PeerMisbehaved`, `LimitExceeded` or `Compression` when no frame can come any more; frames that
    /// came before are delivered first. `Closed` after [`close`](Self::close).
    ///
    /// # Cancellation
    ///
    /// A dropped receive took nothing.
    #[inline]
    pub async fn recv(&self) -> Result<Option<Bytes>, StreamError> {
        match self.shared.inbox.try_frame() {
            Some(frame) => Ok(Some(frame)),
            None => self.shared.receive(State::take_frame).await,
        }
    }

    /// Receives one frame if one is there.
    ///
    /// # Errors
    ///
    /// `Empty` when none is there yet; `Ended` or `Failed` when none will come.
    pub fn try_recv(&self) -> Result<Bytes, TryRecvError> {
        match self.shared.inbox.try_next() {
            None => Err(TryRecvError::Empty),
            Some(Ok(Some(frame))) => Ok(frame),
            Some(Ok(None)) => Err(TryRecvError::Ended),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// The one receiver of this channel, which takes frames without a lock, or whole batches.
    ///
    /// While it lives, [`recv`](Self::recv) on handles is refused.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` when there is one already.
    pub fn receiver(&self) -> Result<Receiver, StreamError> {
        Receiver::new(self.clone())
    }

    /// Waits until [`recv`](Self::recv) would not wait, for at most `timeout`. With zero (the seed's default,
    /// [`DEFAULT_POLL_TIMEOUT`](crate::limits::DEFAULT_POLL_TIMEOUT)) it only looks.
    ///
    /// True when a frame is there, or when the flow of frames has ended; false when the time is over.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn poll(&self, timeout: Duration) -> bool {
        let inbox = &self.shared.inbox;
        if inbox.is_ready() || timeout.is_zero() {
            return inbox.is_ready();
        }
        tokio::select! {
            () = self.readable() => true,
            () = Runtime::sleep_on(&self.shared.arbiter, timeout) => false,
        }
    }

    /// Resolves when every frame sent before has reached the kernel.
    ///
    /// # Errors
    ///
    /// When they never will.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn flush(&self) -> Result<(), StreamError> {
        let (flush, receiver) = Flush::new();
        self.shared
            .outbox
            .control(Control::Flush(flush))
            .map_err(|(_, error)| error)?;
        receiver.await.unwrap_or_else(|_| Err(self.reason()))
    }

    /// Ends this end's direction behind the frames sent before; the peer may go on.
    ///
    /// # Errors
    ///
    /// When the channel is closed or lost.
    pub fn finish(&self) -> Result<(), StreamError> {
        self.shared.down_gate.close(StreamError::Closed);
        self.shared
            .outbox
            .control(Control::Finish)
            .map_err(|(_, error)| error)
    }

    /// Flushes what was accepted, ends this end's direction, reads on until the peer's end (for at most 5 s by
    /// default, dropping what comes), and closes.
    ///
    /// Closing a closed channel is no error.
    ///
    /// # Errors
    ///
    /// When what was accepted did not all reach the kernel.
    ///
    /// # Cancellation
    ///
    /// The channel closes all the same.
    pub async fn close(&self) -> Result<(), StreamError> {
        let (answer, receiver) = oneshot::channel();
        self.shared.down_gate.close(StreamError::Closed);
        match self.shared.outbox.control(Control::Close(answer)) {
            Ok(()) => receiver.await.unwrap_or(Ok(())),
            Err((_, StreamError::Closed)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }

    /// Drops what is under way in both directions and resets the connection.
    pub fn abort(&self) {
        self.abort_because(LossReason::Aborted);
    }

    /// [`abort`](Self::abort) for a reason, which everybody is told. For what stands on a channel, and knows that it is of no use any more.
    pub fn abort_because(&self, reason: LossReason) {
        let error = ConnectionLostError::new(&self.shared.info.endpoint, reason.clone());
        // An actor that is gone has nothing left to drop.
        let _ = self.shared.outbox.control(Control::Abort(reason));
        self.shared.down_gate.close(error.clone().into());
        self.shared.inbox.discard(Err(error.into()));
    }

    /// True when nothing can be sent any more: finished or closed on this end, or lost.
    pub fn closed(&self) -> bool {
        self.shared.down_gate.closed().is_some()
    }

    /// Resolves when no frame comes any more, though some may still wait to be received: with the peer's orderly end, or
    /// with an error.
    pub(crate) async fn ending(&self) -> Result<(), StreamError> {
        self.shared.receive(|state| state.ending()).await
    }

    /// True when [`recv`](Self::recv) would not wait.
    pub(crate) fn is_ready(&self) -> bool {
        self.shared.inbox.is_ready()
    }

    /// Resolves when [`recv`](Self::recv) would not wait.
    pub(crate) async fn readable(&self) {
        let ready = |state: &mut State| state.is_ready().then_some(());
        self.shared.receive(ready).await;
    }

    /// True while frames wait to be received.
    pub(crate) fn holds_frames(&self) -> bool {
        self.shared.inbox.holds_frames()
    }

    /// True when it is open on both ends, and no frame waits to be received.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.closed() && !self.shared.inbox.is_ready()
    }

    fn reason(&self) -> StreamError {
        let gone =
            || ConnectionLostError::new(&self.shared.info.endpoint, LossReason::ActorGone).into();
        self.shared.down_gate.closed().unwrap_or_else(gone)
    }

    /// The endpoint in the form in which it was given.
    pub fn endpoint(&self) -> &str {
        &self.shared.info.endpoint
    }

    /// What bounds the channel.
    pub fn limits(&self) -> &Limits {
        &self.shared.info.limits
    }

    /// The address of this end, where the transport has one.
    pub fn local_address(&self) -> Option<&Address> {
        self.shared.info.local.as_ref()
    }

    /// The address of the peer, where the transport has one.
    pub fn peer_address(&self) -> Option<&Address> {
        self.shared.info.peer.as_ref()
    }

    /// What TLS's handshake established, the peer's certificate among it; `None` on streams that do not speak it.
    #[cfg(feature = "__tls")]
    pub fn tls(&self) -> Option<&crate::stream::tls::TlsInfo> {
        self.shared.info.tls.as_deref()
    }

    /// The arbiter on which this channel's actors live: tasks that run there save the way between threads.
    pub fn arbiter(&self) -> &actix_rt::ArbiterHandle {
        &self.shared.arbiter
    }

    /// The actor at this end of the chain, for actors that would rather pass messages; `None` once it is gone, or while
    /// it is being started on another thread. An address does not keep the channel open, a handle does.
    pub fn address(&self) -> Option<Addr<Head>> {
        self.shared.head.get()?.0.upgrade()
    }

    /// Counts so far, and what is under way now.
    pub fn stats(&self) -> ChannelStats {
        self.shared.stats.snapshot(&self.shared.down_gate)
    }
}
