//! A peer in memory that is there or not, and a clock that jumps to the next timer when nothing is left to do.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use rpyc_actors::{
    BackoffConfig, Chain, Channel, ConnectError, ConnectionEvent, Endpoint, Events, Received,
    StreamError, StreamHandle, SupervisedChannel, SupervisorConfig,
};
use tokio::{io::DuplexStream, sync::mpsc};

/// Runs a test on an arbiter whose clock is virtual.
pub(crate) fn virtually<F: Future>(test: F) -> F::Output {
    actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    })
    .block_on(test)
}

/// What the next attempts find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Serves,
    /// Connects, and is gone.
    Drops,
    Refuses,
    /// Takes the connection and says nothing; the dial never ends.
    Hangs,
}

/// A peer in memory, that is there or not.
#[derive(Clone)]
pub(crate) struct Place {
    peer: Arc<Mutex<Peer>>,
    attempts: Arc<AtomicU64>,
    accepted: mpsc::UnboundedSender<DuplexStream>,
}

impl Place {
    pub(crate) fn new(peer: Peer) -> (Self, mpsc::UnboundedReceiver<DuplexStream>) {
        let (accepted, accepts) = mpsc::unbounded_channel();
        let place = Self {
            peer: Arc::new(Mutex::new(peer)),
            attempts: Arc::default(),
            accepted,
        };
        (place, accepts)
    }

    pub(crate) fn becomes(&self, peer: Peer) {
        *self.peer.lock() = peer;
    }

    pub(crate) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    pub(crate) fn chain(&self) -> Chain {
        let place = self.clone();
        Chain::new(Endpoint::custom("memory:", move || place.clone().dial()))
    }

    async fn dial(self) -> Result<DuplexStream, StreamError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = *self.peer.lock();
        match peer {
            Peer::Serves => {
                let _ = self.accepted.send(theirs);
            }
            Peer::Drops => drop(theirs),
            Peer::Refuses => {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Err(ConnectError::new("memory:", refused.into()).into());
            }
            Peer::Hangs => std::future::pending().await,
        }
        Ok(ours)
    }
}

pub(crate) fn seeded() -> SupervisorConfig {
    SupervisorConfig::default().backoff(BackoffConfig::default().seed(1))
}

pub(crate) async fn served(accepts: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Channel {
    let transport = accepts.recv().await.expect("the supervisor dials");
    let stream = StreamHandle::from_io("memory:", transport)
        .await
        .expect("an arbiter");
    Channel::new(stream)
}

pub(crate) async fn next(events: &mut Events) -> ConnectionEvent {
    events.next().await.expect("a supervisor")
}

pub(crate) async fn next_but_retrying(events: &mut Events) -> ConnectionEvent {
    loop {
        match next(events).await {
            ConnectionEvent::Retrying { .. } => {}
            event => return event,
        }
    }
}

/// Has the peer send something, so that the connection was of use.
pub(crate) async fn of_use(server: &Channel, client: &SupervisedChannel) {
    server.send("hello").await.expect("open");
    match client.recv().await.expect("open") {
        Received::Frame(frame) => assert_eq!(&frame[..], b"hello"),
        Received::Lost(lost) => panic!("{lost}"),
    }
}
