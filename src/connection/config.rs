//! [`ConnectionConfig`]: how one connection is to be.

use rpyc_actors::codec::Liveness;

use crate::protocol::{Dialect, Limits};

/// How a connection speaks, and what bounds it.
///
/// ```
/// use rpyc::{ConnectionConfig, protocol::{Dialect, Limits}};
///
/// let config = ConnectionConfig::default()
///     .dialect(Dialect::Rpyc5)
///     .limits(Limits::default().queued_requests(100));
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConnectionConfig {
    /// What the peer may hold and send.
    pub limits: Limits,
    /// What is spoken. Without it the one who speaks first decides, and this end speaks that of RPyC 6: so a server need not set it,
    /// and a client of a server with RPyC 5 or 4.1 must.
    pub dialect: Option<Dialect>,
    /// Whether an idle server is asked now and then if it is still there, and how long it may take to answer. Off by default, and not
    /// for an end that serves: a stock Python client answers nothing while it waits for nothing.
    pub liveness: Option<Liveness>,
    /// Which one of a supervised chain it is; 0 without a supervisor.
    generation: u64,
}

impl ConnectionConfig {
    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`dialect`](Self::dialect).
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// Sets [`liveness`](Self::liveness): a PING goes to a server from which nothing came for an interval and of which nothing is asked,
    /// and the connection is lost if nothing comes for the silence.
    #[must_use]
    pub fn liveness(mut self, liveness: Liveness) -> Self {
        self.liveness = Some(liveness);
        self
    }

    pub(crate) fn of_generation(mut self, number: u64) -> Self {
        self.generation = number;
        self
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

impl From<Limits> for ConnectionConfig {
    fn from(limits: Limits) -> Self {
        Self::default().limits(limits)
    }
}
