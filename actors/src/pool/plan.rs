//! What a pool's actor does when it comes: whose time is over, which connections are too old, and how many are to be made.
//!
//! Part of the books, so without a clock, too: the time comes in.

use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use super::{
    config::{DialFailure, FOR_EVER},
    error::PoolError,
    event::PoolEvent,
    recipe::Retired,
    site::{Dial, Member, Site, lighter_of_two},
    state::{Jobs, Phase, State, Woken},
};
use crate::error::StreamError;

/// What came of a visit.
pub(super) struct Plan<C> {
    pub(super) jobs: Jobs<C>,
    pub(super) dials: Vec<Dial>,
    /// When to come again, if nobody calls before.
    pub(super) next: Instant,
    /// It is time to look at what is idle.
    pub(super) is_tick: bool,
    /// Something happened.
    pub(super) is_change: bool,
    /// Everything is over.
    pub(super) is_done: bool,
}

impl<C> State<C> {
    /// Does what is due, and says what is left for the actor to do.
    pub(super) fn keep(&mut self, now: Instant, waker: &Waker, woken: &mut Woken) -> Plan<C> {
        let is_tick = now >= self.next_tick;
        self.now = now;
        let expired = self.line.expire(now, self.last_error().as_ref(), woken);
        self.counts.timed_out += expired as u64;
        if is_tick {
            self.next_tick = now + self.tick;
            self.retire_aged(now, woken);
            self.make_room_for_probe(now, woken);
        }
        self.advance_phase(now, woken);
        self.retire_surplus(woken);
        let mut dials = Vec::new();
        self.plan_dials(now, &mut dials);
        self.fail_hopeless(now, woken);
        let slots = self.slots();
        self.line.dial_for(slots, now);
        self.keeper = Some(waker.clone());
        self.wakes_at = self.next_visit(now);
        Plan {
            is_change: !self.jobs.told.is_empty(),
            jobs: std::mem::take(&mut self.jobs),
            dials,
            next: self.wakes_at,
            is_tick,
            is_done: self.phase == Phase::Closed && self.total() == self.in_use(),
        }
    }

    /// Why the last attempt failed, of any endpoint that was not reached since.
    pub(super) fn last_error(&self) -> Option<Arc<StreamError>> {
        self.sites.iter().find_map(|site| site.last_error.clone())
    }

    /// Idle connections whose time is over.
    fn retire_aged(&mut self, now: Instant, woken: &mut Woken) {
        for at in 0..self.sites.len() {
            let is_old = |member: &Member<C>| member.expires_at.is_some_and(|at| at <= now);
            self.retire_idle(at, Retired::Expired, is_old, usize::MAX, woken);
        }
        let Some(timeout) = self.idle_timeout else {
            return;
        };
        for at in 0..self.sites.len() {
            let spare = self.idle().saturating_sub(self.min_idle);
            let is_unused =
                |member: &Member<C>| now.saturating_duration_since(member.idle_since) >= timeout;
            self.retire_idle(at, Retired::Idle, is_unused, spare, woken);
        }
    }

    /// In a full pool, a connection that nobody needed since the last tick gives its place to the probe of an ejected endpoint. Not one that is to be kept
    /// idle: while the endpoint stays dead, it would be closed and made again each time.
    fn make_room_for_probe(&mut self, now: Instant, woken: &mut Woken) {
        let mut probes = self.sites.iter().filter_map(Site::probe_due);
        let is_due = self.phase == Phase::Open && probes.any(|due| due <= now);
        let is_full = self.total() >= self.max_size && self.total() == self.live();
        if !is_due || !is_full || self.idle() <= self.min_idle {
            return;
        }
        let oldest = |at: &usize| self.sites[*at].idle.front().map(|member| member.idle_since);
        let able = (0..self.sites.len()).filter(|at| !self.sites[*at].idle.is_empty());
        if let Some(at) = able.min_by_key(oldest) {
            let tick = self.tick;
            let is_unused =
                |member: &Member<C>| now.saturating_duration_since(member.idle_since) >= tick;
            self.retire_idle(at, Retired::Idle, is_unused, 1, woken);
        }
    }

    /// Retires at most `most` idle connections of an endpoint, the oldest first.
    fn retire_idle(
        &mut self,
        at: usize,
        why: Retired,
        is_due: impl Fn(&Member<C>) -> bool,
        most: usize,
        woken: &mut Woken,
    ) {
        let mut left = most;
        let idle = std::mem::take(&mut self.sites[at].idle);
        for member in idle {
            if left > 0 && is_due(&member) {
                left -= 1;
                self.sites[at].in_use += 1;
                self.retire(member, why, woken);
            } else {
                self.sites[at].idle.push_back(member);
            }
        }
    }

    /// Takes what was idle since the last time, to be looked at.
    pub(super) fn take_long_idle(&mut self) -> Vec<Member<C>> {
        let is_long = |member: &Member<C>, now: Instant, tick: Duration| {
            now.saturating_duration_since(member.idle_since) >= tick
        };
        let (now, tick) = (self.now, self.tick);
        let mut taken = Vec::new();
        for site in &mut self.sites {
            // The front is the oldest.
            while site
                .idle
                .front()
                .is_some_and(|member| is_long(member, now, tick))
            {
                taken.extend(site.idle.pop_front());
                site.in_use += 1;
            }
        }
        taken
    }

    /// Ends a drain when nobody waits any more, or its time is over.
    fn advance_phase(&mut self, now: Instant, woken: &mut Woken) {
        if let Phase::Draining(until) = self.phase {
            let is_served = self.line.all() == 0;
            if is_served {
                self.retire_all_idle(woken);
            }
            if now >= until || is_served && self.total() == 0 {
                self.close();
            }
        }
        if self.phase == Phase::Closed {
            self.line.refuse(&PoolError::Closed, woken);
            self.retire_all_idle(woken);
        }
    }

    /// Gives nothing to anybody from now on.
    pub(super) fn close(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.tell(PoolEvent::Closed);
        }
    }

    fn retire_all_idle(&mut self, woken: &mut Woken) {
        for at in 0..self.sites.len() {
            self.retire_idle(at, Retired::Closed, |_| true, usize::MAX, woken);
        }
    }

    /// Idle connections that a smaller pool has no room for, of the endpoint that has most.
    fn retire_surplus(&mut self, woken: &mut Woken) {
        let mut surplus = self.live().saturating_sub(self.max_size);
        while surplus > 0 {
            let most = (0..self.sites.len()).max_by_key(|at| self.sites[*at].idle.len());
            let Some(at) = most.filter(|at| !self.sites[*at].idle.is_empty()) else {
                return;
            };
            self.retire_idle(at, Retired::Resized, |_| true, 1, woken);
            surplus -= 1;
        }
    }

    /// Connections that are there or will be.
    pub(super) fn live(&self) -> usize {
        self.sites
            .iter()
            .map(|site| site.total() - site.closing)
            .sum()
    }

    /// One connection for each who waits, and enough of them idle; one for each endpoint that may be back.
    fn plan_dials(&mut self, now: Instant, dials: &mut Vec<Dial>) {
        if self.phase == Phase::Closed {
            return;
        }
        let is_open = self.phase == Phase::Open;
        let spare = if is_open {
            self.min_idle.saturating_sub(self.idle())
        } else {
            0
        };
        let wanted = self.line.len().saturating_add(spare);
        while self.opening() < wanted && self.total() < self.max_size {
            let site = lighter_of_two(
                &self.sites,
                &mut self.random,
                |site| site.may_dial(now),
                Site::total,
            );
            match site {
                Some(at) => dials.push(self.dial(at)),
                None => break,
            }
        }
        for at in 0..self.sites.len() {
            let is_due = self.sites[at].probe_due().is_some_and(|due| due <= now);
            if is_open && is_due && self.total() < self.max_size {
                dials.push(self.dial(at));
            }
        }
    }

    fn dial(&mut self, site: usize) -> Dial {
        self.sites[site].dialling(site)
    }

    /// With nothing there, nothing under way and no endpoint that answers, those who do not want to wait are told.
    fn fail_hopeless(&mut self, now: Instant, woken: &mut Woken) {
        let is_hopeless = self.dial_failure == DialFailure::Fail
            && self.total() == 0
            && !self.sites.iter().any(|site| site.may_dial(now));
        if is_hopeless && let Some(error) = self.last_error() {
            self.line.refuse(&PoolError::Connect(error), woken);
        }
    }

    fn next_visit(&self, now: Instant) -> Instant {
        let mut next = self.next_tick;
        let mut sooner = |at: Option<Instant>| next = next.min(at.unwrap_or(next));
        sooner(self.line.soonest());
        if let Phase::Draining(until) = self.phase {
            sooner(Some(until));
        }
        // Where there is no room for a probe, whatever makes room calls the actor, or a tick does.
        if self.phase != Phase::Closed && self.total() < self.max_size {
            self.sites
                .iter()
                .for_each(|site| sooner(site.probe_due().filter(|due| *due > now)));
        }
        next
    }

    /// A connection was made. Whoever is first in line gets it.
    pub(super) fn dialled(
        &mut self,
        dial: Dial,
        connection: C,
        took: Duration,
        now: Instant,
        woken: &mut Woken,
    ) {
        let lifetime = self.max_lifetime.map(|most| {
            // Up to a tenth less, so that those made together do not end together.
            most.min(FOR_EVER).mul_f64(1.0 - self.random.f64() / 10.0)
        });
        let site = &mut self.sites[dial.site];
        let endpoint = site.endpoint.clone();
        let downtime = site.dialled(dial, now);
        site.in_use += 1;
        self.counts.opened += 1;
        self.counts.dial_time += took;
        if let Some(downtime) = downtime {
            let endpoint = endpoint.clone();
            self.tell(PoolEvent::Restored { endpoint, downtime });
        }
        self.tell(PoolEvent::Opened { endpoint, took });
        let member = Member {
            connection,
            site: dial.site,
            expires_at: lifetime.and_then(|lifetime| now.checked_add(lifetime)),
            idle_since: now,
            is_proven: false,
        };
        match self.unwanted(&member) {
            Some(why) => self.retire(member, why, woken),
            None => self.give(member, false, woken),
        }
        // For the events, and for those who wait for an endpoint that is back.
        self.call_keeper(woken);
    }

    /// A connection could not be made.
    pub(super) fn dial_failed(
        &mut self,
        dial: Dial,
        error: Arc<StreamError>,
        now: Instant,
        woken: &mut Woken,
    ) {
        self.now = now;
        self.counts.failed_dials += 1;
        let site = &mut self.sites[dial.site];
        site.opening -= 1;
        let endpoint = site.endpoint.clone();
        self.tell(PoolEvent::DialFailed {
            endpoint,
            error: error.clone(),
        });
        self.site_failed(dial.site, dial.is_probe, error.clone());
        if self.dial_failure == DialFailure::Fail
            && let Some((ticket, waiter)) = self.line.first_dialling()
        {
            self.line.give(ticket, Err(PoolError::Connect(error)));
            woken.push(waiter.waker);
        }
        self.call_keeper(woken);
    }

    /// A connection that was retired is closed now.
    pub(super) fn closed(&mut self, site: usize, woken: &mut Woken) {
        self.sites[site].closing -= 1;
        self.call_keeper(woken);
    }

    /// There may be another number of connections from now on.
    pub(super) fn resize(&mut self, max_size: usize, woken: &mut Woken) {
        self.max_size = max_size.max(1);
        self.tell(PoolEvent::Resized {
            max_size: self.max_size,
        });
        self.call_keeper(woken);
    }

    /// Serves those who wait, until then, and nobody else.
    pub(super) fn drain(&mut self, until: Instant, woken: &mut Woken) {
        match &mut self.phase {
            Phase::Open => {
                self.phase = Phase::Draining(until);
                self.tell(PoolEvent::Draining);
            }
            // Whoever is in the greatest hurry has its way.
            Phase::Draining(known) => *known = until.min(*known),
            Phase::Closed => {}
        }
        self.call_keeper(woken);
    }

    /// The actor is gone, so nobody makes or closes connections any more. Gives what is to be dropped without the lock.
    pub(super) fn abandon(&mut self, woken: &mut Woken) -> Jobs<C> {
        self.is_abandoned = true;
        self.close();
        self.line.refuse(&PoolError::Closed, woken);
        self.retire_all_idle(woken);
        std::mem::take(&mut self.jobs)
    }
}
