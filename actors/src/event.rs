//! What happens to a connection, told as facts.

use std::sync::Arc;

use actix::Message;

use crate::error::ConnectionLostError;

/// Target of the log lines, at the level debug, that say which actors of a connection start and stop.
pub const LIFE: &str = "rpyc_actors::life";

/// Logs that an actor of a connection started.
pub fn log_started<A>(endpoint: &str) {
    tracing::debug!(target: LIFE, actor = std::any::type_name::<A>(), endpoint, "started");
}

/// Logs that an actor of a connection stopped.
pub fn log_stopped<A>(endpoint: &str) {
    tracing::debug!(target: LIFE, actor = std::any::type_name::<A>(), endpoint, "stopped");
}

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
