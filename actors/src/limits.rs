//! The constants of the API, and the limits that bound one channel.
//!
//! Every number here is a default: [`Limits`] carries the values that one chain uses.

use std::time::Duration;

/// Default size, in bytes, of the buffer of a `BufferedStream`.
pub const DEFAULT_BUFFER_SIZE: usize = 8192;
/// Largest buffer, in bytes, that a caller may ask for (1 MiB) unless the limit is raised.
pub const MAX_BUFFER_SIZE: usize = 1_048_576;
/// Default number of messages that a `BatchingChannel` gathers.
pub const DEFAULT_BATCH_SIZE: usize = 10;
/// Default time that a `BatchingChannel` holds its oldest message.
pub const DEFAULT_BATCH_TIMEOUT: Duration = Duration::from_millis(100);
/// Default zlib level of a `CompressedChannel`.
pub const DEFAULT_COMPRESSION_LEVEL: u32 = 6;
/// Piece size, in bytes, of file transfers.
pub const STREAM_CHUNK_SIZE: usize = 64_000;

/// How long [`Channel::poll`](crate::Channel::poll) waits by default: not at all.
pub const DEFAULT_POLL_TIMEOUT: Duration = Duration::ZERO;

/// The longest of all times, a hundred years: no clock overflows with it.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Default of [`Limits::max_frame`].
pub(crate) const DEFAULT_MAX_FRAME: usize = 64 << 20;
/// Default of [`Limits::credit`].
pub(crate) const DEFAULT_CREDIT: usize = 1 << 20;
/// Default of [`Limits::close_timeout`].
pub(crate) const DEFAULT_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What bounds the memory and the patience of one channel.
///
/// A `Limits` is part of a recipe: plain data, used anew for each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest frame in bytes, as it travels and as it is after inflating. 64 MiB by default.
    ///
    /// A larger value lets a peer make us hold that much for one frame.
    pub max_frame: usize,
    /// Bytes that may be under way in one direction of the channel. 1 MiB by default.
    ///
    /// A larger value costs that much memory for each connection whose peer is slow, and buys
    /// throughput only on links with a large product of bandwidth and delay.
    pub credit: usize,
    /// Largest `read(count)` and largest caller-chosen buffer. [`MAX_BUFFER_SIZE`] by default.
    pub max_buffer: usize,
    /// How long `close` waits for the peer's end before it gives up. 5 s by default.
    pub close_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: DEFAULT_MAX_FRAME,
            credit: DEFAULT_CREDIT,
            max_buffer: MAX_BUFFER_SIZE,
            close_timeout: DEFAULT_CLOSE_TIMEOUT,
        }
    }
}

impl Limits {
    /// Sets [`max_frame`](Self::max_frame), in bytes; at most `u32::MAX`, which is what the wire can say.
    #[must_use]
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = bytes.min(u32::MAX as usize);
        self
    }

    /// Sets [`credit`](Self::credit), in bytes; at least 4096, so that a small batch always fits.
    #[must_use]
    pub fn credit(mut self, bytes: usize) -> Self {
        self.credit = bytes.max(4096);
        self
    }

    /// Sets [`max_buffer`](Self::max_buffer), in bytes.
    #[must_use]
    pub fn max_buffer(mut self, bytes: usize) -> Self {
        self.max_buffer = bytes;
        self
    }

    /// Sets [`close_timeout`](Self::close_timeout).
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }
}
