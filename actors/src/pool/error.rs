//! [`PoolError`]: why there is no connection.

use std::{fmt, sync::Arc, time::Duration};

use crate::error::StreamError;

/// Why a pool did not give a connection, or did not do what it was told.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// No connection within the time.
    #[error("no connection within {after:?}: still waiting for {waited_for}")]
    TimedOut {
        /// What was missing when the time was over.
        waited_for: WaitedFor,
        /// The time that passed.
        after: Duration,
        /// Why the last attempt to connect failed, if one did since an endpoint was last reached.
        #[source]
        last: Option<Arc<StreamError>>,
    },
    /// No connection can be made, and the pool is configured not to wait for one ([`DialFailure::Fail`](super::DialFailure::Fail)).
    #[error("no connection")]
    Connect(#[source] Arc<StreamError>),
    /// The pool is closed or draining, or its arbiter has stopped.
    #[error("the pool is closed")]
    Closed,
    /// The operating system refuses the shared [`Runtime`](crate::Runtime) its threads or descriptors.
    #[error(transparent)]
    Runtime(StreamError),
    /// The caller asked for what can never work.
    #[error(transparent)]
    ApiMisuse(StreamError),
}

/// What a task that wants a connection may have to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WaitedFor {
    /// All connections that may be there are in use.
    Slot,
    /// There is room for another connection, which is being made, or cannot be made yet.
    Dial,
    /// A connection is there, and is being checked.
    Check,
}

impl WaitedFor {
    /// Every kind, in the order of its number.
    pub(super) const ALL: [Self; 3] = [Self::Slot, Self::Dial, Self::Check];

    /// As a label of metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Dial => "dial",
            Self::Check => "check",
        }
    }
}

impl fmt::Display for WaitedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slot => "one that is returned",
            Self::Dial => "a new one",
            Self::Check => "the check of one",
        })
    }
}
