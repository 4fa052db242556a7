//! What happens to a connection, told as facts.

use std::sync::Arc;

use actix::Message;

use crate::error::ConnectionLostError;

/// A fact about a connection, sent to every subscriber in the order in which things happened.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The connection is up and may be used.
    Connected {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
        /// Which connection of a supervised chain this is, counted from 1.
        generation: u64,
    },
    /// The peer ended its direction; ours may go on.
    Ended {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
    },
    /// The connection is lost.
    Lost(ConnectionLostError),
    /// This end closed the connection.
    Closed {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
    },
}
