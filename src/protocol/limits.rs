//! [`Limits`]: how much one connection may ask for.

use crate::brine;

/// What a connection may hold and carry at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// See [`Limits::values`].
    pub values: brine::Limits,
    /// See [`Limits::references`].
    pub references: usize,
    /// See [`Limits::pending`].
    pub pending: usize,
    /// See [`Limits::message_bytes`].
    pub message_bytes: usize,
    /// See [`Limits::queued_requests`].
    pub queued_requests: usize,
    /// See [`Limits::queued_bytes`].
    pub queued_bytes: usize,
    /// See [`Limits::concurrent_requests`].
    pub concurrent_requests: usize,
    /// See [`Limits::nested_calls`].
    pub nested_calls: usize,
    /// See [`Limits::unread_bytes`].
    pub unread_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            values: brine::Limits::DEFAULT,
            references: 100_000,
            pending: 1 << 20,
            message_bytes: 64 << 20,
            queued_requests: 1024,
            queued_bytes: 64 << 20,
            concurrent_requests: 1024,
            nested_calls: 64,
            unread_bytes: 128 << 20,
        }
    }
}

impl Limits {
    /// Depth, items and digits of what one message holds. Boxes count as a level of depth where they are tuples.
    #[must_use]
    pub const fn values(mut self, values: brine::Limits) -> Self {
        self.values = values;
        self
    }

    /// Different objects that each end may hold of the other at a time; default 100,000. Each costs some 200 bytes.
    #[must_use]
    pub const fn references(mut self, references: usize) -> Self {
        self.references = references;
        self
    }

    /// Calls whose answer has not come, those included for which nobody waits any more; default 1,048,576.
    /// Each costs some 32 bytes and what its waiter takes.
    #[must_use]
    pub const fn pending(mut self, pending: usize) -> Self {
        self.pending = pending;
        self
    }

    /// Bytes of a message we send, before compression; default 64 MiB. What is received is limited where frames are read.
    #[must_use]
    pub const fn message_bytes(mut self, message_bytes: usize) -> Self {
        self.message_bytes = message_bytes;
        self
    }

    /// Requests of the peer that wait for their turn, at least 1; default 1,024. Those beyond are answered with a `RuntimeError` at once.
    #[must_use]
    pub const fn queued_requests(mut self, requests: usize) -> Self {
        self.queued_requests = requests;
        self
    }

    /// Bytes of the requests that wait for their turn; default 64 MiB. Those beyond are answered with a `RuntimeError` at once. Below the
    /// size of a request, that request is never served.
    #[must_use]
    pub const fn queued_bytes(mut self, bytes: usize) -> Self {
        self.queued_bytes = bytes;
        self
    }

    /// Requests that a service which serves side by side works on at a time, at least 1; default 1,024. Others wait for their turn.
    #[must_use]
    pub const fn concurrent_requests(mut self, requests: usize) -> Self {
        self.concurrent_requests = requests;
        self
    }

    /// Requests that a service which serves in order works on at a time, all but the last of which wait for a call of their own to
    /// the peer, at least 1; default 64. One that is nested deeper is answered with a `RecursionError`.
    #[must_use]
    pub const fn nested_calls(mut self, calls: usize) -> Self {
        self.nested_calls = calls;
        self
    }

    /// Bytes of answers that the peer leaves unread, one above the channel's credit counting as much as that; default 128 MiB. With more
    /// the connection is given up.
    #[must_use]
    pub const fn unread_bytes(mut self, bytes: usize) -> Self {
        self.unread_bytes = bytes;
        self
    }
}
