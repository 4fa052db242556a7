//! What tests that measure memory share.

use std::{
    net,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::net::TcpStream;

use super::{PATIENCE, within};

/// One measurement at a time: the allocator counts for the whole process.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn kib(bytes: usize) -> usize {
    bytes >> 10
}

/// A peer that a plain thread can use, with bounded waits.
pub(crate) fn blocking(peer: TcpStream) -> net::TcpStream {
    let peer = peer.into_std().expect("a socket");
    peer.set_nonblocking(false).expect("a socket");
    peer.set_read_timeout(Some(PATIENCE)).expect("a socket");
    peer.set_write_timeout(Some(PATIENCE)).expect("a socket");
    peer
}

/// Waits until `counter` stands still: all that can move without the other end has moved.
pub(crate) async fn settled(what: &str, mut counter: impl FnMut() -> u64) {
    within(what, async {
        let mut before = u64::MAX;
        while before != counter() {
            before = counter();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    })
    .await;
}
