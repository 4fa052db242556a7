//! What an actor asks a pool's actor for. Each does what the handle's method of that name does.

use std::{marker::PhantomData, time::Duration};

use actix::Message;

use super::{error::PoolError, lease::Lease, recipe::Recipe, stats::PoolStats};

/// Asks for a connection. It goes back if nobody takes the answer.
pub struct Acquire<R: Recipe> {
    /// How long to wait; the pool's own timeout when `None`.
    pub timeout: Option<Duration>,
    recipe: PhantomData<fn() -> R>,
}

impl<R: Recipe> Acquire<R> {
    /// Within the pool's own timeout.
    pub fn new() -> Self {
        Self {
            timeout: None,
            recipe: PhantomData,
        }
    }

    /// Within this time.
    pub fn within(timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            recipe: PhantomData,
        }
    }
}

impl<R: Recipe> Default for Acquire<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Recipe> std::fmt::Debug for Acquire<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acquire")
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl<R: Recipe> Message for Acquire<R> {
    type Result = Result<Lease<R>, PoolError>;
}

/// Returns a connection. To drop the lease does the same.
#[derive(Debug)]
pub struct Release<R: Recipe>(pub Lease<R>);

impl<R: Recipe> Message for Release<R> {
    type Result = ();
}

/// Sets how many connections there may be at most; 0 counts as 1.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Resize {
    /// The most connections there are at once.
    pub max_size: usize,
}

/// Gives no more connections out, serves those who wait already, and closes what is idle.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Drained")]
pub struct Drain {
    /// How long those who wait are served, and connections awaited that are out.
    pub within: Duration,
}

/// What was left when a pool was drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were still out. They work on, and are closed when they are returned.
    pub in_use: usize,
    /// Connections whose peer had not let them be closed by then. They close in the background.
    pub closing: usize,
}

impl Drained {
    /// True when everything came back and was closed in time.
    pub fn is_clean(&self) -> bool {
        self.in_use == 0 && self.closing == 0
    }
}

/// How things are.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Box<PoolStats>")]
pub struct Stats;
