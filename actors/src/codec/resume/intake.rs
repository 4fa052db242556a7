//! [`Intake`]: the way up: what came, what is still allowed to come, and when that is told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use crate::{
    credit::{Credit, Gate},
    message::Read,
    unit::Chunk,
};

/// Bytes after which an acknowledgement is due, unless the window is small.
const ACK_EVERY: u64 = 64 << 10;
/// How long an acknowledgement waits for data that it can travel with.
const ACK_WITHIN: Duration = Duration::from_millis(20);
/// Pieces below this are joined, so that a peer cannot make us hold many of them.
const SMALL: usize = 1024;

/// Where the stream of the peer's direction stands.
#[derive(Debug, Default)]
pub(super) struct Intake {
    received: u64,
    /// As far as the peer was told that it may send.
    limit: u64,
    /// What the last acknowledgement said.
    told: u64,
    /// Until when the peer must be told.
    due: Option<Instant>,
    /// The peer waits for it.
    is_urgent: bool,
    /// The peer's stream ends here.
    end: Option<u64>,
}

/// What cannot be taken from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("bytes {received} to {offset} of the stream are missing")]
    Gap { received: u64, offset: u64 },
    #[error("byte {to} of the stream came where {limit} was the last one allowed")]
    AboveWindow { to: u64, limit: u64 },
    #[error("byte {to} of the stream came, which had ended at {end}")]
    BehindEnd { to: u64, end: u64 },
}

impl Intake {
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Takes bytes at `offset`. Gives those that are new.
    pub(super) fn take(&mut self, offset: u64, mut bytes: Bytes) -> Result<Bytes, Refused> {
        let received = self.received;
        let Some(ahead) = received.checked_sub(offset) else {
            return Err(Refused::Gap { received, offset });
        };
        let to = offset.saturating_add(bytes.len() as u64);
        if to > self.limit {
            let limit = self.limit;
            return Err(Refused::AboveWindow { to, limit });
        }
        if let Some(end) = self.end
            && to > end
        {
            return Err(Refused::BehindEnd { to, end });
        }
        // Sent again because an acknowledgement was lost.
        let known = usize::try_from(ahead).map_or(bytes.len(), |ahead| ahead.min(bytes.len()));
        let new = bytes.split_off(known);
        self.received += new.len() as u64;
        Ok(new)
    }

    /// The peer's stream ends at `offset`. True when that is news.
    pub(super) fn finish(&mut self, offset: u64) -> Result<bool, Refused> {
        if let Some(end) = self.end
            && offset != end
        {
            return Err(Refused::BehindEnd { to: offset, end });
        }
        let received = self.received;
        if offset != received {
            return Err(Refused::Gap { received, offset });
        }
        Ok(self.end.replace(offset).is_none())
    }

    // ---- acknowledgements ----

    /// Something came: an acknowledgement is due at once, or soon.
    pub(super) fn note(&mut self, now: Instant, gate: &Gate) {
        let every = ACK_EVERY.min(gate.cap() as u64 / 4);
        if self.received - self.told >= every {
            self.is_urgent = true;
        } else if self.received > self.told && self.due.is_none() && !self.is_urgent {
            self.due = Some(now + ACK_WITHIN);
        }
    }

    /// The peer shall know how things stand: it asked, or it is new.
    pub(super) fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// When an acknowledgement is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.is_urgent = true;
        }
    }

    /// The peer has little left that it may send, and must be told when there is room again.
    pub(super) fn is_narrow(&self, gate: &Gate) -> bool {
        self.end.is_none() && self.limit - self.received < gate.cap() as u64 / 2
    }

    /// True when an acknowledgement must go even without data to go with.
    pub(super) fn must_tell(&self, gate: &Gate) -> bool {
        self.is_urgent || self.is_narrow(gate) && gate.used() <= gate.cap() / 2
    }

    /// True when an acknowledgement would say something new.
    pub(super) fn may_tell(&self, gate: &Gate) -> bool {
        self.received > self.told || self.must_tell(gate)
    }

    /// What an acknowledgement says now: received up to here, and so many bytes more.
    pub(super) fn tell(&mut self, gate: &Gate) -> (u64, u32) {
        let room = gate.cap().saturating_sub(gate.used()) as u64;
        self.limit = self.limit.max(self.received.saturating_add(room));
        self.told = self.received;
        self.due = None;
        self.is_urgent = false;
        let credit = self.limit - self.received;
        (self.received, u32::try_from(credit).unwrap_or(u32::MAX))
    }
}

/// What came while those above had no room.
///
/// It was granted, so it is taken; but a piece holds all of what was read with it, which the peer may make as large as it likes. So it is
/// copied, and takes no more memory than it has bytes.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: BytesMut,
    credit: Option<Credit>,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, chunk: &Chunk, gate: &Arc<Gate>) {
        for piece in chunk.pieces() {
            self.bytes.extend_from_slice(piece);
        }
        let credit = gate.charge(chunk.len());
        match &mut self.credit {
            Some(held) => held.merge(credit),
            None => self.credit = Some(credit),
        }
    }

    /// True when those above have room, besides what is held here.
    pub(super) fn is_due(&self, gate: &Gate) -> bool {
        self.credit.is_some() && gate.used().saturating_sub(self.len()) < gate.cap()
    }

    pub(super) fn take(&mut self) -> Option<Read<Chunk>> {
        let credit = self.credit.take()?;
        let unit = std::mem::take(&mut self.bytes).freeze().into();
        Some(Read { unit, credit })
    }
}

/// Bytes of the stream in the order in which they came, as few pieces.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    chunk: Chunk,
    /// A small piece that nothing was joined with yet.
    first: Bytes,
    joined: BytesMut,
}

impl Gathered {
    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.len() >= SMALL {
            self.close();
            self.chunk.push(piece);
        } else if self.first.is_empty() && self.joined.is_empty() {
            self.first = piece;
        } else {
            self.joined
                .extend_from_slice(&std::mem::take(&mut self.first));
            self.joined.extend_from_slice(&piece);
        }
    }

    fn close(&mut self) {
        self.chunk.push(std::mem::take(&mut self.first));
        self.chunk.push(self.joined.split().freeze());
    }

    pub(super) fn into_chunk(mut self) -> Chunk {
        self.close();
        self.chunk
    }
}
