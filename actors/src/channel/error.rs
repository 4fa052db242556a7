//! Why a channel did not do at once what it was asked for.

use crate::error::{StreamError, WriteError};

/// Why [`Channel::try_send`](super::Channel::try_send) did not send.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError<T> {
    /// There is no credit left; the frame comes back.
    #[error("the channel has no credit left")]
    Full(T),
    /// The frame will never be sent; it comes back with the reason.
    #[error("the channel does not send any more")]
    Closed(#[source] WriteError<T>),
}

/// Why [`Channel::try_recv`](super::Channel::try_recv) gave no frame.
#[derive(Debug, thiserror::Error)]
pub enum TryRecvError {
    /// There is none at the moment.
    #[error("no frame is there yet")]
    Empty,
    /// The peer ended its direction, and all frames were taken.
    #[error("the peer ended its direction")]
    Ended,
    /// No frame will come any more.
    #[error(transparent)]
    Failed(#[from] StreamError),
}
