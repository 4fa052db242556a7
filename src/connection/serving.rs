//! [`Serving`]: the actor of a connection.
//!
//! It takes every batch at once, so a peer's writer never waits for a handler: stock Python gives up when its
//! `send` makes no progress for 3 s. Requests queue here, within limits, and beyond them are answered with an
//! exception.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler};
use futures_util::stream::{FuturesUnordered, Stream};
use rpyc_actors::{
    ConnectionEvent, ConnectionLostError, Frames, StreamError,
    channel::Subscribe,
    error::LossReason,
    event::{log_started, log_stopped},
    message::Read,
    panics,
};
use tokio::time::Sleep;

use super::{
    Connection, Link, answer::answer, link::Incoming, nested::Handling, scratch, waiting::Failure,
};
use crate::{
    connection::Exported,
    object::Object,
    protocol::{Exception, Request, Seq},
    service::Running,
};

/// Time for requests of a peer that closed and went away, to be finished.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

type Outcome = (Seq, Result<Object, Exception>);

/// Starts the actor on the channel's arbiter. It drops `kept` when all is over; with a hold there it serves until the peer ends.
pub(super) fn start(link: Arc<Link>, kept: Option<Box<dyn Send>>) {
    let arbiter = link.channel.arbiter().clone();
    let for_actor = link.clone();
    let start = move || {
        Serving {
            link: for_actor,
            _kept: kept,
            queue: VecDeque::new(),
            queued_bytes: 0,
            running: FuturesUnordered::new(),
            timer: None,
            peer_closes: false,
            patience: None,
            ended: None,
            room: None,
            may_answer: false,
            closing: None,
        }
        .start();
    };
    if !arbiter.spawn_fn(start) {
        link.end(&StreamError::misuse(
            "the arbiter of this connection has stopped",
        ));
        link.over.tell();
    }
}

/// The actor of one connection.
pub(super) struct Serving {
    link: Arc<Link>,
    _kept: Option<Box<dyn Send>>,
    queue: VecDeque<(usize, Seq, Request<Exported>)>,
    queued_bytes: usize,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Outcome>>>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The peer said that it closes. What it asked for before is finished, as stock Python does: a client may send calls whose
    /// answers it does not want, and close.
    peer_closes: bool,
    /// How long that may take once the peer is gone.
    patience: Option<Pin<Box<Sleep>>>,
    /// Why no more requests are served.
    ended: Option<Box<StreamError>>,
    /// The wait until the peer has read some of its answers. No others are made meanwhile.
    room: Option<Pin<Box<dyn Future<Output = ()>>>>,
    may_answer: bool,
    /// The channel's close under way.
    closing: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Serving {
    fn handle_frames(&mut self, frames: Frames) {
        let mut incoming = scratch::take();
        let result = self.link.handle_frames(frames, &mut incoming);
        let mut is_late = false;
        for (size, message) in incoming.drain(..) {
            is_late |= matches!(message, Incoming::Late);
            self.handle(size, message);
        }
        if is_late {
            self.link.hurry_the_next();
        }
        scratch::keep(incoming);
        let (unread, limit) = (self.link.unread(), self.link.limits.unread_bytes);
        if unread > limit {
            self.end(StreamError::LimitExceeded {
                what: "answers that are not read",
                limit: limit as u64,
                got: unread as u64,
                endpoint: Some(self.link.channel.endpoint().into()),
            });
        }
        if let Err(error) = result {
            let endpoint: Arc<str> = self.link.channel.endpoint().into();
            let error = StreamError::PeerMisbehaved {
                what: in_full(&error).into(),
                endpoint: Some(endpoint),
            };
            tracing::warn!(%error, "a connection is given up");
            self.end(error);
        }
    }

    fn handle(&mut self, size: usize, message: Incoming) {
        match message {
            Incoming::Answer { waiter, result, .. } => {
                if let Err(Ok(item)) = waiter.tell(result.map_err(Failure::Call)) {
                    // The caller went away meanwhile.
                    self.link.give_back(&item);
                }
            }
            Incoming::Request { seq, request } => self.enqueue(size, seq, request),
            Incoming::BadRequest { seq, exception } => self.link.reply(&seq, Err(&exception)),
            Incoming::Close => self.peer_closes = true,
            Incoming::Late | Incoming::Nothing => {}
        }
    }

    fn enqueue(&mut self, size: usize, seq: Seq, request: Request<Exported>) {
        if self.ended.is_some() || self.peer_closes {
            return;
        }
        let limits = &self.link.limits;
        let (requests, bytes) = (limits.queued_requests.max(1), limits.queued_bytes);
        if self.queue.len() >= requests || self.queued_bytes + size > bytes {
            let what = format!(
                "too many requests wait on this connection: {} of {requests}, {} of {bytes} bytes",
                self.queue.len(),
                self.queued_bytes
            );
            self.refuse(&seq, request, &Exception::runtime_error(what));
            return;
        }
        // While a handler waits for the peer, this may be a callback's, which that handler needs.
        if self.link.is_drain_wanted() && (self.running.is_empty() || !self.all_wait()) {
            let what = Exception::runtime_error("the server is shutting down");
            self.link.reply(&seq, Err(&what));
            self.link.give_back_all(request.into_items());
            return;
        }
        // One request after the other never waits, so an idle connection keeps no room for any.
        if self.queue.is_empty() && self.may_serve() {
            self.begin(seq, request);
            return;
        }
        self.queued_bytes += size;
        self.queue.push_back((size, seq, request));
        self.serve();
    }

    /// Answers a request that exceeds a limit.
    fn refuse(&self, seq: &Seq, request: Request<Exported>, exception: &Exception) {
        self.link.refused.fetch_add(1, Ordering::Relaxed);
        self.link.reply(seq, Err(exception));
        self.link.give_back_all(request.into_items());
    }

    /// Whether the peer reads its answers: no others are made while those before them fill the way.
    fn is_read(&mut self) -> bool {
        // Whoever waited in line has its turn, though others wait behind it.
        let had_its_turn = std::mem::take(&mut self.may_answer);
        let channel = &self.link.channel;
        had_its_turn || channel.try_reserve(1).is_some() || channel.closed()
    }

    /// Waits, if requests do, until the peer has read some of its answers. True when they may go on.
    fn poll_read(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if self.queue.is_empty() || !self.has_room() {
            return false;
        }
        let channel = &self.link.channel;
        let room = self.room.get_or_insert_with(|| {
            let channel = channel.clone();
            // Nothing is kept of it; and when the channel is closed there is nothing to wait for.
            Box::pin(async move { drop(channel.reserve(1).await) })
        });
        let is_there = room.as_mut().poll(cx).is_ready();
        if is_there {
            self.room = None;
            self.may_answer = true;
        }
        is_there
    }

    /// Whether the next request may be served beside those that run.
    fn has_room(&self) -> bool {
        let running = self.running.len();
        let limits = &self.link.limits;
        if self.link.service.serves_in_order() {
            running == 0 || (running < limits.nested_calls && self.all_wait())
        } else {
            running < limits.concurrent_requests.max(1)
        }
    }

    /// A handler that waits for a call of its own lets later requests pass, or callbacks would deadlock.
    fn all_wait(&self) -> bool {
        self.link.nested() >= self.running.len()
    }

    /// Refuses what would be nested too deep: those that run wait for it, so it would wait for ever.
    fn refuse_too_deep(&mut self) {
        let limit = self.link.limits.nested_calls.max(1);
        while self.link.service.serves_in_order()
            && self.running.len() >= limit
            && self.all_wait()
            && let Some((size, seq, request)) = self.queue.pop_front()
        {
            self.queued_bytes -= size;
            let what = format!("more than {limit} calls are nested on this connection");
            let refusal = Exception::builtin("RecursionError", vec![what.into()]);
            self.refuse(&seq, request, &refusal);
        }
    }

    /// Serves what may be served. Says whether a handler was started that is to be polled.
    fn serve(&mut self) -> bool {
        let before = self.running.len();
        while !self.queue.is_empty()
            && self.may_serve()
            && let Some((size, seq, request)) = self.queue.pop_front()
        {
            self.queued_bytes -= size;
            self.begin(seq, request);
        }
        self.refuse_too_deep();
        self.running.len() > before
    }

    /// Whether one more request may be served now.
    fn may_serve(&mut self) -> bool {
        self.ended.is_none() && self.has_room() && self.is_read()
    }

    fn begin(&mut self, seq: Seq, request: Request<Exported>) {
        let handling = Handling::enter(&self.link);
        let running = panics::catch(|| answer(&self.link, request));
        drop(handling);
        match running {
            Ok(Running::Done(result)) => self.link.reply(&seq, result.as_ref()),
            Ok(Running::Later(work)) => self
                .running
                .push(Box::pin(async move { (seq, work.await) })),
            Err(reason) => self.panicked(reason),
        }
    }

    /// Polls handlers and starts others until nothing moves.
    fn work(&mut self, cx: &mut TaskContext<'_>) {
        if self.running.is_empty() && self.queue.is_empty() {
            return;
        }
        loop {
            let handling = Handling::enter(&self.link);
            let polled = panics::catch(|| Pin::new(&mut self.running).poll_next(cx));
            drop(handling);
            match polled {
                Err(reason) => return self.panicked(reason),
                Ok(Poll::Ready(Some((seq, result)))) => {
                    self.link.reply(&seq, result.as_ref());
                    self.serve();
                }
                Ok(Poll::Ready(None) | Poll::Pending) => {
                    if !self.serve() && !self.poll_read(cx) {
                        return;
                    }
                }
            }
        }
    }

    /// Deadlines of our calls, and references to be given back.
    fn keep_time(&mut self, cx: &mut TaskContext<'_>) {
        // Most polls are about messages: then the timer runs on, and nothing is locked.
        let is_due = self.timer.as_ref().is_some_and(|timer| timer.is_elapsed());
        if !self.link.take_work_wanted() && !is_due {
            return;
        }
        loop {
            let now = tokio::time::Instant::now().into_std();
            let (expired, next) = self.link.work(now, cx.waker());
            for waiter in expired {
                // A caller that went away needs no news.
                let _ = waiter.tell(Err(Failure::TimedOut));
            }
            let Some(next) = next.map(tokio::time::Instant::from_std) else {
                self.timer = None;
                return;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_empty()
    }

    /// The peer ended its direction.
    fn handle_end(&mut self) {
        if self.link.is_close_wanted() {
            // The peer's answer to our CLOSE, which came before this actor had its turn.
            self.end(StreamError::Closed);
            return;
        }
        if !self.peer_closes || self.is_idle() {
            self.end(self.link.ended_by_peer());
            return;
        }
        // Our own calls will have no answer any more, and those we finish have nobody who waits.
        self.link.end(&self.link.ended_by_peer());
        self.patience = Some(Box::pin(tokio::time::sleep(FINISH_WITHIN)));
    }

    /// The connection is lost. Stock Python ends TLS without a close_notify, so behind a CLOSE that is an end like any other: nothing more was
    /// due. The events of a channel come in order, so a CLOSE that came first is known by now. Behind our own CLOSE it does not matter how
    /// the peer ends.
    fn handle_loss(&mut self, error: ConnectionLostError) {
        let is_cut_off = matches!(error.reason, LossReason::CutOff);
        if self.link.is_close_wanted() || (self.peer_closes && is_cut_off) {
            self.handle_end();
        } else {
            self.end(error.into());
        }
    }

    /// Whether the peer closed and all is done that it had asked for.
    fn is_finished(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let is_late = |patience: &mut Pin<Box<Sleep>>| patience.as_mut().poll(cx).is_ready();
        self.peer_closes && (self.is_idle() || self.patience.as_mut().is_some_and(is_late))
    }

    /// What is served panicked: nobody knows what became of it, so the connection is lost.
    fn panicked(&mut self, reason: LossReason) {
        let endpoint: Arc<str> = self.link.channel.endpoint().into();
        self.link.channel.abort_because(reason.clone());
        let error = ConnectionLostError::new(&endpoint, reason);
        tracing::error!(%error, "a service panicked");
        self.end(error.into());
    }

    /// Ends the connection: nothing more is served, calls get their error, the channel closes.
    fn end(&mut self, reason: StreamError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(reason.clone().into());
        self.link.end(&reason);
        self.queue.clear();
        self.running.clear();
        let channel = self.link.channel.clone();
        self.closing = Some(Box::pin(async move {
            if let Err(error) = channel.close().await {
                tracing::debug!(%error, "the channel of a connection ended early");
            }
        }));
    }
}

/// An error and what caused it, which says where and by how much.
fn in_full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", in_full(source)),
        None => error.to_string(),
    }
}

impl Actor for Serving {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Zero means without a limit in actix; the credit of each batch is given back as it is taken.
        ctx.set_mailbox_capacity(0);
        log_started::<Self>(self.link.channel.endpoint());
        let connection = Connection::of(self.link.hold());
        match panics::catch(|| self.link.service.connected(&connection)) {
            Ok(Ok(())) => {}
            Ok(Err(exception)) => {
                tracing::warn!(%exception, "a connection was refused by the service");
                self.end(StreamError::Closed);
            }
            Err(reason) => self.panicked(reason),
        }
        let this = ctx.address().downgrade();
        let subscription = Subscribe {
            frames: Some(this.clone().recipient()),
            events: Some(this.recipient()),
        };
        if let Err(error) = self.link.channel.subscribe(subscription) {
            self.end(error);
        }
        ctx.spawn(Work);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        log_stopped::<Self>(self.link.channel.endpoint());
        // Reached without an end only when a handler panicked or the arbiter stopped.
        let error =
            ConnectionLostError::new(&self.link.channel.endpoint().into(), LossReason::ActorGone);
        if self.link.end(&error.into()) {
            self.link.channel.abort();
        }
        let connection = Connection::of(self.link.hold());
        if let Err(reason) = panics::catch(|| self.link.service.disconnected(&connection)) {
            tracing::error!(%reason, "what runs behind a connection panicked");
        }
        self.link.over.tell();
    }
}

/// The future that works between messages.
struct Work;

impl ActorFuture<Serving> for Work {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        serving: &mut Serving,
        ctx: &mut Context<Serving>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        serving.keep_time(cx);
        if serving.ended.is_none() {
            serving.work(cx);
            if serving.link.is_drain_wanted() && serving.is_idle() {
                serving.link.close();
            }
            if serving.is_finished(cx) {
                serving.end(serving.link.ended_by_peer());
            }
            if serving.link.is_close_wanted() {
                serving.end(StreamError::Closed);
            }
        }
        let Some(closing) = &mut serving.closing else {
            return Poll::Pending;
        };
        if closing.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        ctx.stop();
        Poll::Ready(())
    }
}

impl Handler<Read<Frames>> for Serving {
    type Result = ();

    fn handle(&mut self, message: Read<Frames>, _: &mut Context<Self>) {
        if self.ended.is_none() {
            self.handle_frames(message.unit);
        }
    }
}

impl Handler<ConnectionEvent> for Serving {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        match event {
            ConnectionEvent::Ended { .. } => self.handle_end(),
            ConnectionEvent::Lost(error) => self.handle_loss(error),
            ConnectionEvent::Closed { .. } => self.end(StreamError::Closed),
            _ => {}
        }
    }
}
