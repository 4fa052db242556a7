//! What happens to a pool, told as facts.

use std::{sync::Arc, time::Duration};

use actix::{Message, WeakRecipient};
use tokio::sync::mpsc;

use super::recipe::Retired;
use crate::error::StreamError;

/// A change of a pool, told to every subscriber in the order in which things happened.
///
/// What is told is what changes the set of connections and endpoints. That one is given out and returned is counted, not told.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
#[non_exhaustive]
pub enum PoolEvent {
    /// A connection was made.
    Opened {
        /// The endpoint as text.
        endpoint: Arc<str>,
        /// How long that took.
        took: Duration,
    },
    /// A connection could not be made.
    DialFailed {
        /// The endpoint as text.
        endpoint: Arc<str>,
        /// The reason.
        error: Arc<StreamError>,
    },
    /// A connection left the pool. Another one is made when it is needed.
    Retired {
        /// The endpoint as text.
        endpoint: Arc<str>,
        /// Why.
        why: Retired,
    },
    /// An endpoint does not answer: it is tried again at the pace of the backoff, one connection at a time, and nothing else is made there meanwhile.
    /// An attempt needs a place in the pool: in a full one, that of a connection above `min_idle` which nobody needs, else the next that becomes free.
    Ejected {
        /// The endpoint as text.
        endpoint: Arc<str>,
    },
    /// An endpoint that was ejected answers again.
    Restored {
        /// The endpoint as text.
        endpoint: Arc<str>,
        /// How long it was out.
        downtime: Duration,
    },
    /// There may be another number of connections from now on.
    Resized {
        /// The most there may be.
        max_size: usize,
    },
    /// No more connections are given out, but to those who wait already.
    Draining,
    /// The pool is closed. Connections that are out are closed when they are returned.
    Closed,
}

/// Asks a pool's actor to send all events to an actor from now on. Subscribers are held weakly.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub WeakRecipient<PoolEvent>);

/// The events of a pool since [`StreamPool::events`](super::StreamPool::events) was called.
///
/// They wait here until they are taken. Since a pool makes and gives up connections at a bounded pace, so does this grow.
#[derive(Debug)]
pub struct PoolEvents(pub(super) mpsc::UnboundedReceiver<PoolEvent>);

impl PoolEvents {
    /// The next event; `None` when the pool is closed and its actor has done all that was left.
    ///
    /// # Cancellation
    ///
    /// Nothing was taken.
    pub async fn next(&mut self) -> Option<PoolEvent> {
        self.0.recv().await
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<PoolEvent> {
        self.0.try_recv().ok()
    }
}

/// Somebody who is told.
pub(super) enum Subscriber {
    Actor(WeakRecipient<PoolEvent>),
    Watcher(mpsc::UnboundedSender<PoolEvent>),
}

impl Subscriber {
    /// False when it is gone.
    fn tell(&self, event: &PoolEvent) -> bool {
        match self {
            Self::Actor(actor) => actor
                .upgrade()
                .is_some_and(|actor| actor.try_send(event.clone()).is_ok()),
            Self::Watcher(watcher) => watcher.send(event.clone()).is_ok(),
        }
    }
}

/// What waits to be told. Those who subscribe stand in the same line, so that each gets all that comes after it.
pub(super) enum Told {
    Event(PoolEvent),
    Subscriber(Subscriber),
}

/// All who are told.
#[derive(Default)]
pub(super) struct Subscribers(Vec<Subscriber>);

impl Subscribers {
    pub(super) fn tell(&mut self, told: Vec<Told>) {
        for told in told {
            match told {
                Told::Event(event) => {
                    log(&event);
                    self.0.retain(|subscriber| subscriber.tell(&event));
                }
                Told::Subscriber(subscriber) => self.0.push(subscriber),
            }
        }
    }
}

/// Target of the log lines about pools, at the level debug; endpoints that come and go are warnings.
pub const POOL: &str = "rpyc_actors::pool";

fn log(event: &PoolEvent) {
    match event {
        PoolEvent::Ejected { endpoint } => {
            tracing::warn!(target: POOL, %endpoint, "the endpoint does not answer");
        }
        PoolEvent::Restored { endpoint, downtime } => {
            tracing::warn!(target: POOL, %endpoint, ?downtime, "the endpoint answers again");
        }
        event => tracing::debug!(target: POOL, ?event),
    }
}
