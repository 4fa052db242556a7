//! [`Layer`]: the one actor that hosts a codec, and what neighbours in a chain know of each other.
//!
//! Lifecycle, order, credit and failure are written here once; a codec adds only its own work. A chain comes apart from
//! the top: an actor that goes, for whatever reason, detaches the one below, which then goes, too.
//!
//! Addresses are strong in both directions, since upgrading a weak one costs two allocations for each message;
//! `Detach`, sent from `Drop`, is what breaks the circle.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Instant,
};

use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler};
use tokio::time::Sleep;

use crate::{
    codec::{Codec, Host, Output},
    credit::Gate,
    error::{ConnectionLostError, LossReason, StreamError},
    event::{log_started, log_stopped},
    message::{
        Abort, Attach, Detach, End, ExpectMore, Finish, Flush, Lost, Read, Tell, Write, WriteFailed,
    },
    stream::{CloseStream, StreamHandle},
    unit::Unit,
};

/// A neighbour is gone; whoever notices takes the chain down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The neighbour below, as the actor above sees it.
///
/// Every method posts a message; none waits. `Gone` says that the mailbox is closed, and the message was dropped
/// with its credit.
pub(crate) trait Below<U: Unit>: Send + Sync {
    fn write(&self, message: Write<U>) -> Result<(), Gone>;
    fn finish(&self) -> Result<(), Gone>;
    fn flush(&self, message: Flush) -> Result<(), Gone>;
    fn close(&self, message: CloseStream) -> Result<(), Gone>;
    fn abort(&self);
    fn expect_more(&self);
    fn attach(&self, above: Box<dyn Above<U>>) -> Result<(), Gone>;
    fn detach(&self);
}

/// The neighbour above, as the actor below sees it.
pub(crate) trait Above<U: Unit>: Send {
    fn read(&self, message: Read<U>) -> Result<(), Gone>;
    fn end(&self);
    fn lost(&self, error: StreamError);
    fn write_failed(&self, error: StreamError);
    fn tell(&self, message: Tell);
    /// Another one takes this one's place, and with it whatever nobody took here. An actor has handed on all it had.
    fn hand_over(&self, successor: &dyn Above<U>) {
        let _ = successor;
    }
}

impl<U, A> Below<U> for Addr<A>
where
    U: Unit,
    A: Actor<Context = Context<A>>
        + Handler<Write<U>>
        + Handler<Finish>
        + Handler<Flush>
        + Handler<CloseStream>
        + Handler<Abort>
        + Handler<ExpectMore>
        + Handler<Attach<U>>
        + Handler<Detach>,
{
    fn write(&self, message: Write<U>) -> Result<(), Gone> {
        self.try_send(message).map_err(|_| Gone)
    }

    fn finish(&self) -> Result<(), Gone> {
        self.try_send(Finish).map_err(|_| Gone)
    }

    fn flush(&self, message: Flush) -> Result<(), Gone> {
        self.try_send(message).map_err(|_| Gone)
    }

    fn close(&self, message: CloseStream) -> Result<(), Gone> {
        self.try_send(message).map_err(|_| Gone)
    }

    fn abort(&self) {
        // A neighbour that is gone needs no reset.
        let _ = self.try_send(Abort);
    }

    fn expect_more(&self) {
        // Only a hint.
        let _ = self.try_send(ExpectMore);
    }

    fn attach(&self, above: Box<dyn Above<U>>) -> Result<(), Gone> {
        self.try_send(Attach(above)).map_err(|_| Gone)
    }

    fn detach(&self) {
        // A neighbour that is gone needs no telling.
        let _ = self.try_send(Detach);
    }
}

impl<U, A> Above<U> for Addr<A>
where
    U: Unit,
    A: Actor<Context = Context<A>>
        + Handler<Read<U>>
        + Handler<End>
        + Handler<Lost>
        + Handler<WriteFailed>
        + Handler<Tell>,
{
    fn read(&self, message: Read<U>) -> Result<(), Gone> {
        self.try_send(message).map_err(|_| Gone)
    }

    // Whoever is gone above needs no news: it took its own state down, and told its own waiters.

    fn end(&self) {
        let _ = self.try_send(End);
    }

    fn lost(&self, error: StreamError) {
        let _ = self.try_send(Lost(error));
    }

    fn write_failed(&self, error: StreamError) {
        let _ = self.try_send(WriteFailed(error));
    }

    fn tell(&self, message: Tell) {
        let _ = self.try_send(message);
    }
}

/// What a codec may ask of this layer.
struct Place {
    endpoint: Arc<str>,
    down_gate: Arc<Gate>,
    up_gate: Arc<Gate>,
}

impl Place {
    fn on(stream: &StreamHandle) -> Self {
        let (down_gate, up_gate) = stream.gates();
        Self {
            endpoint: stream.info().endpoint.clone(),
            down_gate: down_gate.clone(),
            up_gate: up_gate.clone(),
        }
    }
}

impl Host for Place {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn down_gate(&self) -> &Arc<Gate> {
        &self.down_gate
    }

    fn up_gate(&self) -> &Arc<Gate> {
        &self.up_gate
    }
}

/// The actor that hosts the codec `C`.
pub struct Layer<C: Codec> {
    codec: C,
    place: Place,
    below: Box<dyn Below<C::Below>>,
    above: Option<Box<dyn Above<C::Above>>>,
    /// Flushes to be passed on behind what the codec gives out.
    flushes: VecDeque<Flush>,
    /// Closes to be passed on behind those.
    closes: Vec<CloseStream>,
    /// Somebody closed the stream that this layer is the top of.
    closing: bool,
    /// Something was read since the last drain.
    has_read: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// The way down was finished.
    finished: bool,
    /// The codec is finished; what it gave out before still goes up.
    failed: Option<StreamError>,
    /// The loss was told, by us or by a neighbour.
    lost: bool,
    /// The neighbour above is gone.
    detached: bool,
}

impl<C: Codec> Layer<C> {
    /// Starts the layer on the current arbiter, above `below` in the chain over `stream`.
    pub(crate) fn start(
        codec: C,
        below: Box<dyn Below<C::Below>>,
        stream: &StreamHandle,
    ) -> Addr<Self> {
        Actor::start(Self::new(codec, below, Place::on(stream)))
    }

    /// Starts the layer on the arbiter of `stream`, from any thread. If that has stopped, the address is closed.
    pub(crate) fn start_on(
        codec: C,
        below: Box<dyn Below<C::Below>>,
        stream: &StreamHandle,
    ) -> Addr<Self> {
        let place = Place::on(stream);
        // Not `start_in_arbiter`, whose mailbox refuses the 17th message that comes before the actor starts. Zero means without a
        // limit.
        let (sender, receiver) = actix::dev::channel::channel(0);
        stream.arbiter().spawn_fn(move || {
            Context::with_receiver(receiver).run(Self::new(codec, below, place));
        });
        Addr::new(sender)
    }

    fn new(codec: C, below: Box<dyn Below<C::Below>>, place: Place) -> Self {
        Self {
            codec,
            place,
            below,
            above: None,
            flushes: VecDeque::new(),
            closes: Vec::new(),
            closing: false,
            has_read: false,
            timer: None,
            finished: false,
            failed: None,
            lost: false,
            detached: false,
        }
    }

    /// Gives an input to the codec, unless it is finished.
    fn input(&mut self, give: impl FnOnce(&mut C, &Place) -> Result<(), StreamError>) {
        if self.failed.is_none()
            && let Err(error) = give(&mut self.codec, &self.place)
        {
            self.failed = Some(error.at(&self.place.endpoint));
        }
    }

    /// Ends the way down, once: a close may come behind a finish.
    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.input(|codec, place| codec.handle_finish(place));
        }
    }

    /// The one drain order: outputs, then flushes and closes, then what somebody waits for, then the timer.
    fn drain(&mut self, cx: &mut TaskContext<'_>) {
        loop {
            self.drain_outputs(cx);
            while let Some(flush) = self.flushes.pop_front() {
                self.pass_down(|below| below.flush(flush));
            }
            while let Some(close) = self.closes.pop() {
                self.pass_down(|below| below.close(close));
            }
            if !self.let_go(cx) && !self.fire_timer(cx) {
                break;
            }
        }
        if std::mem::take(&mut self.has_read) && self.codec.expects_more() {
            self.below.expect_more();
        }
    }

    fn drain_outputs(&mut self, cx: &TaskContext<'_>) {
        loop {
            let may_grow = self
                .place
                .up_gate
                .poll_open(self.codec.held(), cx)
                .is_ready();
            match self.codec.poll_output(may_grow, &self.place) {
                Ok(Some(Output::Down(write))) => self.pass_down(|below| below.write(write)),
                Ok(Some(Output::Up(read))) => {
                    if let Some(above) = &self.above
                        && above.read(read).is_err()
                    {
                        // Nobody will ever take what comes up, so the peer must not think that somebody does.
                        self.below.abort();
                        self.lost = true;
                        return;
                    }
                }
                Ok(Some(Output::Finish)) => self.pass_down(|below| below.finish()),
                Ok(Some(Output::End)) => self.pass_up(|above| above.end()),
                Ok(Some(Output::Event(event))) => self.pass_up(|above| above.tell(Tell(event))),
                Ok(None) => break,
                Err(error) => {
                    self.failed.get_or_insert(error.at(&self.place.endpoint));
                    break;
                }
            }
        }
        // Frames that wait for room above are delivered before the failure is told.
        if self.codec.held() == 0
            && let Some(error) = self.failed.clone()
            && !self.lost
        {
            self.lost = true;
            // A close under way is no failure: it writes what is left, and reads on by itself.
            let is_failure = !matches!(error, StreamError::Closed);
            self.pass_up(|above| above.lost(error));
            if is_failure {
                self.below.abort();
            }
        }
    }

    fn pass_down(&mut self, send: impl FnOnce(&dyn Below<C::Below>) -> Result<(), Gone>) {
        if send(&*self.below).is_err() && !self.lost {
            self.lost = true;
            let error = ConnectionLostError::new(&self.place.endpoint, LossReason::ActorGone);
            self.pass_up(|above| above.lost(error.into()));
        }
    }

    fn pass_up(&self, send: impl FnOnce(&dyn Above<C::Above>)) {
        if let Some(above) = &self.above {
            send(&**above);
        }
    }

    /// Lets go of what the codec holds back, if somebody waits for the credit of it.
    fn let_go(&mut self, cx: &TaskContext<'_>) -> bool {
        let is_wanted = self.codec.holds_back()
            && self.failed.is_none()
            && self.place.down_gate.poll_wanted(cx).is_ready();
        if is_wanted {
            self.input(|codec, place| codec.handle_flush(place));
        }
        is_wanted
    }

    /// Arms the timer for what the codec wants. True when the codec had its turn.
    fn fire_timer(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(at) = self.codec.poll_timeout().filter(|_| self.failed.is_none()) else {
            self.timer = None;
            return false;
        };
        let deadline = tokio::time::Instant::from_std(at);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.input(|codec, place| codec.handle_timeout(place.now(), place));
        true
    }
}

impl<C: Codec> Actor for Layer<C> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Zero means without a limit in actix: credits bound the mailbox, and `try_send` never refuses.
        ctx.set_mailbox_capacity(0);
        log_started::<Self>(&self.place.endpoint);
        ctx.spawn(Drain);
    }
}

impl<C: Codec> Drop for Layer<C> {
    fn drop(&mut self) {
        log_stopped::<Self>(&self.place.endpoint);
        // Reached without a word to the neighbour above only when this actor panicked or its arbiter stopped.
        if !self.lost {
            let error = ConnectionLostError::new(&self.place.endpoint, LossReason::ActorGone);
            self.pass_up(|above| above.lost(error.into()));
        }
        self.below.detach();
    }
}

/// The future that gives out what the codec has, after each batch of messages.
struct Drain;

impl<C: Codec> ActorFuture<Layer<C>> for Drain {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        layer: &mut Layer<C>,
        ctx: &mut Context<Layer<C>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        layer.drain(cx);
        if layer.detached || (layer.closing && layer.lost) {
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<C: Codec> Handler<Attach<C::Above>> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Attach<C::Above>, ctx: &mut Context<Self>) {
        if let Some(before) = self.above.replace(message.0) {
            // Something was built on what was read as a stream so far.
            self.pass_up(|above| before.hand_over(above));
            return;
        }
        // Only now may data come up.
        let this = ctx.address();
        self.pass_down(|below| below.attach(Box::new(this)));
    }
}

impl<C: Codec> Handler<Write<C::Above>> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Write<C::Above>, _: &mut Context<Self>) {
        self.input(|codec, place| codec.handle_write(message, place));
    }
}

impl<C: Codec> Handler<Read<C::Below>> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Read<C::Below>, _: &mut Context<Self>) {
        self.has_read = true;
        self.input(|codec, place| codec.handle_read(message, place));
    }
}

impl<C: Codec> Handler<Finish> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut Context<Self>) {
        self.finish();
    }
}

impl<C: Codec> Handler<End> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut Context<Self>) {
        self.input(|codec, place| codec.handle_end(place));
    }
}

impl<C: Codec> Handler<Flush> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Flush, _: &mut Context<Self>) {
        self.input(|codec, place| codec.handle_flush(place));
        self.flushes.push_back(message);
    }
}

impl<C: Codec> Handler<CloseStream> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: CloseStream, _: &mut Context<Self>) {
        self.finish();
        self.closing = true;
        self.closes.push(message);
    }
}

impl<C: Codec> Handler<Abort> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: Abort, _: &mut Context<Self>) {
        if !std::mem::replace(&mut self.lost, true) {
            // Readers of a stream have nobody else who tells them.
            let error = ConnectionLostError::new(&self.place.endpoint, LossReason::Aborted);
            self.pass_up(|above| above.lost(error.into()));
        }
        self.below.abort();
    }
}

impl<C: Codec> Handler<Detach> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: Detach, _: &mut Context<Self>) {
        self.detached = true;
        // Nobody is left to be told of a loss.
        self.lost = true;
    }
}

impl<C: Codec> Handler<ExpectMore> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: ExpectMore, _: &mut Context<Self>) {
        self.below.expect_more();
    }
}

impl<C: Codec> Handler<Lost> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Lost, _: &mut Context<Self>) {
        // What came before the loss is delivered before it.
        self.failed.get_or_insert(message.0);
    }
}

impl<C: Codec> Handler<WriteFailed> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: WriteFailed, _: &mut Context<Self>) {
        self.pass_up(|above| above.write_failed(message.0));
    }
}

impl<C: Codec> Handler<Tell> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Tell, _: &mut Context<Self>) {
        self.pass_up(|above| above.tell(message));
    }
}
