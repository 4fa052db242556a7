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
    desk::{Apart, Desks},
    error::WaitedFor,
    plan::Plan,
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
    /// Apart from what is only read.
    state: Apart<Mutex<State<R::Connection>>>,
    pub(super) desks: Desks<R::Connection>,
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
        let now = now();
        Arc::new(Self {
            state: Apart(Mutex::new(State::new(config, endpoints, now))),
            desks: Desks::new(now),
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
        let mut state = self.state.0.lock();
        let result = change(&mut state, &mut woken);
        if self.desks.are_open() {
            self.look_after_desks(&mut state, &mut woken);
        }
        // Connections that nobody closes any more, since the actor is gone, are dropped, but not under the lock.
        let orphans = state.is_abandoned.then(|| std::mem::take(&mut state.jobs));
        drop(state);
        drop(orphans);
        woken.into_iter().for_each(Waker::wake);
        result
    }

    #[inline(never)]
    fn look_after_desks(&self, state: &mut State<R::Connection>, woken: &mut Woken) {
        if !state.allows_desks() {
            self.close_desks(state, woken);
        }
    }

    /// Enters into the books what lies on the desks, if anything does.
    pub(super) fn gather(&self, state: &mut State<R::Connection>, woken: &mut Woken) {
        self.desks.gather(state.now, |member, acquired| {
            state.gathered(member, acquired, woken);
        });
    }

    /// Everything goes through the books from now on, until the actor finds that it need not.
    pub(super) fn close_desks(&self, state: &mut State<R::Connection>, woken: &mut Woken) {
        self.desks.close(state.now, |member, acquired| {
            state.gathered(member, acquired, woken);
        });
    }

    /// The actor's visit. It alone opens the desks: where now and then somebody waits, they are not opened and closed each time.
    pub(super) fn keep(&self, waker: &Waker) -> Plan<R::Connection> {
        self.change(|state, woken| {
            state.now = now();
            self.gather(state, woken);
            let plan = state.keep(state.now, waker, woken);
            if state.allows_desks() {
                self.desks.open(state.now);
            }
            plan
        })
    }

    /// An idle connection of the books, if there is one that nobody waits for.
    #[inline]
    pub(super) fn take_from_books(&self) -> Taken<Member<R::Connection>> {
        let taken = self.state.0.lock().take();
        if matches!(taken, Taken::None) && self.desks.are_open() {
            return self.take_gathered();
        }
        taken
    }

    #[cold]
    fn take_gathered(&self) -> Taken<Member<R::Connection>> {
        self.change(|state, woken| {
            self.gather(state, woken);
            state.take()
        })
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
        let stats = self.change(|state, woken| {
            self.gather(state, woken);
            state.stats()
        });
        PoolStats {
            slot_waits: self.waits.of(WaitedFor::Slot),
            dial_waits: self.waits.of(WaitedFor::Dial),
            check_waits: self.waits.of(WaitedFor::Check),
            ..stats
        }
    }
}
