//! [`Hosted`]: a codec at its place in a chain, whichever actor that place belongs to.

use std::{collections::VecDeque, sync::Arc, task::Context as TaskContext, time::Instant};

use super::{Above, Below, Gone};
use crate::{
    alarm::Alarm,
    codec::{Codec, Host, Output},
    credit::Gate,
    error::{ConnectionLostError, LossReason, StreamError},
    event::ConnectionEvent,
    message::{Flush, Read, Tell, Write},
    stream::{CloseStream, StreamHandle},
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
    /// Closes to be passed on behind those.
    closes: Vec<CloseStream>,
    /// Somebody closed the stream that this codec is the top of.
    closing: bool,
    /// Something was read since the last drain.
    has_read: bool,
    timer: Option<Alarm>,
    /// The neighbour below is gone. Why is told by a message that may be among those that wait to be handled.
    is_alone: bool,
    /// The way down was finished.
    finished: bool,
    /// The codec is finished; what it gave out before still goes up.
    failed: Option<Box<StreamError>>,
    /// The loss was told, by us or by a neighbour, or nobody is left who could be told.
    over: bool,
    /// The codec told the peer why it failed; that goes out before the connection ends.
    parted: bool,
}

impl<C: Codec> Hosted<C> {
    /// A codec above `below` in the chain over `stream`.
    pub(crate) fn new(codec: C, below: Box<dyn Below<C::Below>>, stream: &StreamHandle) -> Self {
        Self {
            codec,
            place: Place::on(stream),
            below,
            flushes: VecDeque::new(),
            closes: Vec::new(),
            closing: false,
            has_read: false,
            timer: None,
            is_alone: false,
            finished: false,
            failed: None,
            over: false,
            parted: false,
        }
    }

    /// For what a codec learns before anything is sent.
    pub(crate) fn codec_mut(&mut self) -> &mut C {
        &mut self.codec
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
            self.finished_with(error);
        }
    }

    /// True when that left nothing to be given out.
    pub(crate) fn write(&mut self, message: Write<C::Above>) -> bool {
        if self.failed.is_some() {
            return false;
        }
        match self.codec.write_through(message, &self.place) {
            Ok(Some(write)) => {
                self.is_alone |= self.below.write(write).is_err();
                !self.is_alone && self.flushes.is_empty() && self.closes.is_empty()
            }
            Ok(None) => false,
            Err(error) => self.finished_with(error),
        }
    }

    /// True when that left nothing to be given out.
    pub(crate) fn read(
        &mut self,
        message: Read<C::Below>,
        above: &mut impl Upward<C::Above>,
    ) -> bool {
        self.has_read = true;
        if self.failed.is_some() {
            return false;
        }
        match self.codec.read_through(message, &self.place) {
            Ok(Some(read)) => {
                self.has_read = !self.pass_up(read, above) || self.codec.expects_more();
                !self.has_read
            }
            Ok(None) => false,
            Err(error) => self.finished_with(error),
        }
    }

    /// The codec is finished, and that is still to be told: false.
    #[cold]
    fn finished_with(&mut self, error: StreamError) -> bool {
        self.failed = Some(error.at(&self.place.endpoint).into());
        false
    }

    /// Ends the way down, once: a close may come behind a finish.
    pub(crate) fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            self.input(|codec, place| codec.handle_finish(place));
        }
    }

    pub(crate) fn end(&mut self) {
        self.input(|codec, place| codec.handle_end(place));
    }

    pub(crate) fn flush(&mut self, message: Flush) {
        self.input(|codec, place| codec.handle_flush(place));
        self.flushes.push_back(message);
    }

    pub(crate) fn close(&mut self, message: CloseStream) {
        self.finish();
        self.closing = true;
        self.closes.push(message);
    }

    /// The connection is lost below; what came before is delivered before that is told.
    pub(crate) fn lost(&mut self, error: StreamError) {
        self.failed.get_or_insert_with(|| error.into());
    }

    // ---- what passes the codec by ----

    pub(crate) fn attach(&mut self, above: Box<dyn Above<C::Below>>) {
        self.pass_down(|below| below.attach(above));
    }

    /// Resets the connection, and tells so unless the end was told: readers of a stream learn it from nobody else.
    pub(crate) fn abort(&mut self, above: &mut impl Upward<C::Above>) {
        if !self.over {
            above.lost(self.loss(LossReason::Aborted));
        }
        self.reset();
    }

    /// Resets the connection for somebody who knows that it ends.
    pub(crate) fn reset(&mut self) {
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

    /// The stream that this codec is the top of was closed, and that is done.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing && self.over
    }

    /// The codec, or who hosts it, panicked; nothing is asked of it any more.
    pub(crate) fn panicked(&mut self, reason: LossReason, above: &mut impl Upward<C::Above>) {
        let error = self.loss(reason);
        self.failed = Some(error.clone().into());
        if !std::mem::replace(&mut self.over, true) {
            above.lost(error);
        }
        // Not an orderly end, which is what would come of going away.
        self.below.abort();
    }

    /// Tells the loss that the end of the hosting actor is, unless one was told before.
    pub(crate) fn drop_above(&mut self, above: &mut impl Upward<C::Above>) {
        if !std::mem::replace(&mut self.over, true) {
            above.lost(self.loss(LossReason::ActorGone));
        }
    }

    fn loss(&self, reason: LossReason) -> StreamError {
        ConnectionLostError::new(&self.place.endpoint, reason).into()
    }

    // ---- outputs ----

    /// The one drain order: outputs, then flushes and closes, then what somebody waits for, then the timer; the failure
    /// comes last.
    pub(crate) fn drain(&mut self, cx: &mut TaskContext<'_>, above: &mut impl Upward<C::Above>) {
        loop {
            self.drain_outputs(cx, above);
            self.pass_on_requests();
            if !self.let_go(cx) && !self.fire_timer(cx) {
                break;
            }
        }
        if self.is_alone && self.failed.is_none() {
            self.failed = Some(self.loss(LossReason::ActorGone).into());
        }
        if std::mem::take(&mut self.has_read) && self.codec.expects_more() {
            self.below.expect_more();
        }
        // Frames that wait for room above are delivered before the failure is told.
        if !self.over
            && self.codec.held() == 0
            && let Some(error) = self.failed.as_deref().cloned()
        {
            self.over = true;
            // A close under way is no failure: it writes what is left, and reads on by itself.
            let is_failure = !matches!(error, StreamError::Closed);
            above.lost(error);
            if is_failure {
                self.below.abort();
            }
        }
    }

    /// Passes flushes and closes on behind what the codec gave out, unless that is not all.
    fn pass_on_requests(&mut self) {
        if self.failed.is_none() && self.codec.holds_writes() {
            return;
        }
        while let Some(flush) = self.flushes.pop_front() {
            match self.failed.as_deref().cloned() {
                Some(error) => flush.answer(Err(error)),
                None => self.pass_down(|below| below.flush(flush)),
            }
        }
        while let Some(close) = self.closes.pop() {
            self.pass_down(|below| below.close(close));
        }
    }

    fn drain_outputs(&mut self, cx: &TaskContext<'_>, above: &mut impl Upward<C::Above>) {
        loop {
            let held = self.codec.held();
            let may_grow = held == 0 || self.place.up_gate.poll_open(held, cx).is_ready();
            match self.codec.poll_output(may_grow, &self.place) {
                Ok(Some(Output::Down(write))) => self.pass_down(|below| below.write(write)),
                Ok(Some(Output::Up(read))) => {
                    if !self.pass_up(read, above) {
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
                    self.failed
                        .get_or_insert_with(|| error.at(&self.place.endpoint).into());
                    return;
                }
            }
        }
    }

    /// Ends everything with an error that the codec has told the peer: what it said still has to leave.
    fn part(&mut self, error: StreamError, above: &mut impl Upward<C::Above>) {
        let error = error.at(&self.place.endpoint);
        self.failed.get_or_insert_with(|| error.clone().into());
        if !std::mem::replace(&mut self.over, true) {
            self.parted = true;
            let _ = self.below.finish();
            above.lost(error);
        }
    }

    /// False when nobody will ever take what comes up.
    fn pass_up(&mut self, read: Read<C::Above>, above: &mut impl Upward<C::Above>) -> bool {
        let is_taken = above.read(read).is_ok();
        if !is_taken {
            // The peer must not think that somebody does.
            self.reset();
        }
        is_taken
    }

    fn pass_down(&mut self, send: impl FnOnce(&dyn Below<C::Below>) -> Result<(), Gone>) {
        self.is_alone |= send(&*self.below).is_err();
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
        let timer = self.timer.get_or_insert_with(|| Alarm::at(deadline));
        if timer.deadline() != deadline {
            timer.reset(deadline);
        }
        if timer.poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.input(|codec, place| codec.handle_timeout(place.now(), place));
        true
    }
}
