//! [`State`]: the books of a pool, behind its one lock.
//!
//! No I/O, no clock and nobody else's code: a user's thread takes and returns connections here, and leaves what takes time to
//! the pool's actor, which comes when it is called. A connection is in exactly one place: idle, in use, or closing; one that is being made is
//! a number.

use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use smallvec::SmallVec;

use super::{
    config::{Check, DialFailure, PoolConfig},
    error::PoolError,
    event::{PoolEvent, Told},
    line::{Grant, Line, Ticket, Waiter},
    recipe::Retired,
    site::{Member, Site, lighter_of_two},
    stats::{EndpointStats, PoolStats, RetiredCounts, Waits},
};
use crate::error::StreamError;

/// Wakers to be called without the lock.
pub(super) type Woken = SmallVec<[Waker; 2]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Those who wait are served, nobody else; until then.
    Draining(Instant),
    Closed,
}

/// What the actor has to do.
pub(super) struct Jobs<C> {
    pub(super) retired: Vec<(Member<C>, Retired)>,
    pub(super) checks: Vec<(Ticket, Member<C>)>,
    pub(super) told: Vec<Told>,
}

impl<C> Default for Jobs<C> {
    fn default() -> Self {
        Self {
            retired: Vec::new(),
            checks: Vec::new(),
            told: Vec::new(),
        }
    }
}

/// Numbers since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) acquired: u64,
    pub(super) timed_out: u64,
    pub(super) opened: u64,
    pub(super) failed_dials: u64,
    pub(super) dial_time: Duration,
    pub(super) retired: RetiredCounts,
}

/// A connection that is idle, or why there is none.
pub(super) enum Taken<T> {
    Ready(T),
    /// To be checked first.
    Unchecked(T),
    None,
    Refused,
}

pub(super) struct State<C> {
    pub(super) max_size: usize,
    pub(super) min_idle: usize,
    pub(super) check: Check,
    pub(super) dial_failure: DialFailure,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) tick: Duration,
    pub(super) phase: Phase,
    pub(super) sites: Vec<Site<C>>,
    pub(super) line: Line<C>,
    pub(super) random: fastrand::Rng,
    /// The coarse clock: when the actor came last. What goes through here all the time reads no other.
    pub(super) now: Instant,
    pub(super) next_tick: Instant,
    /// The actor, until it is called, and when it comes by itself.
    pub(super) keeper: Option<Waker>,
    pub(super) wakes_at: Instant,
    /// There is no actor any more.
    pub(super) is_abandoned: bool,
    pub(super) jobs: Jobs<C>,
    pub(super) counts: Counts,
}

impl<C> State<C> {
    pub(super) fn new(
        config: &PoolConfig,
        endpoints: impl IntoIterator<Item = Arc<str>>,
        now: Instant,
    ) -> Self {
        let mut random = config
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let sites = endpoints
            .into_iter()
            .map(|endpoint| {
                let mut backoff = config.backoff.clone();
                // Endpoints that fail together are not to be tried together.
                backoff.seed = Some(backoff.seed.unwrap_or(0) ^ random.u64(..));
                Site::new(endpoint, backoff)
            })
            .collect();
        Self {
            max_size: config.max_size.max(1),
            min_idle: config.min_idle,
            check: config.check,
            dial_failure: config.dial_failure,
            max_lifetime: config.max_lifetime,
            idle_timeout: config.idle_timeout,
            tick: config.tick(),
            phase: Phase::Open,
            sites,
            line: Line::default(),
            random,
            now,
            next_tick: now,
            keeper: None,
            wakes_at: now,
            is_abandoned: false,
            jobs: Jobs::default(),
            counts: Counts::default(),
        }
    }

    /// Takes an idle connection, unless others wait for one.
    #[inline]
    pub(super) fn take(&mut self) -> Taken<Member<C>> {
        if self.phase != Phase::Open {
            return Taken::Refused;
        }
        if !self.line.is_empty() {
            return Taken::None;
        }
        let Some(member) = self.take_idle() else {
            return Taken::None;
        };
        self.counts.acquired += 1;
        if self.needs_check(&member) {
            return Taken::Unchecked(member);
        }
        Taken::Ready(member)
    }

    /// Takes an idle connection, from the endpoint with less in use of two if there are several.
    fn take_idle(&mut self) -> Option<Member<C>> {
        let at = match &self.sites[..] {
            [_] => 0,
            sites => {
                let random = &mut self.random;
                let mut choose = |qualifies: fn(&Site<C>) -> bool| {
                    lighter_of_two(sites, random, qualifies, |site| site.in_use)
                };
                choose(|site| !site.idle.is_empty() && !site.is_out())
                    .or_else(|| choose(|site| !site.idle.is_empty()))?
            }
        };
        let site = &mut self.sites[at];
        let member = site.idle.pop_back()?;
        site.in_use += 1;
        Some(member)
    }

    fn needs_check(&self, member: &Member<C>) -> bool {
        match self.check {
            Check::Never => false,
            Check::Always => true,
            // The clock is late by up to a tick.
            Check::AfterIdle(time) => {
                let idle = self.now.saturating_duration_since(member.idle_since);
                idle + self.tick >= time && !idle.is_zero()
            }
        }
    }

    /// Takes back a connection that is in order.
    #[inline]
    pub(super) fn put_back(&mut self, mut member: Member<C>, woken: &mut Woken) {
        if !member.is_proven {
            member.is_proven = true;
            self.sites[member.site].proved();
        }
        member.idle_since = self.now;
        if let Some(why) = self.unwanted(&member) {
            self.retire(member, why, woken);
            return;
        }
        self.give(member, self.check == Check::Always, woken);
    }

    /// Takes back what was looked at while it was idle, as the oldest.
    pub(super) fn put_back_looked_at(&mut self, member: Member<C>, woken: &mut Woken) {
        if let Some(why) = self.unwanted(&member) {
            self.retire(member, why, woken);
        } else if self.line.is_empty() {
            let site = &mut self.sites[member.site];
            site.in_use -= 1;
            site.idle.push_front(member);
        } else {
            let needs_check = self.needs_check(&member);
            self.give(member, needs_check, woken);
        }
    }

    /// Nobody is given anything any more.
    pub(super) fn is_over(&self) -> bool {
        match self.phase {
            Phase::Open => false,
            Phase::Draining(_) => self.line.is_empty(),
            Phase::Closed => true,
        }
    }

    /// Why a connection is not to be used again.
    pub(super) fn unwanted(&self, member: &Member<C>) -> Option<Retired> {
        if self.is_over() {
            Some(Retired::Closed)
        } else if self.live() > self.max_size {
            Some(Retired::Resized)
        } else if member.expires_at.is_some_and(|at| at <= self.now) {
            Some(Retired::Expired)
        } else {
            None
        }
    }

    /// Gives a connection that is in use to whoever is first in line, or makes it idle.
    #[inline]
    pub(super) fn give(&mut self, member: Member<C>, needs_check: bool, woken: &mut Woken) {
        match self.line.first() {
            Some((ticket, waiter)) => {
                let grant = Grant {
                    member,
                    needs_check,
                    dialling_since: waiter.dialling_since,
                };
                self.line.give(ticket, Ok(grant));
                woken.push(waiter.waker);
            }
            None => {
                let site = &mut self.sites[member.site];
                site.in_use -= 1;
                site.idle.push_back(member);
            }
        }
    }

    /// A connection that is in use leaves the pool.
    pub(super) fn retire(&mut self, member: Member<C>, why: Retired, woken: &mut Woken) {
        let at = member.site;
        self.sites[at].in_use -= 1;
        self.sites[at].closing += 1;
        self.note_retired(at, why);
        let is_failure = match why {
            Retired::CheckFailed => self.sites[at].check_failed(),
            Retired::Broken => !member.is_proven,
            _ => false,
        };
        if is_failure {
            let error = Arc::new(StreamError::peer(match why {
                Retired::CheckFailed => "it does not answer the check of a connection",
                _ => "it ended a new connection",
            }));
            self.site_failed(at, false, error);
        }
        self.jobs.retired.push((member, why));
        self.call_keeper(woken);
    }

    /// A connection that is in use goes on outside of the pool.
    pub(super) fn let_go(&mut self, member: Member<C>, woken: &mut Woken) -> C {
        self.sites[member.site].in_use -= 1;
        self.note_retired(member.site, Retired::Taken);
        self.call_keeper(woken);
        member.connection
    }

    fn note_retired(&mut self, at: usize, why: Retired) {
        self.counts.retired.add(why);
        let endpoint = self.sites[at].endpoint.clone();
        self.tell(PoolEvent::Retired { endpoint, why });
    }

    pub(super) fn site_failed(&mut self, at: usize, is_probe: bool, error: Arc<StreamError>) {
        let site = &mut self.sites[at];
        if site.failed(is_probe, error, self.now) {
            let endpoint = site.endpoint.clone();
            self.tell(PoolEvent::Ejected { endpoint });
        }
    }

    /// Stands in line. What is idle after all is given at once.
    pub(super) fn join(
        &mut self,
        ticket: Ticket,
        mut waiter: Waiter,
        now: Instant,
        woken: &mut Woken,
    ) {
        if self.phase == Phase::Closed || self.is_abandoned {
            self.line.give(ticket, Err(PoolError::Closed));
            woken.push(waiter.waker);
            return;
        }
        let has_room = self.line.len() < self.slots();
        if has_room {
            waiter.dialling_since.get_or_insert(now);
        }
        let deadline = waiter.deadline;
        self.line.join(ticket, waiter);
        if let Some(member) = self.take_idle() {
            let needs_check = self.needs_check(&member);
            self.give(member, needs_check, woken);
        } else if has_room || deadline.is_some_and(|at| at < self.wakes_at) {
            self.call_keeper(woken);
        }
    }

    /// What was given to somebody who waits, if anything was.
    pub(super) fn take_given(&mut self, ticket: Ticket) -> Option<Result<Grant<C>, PoolError>> {
        let given = self.line.take(ticket);
        if let Some(Ok(_)) = given {
            self.counts.acquired += 1;
        }
        given
    }

    /// Waits for the check of a connection that is in use.
    pub(super) fn join_checking(
        &mut self,
        ticket: Ticket,
        waiter: Waiter,
        member: Member<C>,
        woken: &mut Woken,
    ) {
        if self.phase == Phase::Closed {
            self.line.give(ticket, Err(PoolError::Closed));
            woken.push(waiter.waker);
            self.retire(member, Retired::Closed, woken);
            return;
        }
        self.line.join_checking(ticket, waiter);
        self.jobs.checks.push((ticket, member));
        self.call_keeper(woken);
    }

    /// A check has come to its end; without a connection when that was retired.
    pub(super) fn checked(
        &mut self,
        ticket: Ticket,
        passed: Option<Member<C>>,
        now: Instant,
        woken: &mut Woken,
    ) {
        let waiter = self.line.checked(ticket);
        match (passed, waiter) {
            (Some(mut member), Some(waiter)) => {
                member.is_proven = true;
                self.sites[member.site].proved();
                let grant = Grant {
                    member,
                    needs_check: false,
                    dialling_since: None,
                };
                self.line.give(ticket, Ok(grant));
                woken.push(waiter.waker);
            }
            (Some(member), None) => self.put_back(member, woken),
            (None, Some(waiter)) => self.join(ticket, waiter, now, woken),
            (None, None) => {}
        }
    }

    /// Somebody who waited goes, whatever it was given meanwhile. Gives its entry, to be dropped without the lock.
    pub(super) fn leave(&mut self, ticket: Ticket, woken: &mut Woken) -> Option<Waiter> {
        let (waiter, grant) = self.line.leave(ticket);
        if let Some(grant) = grant {
            let Grant {
                member,
                needs_check,
                ..
            } = grant;
            match self.unwanted(&member) {
                Some(why) => self.retire(member, why, woken),
                None => self.give(member, needs_check, woken),
            }
        } else if matches!(self.phase, Phase::Draining(_)) {
            // It may have been the last one for whom connections were kept.
            self.call_keeper(woken);
        }
        waiter
    }

    /// Has the actor come.
    pub(super) fn call_keeper(&mut self, woken: &mut Woken) {
        woken.extend(self.keeper.take());
    }

    pub(super) fn tell(&mut self, event: PoolEvent) {
        self.jobs.told.push(Told::Event(event));
    }

    pub(super) fn total(&self) -> usize {
        self.sites.iter().map(Site::total).sum()
    }

    pub(super) fn idle(&self) -> usize {
        self.sites.iter().map(|site| site.idle.len()).sum()
    }

    pub(super) fn in_use(&self) -> usize {
        self.sites.iter().map(|site| site.in_use).sum()
    }

    pub(super) fn opening(&self) -> usize {
        self.sites.iter().map(|site| site.opening).sum()
    }

    /// Connections that may be made, those that are being made among them.
    pub(super) fn slots(&self) -> usize {
        (self.max_size + self.opening()).saturating_sub(self.total())
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            max_size: self.max_size,
            in_use: self.in_use(),
            idle: self.idle(),
            opening: self.opening(),
            closing: self.sites.iter().map(|site| site.closing).sum(),
            waiting: self.line.all(),
            acquired: self.counts.acquired,
            timed_out: self.counts.timed_out,
            opened: self.counts.opened,
            failed_dials: self.counts.failed_dials,
            retired: self.counts.retired,
            dials: Waits {
                count: self.counts.opened,
                time: self.counts.dial_time,
            },
            endpoints: self
                .sites
                .iter()
                .map(|site| EndpointStats {
                    endpoint: site.endpoint.clone(),
                    in_use: site.in_use,
                    idle: site.idle.len(),
                    opening: site.opening,
                    is_out: site.is_out(),
                })
                .collect(),
            ..PoolStats::default()
        }
    }
}

#[cfg(test)]
mod tests;
