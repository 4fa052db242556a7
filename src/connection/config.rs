//! [`ConnectionConfig`]: how one connection is to be.

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
}

impl From<Limits> for ConnectionConfig {
    fn from(limits: Limits) -> Self {
        Self::default().limits(limits)
    }
}
