//! [`Serving`]: the actor of a connection.
//!
//! It takes every batch at once, so a peer's writer never waits for a handler: stock Python gives up when its
//! `send` makes no progress for 3 s. Requests queue here, within limits, and beyond them are answered with an
//! exception.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use actix::{Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler};
use futures_util::stream::{FuturesUnordered, Stream};
use rpyc_actors::{
    ConnectionEvent, ConnectionLostError, Frames, StreamError, channel::Subscribe,
    error::LossReason, message::Read,
};
use tokio::time::Sleep;

use super::{
    Connection, Hold, Link,
    answer::answer,
    link::{Failure, Handling, Incoming},
};
use crate::{
    connection::Exported,
    object::Object,
    protocol::{Exception, Request, Seq},
    service::Running,
};

/// Requests of a connection that wait for their turn.
const MAX_QUEUED: usize = 1024;
/// Their size in bytes.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// Handlers of a connection that serves in order, all but one of which wait for a call to the peer.
const MAX_NESTED: usize = 64;
/// Handlers of a connection that serves side by side.
const MAX_CONCURRENT: usize = 1024;

type Outcome = (Seq, Result<Object, Exception>);

/// Starts the actor on the channel's arbiter. With a hold of its own it serves until the peer ends.
pub(super) fn start(link: Arc<Link>, hold: Option<Hold>) {
    let arbiter = link.channel.arbiter().clone();
    let for_actor = link.clone();
    let start = move || {
        Serving {
            link: for_actor,
            _hold: hold,
            queue: VecDeque::new(),
            queued_bytes: 0,
            running: FuturesUnordered::new(),
            incoming: Vec::new(),
            timer: None,
            ended: None,
            closing: None,
        }
        .start();
    };
    if !arbiter.spawn_fn(start) {
        link.end(&StreamError::misuse(
            "the arbiter of this connection has stopped",
        ));
        link.over.send_replace(true);
    }
}

/// The actor of one connection.
pub(super) struct Serving {
    link: Arc<Link>,
    _hold: Option<Hold>,
    queue: VecDeque<(usize, Seq, Request<Exported>)>,
    queued_bytes: usize,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Outcome>>>>,
    incoming: Vec<(usize, Incoming)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Why no more requests are served.
    ended: Option<StreamError>,
    /// The channel's close under way.
    closing: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Serving {
    fn handle_frames(&mut self, frames: Frames) {
        let mut incoming = std::mem::take(&mut self.incoming);
        let result = self.link.handle_frames(frames, &mut incoming);
        for (size, message) in incoming.drain(..) {
            self.handle(size, message);
        }
        self.incoming = incoming;
        if let Err(error) = result {
            let endpoint: Arc<str> = self.link.channel.endpoint().into();
            self.end(StreamError::PeerMisbehaved {
                what: error.to_string().into(),
                endpoint: Some(endpoint),
            });
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
            Incoming::Close => self.end(ended_by_peer(&self.link)),
            Incoming::Late | Incoming::Nothing => {}
        }
    }

    fn enqueue(&mut self, size: usize, seq: Seq, request: Request<Exported>) {
        if self.ended.is_some() {
            return;
        }
        if self.queue.len() >= MAX_QUEUED || self.queued_bytes + size > MAX_QUEUED_BYTES {
            let what = format!(
                "too many requests wait on this connection: {} of {MAX_QUEUED}, {} of {MAX_QUEUED_BYTES} bytes",
                self.queue.len(),
                self.queued_bytes
            );
            self.link.reply(&seq, Err(&Exception::runtime_error(what)));
            return;
        }
        self.queued_bytes += size;
        self.queue.push_back((size, seq, request));
        self.serve();
    }

    /// Whether the next request may be served beside those that run.
    fn has_room(&self) -> bool {
        let running = self.running.len();
        if self.link.service.serves_in_order() {
            // A handler that waits for a call of its own lets later requests pass, or callbacks would deadlock.
            running == 0 || (running < MAX_NESTED && self.link.nested() >= running)
        } else {
            running < MAX_CONCURRENT
        }
    }

    /// Serves what may be served. Says whether a handler was started that is to be polled.
    fn serve(&mut self) -> bool {
        let before = self.running.len();
        while self.ended.is_none()
            && self.has_room()
            && let Some((size, seq, request)) = self.queue.pop_front()
        {
            self.queued_bytes -= size;
            let handling = Handling::enter(&self.link);
            let running = answer(&self.link, request);
            drop(handling);
            match running {
                Running::Done(result) => self.link.reply(&seq, result.as_ref()),
                Running::Later(work) => self
                    .running
                    .push(Box::pin(async move { (seq, work.await) })),
            }
        }
        self.running.len() > before
    }

    /// Polls handlers and starts others until nothing moves.
    fn work(&mut self, cx: &mut TaskContext<'_>) {
        if self.running.is_empty() && self.queue.is_empty() {
            return;
        }
        loop {
            let handling = Handling::enter(&self.link);
            let polled = Pin::new(&mut self.running).poll_next(cx);
            drop(handling);
            match polled {
                Poll::Ready(Some((seq, result))) => {
                    self.link.reply(&seq, result.as_ref());
                    self.serve();
                }
                Poll::Ready(None) | Poll::Pending => {
                    if !self.serve() {
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

    /// Ends the connection: nothing more is served, calls get their error, the channel closes.
    fn end(&mut self, reason: StreamError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(reason.clone());
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

fn ended_by_peer(link: &Link) -> StreamError {
    let endpoint: Arc<str> = link.channel.endpoint().into();
    ConnectionLostError::new(&endpoint, LossReason::EndOfStream).into()
}

impl Actor for Serving {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Zero means without a limit in actix; the credit of each batch is given back as it is taken.
        ctx.set_mailbox_capacity(0);
        let connection = Connection::of(self.link.hold());
        if let Err(exception) = self.link.service.connected(&connection) {
            tracing::warn!(%exception, "a connection was refused by the service");
            self.end(StreamError::Closed);
        }
        let this = ctx.address();
        let subscription = Subscribe {
            events: Some(this.downgrade().recipient()),
            frames: Some(this.recipient()),
        };
        if let Err(error) = self.link.channel.subscribe(subscription) {
            self.end(error);
        }
        ctx.spawn(Work);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Reached without an end only when a handler panicked or the arbiter stopped.
        let error =
            ConnectionLostError::new(&self.link.channel.endpoint().into(), LossReason::ActorGone);
        if self.link.end(&error.into()) {
            self.link.channel.abort();
        }
        self.link
            .service
            .disconnected(&Connection::of(self.link.hold()));
        self.link.over.send_replace(true);
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
            if serving.link.is_drain_wanted()
                && serving.queue.is_empty()
                && serving.running.is_empty()
            {
                serving.link.close();
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
            ConnectionEvent::Ended { .. } => self.end(ended_by_peer(&self.link)),
            ConnectionEvent::Lost(error) => self.end(error.into()),
            ConnectionEvent::Closed { .. } => self.end(StreamError::Closed),
            _ => {}
        }
    }
}
