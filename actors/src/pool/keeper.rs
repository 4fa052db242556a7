//! [`Keeper`]: the actor of a pool.
//!
//! It makes, checks, closes and replaces connections, keeps time for those who wait, and tells what happens. What users do all
//! the time, take and return, goes past it: a message to another thread and its answer take ten times as long. They call it when
//! there is something to do.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Instant,
};

use actix::{Actor, Handler, Message, MessageResult, ResponseFuture};
use tokio::{sync::oneshot, time::Sleep};

use super::{
    config::{DialFailure, FOR_EVER},
    door::Door,
    errand,
    error::{PoolError, WaitedFor},
    event::{Subscribe, Subscriber, Subscribers, Told},
    lease::Lease,
    message::{Acquire, Drain, Drained, Release, Resize, Stats},
    recipe::{Recipe, Retired},
    shared::{Shared, now},
    state::Phase,
    stats::Metrics,
};
use crate::{
    error::LossReason,
    event::{log_started, log_stopped},
    work::{Work, WorkContext},
};

/// The actor of a pool. It takes [`Acquire`], [`Release`], [`Resize`], [`Drain`], [`Stats`] and [`Subscribe`].
pub struct Keeper<R: Recipe> {
    shared: Arc<Shared<R>>,
    door: Arc<Door<R>>,
    timer: Option<Pin<Box<Sleep>>>,
    subscribers: Subscribers,
    metrics: Metrics,
    drains: Vec<oneshot::Sender<Drained>>,
    warming: Vec<WarmUp>,
}

impl<R: Recipe> std::fmt::Debug for Keeper<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("stats", &self.shared.stats())
            .finish_non_exhaustive()
    }
}

/// Tell me when so many connections are there as are to be idle.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WarmUp {
    pub(super) answer: oneshot::Sender<Result<(), PoolError>>,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
}

impl<R: Recipe> Keeper<R> {
    pub(super) fn new(door: Arc<Door<R>>) -> Self {
        Self {
            shared: door.shared.clone(),
            door,
            timer: None,
            subscribers: Subscribers::default(),
            metrics: Metrics::new(),
            drains: Vec::new(),
            warming: Vec::new(),
        }
    }

    fn place(&self) -> &str {
        self.shared.recipes[0].endpoint()
    }

    /// Does what is due. Gives when to come again, or `None` when everything is over.
    fn keep(&mut self, cx: &TaskContext<'_>) -> Option<Instant> {
        let plan = self.shared.keep(cx.waker());
        self.subscribers.tell(plan.jobs.told);
        for dial in plan.dials {
            errand::dial(&self.shared, dial);
        }
        for (ticket, member) in plan.jobs.checks {
            errand::try_out(&self.door, ticket, member);
        }
        for (member, why) in plan.jobs.retired {
            errand::close(&self.shared, member, why);
        }
        if plan.is_tick {
            self.look_at_idle();
        }
        if plan.is_tick || plan.is_change || !self.drains.is_empty() || !self.warming.is_empty() {
            self.report();
        }
        (!plan.is_done).then_some(plan.next)
    }

    /// Retires idle connections that broke, so that they are replaced before somebody wants them. Those that were used since the last time are left
    /// alone.
    fn look_at_idle(&self) {
        let long_idle = self.shared.change(|state, _| state.take_long_idle());
        let looked_at = long_idle
            .into_iter()
            .map(|member| Lease::new(&self.door, member));
        // The oldest goes back last, and so to the front again.
        for mut lease in looked_at.collect::<Vec<_>>().into_iter().rev() {
            if lease.is_usable() {
                let member = lease.into_member();
                self.shared
                    .change(|state, woken| state.put_back_looked_at(member, woken));
            } else {
                lease.give_up(Retired::Broken);
            }
        }
    }

    /// Answers those who wait for the pool as a whole, and tells the counts.
    fn report(&mut self) {
        let stats = self.shared.stats();
        self.metrics.tell(&stats);
        if self.drains.is_empty() && self.warming.is_empty() {
            return;
        }
        let (phase, wanted, last, is_final) = self.shared.change(|state, _| {
            let wanted = state.min_idle.min(state.max_size);
            let is_final = state.dial_failure == DialFailure::Fail;
            (state.phase, wanted, state.last_error(), is_final)
        });
        if phase == Phase::Closed {
            let drained = Drained {
                in_use: stats.in_use,
                closing: stats.closing,
            };
            for answer in self.drains.drain(..) {
                // Whoever asked may have gone.
                let _ = answer.send(drained);
            }
        }
        let is_warm = stats.in_use + stats.idle >= wanted;
        let time = now();
        for waiting in std::mem::take(&mut self.warming) {
            let is_late = waiting.deadline.is_some_and(|at| at <= time);
            let result = if is_warm {
                Ok(())
            } else if phase != Phase::Open {
                Err(PoolError::Closed)
            } else if let Some(error) = last.clone().filter(|_| is_final) {
                Err(PoolError::Connect(error))
            } else if is_late {
                Err(PoolError::TimedOut {
                    waited_for: WaitedFor::Dial,
                    after: time - waiting.since,
                    last: last.clone(),
                })
            } else {
                self.warming.push(waiting);
                continue;
            };
            let _ = waiting.answer.send(result);
        }
    }

    /// When somebody who waits for the pool to be warm gives up.
    fn soonest(&self) -> Option<Instant> {
        self.warming
            .iter()
            .filter_map(|waiting| waiting.deadline)
            .min()
    }
}

impl<R: Recipe> Actor for Keeper<R> {
    type Context = WorkContext<Self>;

    fn started(&mut self, _: &mut WorkContext<Self>) {
        log_started::<Self>(self.place());
    }

    fn stopped(&mut self, _: &mut WorkContext<Self>) {
        log_stopped::<Self>(self.place());
    }
}

impl<R: Recipe> Work for Keeper<R> {
    fn work(&mut self, _: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let Some(next) = self.keep(cx) else {
                return Poll::Ready(());
            };
            let next = self.soonest().map_or(next, |at| at.min(next)).into();
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Whoever waits is told as this is dropped.
    fn panicked(&mut self, reason: LossReason) {
        tracing::error!(endpoint = self.place(), %reason, "a pool is gone");
    }
}

impl<R: Recipe> Drop for Keeper<R> {
    fn drop(&mut self) {
        self.shared.over.send_replace(true);
        let jobs = self.shared.change(|state, woken| {
            self.shared.close_desks(state, woken);
            state.abandon(woken)
        });
        self.subscribers.tell(jobs.told);
        // Connections among the jobs close as they are dropped; whoever waits for an answer learns that there is none.
    }
}

impl<R: Recipe> Handler<Acquire<R>> for Keeper<R> {
    type Result = ResponseFuture<Result<Lease<R>, PoolError>>;

    fn handle(&mut self, message: Acquire<R>, _: &mut WorkContext<Self>) -> Self::Result {
        let door = self.door.clone();
        // A task of its own: many that wait would be asked again whenever this actor wakes up.
        Box::pin(async move { door.get(message.timeout.or(door.timeout)).await })
    }
}

impl<R: Recipe> Handler<Release<R>> for Keeper<R> {
    type Result = ();

    fn handle(&mut self, Release(lease): Release<R>, _: &mut WorkContext<Self>) {
        drop(lease);
    }
}

impl<R: Recipe> Handler<Resize> for Keeper<R> {
    type Result = ();

    fn handle(&mut self, Resize { max_size }: Resize, _: &mut WorkContext<Self>) {
        self.shared
            .change(|state, woken| state.resize(max_size, woken));
    }
}

impl<R: Recipe> Handler<Drain> for Keeper<R> {
    type Result = ResponseFuture<Drained>;

    fn handle(&mut self, Drain { within }: Drain, _: &mut WorkContext<Self>) -> Self::Result {
        let (answer, drained) = oneshot::channel();
        self.start_drain(within, answer);
        Box::pin(async move { drained.await.unwrap_or_default() })
    }
}

/// [`Drain`], with the place for the answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct StartDrain(
    pub(super) std::time::Duration,
    pub(super) oneshot::Sender<Drained>,
);

impl<R: Recipe> Keeper<R> {
    fn start_drain(&mut self, within: std::time::Duration, answer: oneshot::Sender<Drained>) {
        let now = now();
        // A drain without an end is one of a hundred years.
        let until = now.checked_add(within).unwrap_or(now + FOR_EVER);
        self.shared.change(|state, woken| state.drain(until, woken));
        self.drains.push(answer);
    }
}

impl<R: Recipe> Handler<StartDrain> for Keeper<R> {
    type Result = ();

    fn handle(&mut self, StartDrain(within, answer): StartDrain, _: &mut WorkContext<Self>) {
        self.start_drain(within, answer);
    }
}

impl<R: Recipe> Handler<WarmUp> for Keeper<R> {
    type Result = ();

    fn handle(&mut self, message: WarmUp, _: &mut WorkContext<Self>) {
        self.warming.push(message);
    }
}

impl<R: Recipe> Handler<Stats> for Keeper<R> {
    type Result = MessageResult<Stats>;

    fn handle(&mut self, _: Stats, _: &mut WorkContext<Self>) -> Self::Result {
        MessageResult(Box::new(self.shared.stats()))
    }
}

impl<R: Recipe> Handler<Subscribe> for Keeper<R> {
    type Result = ();

    fn handle(&mut self, Subscribe(actor): Subscribe, _: &mut WorkContext<Self>) {
        let subscriber = Told::Subscriber(Subscriber::Actor(actor));
        self.shared
            .change(|state, _| state.jobs.told.push(subscriber));
    }
}
