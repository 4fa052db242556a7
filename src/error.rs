//! [`Error`]: what can come of a call.

use std::{sync::Arc, time::Duration};

pub use rpyc_actors::error::*;
use rpyc_actors::pool::PoolError;

use crate::{
    brine::ConvertError,
    protocol::{CallError, ProtocolError, Refusal, RemoteError, SendError},
};

/// Why a call, or the connection it would go over, did not give what was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's code raised an exception.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The peer's iterator has no more items.
    #[error("StopIteration")]
    StopIteration,
    /// The connection ended while the call waited in the outbox: the peer did not see it.
    #[error("the call was not sent: {0}")]
    NotSent(#[source] StreamError),
    /// The connection ended after the call had left, so the peer may have run it, or not.
    #[error("the call may have run: {0}")]
    MayHaveRun(#[source] StreamError),
    /// There was no answer within the deadline. The peer is not told, since RPyC has no message for it.
    #[error("no answer within {0:?}; the call may have run")]
    TimedOut(Duration),
    /// The arguments cannot be sent.
    #[error("the call cannot be sent: {0}")]
    Unsendable(#[source] SendError),
    /// The answer makes no sense, or exceeds a limit.
    #[error("bad answer: {0}")]
    BadAnswer(#[source] Refusal),
    /// The answer is not of the type the caller wants.
    #[error("the answer is not of the wanted type: {0}")]
    Convert(#[from] ConvertError),
    /// A connection cannot be made, or ended.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A pool gave no connection.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The peer does not speak the protocol.
    #[error("{endpoint} does not speak the protocol: {reason}")]
    Protocol {
        /// The endpoint it came from.
        endpoint: Arc<str>,
        /// What it did.
        #[source]
        reason: Arc<ProtocolError>,
    },
}

impl Error {
    /// The exception that the peer raised, if that is what this is.
    pub fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Remote(error) => Some(error),
            _ => None,
        }
    }

    /// True when the peer certainly did not run the call.
    pub fn was_not_sent(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Unsendable(_))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Remote(error) => Self::Remote(error),
            CallError::StopIteration => Self::StopIteration,
            CallError::BadAnswer(refusal) => Self::BadAnswer(refusal),
        }
    }
}
