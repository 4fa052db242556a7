//! [`PoolConfig`]: how large a pool is, and how it treats its connections.

use std::time::Duration;

use crate::{backoff::BackoffConfig, runtime::Runtime};

/// The seed's `pool_size`.
pub(super) const DEFAULT_SIZE: usize = 10;

/// A pool looks at its idle connections so often for each of the times that it keeps.
const TICKS: u32 = 16;
/// It looks at least this often.
const LONGEST_TICK: Duration = Duration::from_secs(1);
const SHORTEST_TICK: Duration = Duration::from_millis(1);
/// What stands for a time that the clock does not reach: a hundred years.
pub(super) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Settings of a pool.
///
/// ```
/// use std::time::Duration;
/// use rpyc_actors::pool::{Check, PoolConfig};
///
/// let config = PoolConfig::default()
///     .max_size(20)
///     .min_idle(5)
///     .check(Check::AfterIdle(Duration::from_secs(5)));
/// # drop(config);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The most connections there are at once, those that are being made or closed among them. 10 by default, at least 1.
    pub max_size: usize,
    /// So many idle connections are kept ready. None by default. More of them spare a caller the dialling, and cost the peer that many idle connections.
    pub min_idle: usize,
    /// How long a caller waits for a connection; `None` waits for ever. 30 s by default.
    pub timeout: Option<Duration>,
    /// How long one attempt to make a connection may take, with everything that opening it includes. 10 s by default. Until then it has a place of the pool.
    pub connect_timeout: Duration,
    /// How long a connection is used, less up to a tenth at random, so that connections that were made together do not end together.
    /// 30 minutes by default; `None` for ever. A connection that is out stays with its user.
    pub max_lifetime: Option<Duration>,
    /// After how long without use a connection above `min_idle` is closed. 10 minutes by default; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Which connections are tried before they are given out. Those that were idle for 30 s by default.
    pub check: Check,
    /// How long such a check may take before the connection counts as broken. 5 s by default.
    pub check_timeout: Duration,
    /// What a caller is told while no connection can be made. To wait, by default.
    pub dial_failure: DialFailure,
    /// The pace at which an endpoint that does not answer is tried again.
    pub backoff: BackoffConfig,
    /// Where the jitter of lifetimes and the choice of endpoints start, to repeat a run. At random by default.
    pub seed: Option<u64>,
    /// The runtime over whose arbiters the connections are spread; the pool's own actor lives on one of them. [`Runtime::current`] where the pool is
    /// started by default: outside of an actix System that is one arbiter for each processor.
    pub runtime: Option<Runtime>,
}

/// Which connections are tried before they are given out, on top of looking whether they are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// None.
    Never,
    /// Those that were idle for about so long.
    AfterIdle(Duration),
    /// All but those that were just made: a round trip each time.
    Always,
}

/// What a caller is told while no connection can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialFailure {
    /// Nothing: it waits until an endpoint answers, or its own time is over. The error then has the last reason.
    Wait,
    /// The reason, at once, as [`PoolError::Connect`](super::PoolError::Connect).
    Fail,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_size: DEFAULT_SIZE,
            min_idle: 0,
            timeout: Some(Duration::from_secs(30)),
            connect_timeout: Duration::from_secs(10),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            check: Check::AfterIdle(Duration::from_secs(30)),
            check_timeout: Duration::from_secs(5),
            dial_failure: DialFailure::Wait,
            backoff: BackoffConfig::default(),
            seed: None,
            runtime: None,
        }
    }
}

impl PoolConfig {
    /// Sets [`max_size`](Self::max_size); 0 counts as 1.
    #[must_use]
    pub fn max_size(mut self, connections: usize) -> Self {
        self.max_size = connections.max(1);
        self
    }

    /// Sets [`min_idle`](Self::min_idle).
    #[must_use]
    pub fn min_idle(mut self, connections: usize) -> Self {
        self.min_idle = connections;
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`max_lifetime`](Self::max_lifetime).
    #[must_use]
    pub fn max_lifetime(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.max_lifetime = time.into();
        self
    }

    /// Sets [`idle_timeout`](Self::idle_timeout).
    #[must_use]
    pub fn idle_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = time.into();
        self
    }

    /// Sets [`check`](Self::check).
    #[must_use]
    pub fn check(mut self, check: Check) -> Self {
        self.check = check;
        self
    }

    /// Sets [`check_timeout`](Self::check_timeout).
    #[must_use]
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.check_timeout = timeout;
        self
    }

    /// Sets [`dial_failure`](Self::dial_failure).
    #[must_use]
    pub fn dial_failure(mut self, policy: DialFailure) -> Self {
        self.dial_failure = policy;
        self
    }

    /// Sets [`backoff`](Self::backoff).
    #[must_use]
    pub fn backoff(mut self, backoff: BackoffConfig) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets [`runtime`](Self::runtime).
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// How often the pool looks at its idle connections: what it keeps is late by at most that much.
    pub(super) fn tick(&self) -> Duration {
        let idle_before_check = match self.check {
            Check::AfterIdle(time) => Some(time),
            Check::Never | Check::Always => None,
        };
        let times = [self.max_lifetime, self.idle_timeout, idle_before_check];
        let shortest = times.into_iter().flatten().min();
        shortest.map_or(LONGEST_TICK, |time| {
            (time / TICKS).clamp(SHORTEST_TICK, LONGEST_TICK)
        })
    }
}
