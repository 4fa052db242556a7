//! [`Session`]: the actor that keeps a session over its links.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::Message;
use tokio::time::{Instant, Sleep};

use super::{
    dialler::Dialler,
    door::handle,
    link::{Attachment, Uplink},
    seats::{Place, refuse},
};
use crate::{
    codec::{
        Host,
        resume::{Binding, Identity, Link, Output, Request, Resume, ResumeConfig},
    },
    credit::Gate,
    error::{ConnectionLostError, LossReason, StreamError},
    event::{ConnectionEvent, log_stopped},
    layer::{Above, Below},
    mail::WorkAddr,
    message::{Flush, Read, Tell},
    stream::{CloseStream, StreamHandle, StreamInfo},
    unit::Chunk,
    work::{self, Work, WorkContext},
};

/// How long a link that carried nothing of the stream must have lived to count as one that was of use.
const USEFUL_LIFE: Duration = Duration::from_secs(1);

/// Takes the stream of a new session, on its arbiter.
pub(crate) type Offer = Box<dyn FnOnce(StreamHandle) + Send>;

/// Who sees to it that the session gets links.
pub(crate) enum Keeper {
    Dialler(Box<Dialler>),
    Place(Place),
}

/// A client is there that wants to go on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct TakeLink {
    pub(super) request: Request,
    pub(super) binding: Binding,
    pub(super) below: Option<Box<dyn Below<Chunk>>>,
}

impl Drop for TakeLink {
    fn drop(&mut self) {
        // Nobody took it: the session is gone.
        refuse(self.below.take(), Request::refuse_unknown());
    }
}

/// The server will stop.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct GoAway;

/// Others need the room.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Evict;

/// What the codec may ask.
pub(super) struct Surroundings {
    pub(super) endpoint: Arc<str>,
    pub(super) down_gate: Arc<Gate>,
    pub(super) up_gate: Arc<Gate>,
}

impl Host for Surroundings {
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn down_gate(&self) -> &Arc<Gate> {
        &self.down_gate
    }

    fn up_gate(&self) -> &Arc<Gate> {
        &self.up_gate
    }
}

/// The actor of one session.
pub(crate) struct Session {
    pub(super) codec: Resume,
    pub(super) surroundings: Surroundings,
    pub(super) info: Arc<StreamInfo>,
    pub(super) keeper: Keeper,
    pub(super) link: Option<Attachment>,
    /// Links that became the session's so far, and those that were tried.
    pub(super) links: u64,
    tried: u64,
    /// When the present link became the session's, and what had passed when the one before was lost.
    attached: Instant,
    passed: u64,
    pub(super) detached: Option<Instant>,
    pub(super) above: Option<Box<dyn Above<Chunk>>>,
    /// What came up before somebody was there to take it.
    pub(super) early: VecDeque<Read<Chunk>>,
    pub(super) has_ended: bool,
    pub(super) offer: Option<Offer>,
    /// Flushes, each with the number of bytes that the peer must have.
    pub(super) flushes: VecDeque<(u64, Flush)>,
    pub(super) closes: Vec<CloseStream>,
    /// Nobody is above any more: how long the rest may take.
    pub(super) leaving: Option<Pin<Box<Sleep>>>,
    /// It is all over, for this reason.
    pub(super) outcome: Option<StreamError>,
    pub(super) timer: Option<Pin<Box<Sleep>>>,
    pub(super) kept: Option<Box<dyn Send>>,
}

impl Session {
    /// A session of the dialling end over its first link, on the current arbiter.
    pub(super) fn dial(
        config: ResumeConfig,
        info: StreamInfo,
        dialler: Dialler,
        link: Attachment,
    ) -> StreamHandle {
        let codec = Resume::new(&config, Instant::now().into_std());
        let session = Self::new(codec, Arc::new(info), dialler.into(), link);
        let (info, gates) = (session.info.clone(), session.gates());
        handle(work::start(session), info, gates)
    }

    /// A new session of a server, on the current arbiter.
    pub(super) fn accept(
        config: &ResumeConfig,
        identity: Identity,
        request: &Request,
        info: StreamInfo,
        place: Place,
        link: Attachment,
        offer: Offer,
    ) -> WorkAddr<Self> {
        let ready = Link {
            binding: link.binding.unwrap_or_else(Binding::plain),
            gate: link.gate.clone(),
            now: Instant::now().into_std(),
        };
        let codec = Resume::accept(config, identity, request, ready);
        let mut session = Self::new(codec, Arc::new(info), place.into(), link);
        session.offer = Some(offer);
        work::start(session)
    }

    fn new(codec: Resume, info: Arc<StreamInfo>, keeper: Keeper, link: Attachment) -> Self {
        let credit = info.limits.credit;
        Self {
            codec,
            surroundings: Surroundings {
                endpoint: info.endpoint.clone(),
                // As a stream: the rest is for memory that is not counted piece by piece.
                down_gate: Gate::new(credit - credit / 16),
                up_gate: Gate::new(credit),
            },
            info,
            keeper,
            link: Some(link),
            links: 0,
            tried: 0,
            attached: Instant::now(),
            passed: 0,
            detached: None,
            above: None,
            early: VecDeque::new(),
            has_ended: false,
            offer: None,
            flushes: VecDeque::new(),
            closes: Vec::new(),
            leaving: None,
            outcome: None,
            timer: None,
            kept: None,
        }
    }

    fn gates(&self) -> (Arc<Gate>, Arc<Gate>) {
        let Surroundings {
            down_gate, up_gate, ..
        } = &self.surroundings;
        (down_gate.clone(), up_gate.clone())
    }

    // ---- links ----

    pub(super) fn new_link(
        &mut self,
        below: Box<dyn Below<Chunk>>,
        binding: Option<Binding>,
    ) -> Attachment {
        self.tried += 1;
        Attachment::new(self.tried, below, binding)
    }

    /// Begins to listen to a link, and asks it for the session once it has shaken hands.
    pub(super) fn use_link(&mut self, link: Attachment, session: WorkAddr<Self>) {
        let uplink = Uplink {
            session,
            number: link.number,
        };
        let is_there = link.below.attach(Box::new(uplink)).is_ok();
        self.link = Some(link);
        if is_there {
            self.ask();
        } else {
            self.lose_link(self.lost(LossReason::ActorGone));
        }
    }

    pub(super) fn ask(&mut self) {
        if let Some(link) = &self.link
            && let Some(binding) = link.binding
            && matches!(self.keeper, Keeper::Dialler(_))
        {
            self.codec.handle_attached(Link {
                binding,
                gate: link.gate.clone(),
                now: self.surroundings.now(),
            });
        }
    }

    pub(super) fn is_present(&self, number: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.number == number)
    }

    /// The present link is of no use any more.
    pub(super) fn lose_link(&mut self, error: StreamError) {
        let error = error.at(&self.surroundings.endpoint);
        self.codec
            .handle_detached(error.clone(), self.surroundings.now());
        self.let_go(error);
    }

    pub(super) fn let_go(&mut self, error: StreamError) {
        self.link = None;
        let before = std::mem::replace(&mut self.passed, self.codec.passed());
        let was_of_use = self.passed > before || self.attached.elapsed() >= USEFUL_LIFE;
        if let Keeper::Dialler(dialler) = &mut self.keeper
            && was_of_use
            && self.detached.is_none()
        {
            dialler.reset();
        }
        if self.detached.is_none() && !self.codec.is_over() {
            self.detached = Some(Instant::now());
            tracing::info!(%error, endpoint = %self.surroundings.endpoint, "a session has no connection");
            self.tell(ConnectionEvent::Detached {
                endpoint: self.surroundings.endpoint.clone(),
                generation: self.links,
                reason: error,
            });
        }
        self.weigh();
    }

    /// A server's session without a link takes room from others.
    fn weigh(&self) {
        if let Keeper::Place(place) = &self.keeper
            && self.link.is_none()
            && !self.codec.is_over()
        {
            let Surroundings {
                down_gate, up_gate, ..
            } = &self.surroundings;
            place.wait(down_gate.used() + up_gate.used());
        }
    }

    fn attach_done(&mut self) {
        self.links += 1;
        self.attached = Instant::now();
        match &mut self.keeper {
            Keeper::Dialler(dialler) => dialler.stop(),
            Keeper::Place(place) => place.go_on(),
        }
        if let Some(since) = self.detached.take() {
            let downtime = since.elapsed();
            tracing::info!(?downtime, endpoint = %self.surroundings.endpoint, "a session goes on");
            self.tell(ConnectionEvent::Resumed {
                endpoint: self.surroundings.endpoint.clone(),
                generation: self.links,
                downtime,
            });
        }
    }

    /// Opens a link where one is wanted.
    fn poll_dialler(&mut self, ctx: &WorkContext<Self>, cx: &mut TaskContext<'_>) {
        while let Keeper::Dialler(dialler) = &mut self.keeper
            && self.link.is_none()
            && self.codec.is_down()
            && let Poll::Ready(opened) = dialler.poll(cx)
        {
            let link = self.new_link(opened.below, opened.binding);
            self.use_link(link, ctx.work_address());
            self.drain(ctx);
        }
    }

    // ---- above ----

    pub(super) fn lost(&self, reason: LossReason) -> StreamError {
        ConnectionLostError::new(&self.surroundings.endpoint, reason).into()
    }

    pub(super) fn tell(&self, event: ConnectionEvent) {
        if let Some(above) = &self.above {
            above.tell(Tell(event));
        }
    }

    fn deliver(&mut self, read: Read<Chunk>) {
        match &self.above {
            _ if self.leaving.is_some() => {}
            None => self.early.push_back(read),
            Some(above) => {
                if above.read(read).is_err() {
                    // Nobody will ever take what comes up, so the peer must not think that somebody does.
                    self.codec.handle_abort();
                }
            }
        }
    }

    /// It is all over: everybody who waits is told, and those above behind what came.
    fn conclude(&mut self, error: Option<StreamError>) {
        let error = error.map(|error| error.at(&self.surroundings.endpoint));
        let outcome = error.clone().unwrap_or(StreamError::Closed);
        // Closed before any credit comes back, or somebody who waits would take it for what can never be sent.
        self.surroundings.down_gate.close(outcome.clone());
        for (_, flush) in self.flushes.drain(..) {
            flush.answer(error.clone().map_or(Ok(()), Err));
        }
        for CloseStream(answer) in self.closes.drain(..) {
            let _ = answer.send(error.clone().map_or(Ok(()), Err));
        }
        if let (Some(above), Some(error)) = (&self.above, error) {
            above.lost(error);
        }
        self.link = None;
        self.outcome = Some(outcome);
        if let Keeper::Dialler(dialler) = &mut self.keeper {
            dialler.stop();
        }
    }

    /// Nobody is above any more. The rest has some time.
    pub(super) fn leave(&mut self) {
        self.early.clear();
        self.codec.handle_finish();
        let patience = self.info.limits.close_timeout;
        self.leaving
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
    }

    // ---- outputs ----

    fn drain(&mut self, ctx: &WorkContext<Self>) {
        while let Some(output) = self.codec.poll_output(&self.surroundings) {
            match output {
                Output::Down(write) => {
                    if let Some(link) = &self.link
                        && link.below.write(write).is_err()
                    {
                        self.lose_link(self.lost(LossReason::ActorGone));
                    }
                }
                Output::Up(read) => self.deliver(read),
                Output::End => {
                    self.has_ended = true;
                    if let Some(above) = &self.above {
                        above.end();
                    }
                }
                Output::Confirmed => {
                    if let Some(offer) = self.offer.take() {
                        offer(handle(ctx.work_address(), self.info.clone(), self.gates()));
                    }
                }
                Output::Attached => self.attach_done(),
                Output::GoingAway => self.tell(ConnectionEvent::GoingAway {
                    endpoint: self.surroundings.endpoint.clone(),
                }),
                Output::FinishLink => {
                    if let Some(link) = &mut self.link {
                        link.finish();
                    }
                }
                Output::DropLink(error) => self.let_go(error),
                Output::Over(error) => self.conclude(error),
            }
        }
        while let Some((position, _)) = self.flushes.front()
            && *position <= self.codec.acknowledged()
        {
            if let Some((_, flush)) = self.flushes.pop_front() {
                flush.answer(Ok(()));
            }
        }
    }

    /// True when what the codec waited for is there, so that it may have more to give.
    fn poll_gates(&self, cx: &TaskContext<'_>) -> bool {
        let up_gate = &self.surroundings.up_gate;
        let held = self.codec.held();
        if held > 0 && up_gate.poll_open(held, cx).is_ready() {
            return true;
        }
        if let Some(gate) = self.codec.shut_link() {
            return gate.poll_open(0, cx).is_ready();
        }
        self.codec.wants_room(&self.surroundings) && up_gate.poll_half(cx).is_ready()
    }

    /// Arms the timer for what the codec wants. True when the codec had its turn.
    fn fire_timer(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Some(at) = self.codec.poll_timeout() else {
            self.timer = None;
            return false;
        };
        let deadline = Instant::from_std(at);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // One that is set too early costs a look; setting it anew for each message would cost more.
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.codec.handle_timeout(self.surroundings.now());
        true
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        log_stopped::<Self>(&self.surroundings.endpoint);
        // Without an outcome this actor panicked or its arbiter stopped.
        if self.outcome.is_none() {
            let error = self.lost(LossReason::ActorGone);
            self.conclude(Some(error));
        }
        let error = self.outcome.clone().unwrap_or(StreamError::Closed);
        self.surroundings.up_gate.close(error);
    }
}

impl Work for Session {
    fn work(&mut self, ctx: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            self.drain(ctx);
            if !self.poll_gates(cx) && !self.fire_timer(cx) {
                break;
            }
        }
        self.poll_dialler(ctx, cx);
        self.weigh();
        if let Some(leaving) = &mut self.leaving {
            if self.outcome.is_none() && leaving.as_mut().poll(cx).is_ready() {
                self.codec.handle_abort();
                self.drain(ctx);
            }
            if self.outcome.is_some() {
                return Poll::Ready(());
            }
        }
        // A session of a server that nobody took has nobody above who could let go of it.
        if self.outcome.is_some() && self.offer.is_some() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
    fn panicked(&mut self, reason: LossReason) {
        let error = self.lost(reason);
        self.conclude(Some(error));
    }
}
