//! [`Over`]: that a connection is over, for whoever waits for it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// True once and for all. A connection has one for as long as it lives, and mostly nobody waits: a channel of any kind would be ten times
/// as large.
#[derive(Default)]
pub(super) struct Over {
    is_over: AtomicBool,
    told: Notify,
}

impl Over {
    /// Tells everybody.
    pub(super) fn tell(&self) {
        self.is_over.store(true, Ordering::Release);
        self.told.notify_waiters();
    }

    /// Resolves when it is over.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub(super) async fn wait(&self) {
        // Made before the look: it hears of all that is told from here on.
        let told = self.told.notified();
        if !self.is_over.load(Ordering::Acquire) {
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn all_are_told_before_and_after() {
        let over = Over::default();
        let patience = Duration::from_secs(10);
        let told = async { tokio::join!(over.wait(), over.wait(), async { over.tell() }) };
        tokio::time::timeout(patience, told).await.expect("told");
        tokio::time::timeout(patience, over.wait())
            .await
            .expect("still told");
    }
}
