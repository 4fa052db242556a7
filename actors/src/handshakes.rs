//! Handshakes under way: so many, and no more.

use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{channel::Channel, error::LossReason, stream::Address};

/// What is known of the connections that were accepted and have not proved yet that they have the key.
#[cfg(feature = "encrypt")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeStats {
    /// Those there are now.
    pub under_way: usize,
    /// Those so far that gave way to newer ones.
    pub pushed_out: u64,
}

/// Who is shaking hands, oldest first.
pub(crate) struct Handshakes {
    max: usize,
    pushed_out: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    under_way: Vec<UnderWay>,
}

struct UnderWay {
    number: u64,
    address: Option<IpAddr>,
    /// Dropped to tell that it has to give way.
    _stay: oneshot::Sender<()>,
}

/// One handshake's turn; dropping it makes room.
pub(crate) struct Turn {
    handshakes: Arc<Handshakes>,
    number: u64,
    stay: oneshot::Receiver<()>,
}

impl Handshakes {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max: max.max(1),
            pushed_out: AtomicU64::new(0),
            state: Mutex::default(),
        })
    }

    /// A turn for a newcomer. Where there are too many, the oldest of the address that has most gives way: whoever holds up handshakes
    /// pushes out its own.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Turn {
        let (sender, stay) = oneshot::channel();
        let mut state = self.state.lock();
        let pushed_out = (state.under_way.len() >= self.max).then(|| state.push_out());
        let number = state.next;
        state.next += 1;
        state.under_way.push(UnderWay {
            number,
            address,
            _stay: sender,
        });
        drop(state);
        if let Some(under_way) = pushed_out {
            self.pushed_out.fetch_add(1, Ordering::Relaxed);
            // Its task is woken here, outside of the lock.
            drop(under_way);
        }
        Turn {
            handshakes: self.clone(),
            number,
            stay,
        }
    }

    /// Has an accepted channel shake hands, on this arbiter, until others push it out.
    pub(crate) fn bound(self: &Arc<Self>, channel: &Channel) {
        let address = match channel.peer_address() {
            Some(Address::Tcp(address)) => Some(address.ip()),
            _ => None,
        };
        let (turn, channel) = (self.enter(address), channel.clone());
        actix_rt::spawn(async move {
            // If it fails by itself, whoever uses the channel is told.
            if turn.during(channel.established()).await.is_none() {
                let peer = channel.endpoint();
                tracing::warn!(
                    peer,
                    "a peer has not shaken hands, as too many have not: it gives way to a newer one"
                );
                channel.abort_because(LossReason::PushedOut);
            }
        });
    }

    #[cfg(feature = "encrypt")]
    pub(crate) fn stats(&self) -> HandshakeStats {
        HandshakeStats {
            under_way: self.under_way(),
            pushed_out: self.pushed_out.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn under_way(&self) -> usize {
        self.state.lock().under_way.len()
    }
}

impl State {
    fn push_out(&mut self) -> UnderWay {
        let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for one in &self.under_way {
            *counts.entry(one.address).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let at = self
            .under_way
            .iter()
            .position(|one| counts[&one.address] == most)
            .expect("there is at least one, and one address has most");
        self.under_way.remove(at)
    }
}

impl Turn {
    /// Works while there is a turn; `None` when it was pushed out.
    pub(crate) async fn during<F: Future>(mut self, work: F) -> Option<F::Output> {
        tokio::select! {
            output = work => Some(output),
            _ = &mut self.stay => None,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.handshakes.state.lock();
        let found = state
            .under_way
            .binary_search_by_key(&self.number, |one| one.number);
        if let Ok(at) = found {
            state.under_way.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_of_the_fullest_address_gives_way() {
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let handshakes = Handshakes::new(3);
        let lone = handshakes.enter(address(1));
        let first = handshakes.enter(address(2));
        let second = handshakes.enter(address(2));
        let newcomer = handshakes.enter(address(3));
        assert_eq!(first.during(std::future::pending::<()>()).await, None);
        assert_eq!(lone.during(async { 1 }).await, Some(1));
        assert_eq!(second.during(async { 2 }).await, Some(2));
        assert_eq!(newcomer.during(async { 3 }).await, Some(3));
        assert_eq!(handshakes.under_way(), 0);
    }
}
