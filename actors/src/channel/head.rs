//! [`Head`]: the actor at the application's end of a chain.
//!
//! It empties the outbox into the chain, and gives what comes up to its [`Front`]. It knows how a channel ends: what
//! was accepted is flushed, our direction finished, the peer's end awaited for a while.
//!
//! The framing of a channel without other layers of frames is done here: an actor of its own would cost every question
//! and every answer two more messages.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use actix::{Actor, Handler, Message, WeakRecipient};
use tokio::{sync::oneshot, time::Sleep};

use super::{
    Shared,
    down::Down,
    front::Front,
    outbox::{Control, Taken},
};
use crate::{
    credit::{BATCH_COST, Credit},
    error::{LossReason, StreamError},
    event::{ConnectionEvent, log_started, log_stopped},
    layer::{Gone, Upward},
    message::{Abort, End, Finish, Flush, Lost, Read, Tell, Write, WriteFailed},
    unit::{Chunk, Frames},
    work::{Work, WorkContext},
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
    front: Front,
    down: Down,
    /// We finished our direction.
    finished: bool,
    handles_gone: bool,
    closing: Option<Box<Closing>>,
    closers: Vec<oneshot::Sender<Result<(), StreamError>>>,
}

/// A close under way.
struct Closing {
    flushed: oneshot::Receiver<Result<(), StreamError>>,
    flush_result: Option<Result<(), StreamError>>,
    patience: Pin<Box<Sleep>>,
}

impl Head {
    pub(super) fn new(shared: Arc<Shared>, down: Down) -> Self {
        Self {
            front: Front::new(shared),
            down,
            finished: false,
            handles_gone: false,
            closing: None,
            closers: Vec::new(),
        }
    }

    fn shared(&self) -> &Shared {
        &self.front.shared
    }

    fn neighbour_gone(&mut self) {
        let error = self.front.loss(LossReason::ActorGone);
        self.front.fail(error);
    }

    /// Empties the outbox into the chain.
    fn drain(&mut self, cx: &TaskContext<'_>) {
        self.front.must_look = false;
        let shared = &self.front.shared;
        let Some(taken) = shared.outbox.take(cx) else {
            return;
        };
        let Taken {
            frames,
            owed,
            spare,
            controls,
        } = taken;
        if frames.is_empty() {
            shared.down_gate.give_back(spare);
        } else {
            shared.stats.sent(&frames);
            let mut credit = Credit::taken(&shared.down_gate, owed + spare);
            credit.set(owed + BATCH_COST);
            let write = Write {
                unit: frames,
                credit,
            };
            if self.down.write(write).is_err() {
                self.neighbour_gone();
            }
        }
        for control in controls {
            self.obey(control);
        }
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Flush(flush) => {
                if let (Err(Gone), Some(error)) = (self.down.flush(flush), &self.front.outcome) {
                    tracing::debug!(%error, "a flush came too late");
                }
            }
            Control::Finish => self.finish(),
            Control::Close(answer) => {
                self.closers.push(answer);
                self.close_and_discard();
            }
            Control::Abort(reason) => {
                self.down.abort();
                let error = self.front.loss(reason);
                self.front.fail(error);
            }
            Control::Subscribe(subscription) => self.front.subscribe(subscription),
            Control::Attach(above) => self.front.attach(above),
            Control::ExpectMore => self.down.expect_more(),
            Control::SeparateFrames => self.down.separate_frames(),
            Control::HandlesGone => self.handles_gone = true,
        }
    }

    fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.shared().outbox.refuse(StreamError::Closed);
            self.shared().down_gate.close(StreamError::Closed);
            if self.down.finish().is_err() {
                self.neighbour_gone();
            }
        }
    }

    fn close_and_discard(&mut self) {
        self.close();
        // What comes from now on is read, so that nothing under way is destroyed, and dropped.
        self.shared().inbox.discard(Err(StreamError::Closed));
    }

    fn close(&mut self) {
        if self.closing.is_some() || self.front.outcome.is_some() {
            return;
        }
        let (flush, flushed) = Flush::new();
        // Without a neighbour the receiver fails at once, and tells so.
        let _ = self.down.flush(flush);
        let patience = tokio::time::sleep(self.shared().info.limits.close_timeout);
        self.closing = Some(Box::new(Closing {
            flushed,
            flush_result: None,
            patience: Box::pin(patience),
        }));
        self.finish();
    }

    /// Works towards the end of a close. Ready when it is over.
    fn poll_close(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let ended = self.front.ended;
        let Some(closing) = &mut self.closing else {
            return Poll::Pending;
        };
        if closing.flush_result.is_none()
            && let Poll::Ready(result) = Pin::new(&mut closing.flushed).poll(cx)
        {
            let gone = || Err(self.front.loss(LossReason::ActorGone));
            closing.flush_result = Some(result.unwrap_or_else(|_| gone()));
        }
        let patience_is_over = closing.patience.as_mut().poll(cx).is_ready();
        let result = match (&closing.flush_result, patience_is_over) {
            (Some(Ok(())), false) if !ended => return Poll::Pending,
            (None, false) => return Poll::Pending,
            (Some(result), _) => result.clone(),
            (None, true) => Err(StreamError::TimedOut {
                what: "closing the channel",
                after: self.shared().info.limits.close_timeout,
            }),
        };
        if patience_is_over && !ended {
            self.down.abort();
        }
        self.answer_closers(&result);
        self.front.closed();
        Poll::Ready(())
    }

    fn answer_closers(&mut self, result: &Result<(), StreamError>) {
        for closer in self.closers.drain(..) {
            let _ = closer.send(result.clone());
        }
    }
}

impl Actor for Head {
    type Context = WorkContext<Self>;

    fn started(&mut self, ctx: &mut WorkContext<Self>) {
        log_started::<Self>(&self.shared().info.endpoint);
        if self.down.attach(&ctx.work_address()).is_err() {
            self.neighbour_gone();
        }
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        log_stopped::<Self>(&self.shared().info.endpoint);
        // Without an outcome this actor panicked or its arbiter stopped.
        self.neighbour_gone();
        let error = self
            .front
            .outcome
            .as_deref()
            .cloned()
            .unwrap_or(StreamError::Closed);
        let flushed = self
            .closing
            .as_ref()
            .is_some_and(|closing| matches!(closing.flush_result, Some(Ok(()))));
        let result = if flushed { Ok(()) } else { Err(error.clone()) };
        self.answer_closers(&result);
        // Whoever subscribed too late still learns how it ended.
        for subscription in self.shared().abandon(&error) {
            self.front.subscribe(subscription);
        }
        self.down.detach();
    }
}

impl Work for Head {
    fn work(&mut self, _: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.drain(cx);
        if self.front.outcome.is_none() && self.closing.is_none() {
            if self.handles_gone {
                self.close_and_discard();
            } else if self.finished && self.front.ended {
                self.close();
            }
        }
        self.down.drain(cx, &mut self.front);
        if self.front.must_look {
            // That was promised.
            cx.waker().wake_by_ref();
        }
        if self.front.outcome.is_none() && self.poll_close(cx).is_pending() {
            return Poll::Pending;
        }
        // Everybody was told; the chain below comes apart when this actor is gone.
        Poll::Ready(())
    }

    fn panicked(&mut self, reason: LossReason) {
        let error = self.front.loss(reason);
        self.front.fail(error);
        self.down.abort();
    }
}

impl Handler<Write<Frames>> for Head {
    type Result = ();

    fn handle(&mut self, message: Write<Frames>, ctx: &mut WorkContext<Self>) {
        if self.finished || self.front.outcome.is_some() {
            return;
        }
        self.shared().stats.sent(&message.unit);
        match self.down.write(message) {
            Ok(true) => ctx.settle(),
            Ok(false) => {}
            Err(Gone) => self.neighbour_gone(),
        }
    }
}

impl Handler<Read<Frames>> for Head {
    type Result = ();

    fn handle(&mut self, message: Read<Frames>, ctx: &mut WorkContext<Self>) {
        // There is always somebody: at least the inbox.
        let _ = self.front.read(message);
        if !self.front.must_look {
            ctx.settle();
        }
    }
}

impl Handler<Read<Chunk>> for Head {
    type Result = ();

    fn handle(&mut self, message: Read<Chunk>, ctx: &mut WorkContext<Self>) {
        if let Down::Framing(framing) = &mut self.down
            && framing.read(message, &mut self.front)
            && !self.front.must_look
        {
            ctx.settle();
        }
    }
}

impl Handler<End> for Head {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut WorkContext<Self>) {
        match &mut self.down {
            Down::Framing(framing) => framing.end(),
            Down::Layers(_) => self.front.end(),
        }
    }
}

impl Handler<Lost> for Head {
    type Result = ();

    fn handle(&mut self, message: Lost, _: &mut WorkContext<Self>) {
        if self.closing.is_some() && message.0.is_cut_off() {
            // What comes while we close is dropped, so there is nothing that could have been cut short.
            self.front.ended = true;
            return;
        }
        match &mut self.down {
            Down::Framing(framing) => framing.lost(message.0),
            Down::Layers(_) => self.front.lost(message.0),
        }
    }
}

impl Handler<WriteFailed> for Head {
    type Result = ();

    fn handle(&mut self, message: WriteFailed, _: &mut WorkContext<Self>) {
        // Requests still pass, or nobody could end what is left of the channel.
        self.shared().outbox.refuse(message.0);
    }
}

impl Handler<Tell> for Head {
    type Result = ();

    fn handle(&mut self, message: Tell, _: &mut WorkContext<Self>) {
        self.front.tell(&message.0);
    }
}

impl Handler<Subscribe> for Head {
    type Result = ();

    fn handle(&mut self, message: Subscribe, _: &mut WorkContext<Self>) {
        self.front.subscribe(message);
    }
}

impl Handler<Flush> for Head {
    type Result = ();

    fn handle(&mut self, message: Flush, _: &mut WorkContext<Self>) {
        // In line behind what handles have sent.
        if let Err((Control::Flush(flush), error)) =
            self.shared().outbox.control(Control::Flush(message))
        {
            flush.answer(Err(error));
        }
    }
}

impl Handler<Finish> for Head {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut WorkContext<Self>) {
        // What is lost already is finished.
        let _ = self.shared().outbox.control(Control::Finish);
    }
}

impl Handler<Close> for Head {
    type Result = ();

    fn handle(&mut self, _: Close, _: &mut WorkContext<Self>) {
        // What is lost already is closed; nobody waits for the answer.
        let _ = self
            .shared()
            .outbox
            .control(Control::Close(oneshot::channel().0));
    }
}

impl Handler<Abort> for Head {
    type Result = ();

    fn handle(&mut self, _: Abort, _: &mut WorkContext<Self>) {
        self.obey(Control::Abort(LossReason::Aborted));
    }
}
