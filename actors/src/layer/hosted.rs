//! [`Hosted`]: a codec at its place in a chain, whichever actor that place belongs to.

use std::{
    collections::VecDeque, future::Future, pin::Pin, sync::Arc, task::Context as TaskContext,
    time::Instant,
};

use tokio::time::Sleep;

use super::{Above, Below, Gone};
use crate::{
    codec::{Codec, Host, Output},
    credit::Gate,
    error::{ConnectionLostError, LossReason, StreamError},
    event::ConnectionEvent,
    message::{Flush, Read, Tell, Write},
    unit::Unit,
};

/// Where goes what a codec gives up: to the neighbour above, or to the application.
pub(crate) trait Upward<U: Unit> {
    fn read(&mut self, message: Read<U>) -> Result<(), Gone>;
    fn end(&mut self);
    fn lost(&mut self, error: StreamError);
    fn tell(&mut self, event: ConnectionEvent);
}

/// A neighbour that is not attached yet gets nothing, and nothing comes up before it is.
impl<U: Unit> Upward<U> for Option<Box<dyn Above<U>>> {
    fn read(&mut self, message: Read<U>) -> Result<(), Gone> {
        self.as_ref().map_or(Ok(()), |above| above.read(message))
    }

    fn end(&mut self) {
        self.iter().for_each(|above| above.end());
    }

    fn lost(&mut self, error: StreamError) {
        if let Some(above) = self {
            above.lost(error);
        }
    }

    fn tell(&mut self, event: ConnectionEvent) {
        if let Some(above) = self {
            above.tell(Tell(event));
        }
    }
}

/// What a codec may ask of its place.
struct Place {
    endpoint: Arc<str>,
    up_gate: Arc<Gate>,
}

impl Host for Place {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn up_gate(&self) -> &Arc<Gate> {
        &self.up_gate
    }
}

/// A codec, its neighbour below, its timer and its failure.
///
/// Inputs are given as messages arrive; [`drain`](Self::drain), called after each batch of them, gives out what the
/// codec has.
pub(crate) struct Hosted<C: Codec> {
    codec: C,
    place: Place,
    below: Box<dyn Below<C::Below>>,
    /// Flushes to be passed on behind what the codec gives out.
    flushes: VecDeque<Flush>,
    /// Something was read since the last drain.
    has_read: bool,
    timer: Option<Pin<Box<Sleep>>>,
    /// The codec is finished; what it gave out before still goes up.
    failed: Option<StreamError>,
    /// The loss was told, by us or by a neighbour, or nobody is left who could be told.
    over: bool,
    /// The codec told the peer why it failed; that goes out before the connection ends.
    parted: bool,
}

impl<C: Codec> Hosted<C> {
    pub(crate) fn new(
        codec: C,
        below: Box<dyn Below<C::Below>>,
        endpoint: &Arc<str>,
        up_gate: &Arc<Gate>,
    ) -> Self {
        Self {
            codec,
            place: Place {
                endpoint: endpoint.clone(),
                up_gate: up_gate.clone(),
            },
            below,
            flushes: VecDeque::new(),
            has_read: false,
            timer: None,
            failed: None,
            over: false,
            parted: false,
        }
    }

    pub(crate) fn endpoint(&self) -> &Arc<str> {
        &self.place.endpoint
    }

    // ---- inputs ----

    /// Gives an input to the codec, unless it is finished.
    #[inline]
    fn input(&mut self, give: impl FnOnce(&mut C, &Place) -> Result<(), StreamError>) {
        if self.failed.is_none()
            && let Err(error) = give(&mut self.codec, &self.place)
        {
            self.failed = Some(error.at(&self.place.endpoint));
        }
    }

    pub(crate) fn write(&mut self, message: Write<C::Above>) {
        self.input(|codec, place| codec.handle_write(message, place));
    }

    pub(crate) fn read(&mut self, message: Read<C::Below>) {
        self.has_read = true;
        self.input(|codec, place| codec.handle_read(message, place));
    }

    pub(crate) fn finish(&mut self) {
        self.input(|codec, place| codec.handle_finish(place));
    }

    pub(crate) fn end(&mut self) {
        self.input(|codec, place| codec.handle_end(place));
    }

    pub(crate) fn flush(&mut self, message: Flush) {
        self.input(|codec, place| codec.handle_flush(place));
        self.flushes.push_back(message);
    }

    /// The connection is lost below; what came before is delivered before that is told.
    pub(crate) fn lost(&mut self, error: StreamError) {
        self.failed.get_or_insert(error);
    }

    // ---- what passes the codec by ----

    pub(crate) fn attach(&mut self, above: Box<dyn Above<C::Below>>) {
        self.pass_down(|below| below.attach(above));
    }

    pub(crate) fn abort(&mut self) {
        self.over = true;
        // Those above answer the news of a failure with an abort, which would overtake what the peer is told.
        if !self.parted {
            self.below.abort();
        }
    }

    pub(crate) fn expect_more(&self) {
        self.below.expect_more();
    }

    pub(crate) fn detach(&self) {
        self.below.detach();
    }

    /// Nobody is left to be told of a loss.
    pub(crate) fn abandon(&mut self) {
        self.over = true;
    }

    /// Tells the loss that the end of the hosting actor is, unless one was told before.
    pub(crate) fn drop_above(&mut self, above: &mut impl Upward<C::Above>) {
        if !std::mem::replace(&mut self.over, true) {
            above.lost(self.actor_gone());
        }
    }

    fn actor_gone(&self) -> StreamError {
        ConnectionLostError::new(&self.place.endpoint, LossReason::ActorGone).into()
    }

    // ---- outputs ----

    /// The one drain order: outputs, then flushes, then the timer; the failure comes last.
    pub(crate) fn drain(&mut self, cx: &mut TaskContext<'_>, above: &mut impl Upward<C::Above>) {
        loop {
            self.drain_outputs(cx, above);
            while !self.codec.holds_writes()
                && let Some(flush) = self.flushes.pop_front()
            {
                match self.failed.clone() {
                    Some(error) => flush.answer(Err(error)),
                    None => self.pass_down(|below| below.flush(flush)),
                }
            }
            if !self.fire_timer(cx) {
                break;
            }
        }
        if std::mem::take(&mut self.has_read) && self.codec.expects_more() {
            self.below.expect_more();
        }
        // Frames that wait for room above are delivered before the failure is told.
        if !self.over
            && self.codec.held() == 0
            && let Some(error) = self.failed.clone()
        {
            self.over = true;
            above.lost(error);
            self.below.abort();
        }
    }

    fn drain_outputs(&mut self, cx: &TaskContext<'_>, above: &mut impl Upward<C::Above>) {
        loop {
            let held = self.codec.held();
            let may_grow = held == 0 || self.place.up_gate.poll_open(held, cx).is_ready();
            match self.codec.poll_output(may_grow, &self.place) {
                Ok(Some(Output::Down(write))) => self.pass_down(|below| below.write(write)),
                Ok(Some(Output::Up(read))) => {
                    if above.read(read).is_err() {
                        // Nobody will ever take what comes up, so the peer must not think that somebody does.
                        self.abort();
                        return;
                    }
                }
                Ok(Some(Output::Finish)) => self.pass_down(|below| below.finish()),
                Ok(Some(Output::End)) => above.end(),
                Ok(Some(Output::Event(event))) => above.tell(event),
                Ok(Some(Output::Fail(error))) => {
                    self.part(error, above);
                    return;
                }
                Ok(None) => return,
                Err(error) => {
                    self.failed.get_or_insert(error.at(&self.place.endpoint));
                    return;
                }
            }
        }
    }

    /// Ends everything with an error that the codec has told the peer: what it said still has to leave.
    fn part(&mut self, error: StreamError, above: &mut impl Upward<C::Above>) {
        let error = error.at(&self.place.endpoint);
        self.failed.get_or_insert(error.clone());
        if !std::mem::replace(&mut self.over, true) {
            self.parted = true;
            let _ = self.below.finish();
            above.lost(error);
        }
    }

    fn pass_down(&mut self, send: impl FnOnce(&dyn Below<C::Below>) -> Result<(), Gone>) {
        if send(&*self.below).is_err() {
            let error = self.actor_gone();
            self.failed.get_or_insert(error);
        }
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
