//! [`StreamPool`]: connections that are kept, and lent to whoever needs one.
//!
//! ```text
//! get ─▶ idle? ─▶ Lease ─▶ drop ─▶ first in line, or idle      on the user's thread, under a short lock: of its desk, or of the books
//!          │ none                          ▲
//!          ▼                               │
//!      stand in line ─▶ Keeper ─▶ dial, check, close, replace   an actor on one of the pool's arbiters
//! ```
//!
//! A pool is made of a [`Recipe`]: a [`Chain`] for bare channels, or one of your own. All it knows stands in one set of books under one lock, which
//! is held for some tens of nanoseconds and never while somebody else's code runs. Threads that only get and return do not meet there: while nobody waits, each
//! has what it returned last on a desk of its own. The [`Keeper`] comes when it is called, or when something is due. Those who
//! wait are served strictly in order of arrival.

mod blocking;
mod config;
mod desk;
mod door;
mod errand;
mod error;
mod event;
mod get;
mod keeper;
mod lease;
mod line;
mod message;
mod plan;
mod recipe;
mod shared;
mod site;
mod state;
mod stats;

use std::{fmt, sync::Arc, time::Duration};

use actix::Addr;
use tokio::sync::{mpsc, oneshot};

pub use self::{
    config::{Check, DialFailure, PoolConfig},
    error::{PoolError, WaitedFor},
    event::{POOL, PoolEvent, PoolEvents, Subscribe},
    keeper::Keeper,
    lease::Lease,
    message::{Acquire, Drain, Drained, Release, Resize, Stats},
    recipe::{Recipe, Retired},
    stats::{EndpointStats, PoolStats, RetiredCounts, Waits},
};
use self::{
    door::Doors,
    event::{Subscriber, Told},
    keeper::{StartDrain, WarmUp},
    shared::{Shared, now},
    state::Taken,
};
use crate::{
    chain::Chain, endpoint::Endpoint, error::StreamError, mail::WorkAddr, runtime::Runtime,
    stream::tcp::TcpConfig, work,
};

/// Connections to one or several endpoints, lent to any number of tasks and threads.
///
/// A cheap handle: clones share the pool and work from any thread and any runtime. [`get`](Self::get) gives a [`Lease`], which goes back when it is
/// dropped. Dropping the last handle closes the pool: idle connections are closed in the background, those that are out when they come back.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::pool::PoolError> {
/// use rpyc_actors::StreamPool;
///
/// let pool: StreamPool = StreamPool::new("server.example.com", 12345, 20);
/// let channel = pool.get().await?;
/// channel.send("question").await.expect("it was usable just now");
/// # Ok(())
/// # }
/// ```
pub struct StreamPool<R: Recipe = Chain> {
    shared: Arc<Shared<R>>,
    doors: Arc<Doors<R>>,
    keeper: WorkAddr<Keeper<R>>,
    /// Never read: its drop says that the last handle is gone.
    _guard: Arc<Guard<R>>,
}

/// Closes the pool when the last handle is gone.
struct Guard<R: Recipe>(Arc<Shared<R>>);

impl<R: Recipe> Drop for Guard<R> {
    fn drop(&mut self) {
        self.0.change(|state, woken| {
            state.close();
            state.call_keeper(woken);
        });
        self.0.over.send_replace(true);
    }
}

impl<R: Recipe> Clone for StreamPool<R> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            doors: self.doors.clone(),
            keeper: self.keeper.clone(),
            _guard: self._guard.clone(),
        }
    }
}

impl<R: Recipe> fmt::Debug for StreamPool<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamPool")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl<R: Recipe + From<Endpoint>> StreamPool<R> {
    /// The seed's pool: `pool_size` connections over TCP, all of which are made at once, in the background. Other settings are those of [`PoolConfig`].
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    pub fn new(host: &str, port: u16, pool_size: usize) -> Self {
        let config = PoolConfig::default()
            .max_size(pool_size)
            .min_idle(pool_size);
        Self::of(
            Endpoint::tcp(host, port, TcpConfig::default()).into(),
            config,
        )
    }
}

impl<R: Recipe> StreamPool<R> {
    /// A pool of connections of one recipe.
    ///
    /// # Panics
    ///
    /// When the operating system refuses the shared [`Runtime`] its threads or descriptors: [`over`](Self::over), with this one recipe, says
    /// so in an error.
    pub fn of(recipe: R, config: PoolConfig) -> Self {
        let runtime = config.runtime.clone().unwrap_or_else(Runtime::current);
        Self::start(vec![recipe], &config, runtime)
    }

    /// A pool of connections to several endpoints that do the same. The connections are spread over them: each new one, and each that is lent, is at the one
    /// with less of them out of two that are chosen at random. An endpoint that cannot be reached, that ends new connections, or at
    /// which three checks in a row fail, is ejected until it answers.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` when there is no recipe; `Runtime` when the operating system refuses the shared [`Runtime`] its threads or descriptors.
    pub fn over(
        recipes: impl IntoIterator<Item = R>,
        config: PoolConfig,
    ) -> Result<Self, PoolError> {
        let recipes: Vec<R> = recipes.into_iter().collect();
        if recipes.is_empty() {
            let error = StreamError::misuse("a pool needs at least one endpoint");
            return Err(PoolError::ApiMisuse(error));
        }
        let runtime = Runtime::or_current(config.runtime.as_ref()).map_err(PoolError::Runtime)?;
        Ok(Self::start(recipes, &config, runtime))
    }

    fn start(recipes: Vec<R>, config: &PoolConfig, runtime: Runtime) -> Self {
        let arbiter = runtime.arbiter().clone();
        let shared = Shared::new(recipes, config, runtime);
        let doors = Doors::new(&shared);
        let keeper = Keeper::new(doors.mine().clone());
        Self {
            doors: Arc::new(doors),
            keeper: work::start_on(&arbiter, move || keeper),
            _guard: Arc::new(Guard(shared.clone())),
            shared,
        }
    }

    /// Lends a connection, within the pool's [`timeout`](PoolConfig::timeout). One that is idle is there at once; else the caller stands in line for one that is
    /// returned or made.
    ///
    /// # Errors
    ///
    /// `TimedOut`, with what was waited for; `Closed`; `Connect`, if the pool is configured so.
    ///
    /// # Cancellation
    ///
    /// The place in line is free, and what was given meanwhile goes to whoever is next.
    #[inline]
    pub async fn get(&self) -> Result<Lease<R>, PoolError> {
        self.doors.mine().get(self.shared.timeout).await
    }

    /// As [`get`](Self::get), within another time.
    ///
    /// # Errors
    ///
    /// As `get`.
    ///
    /// # Cancellation
    ///
    /// As `get`.
    pub async fn get_within(&self, timeout: Duration) -> Result<Lease<R>, PoolError> {
        self.doors.mine().get(Some(timeout)).await
    }

    /// Lends a connection if one is idle that needs no check, and nobody waits.
    pub fn try_get(&self) -> Option<Lease<R>> {
        match self.doors.mine().take() {
            Taken::Ready(lease) => Some(lease),
            Taken::Unchecked(lease) => {
                lease.return_unchecked();
                None
            }
            Taken::None | Taken::Refused => None,
        }
    }

    /// [`get`](Self::get) by its name in the seed.
    ///
    /// # Errors
    ///
    /// As `get`.
    ///
    /// # Cancellation
    ///
    /// As `get`.
    pub async fn get_connection(&self) -> Result<Lease<R>, PoolError> {
        self.get().await
    }

    /// Returns a connection by the seed's name for it. To drop the lease does the same: unlike the seed's, neither closes a connection that is in order.
    pub fn return_connection(&self, connection: Lease<R>) {
        drop(connection);
    }

    /// Waits until there are as many connections as are to be kept idle, within the pool's timeout. They are made without this, too.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `Closed` or `Connect`, as [`get`](Self::get).
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn warm_up(&self) -> Result<(), PoolError> {
        let (answer, warm) = oneshot::channel();
        let since = now();
        let deadline = self.shared.timeout.and_then(|time| since.checked_add(time));
        let message = WarmUp {
            answer,
            since,
            deadline,
        };
        // One that is gone drops the message, and with it the place for the answer.
        let _ = self.keeper.post(message);
        warm.await.unwrap_or(Err(PoolError::Closed))
    }

    /// Sets how many connections there may be at most; 0 counts as 1. Surplus ones go when they are idle or returned.
    pub fn resize(&self, max_size: usize) {
        self.shared
            .change(|state, woken| state.resize(max_size, woken));
    }

    /// Gives no more connections out: those who wait already are served, what is idle is closed, and what is out is awaited, all within the time. Then the pool is
    /// closed, and whoever still waits is told.
    ///
    /// # Cancellation
    ///
    /// The pool drains all the same.
    pub async fn drain(&self, within: Duration) -> Drained {
        let (answer, drained) = oneshot::channel();
        // One that is gone has nothing left but what is out.
        let _ = self.keeper.post(StartDrain(within, answer));
        drained.await.unwrap_or_else(|_| Drained {
            in_use: self.stats().in_use,
            ..Drained::default()
        })
    }

    /// True when nothing is lent any more: drained, closed, or on an arbiter that has stopped.
    pub fn closed(&self) -> bool {
        self.shared
            .change(|state, _| state.phase != state::Phase::Open)
    }

    /// How things are.
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// All that happens from now on.
    pub fn events(&self) -> PoolEvents {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.change(|state, _| {
            let subscriber = Subscriber::Watcher(sender);
            state.jobs.told.push(Told::Subscriber(subscriber));
        });
        PoolEvents(receiver)
    }

    /// The pool's actor, for actors that would rather pass messages. An address does not keep the pool open, a handle does.
    pub fn address(&self) -> Addr<Keeper<R>> {
        self.keeper.address().clone()
    }
}

impl From<Endpoint> for Chain {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint)
    }
}
