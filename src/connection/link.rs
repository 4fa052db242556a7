//! [`Link`]: what the handles, the references and the actor of one connection share.
//!
//! One lock guards the protocol together with its place in the channel's outbox, so that sequence numbers match the
//! order on the wire. Nothing of an application runs under it, and nothing waits.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use parking_lot::{Mutex, MutexGuard};
use rpyc_actors::{Channel, ConnectionLostError, Credit, Frames, StreamError, error::LossReason};
use tokio::sync::{OnceCell, oneshot};

pub(crate) use super::export::LocalItem;
use super::{
    config::ConnectionConfig,
    deadline::Deadline,
    export::Exported,
    hold::Hold,
    nested::Nested,
    over::Over,
    waiting::{Answer, Failure, Waiter, Waiting},
};
use crate::{
    error::Error,
    netref::Netref,
    object::Object,
    protocol::{
        Ask, Exception, IdPack, Limits, PackTuple, Protocol, ProtocolError, SendError, Seq,
    },
    service::Service,
};

/// Credit that a call asks for before its size is known, in bytes.
const CALL_ESTIMATE: usize = 128;
/// How long a reference that nobody uses waits for a request that its DEL can follow.
const RELEASE_AFTER: Duration = Duration::from_millis(20);

pub(crate) struct Link {
    pub(super) channel: Channel,
    pub(super) service: Arc<Service>,
    pub(super) limits: Limits,
    /// Which one of a supervised chain it is; 0 without a supervisor.
    generation: u64,
    /// Requests that were refused because of one of them.
    pub(super) refused: AtomicU64,
    state: Mutex<State>,
    /// Calls made by handlers of this connection that wait for their answer.
    pub(super) nested: AtomicUsize,
    /// Apart from the rest, since most ends that serve ask for nothing.
    known: OnceLock<Box<Known>>,
    /// True once everything is over.
    pub(super) over: Arc<Over>,
    /// Handles and references; at none the connection closes.
    pub(super) holders: AtomicUsize,
    close_wanted: AtomicBool,
    drain_wanted: AtomicBool,
    /// The actor's waker was taken, so it has to come to [`Link::work`] and give a new one.
    work_wanted: AtomicBool,
}

/// References that a connection asks for once.
#[derive(Default)]
pub(crate) struct Known {
    /// The peer's root.
    pub(super) root: OnceCell<IdPack>,
    /// The function of classic mode.
    pub(crate) helper: OnceCell<IdPack>,
}

struct State {
    protocol: Protocol<Waiter, Exported>,
    scratch: BytesMut,
    /// Frames that the channel accepted; only this connection gives it any.
    posted: u64,
    /// The actor, and until when it sleeps.
    waker: Option<Waker>,
    wakes_at: Option<Instant>,
    release_at: Option<Instant>,
    ended: Option<Box<StreamError>>,
}

/// What became of the frames of one batch, to be dealt with outside of the lock.
pub(super) type Incoming = crate::protocol::Incoming<Waiter, Exported>;

impl Link {
    pub(super) fn new(
        channel: Channel,
        service: Arc<Service>,
        config: ConnectionConfig,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this: &std::sync::Weak<Self>| {
            Self::tagged(channel, service, config, this.as_ptr().addr())
        })
    }

    fn tagged(
        channel: Channel,
        service: Arc<Service>,
        config: ConnectionConfig,
        tag: usize,
    ) -> Self {
        let limits = config.limits;
        // A message that fits no frame is refused where it is made, so that whoever waits for it is told.
        let largest = limits.message_bytes.min(channel.limits().max_frame);
        let limits = limits.message_bytes(largest);
        let mut protocol = Protocol::new(limits).tagged(tag);
        if let Some(dialect) = config.dialect {
            protocol = protocol.speaking(dialect);
        }
        let state = State {
            protocol,
            scratch: BytesMut::new(),
            posted: channel.accepted(),
            waker: None,
            wakes_at: None,
            release_at: None,
            ended: None,
        };
        Self {
            channel,
            service,
            limits,
            generation: config.generation(),
            refused: AtomicU64::new(0),
            state: Mutex::new(state),
            nested: AtomicUsize::new(0),
            known: OnceLock::new(),
            over: Arc::default(),
            holders: AtomicUsize::new(0),
            close_wanted: AtomicBool::new(false),
            drain_wanted: AtomicBool::new(false),
            work_wanted: AtomicBool::new(true),
        }
    }

    pub(crate) fn known(&self) -> &Known {
        self.known.get_or_init(Box::default)
    }

    /// Sends a request, and gives where the answer will arrive.
    fn start<P: PackTuple<Exported>>(
        &self,
        ask: &Ask<P>,
        deadline: Option<Instant>,
        credit: Credit,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let (answer, receiver) = oneshot::channel();
        let mut state = self.state.lock();
        let State {
            protocol,
            scratch,
            posted,
            ended,
            ..
        } = &mut *state;
        if let Some(error) = ended.as_deref() {
            return Err(Error::NotSent(error.clone()));
        }
        let waiter = Waiter {
            answer,
            frame: *posted + 1,
        };
        let number = protocol
            .request(ask, waiter, deadline, scratch)
            .map_err(Error::Unsendable)?;
        if let Err(error) = self.channel.post(scratch, credit) {
            scratch.clear();
            let waiter = protocol.abandon(number);
            drop(state);
            drop(waiter);
            return Err(Error::NotSent(self.numbered(error)));
        }
        *posted += 1;
        self.flush_releases(&mut state);
        // Somebody waits for the answer.
        self.channel.pass_on();
        if let Some(deadline) = deadline {
            self.wake_before(state, deadline);
        }
        Ok(receiver)
    }

    /// DELs go directly behind a request: before it, their answers would hold back the one that is waited for.
    fn flush_releases(&self, state: &mut State) {
        state.release_at = None;
        while state.protocol.poll_release(&mut state.scratch) {
            self.post(state);
        }
    }

    /// Sends what is in the scratch buffer, without asking for credit: the peer waits for it.
    fn post(&self, state: &mut State) {
        let credit = self.channel.overdraw(state.scratch.len());
        match self.channel.post(&mut state.scratch, credit) {
            Ok(_) => state.posted += 1,
            // The channel is ending, of which the actor learns by itself.
            Err(_) => state.scratch.clear(),
        }
    }

    /// Calls, and waits for the answer.
    ///
    /// # Cancellation
    ///
    /// A call dropped before its place in the line came was not sent. Later, its answer is dropped when it comes, and
    /// the references in it are given back.
    pub(crate) async fn ask<P: PackTuple<Exported>>(
        self: &Arc<Self>,
        ask: Ask<P>,
        deadline: Deadline,
    ) -> Result<Object, Error> {
        Ok(self.import(self.ask_item(ask, deadline).await?))
    }

    /// [`ask`](Self::ask), without making handles of the references in the answer.
    pub(crate) async fn ask_item<P: PackTuple<Exported>>(
        &self,
        ask: Ask<P>,
        deadline: Deadline,
    ) -> Result<LocalItem, Error> {
        let credit = match self.channel.try_reserve(CALL_ESTIMATE) {
            Some(credit) => credit,
            None => self.wait_for_room(deadline).await?,
        };
        let receiver = self.start(&ask, deadline.at(), credit)?;
        drop(ask);
        let _nested = Nested::enter(self);
        let waiting = Waiting {
            link: self,
            receiver,
        };
        match waiting.await {
            Ok(item) => Ok(item),
            Err(Failure::Call(error)) => Err(error.into()),
            Err(Failure::NotSent(error)) => Err(Error::NotSent(error)),
            Err(Failure::MayHaveRun(error)) => Err(Error::MayHaveRun(error)),
            Err(Failure::TimedOut) => Err(deadline.passed()),
        }
    }

    /// Makes handles of the references in an item.
    pub(super) fn import(self: &Arc<Self>, item: LocalItem) -> Object {
        match item {
            LocalItem::Value(value) => Object::Value(value),
            LocalItem::Tuple(items) => {
                Object::Tuple(items.into_iter().map(|item| self.import(item)).collect())
            }
            LocalItem::Theirs(id) => Object::Netref(Netref::new(self, id)),
            LocalItem::Ours(Exported::Root(service)) => Object::Root(service),
            LocalItem::Ours(Exported::Function(function)) => Object::Function(function),
        }
    }

    /// A reference is not used any more.
    pub(crate) fn release(&self, id: &IdPack) {
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return;
        }
        state.protocol.release(id, 1);
        self.release_soon(state);
    }

    /// Answers a request.
    pub(super) fn reply(&self, seq: &Seq, result: Result<&Object, &Exception>) {
        let mut state = self.state.lock();
        let State {
            protocol,
            scratch,
            ended,
            ..
        } = &mut *state;
        if ended.is_some() {
            return;
        }
        let sent = match result {
            Ok(object) => protocol.reply(seq, object, scratch),
            Err(exception) => {
                protocol.exception(seq, exception, scratch);
                Ok(())
            }
        };
        if let Err(error) = sent {
            protocol.exception(seq, &unsendable(&error), scratch);
        }
        self.post(&mut state);
        // The peer waits for it.
        self.channel.pass_on();
    }

    /// Reads frames, each with its size. What they mean is dealt with outside of the lock.
    pub(super) fn handle_frames(
        &self,
        frames: Frames,
        incoming: &mut Vec<(usize, Incoming)>,
    ) -> Result<(), ProtocolError> {
        let mut state = self.state.lock();
        for frame in frames {
            incoming.push((frame.len(), state.protocol.handle_frame(frame)?));
        }
        // The protocol itself gives back what came with a late or a refused message.
        self.release_soon(state);
        Ok(())
    }

    /// References of items that nobody wants.
    pub(super) fn give_back_all(&self, items: impl IntoIterator<Item = LocalItem>) {
        for item in items {
            if matches!(item, LocalItem::Theirs(_) | LocalItem::Tuple(_)) {
                self.give_back(&item);
            }
        }
    }

    /// References of an answer that nobody waits for.
    pub(super) fn give_back(&self, item: &LocalItem) {
        let mut state = self.state.lock();
        state.protocol.release_item(item);
        self.release_soon(state);
    }

    /// The calls whose deadline passed; and flushes references that waited long enough. Says when to come again: then,
    /// or when [`take_work_wanted`](Self::take_work_wanted) says so, even if no call waits by then. A timer that goes
    /// off once in vain costs less than one that is armed and disarmed with each call.
    pub(super) fn work(&self, now: Instant, waker: &Waker) -> (Vec<Waiter>, Option<Instant>) {
        let mut state = self.state.lock();
        if state.release_at.is_some_and(|at| at <= now) {
            self.flush_releases(&mut state);
        }
        let expired = match state.protocol.poll_timeout() {
            Some(at) if at <= now => state.protocol.expire(now),
            _ => Vec::new(),
        };
        // What did not fit among the requests under way.
        if state.release_at.is_none() && state.protocol.has_releases() {
            state.release_at = Some(now + RELEASE_AFTER);
        }
        let next = [state.protocol.poll_timeout(), state.release_at]
            .into_iter()
            .flatten()
            .min();
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        state.wakes_at = next;
        (
            expired.into_iter().map(|(_, waiter)| waiter).collect(),
            next,
        )
    }

    /// Tells the peer that we close, once, and the actor that it shall.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        // Before the CLOSE leaves: its answer may be here at once. The actor ends nothing without the lock, so it does not overtake the CLOSE.
        self.close_wanted.store(true, Ordering::Release);
        let State {
            protocol, scratch, ..
        } = &mut *state;
        protocol.close(scratch);
        if !scratch.is_empty() {
            self.post(&mut state);
        }
        self.wake_actor(state);
    }

    /// Asks the actor to finish the requests it has, and then to close.
    pub(crate) fn drain(&self) {
        self.drain_wanted.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the actor look at everything again.
    pub(super) fn wake(&self) {
        self.wake_actor(self.state.lock());
    }

    /// Sees to it that references are given back even if no request follows.
    fn release_soon(&self, mut state: MutexGuard<'_, State>) {
        if state.release_at.is_none() && state.protocol.has_releases() {
            let at = Instant::now() + RELEASE_AFTER;
            state.release_at = Some(at);
            self.wake_before(state, at);
        }
    }

    /// Sees to it that the actor looks at the clock no later than `at`.
    fn wake_before(&self, mut state: MutexGuard<'_, State>, at: Instant) {
        if state.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            state.wakes_at = Some(at);
            self.wake_actor(state);
        }
    }

    /// Lets go of the lock, and makes the actor come to [`work`](Self::work).
    fn wake_actor(&self, mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        self.work_wanted.store(true, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// True when the actor has to come to [`work`](Self::work); once for each time.
    pub(super) fn take_work_wanted(&self) -> bool {
        self.work_wanted.load(Ordering::Acquire) && self.work_wanted.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_drain_wanted(&self) -> bool {
        self.drain_wanted.load(Ordering::Acquire)
    }

    pub(super) fn is_close_wanted(&self) -> bool {
        self.close_wanted.load(Ordering::Acquire)
    }

    /// One more handle or reference.
    pub(crate) fn hold(self: &Arc<Self>) -> Hold {
        self.holders.fetch_add(1, Ordering::Relaxed);
        Hold(self.clone())
    }

    /// Numbers a loss.
    fn numbered(&self, error: StreamError) -> StreamError {
        match self.generation {
            0 => error,
            number => error.of_generation(number),
        }
    }

    /// Ends the connection: every call that waits gets its error. Gives whether this was the first end.
    pub(super) fn end(&self, reason: &StreamError) -> bool {
        let reason = &self.numbered(reason.clone());
        let mut state = self.state.lock();
        if state.ended.is_some() {
            return false;
        }
        state.ended = Some(reason.clone().into());
        let (waiters, objects) = state.protocol.end();
        drop(state);
        drop(objects);
        for (_, waiter) in waiters {
            let failure = if self.channel.has_left(waiter.frame) {
                Failure::MayHaveRun
            } else {
                Failure::NotSent
            };
            // Whoever went away misses nothing.
            let _ = waiter.tell(Err(failure(reason.clone())));
        }
        true
    }

    pub(super) fn ended_by_peer(&self) -> StreamError {
        let endpoint: Arc<str> = self.channel.endpoint().into();
        ConnectionLostError::new(&endpoint, LossReason::EndOfStream).into()
    }

    pub(super) fn end_reason(&self) -> Option<StreamError> {
        self.state.lock().ended.as_deref().cloned()
    }

    /// Bytes that the peer, or the kernel, did not take yet.
    pub(super) fn unread(&self) -> usize {
        usize::try_from(self.channel.stats().bytes_under_way).unwrap_or(usize::MAX)
    }

    /// Something came that nobody waits for, such as the answer to a DEL. Stock Python's kernel may keep the answer that somebody waits
    /// for until that is acknowledged, and ours would do so only after 40 ms.
    pub(super) fn hurry_the_next(&self) {
        if self.stats().pending > 0 {
            self.channel.expect_more();
        }
    }

    pub(super) fn stats(&self) -> crate::protocol::Stats {
        let mut stats = self.state.lock().protocol.stats();
        stats.refused = self.refused.load(Ordering::Relaxed);
        stats
    }

    /// Calls of our own handlers that wait for the peer.
    pub(super) fn nested(&self) -> usize {
        self.nested.load(Ordering::Relaxed)
    }
}

fn unsendable(error: &SendError) -> Exception {
    Exception::type_error(format!("the result cannot be sent: {error}"))
}
