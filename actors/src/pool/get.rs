//! How a task comes to a connection: at once, or in line.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    door::Door,
    error::{PoolError, WaitedFor},
    lease::Lease,
    line::{Grant, Ticket, Waiter},
    recipe::Recipe,
    shared::now,
    state::Taken,
};

impl<R: Recipe> Door<R> {
    /// A connection, within the time if there is one.
    #[inline]
    pub(super) async fn get(
        self: &Arc<Self>,
        timeout: Option<Duration>,
    ) -> Result<Lease<R>, PoolError> {
        let step = match self.take() {
            Taken::Ready(lease) => return Ok(lease),
            Taken::Unchecked(lease) => Step::Check(lease),
            Taken::None => Step::Join,
            Taken::Refused => return Err(PoolError::Closed),
        };
        let mut place = Place::new(self, timeout, step);
        poll_fn(|cx| place.poll(cx)).await
    }
}

/// What came of waiting.
type Given<R> = Result<Grant<<R as Recipe>::Connection>, PoolError>;

/// What a waiter does next.
enum Step<R: Recipe> {
    Join,
    Check(Lease<R>),
    Look,
}

/// A place in line, which is left when this is dropped: what was given meanwhile goes to whoever is next.
struct Place<'a, R: Recipe> {
    door: &'a Arc<Door<R>>,
    step: Step<R>,
    /// Kept when what was given turns out to be of no use, so that nobody else comes first.
    ticket: Option<Ticket>,
    deadline: Option<Instant>,
    timeout: Duration,
    /// Since when it waits for what it waits for.
    since: Instant,
    is_checking: bool,
}

impl<'a, R: Recipe> Place<'a, R> {
    fn new(door: &'a Arc<Door<R>>, timeout: Option<Duration>, step: Step<R>) -> Self {
        let since = now();
        Self {
            door,
            step,
            ticket: None,
            deadline: timeout.and_then(|timeout| since.checked_add(timeout)),
            timeout: timeout.unwrap_or(Duration::MAX),
            since,
            is_checking: false,
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Lease<R>, PoolError>> {
        loop {
            let given = match std::mem::replace(&mut self.step, Step::Look) {
                Step::Join => self.join(cx),
                Step::Check(lease) => self.check(lease, cx),
                Step::Look => self.look(cx),
            };
            match given {
                None => return Poll::Pending,
                Some(Ok(grant)) => {
                    if let Some(lease) = self.accept(grant) {
                        return Poll::Ready(Ok(lease));
                    }
                }
                Some(Err(error)) => {
                    self.refused(&error);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn waiter(&self, cx: &Context<'_>) -> Waiter {
        Waiter {
            waker: cx.waker().clone(),
            deadline: self.deadline,
            timeout: self.timeout,
            dialling_since: None,
        }
    }

    /// Stands in line. Gives what there was at once.
    fn join(&mut self, cx: &Context<'_>) -> Option<Given<R>> {
        self.is_checking = false;
        let waiter = self.waiter(cx);
        let (door, now, ticket) = (self.door, self.since, &mut self.ticket);
        door.change(|state, woken| {
            // What is idle comes before what would be made, and after those who stand there already.
            door.close_desks(state, woken);
            let ticket = *ticket.get_or_insert_with(|| state.line.ticket());
            state.join(ticket, waiter, now, woken);
            state.take_given(ticket)
        })
    }

    fn check(&mut self, lease: Lease<R>, cx: &Context<'_>) -> Option<Given<R>> {
        self.is_checking = true;
        let waiter = self.waiter(cx);
        let member = lease.into_member();
        let ticket = &mut self.ticket;
        self.door.change(|state, woken| {
            let ticket = *ticket.get_or_insert_with(|| state.line.ticket());
            state.counts.acquired -= 1;
            state.join_checking(ticket, waiter, member, woken);
            state.take_given(ticket)
        })
    }

    fn look(&mut self, cx: &Context<'_>) -> Option<Given<R>> {
        let ticket = self.ticket?;
        let mut waker = Some(cx.waker().clone());
        self.door.change(|state, _| {
            let given = state.take_given(ticket);
            if given.is_none() {
                waker = waker
                    .take()
                    .map(|waker| state.line.set_waker(ticket, waker));
            }
            given
        })
    }

    /// Looks at what was given; what is of no use sends it back to its place in line.
    fn accept(&mut self, grant: Grant<R::Connection>) -> Option<Lease<R>> {
        let lease = Lease::new(self.door, grant.member);
        self.count(grant.dialling_since);
        if !lease.is_usable() {
            lease.refuse();
            self.step = Step::Join;
        } else if grant.needs_check {
            self.step = Step::Check(lease);
        } else {
            self.ticket = None;
            return Some(lease);
        }
        None
    }

    fn refused(&mut self, error: &PoolError) {
        self.ticket = None;
        if let PoolError::TimedOut { waited_for, .. } = error {
            self.door.waits.add(*waited_for, now() - self.since);
        }
    }

    /// Counts the time since it began to wait for this, each kind for itself.
    fn count(&mut self, dialling_since: Option<Instant>) {
        let began = std::mem::replace(&mut self.since, now());
        let waits = &self.door.waits;
        if self.is_checking {
            waits.add(WaitedFor::Check, self.since - began);
            return;
        }
        let slot_until = dialling_since.unwrap_or(self.since);
        let slot = slot_until.saturating_duration_since(began);
        if !slot.is_zero() {
            waits.add(WaitedFor::Slot, slot);
        }
        if dialling_since.is_some() {
            waits.add(
                WaitedFor::Dial,
                self.since.saturating_duration_since(slot_until.max(began)),
            );
        }
    }
}

impl<R: Recipe> Drop for Place<'_, R> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let waiter = self.door.change(|state, woken| state.leave(ticket, woken));
            drop(waiter);
        }
    }
}
