//! Settings of a supervisor.

use std::time::Duration;

use crate::backoff::BackoffConfig;

/// How a connection is supervised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SupervisorConfig {
    /// The pauses between attempts.
    pub backoff: BackoffConfig,
    /// How long one attempt may take, with everything that opening a connection includes. 10 s by default.
    pub connect_timeout: Duration,
    /// How often a connection may panic, or be lost before anything came, within [`window`](Self::window). 10 by default.
    pub restarts: usize,
    /// See [`restarts`](Self::restarts). 60 s by default.
    pub window: Duration,
    /// Time between two attempts on a connection that is taken for broken. 30 s by default.
    pub probe: Duration,
    /// A connection that lived so long was of use, even if nothing came on it: its loss begins a new outage. 10 s by default.
    pub settled_after: Duration,
    /// What becomes of frames that are sent while there is no connection.
    pub meanwhile: Meanwhile,
}

impl Default for SupervisorConfig {
    fn default() -> Self {
        Self {
            backoff: BackoffConfig::default(),
            connect_timeout: Duration::from_secs(10),
            restarts: 10,
            window: Duration::from_secs(60),
            probe: Duration::from_secs(30),
            settled_after: Duration::from_secs(10),
            meanwhile: Meanwhile::default(),
        }
    }
}

impl SupervisorConfig {
    /// Sets [`backoff`](Self::backoff).
    #[must_use]
    pub fn backoff(mut self, backoff: BackoffConfig) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`restarts`](Self::restarts) and [`window`](Self::window).
    #[must_use]
    pub fn intensity(mut self, restarts: usize, window: Duration) -> Self {
        self.restarts = restarts;
        self.window = window;
        self
    }

    /// Sets [`probe`](Self::probe).
    #[must_use]
    pub fn probe(mut self, every: Duration) -> Self {
        self.probe = every;
        self
    }

    /// Sets [`settled_after`](Self::settled_after).
    #[must_use]
    pub fn settled_after(mut self, time: Duration) -> Self {
        self.settled_after = time;
        self
    }

    /// Sets [`meanwhile`](Self::meanwhile).
    #[must_use]
    pub fn meanwhile(mut self, meanwhile: Meanwhile) -> Self {
        self.meanwhile = meanwhile;
        self
    }
}

/// What becomes of frames that are sent while there is no connection.
///
/// Either way a frame that is not sent comes back in the `WriteError`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// Senders wait for a connection, in the order in which each of them sends. A broken connection is not waited for.
    Wait {
        /// For how long from when the frame was given; then a send fails with `TimedOut`. A connection that takes nothing uses it
        /// up as well, but only the next one is not waited for. 30 s by default.
        deadline: Duration,
        /// Bytes that may wait in all; a frame above that is refused with `BufferOverflow`. 1 MiB by default.
        bytes: usize,
    },
    /// A send fails at once, with the reason for which there is no connection.
    Fail,
}

impl Default for Meanwhile {
    fn default() -> Self {
        Self::Wait {
            deadline: Duration::from_secs(30),
            bytes: crate::limits::MAX_BUFFER_SIZE,
        }
    }
}
