//! [`Line`]: who waits for a connection, strictly in order of arrival.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use super::{
    error::{PoolError, WaitedFor},
    site::Member,
};
use crate::error::StreamError;

/// The place of a waiter: smaller came earlier.
pub(super) type Ticket = u64;

/// Somebody who waits.
pub(super) struct Waiter {
    pub(super) waker: Waker,
    pub(super) deadline: Option<Instant>,
    /// The time it gave, for the error.
    pub(super) timeout: Duration,
    /// Since when what it lacks is a connection that is being made.
    pub(super) dialling_since: Option<Instant>,
}

/// What a waiter is given.
pub(super) struct Grant<C> {
    pub(super) member: Member<C>,
    /// It has to be checked before it may be used.
    pub(super) needs_check: bool,
    pub(super) dialling_since: Option<Instant>,
}

/// Waiters, and what some of them were given.
pub(super) struct Line<C> {
    next_ticket: Ticket,
    waiting: BTreeMap<Ticket, Waiter>,
    /// Those whose connection is being checked: nothing is given to them.
    checking: BTreeMap<Ticket, Waiter>,
    /// What was given to those who did not look since.
    given: BTreeMap<Ticket, Result<Grant<C>, PoolError>>,
    /// No deadline of a waiter is before this.
    soonest: Option<Instant>,
}

impl<C> Default for Line<C> {
    fn default() -> Self {
        Self {
            next_ticket: 0,
            waiting: BTreeMap::new(),
            checking: BTreeMap::new(),
            given: BTreeMap::new(),
            soonest: None,
        }
    }
}

impl<C> Line<C> {
    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Those to whom nothing was given yet.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Those who wait, for whatever.
    pub(super) fn all(&self) -> usize {
        self.waiting.len() + self.checking.len()
    }

    /// Connections that were given and not taken.
    #[cfg(test)]
    pub(super) fn granted(&self) -> usize {
        self.given.values().filter(|given| given.is_ok()).count()
    }

    /// Before this nobody's time is over.
    pub(super) fn soonest(&self) -> Option<Instant> {
        self.soonest
    }

    /// Stands in line, at the place of the ticket.
    pub(super) fn join(&mut self, ticket: Ticket, waiter: Waiter) {
        self.note_deadline(&waiter);
        self.waiting.insert(ticket, waiter);
    }

    /// Waits for a check.
    pub(super) fn join_checking(&mut self, ticket: Ticket, waiter: Waiter) {
        self.note_deadline(&waiter);
        self.checking.insert(ticket, waiter);
    }

    fn note_deadline(&mut self, waiter: &Waiter) {
        self.soonest = [self.soonest, waiter.deadline].into_iter().flatten().min();
    }

    /// Whoever is first.
    pub(super) fn first(&mut self) -> Option<(Ticket, Waiter)> {
        self.waiting.pop_first()
    }

    /// The first who lacks a new connection.
    pub(super) fn first_dialling(&mut self) -> Option<(Ticket, Waiter)> {
        let ticket = self
            .waiting
            .iter()
            .find_map(|(ticket, waiter)| waiter.dialling_since.map(|_| *ticket))?;
        self.waiting.remove_entry(&ticket)
    }

    /// The one whose check has come to its end, if it still waits.
    pub(super) fn checked(&mut self, ticket: Ticket) -> Option<Waiter> {
        self.checking.remove(&ticket)
    }

    /// Gives something to a waiter, who has to be woken.
    pub(super) fn give(&mut self, ticket: Ticket, given: Result<Grant<C>, PoolError>) {
        self.given.insert(ticket, given);
    }

    /// What was given to a waiter.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Result<Grant<C>, PoolError>> {
        self.given.remove(&ticket)
    }

    /// Names the task to wake. Gives the waker that is not needed any more: what it drops may be anything, so not under the lock.
    pub(super) fn set_waker(&mut self, ticket: Ticket, waker: Waker) -> Waker {
        let waiting = self.waiting.get_mut(&ticket);
        match waiting.or_else(|| self.checking.get_mut(&ticket)) {
            Some(waiter) => std::mem::replace(&mut waiter.waker, waker),
            None => waker,
        }
    }

    /// Somebody goes. Gives its entry, and what it was given and did not take.
    pub(super) fn leave(&mut self, ticket: Ticket) -> (Option<Waiter>, Option<Grant<C>>) {
        let waiting = self.waiting.remove(&ticket);
        let waiter = waiting.or_else(|| self.checking.remove(&ticket));
        (waiter, self.given.remove(&ticket).and_then(Result::ok))
    }

    /// Tells the first `count` that a connection is being made for each of them.
    pub(super) fn dial_for(&mut self, count: usize, now: Instant) {
        for waiter in self.waiting.values_mut().take(count) {
            waiter.dialling_since.get_or_insert(now);
        }
    }

    /// Gives the error to those whose time is over, and their wakers.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        last: Option<&Arc<StreamError>>,
        woken: &mut impl Extend<Waker>,
    ) -> usize {
        if self.soonest.is_none_or(|soonest| now < soonest) {
            return 0;
        }
        let is_over = |waiter: &Waiter| waiter.deadline.is_some_and(|at| at <= now);
        let mut count = 0;
        for (map, is_checking) in [(&mut self.waiting, false), (&mut self.checking, true)] {
            let over: Vec<Ticket> = map
                .iter()
                .filter(|(_, waiter)| is_over(waiter))
                .map(|(ticket, _)| *ticket)
                .collect();
            for ticket in over {
                let Some(waiter) = map.remove(&ticket) else {
                    continue;
                };
                let waited_for = match waiter.dialling_since {
                    _ if is_checking => WaitedFor::Check,
                    Some(_) => WaitedFor::Dial,
                    None => WaitedFor::Slot,
                };
                let error = PoolError::TimedOut {
                    waited_for,
                    after: waiter.timeout,
                    last: last.cloned(),
                };
                self.given.insert(ticket, Err(error));
                woken.extend([waiter.waker]);
                count += 1;
            }
        }
        let left = self.waiting.values().chain(self.checking.values());
        self.soonest = left.filter_map(|waiter| waiter.deadline).min();
        count
    }

    /// Gives the error to everybody who waits.
    pub(super) fn refuse(&mut self, error: &PoolError, woken: &mut impl Extend<Waker>) {
        let waiting = std::mem::take(&mut self.waiting);
        let checking = std::mem::take(&mut self.checking);
        for (ticket, waiter) in waiting.into_iter().chain(checking) {
            self.given.insert(ticket, Err(error.clone()));
            woken.extend([waiter.waker]);
        }
        self.soonest = None;
    }
}
