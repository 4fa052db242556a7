//! What a pool's actor sends out for: a connection to be made, tried or closed.
//!
//! Each runs as a task on the actor's arbiter, and reports to the books whatever becomes of it: a recipe that panics costs
//! one connection, and no place in the pool.

use std::{future::Future, sync::Arc, time::Instant};

use super::{
    door::Door,
    lease::Lease,
    line::Ticket,
    recipe::{Recipe, Retired},
    shared::{Shared, now},
    site::{Dial, Member},
};
use crate::error::{ConnectError, ConnectFailure, StreamError};

/// Makes a connection.
pub(super) fn dial<R: Recipe>(shared: &Arc<Shared<R>>, dial: Dial) {
    let errand = Dialling {
        shared: shared.clone(),
        dial,
        outcome: None,
        began: now(),
    };
    actix_rt::spawn(errand.run());
}

struct Dialling<R: Recipe> {
    shared: Arc<Shared<R>>,
    dial: Dial,
    outcome: Option<Result<R::Connection, StreamError>>,
    began: Instant,
}

impl<R: Recipe> Dialling<R> {
    async fn run(mut self) {
        let shared = self.shared.clone();
        self.outcome = unless_over(&shared, self.connect()).await;
    }

    async fn connect(&self) -> Result<R::Connection, StreamError> {
        let recipe = &self.shared.recipes[self.dial.site];
        let limit = self.shared.connect_timeout;
        let connecting = recipe.connect(&self.shared.runtime);
        let Ok(connected) = tokio::time::timeout(limit, connecting).await else {
            let failure = ConnectFailure::TimedOut(limit);
            return Err(ConnectError::new(recipe.endpoint(), failure).into());
        };
        let connection = connected?;
        if self.dial.is_doubted && self.shared.checks_doubted {
            check(&self.shared, recipe, &connection).await?;
        }
        Ok(connection)
    }
}

impl<R: Recipe> Drop for Dialling<R> {
    fn drop(&mut self) {
        let (dial, began, now) = (self.dial, self.began, now());
        let outcome = self.outcome.take().unwrap_or_else(|| {
            let endpoint = self.shared.recipes[dial.site].endpoint();
            let error = StreamError::misuse("the attempt ended without a result");
            let failure = ConnectFailure::Refused(Arc::new(error));
            Err(ConnectError::new(endpoint, failure).into())
        });
        self.shared.change(|state, woken| match outcome {
            Ok(connection) => state.dialled(dial, connection, now - began, now, woken),
            Err(error) => state.dial_failed(dial, Arc::new(error), now, woken),
        });
    }
}

/// Tries a connection for somebody who waits.
pub(super) fn try_out<R: Recipe>(
    door: &Arc<Door<R>>,
    ticket: Ticket,
    member: Member<R::Connection>,
) {
    let errand = Trying {
        lease: Some(Lease::new(door, member)),
        shared: door.shared.clone(),
        ticket,
        has_passed: false,
    };
    actix_rt::spawn(errand.run());
}

struct Trying<R: Recipe> {
    shared: Arc<Shared<R>>,
    ticket: Ticket,
    lease: Option<Lease<R>>,
    has_passed: bool,
}

impl<R: Recipe> Trying<R> {
    async fn run(mut self) {
        let Some(lease) = &self.lease else { return };
        let checked = check(&self.shared, lease.recipe(), lease);
        let passed = unless_over(&self.shared, checked).await;
        self.has_passed = matches!(passed, Some(Ok(())));
    }
}

impl<R: Recipe> Drop for Trying<R> {
    fn drop(&mut self) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        let (ticket, now) = (self.ticket, now());
        let passed = if self.has_passed {
            Some(lease.into_member())
        } else {
            lease.give_up(Retired::CheckFailed);
            None
        };
        self.shared
            .change(|state, woken| state.checked(ticket, passed, now, woken));
    }
}

async fn check<R: Recipe>(
    shared: &Shared<R>,
    recipe: &R,
    connection: &R::Connection,
) -> Result<(), StreamError> {
    let after = shared.check_timeout;
    let checked = tokio::time::timeout(after, recipe.check(connection)).await;
    checked.unwrap_or(Err(StreamError::TimedOut {
        what: "the check of a connection",
        after,
    }))
}

/// Closes a connection that left the pool.
pub(super) fn close<R: Recipe>(
    shared: &Arc<Shared<R>>,
    member: Member<R::Connection>,
    why: Retired,
) {
    let place = Closing {
        shared: shared.clone(),
        site: member.site,
    };
    actix_rt::spawn(async move {
        let recipe = &place.shared.recipes[member.site];
        recipe.close(member.connection, why).await;
    });
}

/// The place of a connection that is being closed, free again when this is dropped.
struct Closing<R: Recipe> {
    shared: Arc<Shared<R>>,
    site: usize,
}

impl<R: Recipe> Drop for Closing<R> {
    fn drop(&mut self) {
        let site = self.site;
        self.shared.change(|state, woken| state.closed(site, woken));
    }
}

/// Gives a future up when the pool is closed.
async fn unless_over<R: Recipe, T>(shared: &Shared<R>, work: impl Future<Output = T>) -> Option<T> {
    let mut over = shared.over.subscribe();
    tokio::select! {
        result = work => Some(result),
        _ = over.wait_for(|is_over| *is_over) => None,
    }
}
