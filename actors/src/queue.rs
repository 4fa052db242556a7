//! Queues that mostly hold one thing at a time.

use std::collections::VecDeque;

/// Appends, and begins with room for one: an idle connection keeps its queues' room for as long as it lives, and `VecDeque` would begin
/// with four.
#[inline]
pub(crate) fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.capacity() == 0 {
        queue.reserve_exact(1);
    }
    queue.push_back(item);
}
