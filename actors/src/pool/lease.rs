//! [`Lease`]: a connection of a pool in the hands of a user.

use std::{fmt, ops::Deref, sync::Arc};

use super::{
    door::Door,
    recipe::{Recipe, Retired},
    site::Member,
};

/// A connection of a pool, which goes back when this is dropped.
///
/// What is dropped while its thread panics is given up, since nobody knows in what state it is; so is what its user gave up
/// with [`discard`](Self::discard), what is closed or lost by then, and a bare channel with frames that nobody took. Others go
/// to whoever waits longest, or become idle.
///
/// The pool knows nothing of what is still under way: whoever stops waiting for an answer on a bare channel, be it because a future was dropped, has to
/// discard it, or the answer would come to the next user. A `Connection` of RPyC tells its answers apart and may be returned at any time.
#[must_use = "a connection goes back to the pool when its lease is dropped"]
pub struct Lease<R: Recipe> {
    /// There until the lease is dropped or used up.
    member: Option<Member<R::Connection>>,
    door: Arc<Door<R>>,
}

impl<R: Recipe> fmt::Debug for Lease<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

impl<R: Recipe> Lease<R> {
    #[inline]
    pub(super) fn new(door: &Arc<Door<R>>, member: Member<R::Connection>) -> Self {
        Self {
            member: Some(member),
            door: door.clone(),
        }
    }

    fn member(&self) -> &Member<R::Connection> {
        self.member.as_ref().expect(HELD)
    }

    /// The endpoint it leads to, as text.
    pub fn endpoint(&self) -> &str {
        self.door.recipes[self.member().site].endpoint()
    }

    /// Gives the connection up: the pool closes it, and makes another one when one is needed.
    pub fn discard(mut self) {
        self.give_up(Retired::Discarded);
    }

    /// Takes the connection out of the pool for good. The pool may make another one in its place.
    pub fn into_inner(mut self) -> R::Connection {
        let member = self.member.take().expect(HELD);
        self.door.change(|state, woken| state.let_go(member, woken))
    }

    #[inline]
    pub(super) fn is_usable(&self) -> bool {
        self.door.is_usable(self.member())
    }

    /// Back to where it was, since nobody may have it before it is checked.
    pub(super) fn return_unchecked(mut self) {
        let member = self.member.take().expect(HELD);
        self.door.change(|state, woken| {
            state.counts.acquired -= 1;
            state.put_back_looked_at(member, woken);
        });
    }

    /// Found broken before anybody had it.
    pub(super) fn refuse(mut self) {
        let member = self.member.take().expect(HELD);
        self.door.change(|state, woken| {
            // That it was given out may not be counted yet.
            self.door.gather(state, woken);
            state.counts.acquired -= 1;
            state.retire(member, Retired::Broken, woken);
        });
    }

    pub(super) fn give_up(&mut self, why: Retired) {
        if let Some(member) = self.member.take() {
            self.door.retire(member, why);
        }
    }

    /// Without the guard: whoever has it owes it to the books.
    pub(super) fn into_member(mut self) -> Member<R::Connection> {
        self.member.take().expect(HELD)
    }

    pub(super) fn recipe(&self) -> &R {
        &self.door.recipes[self.member().site]
    }
}

const HELD: &str = "a lease holds its connection until it is used up";

impl<R: Recipe> Deref for Lease<R> {
    type Target = R::Connection;

    #[inline]
    fn deref(&self) -> &R::Connection {
        &self.member().connection
    }
}

impl<R: Recipe> Drop for Lease<R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(member) = self.member.take() {
            self.door.put_back(member);
        }
    }
}
