//! [`Hold`]: what keeps a connection open.

use std::sync::{Arc, atomic::Ordering};

use super::Link;

/// What tells the protocol of this connection from that of others.
pub(crate) fn tag_of(link: &Arc<Link>) -> usize {
    Arc::as_ptr(link).addr()
}

/// Keeps a connection open. Dropping the last one closes it.
pub(crate) struct Hold(pub(super) Arc<Link>);

impl std::ops::Deref for Hold {
    type Target = Arc<Link>;

    fn deref(&self) -> &Arc<Link> {
        &self.0
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.0.hold()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}
