//! What happens to a connection, told as facts.

use std::{sync::Arc, time::Duration};

use actix::Message;

use crate::error::{ConnectionLostError, StreamError};

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
    /// A layer of this connection has proved who the peer is. What is sent from now on is for that peer alone.
    Established {
        /// What the two ends of this very connection share and no other connection has: Noise's handshake hash. Not a
        /// secret; a proof that is bound to it cannot be carried over to another connection.
        binding: [u8; 32],
        /// The features that both ends agreed on, as bits (see `docs/PROTOCOL.md`).
        features: u32,
    },
    /// The peer ended its direction; ours may go on.
    Ended {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
    },
    /// The connection is lost.
    Lost(ConnectionLostError),
    /// A resumable session has no connection. Nothing is lost yet: what is sent waits.
    Detached {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
        /// Which connection of the session it was, counted from 1; 0 before the first one.
        generation: u64,
        /// Why the connection was lost.
        reason: StreamError,
    },
    /// A resumable session goes on over a new connection.
    Resumed {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
        /// Which connection of the session this is, counted from 1.
        generation: u64,
        /// The time since the connection before was lost.
        downtime: Duration,
    },
    /// A supervisor waits, and then dials.
    Retrying {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
        /// How long it waits.
        after: Duration,
        /// Which attempt of this outage it is, counted from 1.
        attempt: u64,
        /// Why the attempt before failed; `None` after a loss.
        failed: Option<StreamError>,
    },
    /// A supervised connection is up again; comes behind its [`Connected`](Self::Connected).
    Restored {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
        /// Which connection this is, counted from 1.
        generation: u64,
        /// The time since the connection before was lost.
        downtime: Duration,
    },
    /// A supervisor took its connection for broken: it connects in vain too often, or cannot connect at all. It goes on
    /// probing, now and then.
    Broken {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
        /// What went wrong last.
        reason: StreamError,
    },
    /// The peer of a resumable session will give it up soon: finish what matters, and begin nothing.
    GoingAway {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
    },
    /// This end closed the connection.
    Closed {
        /// The endpoint in the form in which it was given.
        endpoint: Arc<str>,
    },
}
