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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            values: brine::Limits::DEFAULT,
            references: 100_000,
            pending: 1 << 20,
            message_bytes: 64 << 20,
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
}
