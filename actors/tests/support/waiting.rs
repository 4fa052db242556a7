//! Waits that are bounded: a hang is a failure.
#![allow(dead_code, reason = "each test uses its own part of this file")]

use std::{future::Future, time::Duration};

use rpyc_actors::{ConnectionEvent, Events};

/// No test waits longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits `future`, and fails with `what` when it hangs.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// Asks again and again until `condition` holds: for what nobody tells, such as another process's state.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The next event that is looked for; those before it are passed over.
pub(crate) async fn event(
    what: &str,
    events: &mut Events,
    mut is_it: impl FnMut(&ConnectionEvent) -> bool,
) -> ConnectionEvent {
    within(what, async {
        loop {
            let event = events.next().await.expect("a supervisor");
            if is_it(&event) {
                return event;
            }
        }
    })
    .await
}
