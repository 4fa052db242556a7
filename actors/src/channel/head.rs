//! [`Head`]: the actor at the application's end of a chain.
//!
//! It empties the outbox into the chain and fills the inbox, or the subscriber, from it. It knows how a channel
//! ends: what was accepted is flushed, our direction finished, the peer's end awaited for a while.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use actix::{
    Actor, ActorContext, ActorFuture, AsyncContext, Context, Handler, Message, WeakRecipient,
};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep},
};

use super::{
    Shared,
    outbox::{Control, Taken},
};
use crate::{
    credit::{BATCH_COST, Credit},
    error::{ConnectionLostError, LossReason, StreamError},
    event::{ConnectionEvent, log_started, log_stopped},
    layer::{Below, Gone},
    message::{Abort, End, Finish, Flush, Lost, Read, Tell, Write, WriteFailed},
    unit::Frames,
};

/// Sends all frames to an actor from now on, and facts about the connection, too, if wanted.
///
/// Subscribers are held weakly. Frames that a subscriber cannot take any more go to the inbox.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe {
    /// Takes the frames; each batch's credit returns when the message is dropped.
    pub frames: Option<WeakRecipient<Read<Frames>>>,
    /// Takes the facts; one that comes after the peer's end is told of it.
    pub events: Option<WeakRecipient<ConnectionEvent>>,
}

/// Flush, finish, wait for the peer's end, close; [`ConnectionEvent::Closed`] tells when that is done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Close;

/// The actor of one channel.
pub struct Head {
    shared: Arc<Shared>,
    below: Box<dyn Below<Frames>>,
    subscriber: Option<WeakRecipient<Read<Frames>>>,
    watchers: Vec<WeakRecipient<ConnectionEvent>>,
    /// We finished our direction, or the peer finished its own.
    finished: bool,
    ended: bool,
    handles_gone: bool,
    closing: Option<Closing>,
    closers: Vec<oneshot::Sender<Result<(), StreamError>>>,
    /// Why it all ended, once it did.
    outcome: Option<StreamError>,
}

/// A close under way.
struct Closing {
    flushed: oneshot::Receiver<Result<(), StreamError>>,
    flush_result: Option<Result<(), StreamError>>,
    deadline: Pin<Box<Sleep>>,
}

impl Head {
    pub(super) fn new(shared: Arc<Shared>, below: Box<dyn Below<Frames>>) -> Self {
        Self {
            shared,
            below,
            subscriber: None,
            watchers: Vec::new(),
            finished: false,
            ended: false,
            handles_gone: false,
            closing: None,
            closers: Vec::new(),
            outcome: None,
        }
    }

    fn tell(&mut self, event: &ConnectionEvent) {
        self.watchers.retain(|watcher| {
            watcher
                .upgrade()
                .is_some_and(|watcher| watcher.try_send(event.clone()).is_ok())
        });
    }

    fn lost(&self, reason: LossReason) -> StreamError {
        ConnectionLostError::new(&self.shared.info.endpoint, reason).into()
    }

    /// Empties the outbox into the chain.
    fn drain(&mut self, cx: &TaskContext<'_>) {
        let Taken {
            frames,
            owed,
            controls,
        } = self.shared.outbox.take(cx, &self.shared.down_gate);
        if !frames.is_empty() {
            self.shared.stats.sent(&frames);
            self.shared.down_gate.overdraw(BATCH_COST);
            let credit = Credit::taken(&self.shared.down_gate, owed + BATCH_COST);
            if self
                .below
                .write(Write {
                    unit: frames,
                    credit,
                })
                .is_err()
            {
                self.fail(self.lost(LossReason::ActorGone));
            }
        }
        for control in controls {
            self.obey(control);
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Flush(flush) => {
                if let (Err(Gone), Some(error)) = (self.below.flush(flush), &self.outcome) {
                    tracing::debug!(%error, "a flush came too late");
                }
            }
            Control::Finish => self.finish(),
            Control::Close(answer) => {
                self.closers.push(answer);
                self.close_and_discard();
            }
            Control::Abort => {
                self.below.abort();
                self.fail(self.lost(LossReason::Aborted));
            }
            Control::Subscribe(subscription) => self.subscribe(subscription),
            Control::ExpectMore => self.below.expect_more(),
            Control::HandlesGone => self.handles_gone = true,
        }
    }

    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.shared.outbox.refuse(StreamError::Closed);
            self.shared.down_gate.close(StreamError::Closed);
            if self.below.finish().is_err() {
                self.fail(self.lost(LossReason::ActorGone));
            }
        }
    }

    fn close_and_discard(&mut self) {
        self.close();
        // What comes from now on is read, so that nothing under way is destroyed, and dropped.
        self.shared.inbox.discard(Err(StreamError::Closed));
    }

    fn close(&mut self) {
        if self.closing.is_some() || self.outcome.is_some() {
            return;
        }
        let (flush, flushed) = Flush::new();
        // Without a neighbour the receiver fails at once, and tells so.
        let _ = self.below.flush(flush);
        let deadline = Instant::now() + self.shared.info.limits.close_timeout;
        self.closing = Some(Closing {
            flushed,
            flush_result: None,
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
        });
        self.finish();
    }

    /// Works towards the end of a close. Ready when it is over.
    fn poll_close(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let ended = self.ended;
        let Some(closing) = &mut self.closing else {
            return Poll::Pending;
        };
        if closing.flush_result.is_none()
            && let Poll::Ready(result) = Pin::new(&mut closing.flushed).poll(cx)
        {
            let gone = || {
                ConnectionLostError::new(&self.shared.info.endpoint, LossReason::ActorGone).into()
            };
            closing.flush_result = Some(result.unwrap_or_else(|_| Err(gone())));
        }
        let patience_is_over = closing.deadline.as_mut().poll(cx).is_ready();
        let result = match (&closing.flush_result, patience_is_over) {
            (Some(Ok(())), false) if !ended => return Poll::Pending,
            (None, false) => return Poll::Pending,
            (Some(result), _) => result.clone(),
            (None, true) => Err(StreamError::TimedOut {
                what: "closing the channel",
                after: self.shared.info.limits.close_timeout,
            }),
        };
        if patience_is_over && !ended {
            self.below.abort();
        }
        for closer in self.closers.drain(..) {
            let _ = closer.send(result.clone());
        }
        let event = ConnectionEvent::Closed {
            endpoint: self.shared.info.endpoint.clone(),
        };
        self.tell(&event);
        self.outcome.get_or_insert(StreamError::Closed);
        Poll::Ready(())
    }

    /// Ends everything with an error.
    fn fail(&mut self, error: StreamError) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = Some(error.clone());
        self.shared.outbox.close(error.clone());
        self.shared.down_gate.close(error.clone());
        self.shared.inbox.end(Err(error.clone()));
        let flushed = self
            .closing
            .as_ref()
            .is_some_and(|closing| matches!(closing.flush_result, Some(Ok(()))));
        let result = if flushed { Ok(()) } else { Err(error.clone()) };
        for closer in self.closers.drain(..) {
            let _ = closer.send(result.clone());
        }
        let event = self.event_of_loss(error);
        self.tell(&event);
    }

    fn event_of_loss(&self, error: StreamError) -> ConnectionEvent {
        ConnectionEvent::Lost(match error {
            StreamError::ConnectionLost(error) => error,
            other => {
                let reason = LossReason::Failed(Arc::new(other));
                ConnectionLostError::new(&self.shared.info.endpoint, reason)
            }
        })
    }
}

impl Actor for Head {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Zero means without a limit in actix: credits bound the mailbox, and `try_send` never refuses.
        ctx.set_mailbox_capacity(0);
        log_started::<Self>(&self.shared.info.endpoint);
        let this = ctx.address();
        if self.below.attach(Box::new(this)).is_err() {
            self.fail(self.lost(LossReason::ActorGone));
        }
        ctx.spawn(Work);
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        log_stopped::<Self>(&self.shared.info.endpoint);
        // Without an outcome this actor panicked or its arbiter stopped.
        self.fail(self.lost(LossReason::ActorGone));
        let error = self.outcome.clone().unwrap_or(StreamError::Closed);
        // Whoever subscribed too late still learns how it ended.
        for subscription in self.shared.abandon(&error) {
            self.subscribe(subscription);
        }
        self.below.detach();
    }
}

/// The future that works between messages.
struct Work;

impl ActorFuture<Head> for Work {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        head: &mut Head,
        ctx: &mut Context<Head>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        head.drain(cx);
        if head.outcome.is_none() && head.closing.is_none() {
            if head.handles_gone {
                head.close_and_discard();
            } else if head.finished && head.ended {
                head.close();
            }
        }
        if head.outcome.is_none() && head.poll_close(cx).is_pending() {
            return Poll::Pending;
        }
        // Everybody was told; the chain below comes apart when this actor is gone.
        ctx.stop();
        Poll::Ready(())
    }
}

impl Handler<Write<Frames>> for Head {
    type Result = ();

    fn handle(&mut self, message: Write<Frames>, _: &mut Context<Self>) {
        if self.finished || self.outcome.is_some() {
            return;
        }
        self.shared.stats.sent(&message.unit);
        if self.below.write(message).is_err() {
            self.fail(self.lost(LossReason::ActorGone));
        }
    }
}

impl Handler<Read<Frames>> for Head {
    type Result = ();

    fn handle(&mut self, message: Read<Frames>, _: &mut Context<Self>) {
        self.shared.stats.received(&message.unit);
        self.deliver(message);
    }
}

impl Head {
    fn subscribe(&mut self, Subscribe { frames, events }: Subscribe) {
        if let Some(frames) = frames {
            self.subscriber = Some(frames);
            while self.subscriber.is_some()
                && let Some(Ok(Some(waiting))) = self.shared.inbox.try_next_batch()
            {
                self.deliver(waiting);
            }
        }
        if let Some(events) = events {
            // What the newcomer missed, behind the frames that came before; one that is gone misses nothing.
            if let Some(missed) = self.last_event()
                && let Some(watcher) = events.upgrade()
            {
                let _ = watcher.try_send(missed);
            }
            self.watchers.push(events);
        }
    }

    /// What a watcher that comes now would wait for in vain.
    fn last_event(&self) -> Option<ConnectionEvent> {
        let endpoint = self.shared.info.endpoint.clone();
        match &self.outcome {
            Some(StreamError::Closed) => Some(ConnectionEvent::Closed { endpoint }),
            Some(error) => Some(self.event_of_loss(error.clone())),
            None => self.ended.then_some(ConnectionEvent::Ended { endpoint }),
        }
    }

    /// Gives a batch to the subscriber, or to the inbox.
    fn deliver(&mut self, message: Read<Frames>) {
        let Some(subscriber) = &self.subscriber else {
            self.shared.inbox.push(message);
            return;
        };
        let refused = match subscriber.upgrade() {
            Some(subscriber) => subscriber
                .try_send(message)
                .err()
                .map(actix::dev::SendError::into_inner),
            None => Some(message),
        };
        if let Some(message) = refused {
            self.subscriber = None;
            self.shared.inbox.push(message);
        }
    }
}

impl Handler<End> for Head {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut Context<Self>) {
        self.ended = true;
        self.shared.inbox.end(Ok(()));
        let event = ConnectionEvent::Ended {
            endpoint: self.shared.info.endpoint.clone(),
        };
        self.tell(&event);
    }
}

impl Handler<Lost> for Head {
    type Result = ();

    fn handle(&mut self, message: Lost, _: &mut Context<Self>) {
        if self.closing.is_some() && message.0.is_cut_off() {
            // What comes while we close is dropped, so there is nothing that could have been cut short.
            self.ended = true;
            return;
        }
        self.fail(message.0);
    }
}

impl Handler<WriteFailed> for Head {
    type Result = ();

    fn handle(&mut self, message: WriteFailed, _: &mut Context<Self>) {
        // Requests still pass, or nobody could end what is left of the channel.
        self.shared.outbox.refuse(message.0);
    }
}

impl Handler<Tell> for Head {
    type Result = ();

    fn handle(&mut self, message: Tell, _: &mut Context<Self>) {
        self.tell(&message.0);
    }
}

impl Handler<Subscribe> for Head {
    type Result = ();

    fn handle(&mut self, message: Subscribe, _: &mut Context<Self>) {
        self.subscribe(message);
    }
}

impl Handler<Flush> for Head {
    type Result = ();

    fn handle(&mut self, message: Flush, _: &mut Context<Self>) {
        // In line behind what handles have sent.
        if let Err((Control::Flush(flush), error)) =
            self.shared.outbox.control(Control::Flush(message))
        {
            flush.answer(Err(error));
        }
    }
}

impl Handler<Finish> for Head {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut Context<Self>) {
        // What is lost already is finished.
        let _ = self.shared.outbox.control(Control::Finish);
    }
}

impl Handler<Close> for Head {
    type Result = ();

    fn handle(&mut self, _: Close, _: &mut Context<Self>) {
        // What is lost already is closed; nobody waits for the answer.
        let _ = self
            .shared
            .outbox
            .control(Control::Close(oneshot::channel().0));
    }
}

impl Handler<Abort> for Head {
    type Result = ();

    fn handle(&mut self, _: Abort, _: &mut Context<Self>) {
        self.obey(Control::Abort);
    }
}
