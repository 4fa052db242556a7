//! What can come of a call, and of writing a message.

use super::{Refusal, RemoteError};

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer's code raised an exception.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The peer's iterator has no more items.
    #[error("StopIteration")]
    StopIteration,
    /// The peer's answer makes no sense, or exceeds a limit.
    #[error("bad answer: {0}")]
    BadAnswer(#[source] Refusal),
}

/// Why a message was not written. Nothing was: neither output nor counts nor sequence numbers have changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// Something in it cannot be sent.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The message is larger than [`Limits::message_bytes`](super::Limits::message_bytes).
    #[error("message of {got} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// The size of the message.
        got: usize,
    },
    /// Too many calls wait for their answer.
    #[error("more than {limit} calls wait for an answer")]
    TooManyPending {
        /// The limit.
        limit: usize,
    },
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
}
