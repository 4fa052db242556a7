//! [`Site`]: one endpoint of a pool, and whether it answers. Without a clock or a lock of its own.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::config::FOR_EVER;
use crate::{
    backoff::{Backoff, BackoffConfig},
    error::StreamError,
};

/// Checks of connections that fail in a row until the endpoint is taken for dead. One may be the connection's own fault: somebody on the way
/// forgot it.
const FAILED_CHECKS: u32 = 3;

/// A connection of the pool, wherever it is.
pub(super) struct Member<C> {
    pub(super) connection: C,
    /// Which endpoint it leads to.
    pub(super) site: usize,
    pub(super) expires_at: Option<Instant>,
    /// When it came back last, by the pool's coarse clock.
    pub(super) idle_since: Instant,
    /// It was of use: it came back in order, or passed a check.
    pub(super) is_proven: bool,
}

/// Whether an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Up,
    /// Nothing is made there until the time has come, and then one connection.
    Out {
        since: Instant,
        until: Instant,
        is_probed: bool,
    },
}

/// One endpoint, its idle connections, and how many others there are.
pub(super) struct Site<C> {
    pub(super) endpoint: Arc<str>,
    /// The one that came back last stands last, and goes first: what is not needed ages.
    pub(super) idle: VecDeque<Member<C>>,
    /// Connections that are out, on their way out, or being checked.
    pub(super) in_use: usize,
    pub(super) opening: usize,
    pub(super) closing: usize,
    health: Health,
    /// Checks that failed since something was of use there.
    failed_checks: u32,
    backoff: Backoff,
    pub(super) last_error: Option<Arc<StreamError>>,
}

/// A connection to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dial {
    pub(super) site: usize,
    /// It asks whether an ejected endpoint is back.
    pub(super) is_probe: bool,
    /// The endpoint is in doubt, so that the connection is to be checked: a host that hangs may still accept.
    pub(super) is_doubted: bool,
}

impl<C> Site<C> {
    pub(super) fn new(endpoint: Arc<str>, backoff: BackoffConfig) -> Self {
        Self {
            endpoint,
            idle: VecDeque::new(),
            in_use: 0,
            opening: 0,
            closing: 0,
            health: Health::Up,
            failed_checks: 0,
            backoff: Backoff::new(backoff),
            last_error: None,
        }
    }

    pub(super) fn is_out(&self) -> bool {
        self.health != Health::Up
    }

    /// When it may be tried again, if that is not now and nobody tries.
    pub(super) fn probe_due(&self) -> Option<Instant> {
        match self.health {
            Health::Out {
                until,
                is_probed: false,
                ..
            } => Some(until),
            _ => None,
        }
    }

    /// True when a connection may be made there now.
    pub(super) fn may_dial(&self, now: Instant) -> bool {
        !self.is_out() || self.probe_due().is_some_and(|due| due <= now)
    }

    /// A connection is being made from now on, to the endpoint of this number.
    pub(super) fn dialling(&mut self, site: usize) -> Dial {
        self.opening += 1;
        let is_probe = match &mut self.health {
            Health::Up => false,
            Health::Out { is_probed, .. } => {
                *is_probed = true;
                true
            }
        };
        Dial {
            site,
            is_probe,
            is_doubted: is_probe || self.failed_checks > 0,
        }
    }

    /// A connection was made. Gives how long the endpoint was out, if it was.
    pub(super) fn dialled(&mut self, dial: Dial, now: Instant) -> Option<Duration> {
        self.opening -= 1;
        if dial.is_doubted {
            // It was checked.
            self.failed_checks = 0;
        }
        self.last_error = None;
        match std::mem::replace(&mut self.health, Health::Up) {
            Health::Up => None,
            Health::Out { since, .. } => Some(now.saturating_duration_since(since)),
        }
    }

    /// A dial failed, or what it gave was never of use. True when the endpoint is ejected by it.
    ///
    /// Several may fail at once; each further one says nothing new.
    pub(super) fn failed(&mut self, is_probe: bool, error: Arc<StreamError>, now: Instant) -> bool {
        self.last_error = Some(error);
        let since = match self.health {
            Health::Up => now,
            Health::Out { since, .. } if is_probe => since,
            Health::Out { .. } => return false,
        };
        let was_up = !self.is_out();
        let after = self.backoff.next_retry(now).after;
        self.health = Health::Out {
            since,
            until: now.checked_add(after).unwrap_or(now + FOR_EVER),
            is_probed: false,
        };
        was_up
    }

    /// A connection did not pass its check. True when that was once too often.
    pub(super) fn check_failed(&mut self) -> bool {
        self.failed_checks += 1;
        self.failed_checks >= FAILED_CHECKS
    }

    /// A connection was of use, so what fails next begins a new outage. Merely being accepted proves nothing: a server that accepts and
    /// hangs up would be dialled without a pause.
    pub(super) fn proved(&mut self) {
        self.failed_checks = 0;
        self.backoff.reset();
    }

    /// Connections there are, in whatever state.
    pub(super) fn total(&self) -> usize {
        self.idle.len() + self.in_use + self.opening + self.closing
    }
}

/// The lighter of two that are drawn at random among those that qualify; the only one, if there is one.
///
/// Two random choices balance nearly as well as looking at all, and do not send everybody to the same endpoint at once.
pub(super) fn lighter_of_two<C>(
    sites: &[Site<C>],
    random: &mut fastrand::Rng,
    qualifies: impl Fn(&Site<C>) -> bool,
    weight: impl Fn(&Site<C>) -> usize,
) -> Option<usize> {
    let count = sites.iter().filter(|site| qualifies(site)).count();
    let nth = |nth: usize| {
        let mut able = (0..sites.len()).filter(|at| qualifies(&sites[*at]));
        able.nth(nth)
    };
    if count <= 1 {
        return nth(0);
    }
    let one = random.usize(..count);
    let other = (one + random.usize(1..count)) % count;
    let (one, other) = (nth(one)?, nth(other)?);
    Some(if weight(&sites[other]) < weight(&sites[one]) {
        other
    } else {
        one
    })
}
