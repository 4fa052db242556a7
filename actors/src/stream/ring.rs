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

use bytes::BytesMut;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use crate::piece::{HEADROOM, Own, Piece, TAILROOM};

/// Size of one buffer, and so the most that one read takes.
pub(crate) const READ_SIZE: usize = 256 << 10;
/// A buffer in use is read into further while it has this much room.
const MIN_ROOM: usize = 32 << 10;
/// Buffers that an arbiter keeps.
const KEPT: usize = 4;

struct Ring {
    /// The one used last.
    current: Option<BytesMut>,
    /// Those used before it, latest first.
    older: VecDeque<BytesMut>,
}

thread_local! {
    static RING: RefCell<Ring> = const { RefCell::new(Ring { current: None, older: VecDeque::new() }) };
}

/// What one read gave.
pub(crate) struct Taken {
    /// The bytes, with room around them; none at the end of the stream.
    pub(crate) piece: Piece,
    /// Bytes at the end of a buffer that will not be used before all its slices are gone.
    pub(crate) abandoned: usize,
    /// There was room for more.
    pub(crate) is_short: bool,
}

/// Reads once.
pub(crate) fn poll_read<T: AsyncRead + Unpin>(
    io: &mut T,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Taken>> {
    let mut buffer = RING.with_borrow_mut(take);
    buffer.extend_from_slice(&[0; HEADROOM]);
    let offered = buffer.capacity() - HEADROOM;
    let result = poll_read_buf(Pin::new(io), cx, &mut buffer);
    let count = buffer.len() - HEADROOM;
    let piece = if count == 0 {
        buffer.clear();
        Piece::default()
    } else {
        // What fills the buffer has none behind it.
        let behind = if offered - count >= TAILROOM {
            buffer.extend_from_slice(&[0; TAILROOM]);
            TAILROOM
        } else {
            0
        };
        Own::new(buffer.split(), HEADROOM, behind).into()
    };
    let room = buffer.capacity();
    RING.with_borrow_mut(|ring| ring.current = Some(buffer));
    ready!(result)?;
    Poll::Ready(Ok(Taken {
        is_short: count < offered,
        piece,
        abandoned: if room < MIN_ROOM { room } else { 0 },
    }))
}

/// A buffer that nobody uses any more; else the rest of the one used last; else a new one.
fn take(ring: &mut Ring) -> BytesMut {
    match ring.current.take() {
        Some(mut used) => {
            if used.try_reclaim(READ_SIZE) {
                used
            } else {
                ring.another(used)
            }
        }
        None => BytesMut::with_capacity(READ_SIZE),
    }
}

impl Ring {
    #[inline(never)]
    fn another(&mut self, used: BytesMut) -> BytesMut {
        let free = self
            .older
            .iter_mut()
            .position(|it| it.try_reclaim(READ_SIZE));
        let free = free.and_then(|at| self.older.remove(at));
        if free.is_none() && used.capacity() >= MIN_ROOM {
            return used;
        }
        self.older.push_front(used);
        self.older.truncate(KEPT - 1);
        free.unwrap_or_else(|| BytesMut::with_capacity(READ_SIZE))
    }
}
