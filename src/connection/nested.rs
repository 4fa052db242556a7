//! Calls that a handler makes of the peer that called it.

use std::sync::{Arc, atomic::Ordering};

use super::Link;

thread_local! {
    /// The connection whose handler runs on this thread.
    static HANDLING: std::cell::Cell<Handled> = const {
        std::cell::Cell::new(Handled { link: std::ptr::null(), by_actor: false })
    };
}

#[derive(Clone, Copy)]
struct Handled {
    link: *const (),
    /// The actor polls the handler and looks after the queue itself, once it did.
    by_actor: bool,
}

/// Marks the time in which a handler of `link` runs.
pub(crate) struct Handling(Handled);

impl Handling {
    /// A handler is polled by the actor.
    pub(super) fn enter(link: &Arc<Link>) -> Self {
        Self::set(link, true)
    }

    /// A handler runs on a thread of its own.
    pub(crate) fn enter_elsewhere(connection: &super::Connection) -> Self {
        Self::set(&connection.link, false)
    }

    fn set(link: &Arc<Link>, by_actor: bool) -> Self {
        let link = Arc::as_ptr(link).cast();
        Self(HANDLING.replace(Handled { link, by_actor }))
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        HANDLING.set(self.0);
    }
}

/// Counts a call made from inside a handler of the same connection, while it waits: later requests may be served
/// then, or the peer's callbacks would deadlock.
pub(super) struct Nested<'a>(Option<&'a Link>);

impl<'a> Nested<'a> {
    pub(super) fn enter(link: &'a Link) -> Self {
        let handled = HANDLING.get();
        let is_nested = std::ptr::eq(handled.link, std::ptr::from_ref(link).cast());
        Self(is_nested.then(|| {
            link.nested.fetch_add(1, Ordering::Relaxed);
            if !handled.by_actor {
                link.wake();
            }
            link
        }))
    }
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.0 {
            link.nested.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
