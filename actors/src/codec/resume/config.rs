//! [`ResumeConfig`]: settings of resumable sessions.

use std::time::Duration;

use crate::codec::pulse::Liveness;

/// Ten years: no time that is added to another one goes beyond what a clock can tell.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Settings of resumable sessions: a recipe for any number of them.
///
/// Both ends need the layer; each has settings of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeConfig {
    pub(crate) linger: Duration,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_handshakes: usize,
    pub(crate) is_insecure_allowed: bool,
    pub(crate) max_detached: usize,
    pub(crate) max_detached_bytes: usize,
}

impl Default for ResumeConfig {
    fn default() -> Self {
        Self {
            linger: Duration::from_secs(60),
            liveness: Some(Liveness::default()),
            handshake_timeout: Duration::from_secs(5),
            max_handshakes: 512,
            is_insecure_allowed: false,
            max_detached: 1000,
            max_detached_bytes: 256 << 20,
        }
    }
}

impl ResumeConfig {
    /// Sets how long a session waits for a new connection before it is lost. 60 s by default.
    ///
    /// A longer time keeps what is under way in memory for as long.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time.min(LONGEST);
        self
    }

    /// Sets how a dead link is noticed, or with `None` that it is left to the layers below; on by default.
    #[must_use]
    pub fn liveness(mut self, liveness: impl Into<Option<Liveness>>) -> Self {
        self.liveness = liveness.into();
        self
    }

    /// Sets how long a new connection has for what it says first. 5 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout.min(LONGEST);
        self
    }

    /// Sets how many new connections a server keeps at once that have not said yet which session they are for. 512 by default, at least one; a newcomer
    /// above that pushes out the oldest of the address that has most. Its client sees a lost link, and dials again.
    #[must_use]
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count;
        self
    }

    /// Allows sessions over links that anybody on the way can read: plain TCP, pipes.
    ///
    /// Whoever reads there learns the session's secret, and can take the session over.
    #[must_use]
    pub fn insecure_resume(mut self) -> Self {
        self.is_insecure_allowed = true;
        self
    }

    /// Sets how many sessions a server keeps that have no connection, and how many bytes under way they may hold together.
    /// 1,000 and 256 MiB by default; above either, the one is lost that has waited longest of those whose clients came from the address that
    /// has most: whoever leaves sessions behind pushes out its own.
    #[must_use]
    pub fn max_detached(mut self, sessions: usize, bytes: usize) -> Self {
        self.max_detached = sessions;
        self.max_detached_bytes = bytes;
        self
    }
}
