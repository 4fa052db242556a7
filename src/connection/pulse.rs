//! Whether an idle peer is still there: a PING from the client, and a verdict only when it is fair.
//!
//! RPyC has no signs of life of its own. A stock server answers a PING as long as it has nothing else to do on that connection, so
//! one is sent only while no answer is due, and its absence counts only if no call came in between. A stock client answers nothing while
//! it waits for nothing (its `serve` runs only inside of calls), so an end that serves never asks.

use std::{sync::Arc, time::Duration};

use rpyc_actors::{codec::Liveness, error::LossReason};

use super::{Deadline, Link};
use crate::{error::Error, protocol::Ask};

/// Asks an idle peer now and then, for as long as the connection lasts. Needs no handle, and keeps none.
pub(super) fn start(link: &Arc<Link>, liveness: Liveness) {
    let (weak, over) = (Arc::downgrade(link), link.over.clone());
    let beating = async move {
        let mut heard = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(liveness.interval()) => {}
                () = over.wait() => return,
            }
            let Some(link) = weak.upgrade() else { return };
            let came = link.channel.stats().bytes_received;
            if std::mem::replace(&mut heard, came) == came && link.stats().pending == 0 {
                ask(&link, liveness.silence()).await;
            }
        }
    };
    // An arbiter that has stopped has ended the connection.
    link.channel.arbiter().spawn(beating);
}

/// Sends a PING, and gives the connection up if nothing comes.
async fn ask(link: &Arc<Link>, silence: Duration) {
    let asked = link.ask_item(Ask::ping(super::PING), Deadline::after(Some(silence)));
    // The PING itself is still open then. A call that came in between may keep the peer busy: that is no silence.
    if let Err(Error::TimedOut(after)) = asked.await
        && link.stats().pending <= 1
    {
        link.channel.abort_because(LossReason::Silent { after });
    }
}
