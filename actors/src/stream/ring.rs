//! Recycled read buffers, shared by all streams of an arbiter.
//!
//! A stream takes a buffer only while its transport has something to read, so an idle connection holds none. There
//! are up to four: while a late consumer still holds slices of one, the next read goes to another, instead of
//! to fresh and cold memory.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

/// Size of one buffer, and so the most that one read takes.
pub(crate) const READ_SIZE: usize = 256 << 10;
/// A buffer in use is read into further while it has this much room.
const MIN_ROOM: usize = 32 << 10;
/// Buffers that an arbiter keeps.
const KEPT: usize = 4;

thread_local! {
    static RING: RefCell<VecDeque<BytesMut>> = const { RefCell::new(VecDeque::new()) };
}

/// What one read gave.
pub(crate) struct Piece {
    /// The bytes; none at the end of the stream.
    pub(crate) bytes: Bytes,
    /// Bytes at the end of a buffer that will not be used before all its slices are gone.
    pub(crate) abandoned: usize,
    /// There was room for more.
    pub(crate) is_short: bool,
}

/// Reads once.
pub(crate) fn poll_read<T: AsyncRead + Unpin>(
    io: &mut T,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Piece>> {
    let mut buffer = RING.with_borrow_mut(take);
    let offered = buffer.capacity();
    let result = poll_read_buf(Pin::new(io), cx, &mut buffer);
    let bytes = if buffer.is_empty() {
        Bytes::new()
    } else {
        buffer.split().freeze()
    };
    let room = buffer.capacity();
    RING.with_borrow_mut(|ring| {
        ring.push_front(buffer);
        ring.truncate(KEPT);
    });
    ready!(result)?;
    Poll::Ready(Ok(Piece {
        is_short: bytes.len() < offered,
        bytes,
        abandoned: if room < MIN_ROOM { room } else { 0 },
    }))
}

/// A buffer that nobody uses any more; else the rest of the one used last; else a new one.
fn take(ring: &mut VecDeque<BytesMut>) -> BytesMut {
    if let Some(at) = ring.iter_mut().position(|it| it.try_reclaim(READ_SIZE)) {
        ring.swap(0, at);
    }
    match ring.front() {
        Some(buffer) if buffer.capacity() >= MIN_ROOM => ring.pop_front(),
        _ => None,
    }
    .unwrap_or_else(|| BytesMut::with_capacity(READ_SIZE))
}
