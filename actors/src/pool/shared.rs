//! [`Shared`]: what leases, handles and the actor of a pool have in common.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    config::{Check, PoolConfig},
    error::WaitedFor,
    lease::Lease,
    recipe::{Recipe, Retired},
    site::Member,
    state::{State, Taken, Woken},
    stats::{PoolStats, WaitCounters},
};
use crate::runtime::Runtime;

/// The clock of a pool: tokio's, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(super) struct Shared<R: Recipe> {
    state: Mutex<State<R::Connection>>,
    /// One for each endpoint.
    pub(super) recipes: Vec<R>,
    pub(super) runtime: Runtime,
    pub(super) timeout: Option<Duration>,
    pub(super) connect_timeout: Duration,
    pub(super) check_timeout: Duration,
    /// A new connection to an endpoint that is in doubt is checked, too.
    pub(super) checks_doubted: bool,
    pub(super) waits: WaitCounters,
    /// True once the pool is closed: what is under way ends.
    pub(super) over: watch::Sender<bool>,
}

impl<R: Recipe> Shared<R> {
    pub(super) fn new(recipes: Vec<R>, config: &PoolConfig, runtime: Runtime) -> Arc<Self> {
        let endpoints = recipes.iter().map(|recipe| recipe.endpoint().into());
        Arc::new(Self {
            state: Mutex::new(State::new(config, endpoints, now())),
            runtime,
            timeout: config.timeout,
            check_timeout: config.check_timeout,
            connect_timeout: config.connect_timeout,
            checks_doubted: config.check != Check::Never,
            waits: WaitCounters::new(),
            over: watch::Sender::new(false),
            recipes,
        })
    }

    /// Changes the books, and wakes afterwards whom that concerns.
    #[inline]
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut State<R::Connection>, &mut Woken) -> T,
    ) -> T {
        let mut woken = Woken::new();
        let mut state = self.state.lock();
        let result = change(&mut state, &mut woken);
        // Connections that nobody closes any more, since the actor is gone, are dropped, but not under the lock.
        let orphans = state.is_abandoned.then(|| std::mem::take(&mut state.jobs));
        drop(state);
        drop(orphans);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    /// An idle connection, if there is a usable one that nobody waits for.
    #[inline]
    pub(super) fn take(self: &Arc<Self>) -> Taken<Lease<R>> {
        loop {
            let taken = self.state.lock().take();
            let (member, is_ready) = match taken {
                Taken::Ready(member) => (member, true),
                Taken::Unchecked(member) => (member, false),
                Taken::None => return Taken::None,
                Taken::Refused => return Taken::Refused,
            };
            let lease = Lease::new(self, member);
            if !lease.is_usable() {
                lease.refuse();
            } else if is_ready {
                return Taken::Ready(lease);
            } else {
                return Taken::Unchecked(lease);
            }
        }
    }

    /// Takes back a connection that its user is done with.
    #[inline]
    pub(super) fn put_back(&self, member: Member<R::Connection>) {
        if std::thread::panicking() {
            self.retire(member, Retired::Discarded);
        } else if self.is_usable(&member) {
            self.change(|state, woken| state.put_back(member, woken));
        } else {
            self.retire(member, Retired::Broken);
        }
    }

    /// Gives up a connection that is in use.
    #[cold]
    pub(super) fn retire(&self, member: Member<R::Connection>, why: Retired) {
        self.change(|state, woken| state.retire(member, why, woken));
    }

    /// Asks the recipe, whose panic is a no: the connection must not be lost from the books.
    #[inline]
    pub(super) fn is_usable(&self, member: &Member<R::Connection>) -> bool {
        let ask = || self.recipes[member.site].is_usable(&member.connection);
        catch_unwind(AssertUnwindSafe(ask)).unwrap_or(false)
    }

    pub(super) fn stats(&self) -> PoolStats {
        let state = self.state.lock();
        let stats = state.stats();
        drop(state);
        PoolStats {
            slot_waits: self.waits.of(WaitedFor::Slot),
            dial_waits: self.waits.of(WaitedFor::Dial),
            check_waits: self.waits.of(WaitedFor::Check),
            ..stats
        }
    }
}
