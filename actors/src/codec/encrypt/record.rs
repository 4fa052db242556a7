//! Records: [`Sealer`] makes those of one direction, [`Opener`] takes those of the other.

use std::{
    ops::{DerefMut, RangeInclusive},
    time::Instant,
};

use bytes::{BufMut, Bytes, BytesMut};
use zeroize::Zeroizing;

use super::{
    aead::{Backend, CIPHER_KEY, Cipher, Forged, TAG},
    blocks::Block,
    config::RekeyAfter,
    units::HEAD,
};
use crate::{
    piece::{HEADROOM, Own, Piece, TAILROOM},
    unit::{Chunk, FRAME_HEAD},
};

/// Bytes of a record's sealed part besides its body: kind and tag.
pub(super) const SEALED_OVERHEAD: usize = 1 + TAG;
/// Bytes of a record besides its body.
pub(super) const RECORD_OVERHEAD: usize = HEAD + SEALED_OVERHEAD;
/// Bytes of a record in front of its body.
pub(super) const RECORD_HEAD: usize = HEAD + 1;

/// What comes from streams and outboxes can be sealed where it lies, also as a frame.
const _: () = assert!(HEADROOM >= FRAME_HEAD + RECORD_HEAD && TAILROOM > TAG);

/// After each handshake so many bytes go in small records, so that a link which dies often still makes progress.
const EARLY_BYTES: usize = 64 << 10;
/// Largest of these small records, in bytes on the wire: one packet of the internet.
const EARLY_RECORD: usize = 1400;

/// Bytes that are copied at once.
const COPIED: usize = 2 << 10;

/// What a record is. The numbers are on the wire, sealed with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Bytes of the layer above.
    Data = 0,
    /// This direction ends; no record follows.
    Fin = 1,
    /// This end gives up; the body is one byte, the reason. No record follows.
    Close = 2,
    /// The records that follow are sealed with the next key.
    Rekey = 3,
    /// Asks for a sign of life.
    Ping = 4,
    /// A sign of life, asked for or not.
    Pong = 5,
}

impl Kind {
    fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Data,
            1 => Self::Fin,
            2 => Self::Close,
            3 => Self::Rekey,
            4 => Self::Ping,
            5 => Self::Pong,
            _ => return None,
        })
    }

    /// Bytes of body that a record of this kind has, unless it is data.
    fn body(self) -> Option<usize> {
        match self {
            Self::Data => None,
            Self::Close => Some(1),
            Self::Fin | Self::Rekey | Self::Ping | Self::Pong => Some(0),
        }
    }
}

/// A direction's key and how far it was used.
struct Line {
    cipher: Cipher,
    /// Counts records; never starts again, not even with another key.
    counter: u64,
}

impl Line {
    fn new(backend: Backend, key: &Zeroizing<[u8; CIPHER_KEY]>) -> Self {
        Self {
            cipher: Cipher::new(backend, key),
            counter: 0,
        }
    }

    fn seal(&mut self, text: &mut [u8]) -> [u8; TAG] {
        let tag = self.cipher.seal(self.counter, text);
        self.counter += 1;
        tag
    }

    fn open(&mut self, memory: &mut [u8], from: usize) -> Result<(), Forged> {
        self.cipher.open(self.counter, memory, from)?;
        self.counter += 1;
        Ok(())
    }

    fn rekey(&mut self) {
        self.cipher = self.cipher.next();
    }
}

/// Where a record is made: memory of its own, or of a block.
trait Place: BufMut + DerefMut<Target = [u8]> {}

impl<B: BufMut + DerefMut<Target = [u8]>> Place for B {}

/// Makes the records of one direction.
pub(super) struct Sealer {
    line: Line,
    max_record: usize,
    rekey: RekeyAfter,
    /// Records and bytes since the last key, and since when it is used.
    records: u64,
    bytes: u64,
    since: Instant,
    early: usize,
}

impl Sealer {
    pub(super) fn new(
        backend: Backend,
        key: &Zeroizing<[u8; CIPHER_KEY]>,
        max_record: usize,
        rekey: RekeyAfter,
        now: Instant,
    ) -> Self {
        Self {
            line: Line::new(backend, key),
            max_record,
            rekey,
            records: 0,
            bytes: 0,
            since: now,
            early: EARLY_BYTES,
        }
    }

    /// One record that is not data.
    pub(super) fn control(&mut self, kind: Kind, body: &[u8], now: Instant) -> Bytes {
        let mut block = Vec::with_capacity(2 * RECORD_OVERHEAD + body.len());
        self.rekey_if_due(&mut block, now);
        self.seal(&mut block, kind, body.len(), |block| {
            block.extend_from_slice(body);
        });
        block.into()
    }

    /// As many records as `chunk` needs. Bytes that nobody else sees are sealed where they lie, others where they are copied to.
    pub(super) fn data(&mut self, mut chunk: Chunk, now: Instant) -> Chunk {
        if self.is_one_record(&chunk, now)
            && let Some(piece) = chunk.take_only()
        {
            return match piece.try_into_own(RECORD_HEAD, TAG) {
                Ok(own) => self.around(own).into(),
                Err(piece) => self.only_record(&piece.into()).into(),
            };
        }
        let (mut sealed, mut shared) = (Chunk::new(), Chunk::new());
        for piece in chunk.pieces {
            match piece.try_into_own(RECORD_HEAD, TAG) {
                Ok(own) => {
                    if !shared.is_empty() {
                        self.copied(std::mem::take(&mut shared), &mut sealed, now);
                    }
                    self.in_place(own, &mut sealed, now);
                }
                Err(piece) => shared.push_piece(piece),
            }
        }
        if !shared.is_empty() {
            self.copied(shared, &mut sealed, now);
        }
        sealed
    }

    fn is_one_record(&self, chunk: &Chunk, now: Instant) -> bool {
        chunk.len() <= self.body_size() && !self.is_rekey_due(now)
    }

    /// The one record that `text` fits into, laid out around it.
    fn around(&mut self, mut text: Own) -> Piece {
        let length = text.len();
        let [high, low] = size(length);
        text.grow(RECORD_HEAD, 0);
        text[..RECORD_HEAD].copy_from_slice(&[high, low, Kind::Data as u8]);
        let tag = self.line.seal(&mut text[HEAD..]);
        self.count(length);
        text.grow(0, TAG);
        text[RECORD_HEAD + length..].copy_from_slice(&tag);
        text.into()
    }

    /// Seals bytes where they lie.
    ///
    /// A record's kind stands before its body, where the last sealed byte of the record before it is. That byte goes elsewhere: into
    /// a few bytes of their own, with the tag that follows it and the length of the next record.
    fn in_place(&mut self, mut text: Own, sealed: &mut Chunk, now: Instant) {
        let records = 1 + text.len() / self.body_size();
        let mut between = BytesMut::with_capacity(records * RECORD_OVERHEAD);
        self.rekey_if_due(&mut between, now);
        loop {
            let length = text.len().min(self.body_size());
            let is_last = length == text.len();
            text.grow(1, 0);
            text[0] = Kind::Data as u8;
            let tag = self.line.seal(&mut text[..=length]);
            self.count(length);
            let mut last = length;
            if between.is_empty() {
                text.grow(HEAD, 0);
                text[..HEAD].copy_from_slice(&size(length));
                last += HEAD;
            } else {
                between.put_slice(&size(length));
                sealed.push(between.split().freeze());
            }
            if is_last {
                text.grow(0, TAG);
                text[last + 1..].copy_from_slice(&tag);
                sealed.push_piece(text.into());
                return;
            }
            between.put_slice(&text[last..=last]);
            between.put_slice(&tag);
            self.rekey_if_due(&mut between, now);
            sealed.push_piece(text.split_to(last).into());
            text.shrink(1, 0);
        }
    }

    /// Seals bytes in the place that they are copied to.
    fn copied(&mut self, chunk: Chunk, sealed: &mut Chunk, now: Instant) {
        if self.is_one_record(&chunk, now) {
            sealed.push(self.only_record(&chunk));
            return;
        }
        let mut left = chunk.len();
        let mut pieces = chunk.into_iter();
        let mut piece = Bytes::new();
        let mut block = Block::default();
        while left > 0 {
            let length = left.min(self.body_size());
            let rekeying = if self.is_rekey_due(now) { 1 } else { 0 };
            let room = length + (1 + rekeying) * RECORD_OVERHEAD;
            if block.bytes.capacity() - block.bytes.len() < room {
                sealed.push(block.take());
                let records = left.div_ceil(length) + rekeying;
                block.replace(left + records * RECORD_OVERHEAD);
            }
            self.rekey_if_due(&mut block.bytes, now);
            self.seal(&mut block.bytes, Kind::Data, length, |bytes| {
                let mut missing = length;
                while missing > 0 {
                    if piece.is_empty() {
                        piece = pieces.next().expect("a chunk has as many bytes as it says");
                    }
                    let part = piece.split_to(missing.min(piece.len()));
                    append(bytes, &part);
                    missing -= part.len();
                }
            });
            left -= length;
        }
        sealed.push(block.take());
    }

    /// The one record that `chunk` fits into.
    fn only_record(&mut self, chunk: &Chunk) -> Bytes {
        let length = chunk.len();
        let mut record = Vec::with_capacity(length + RECORD_OVERHEAD);
        self.seal(&mut record, Kind::Data, length, |bytes| {
            for piece in chunk.pieces() {
                append(bytes, piece);
            }
        });
        record.into()
    }

    fn body_size(&self) -> usize {
        if self.early > 0 {
            self.max_record.min(EARLY_RECORD - RECORD_OVERHEAD)
        } else {
            self.max_record
        }
    }

    fn is_rekey_due(&self, now: Instant) -> bool {
        self.records >= self.rekey.records
            || self.bytes >= self.rekey.bytes
            || now.saturating_duration_since(self.since) >= self.rekey.time
    }

    fn rekey_if_due(&mut self, block: &mut impl Place, now: Instant) {
        if self.is_rekey_due(now) {
            self.seal(block, Kind::Rekey, 0, |_| {});
            self.line.rekey();
            (self.records, self.bytes, self.since) = (0, 0, now);
        }
    }

    fn seal<P: Place>(
        &mut self,
        block: &mut P,
        kind: Kind,
        length: usize,
        fill: impl FnOnce(&mut P),
    ) {
        block.put_slice(&size(length));
        let start = block.len();
        block.put_slice(&[kind as u8]);
        fill(block);
        let tag = self.line.seal(&mut block[start..]);
        block.put_slice(&tag);
        self.count(length);
    }

    /// A record with so many bytes of body was made.
    fn count(&mut self, length: usize) {
        self.records += 1;
        self.bytes += length as u64;
        self.early = self.early.saturating_sub(length);
    }
}

/// The length that stands in front of a record with so many bytes of body.
fn size(length: usize) -> [u8; HEAD] {
    u16::try_from(length + SEALED_OVERHEAD)
        .expect("a record is at most 64,017 bytes")
        .to_be_bytes()
}

/// Copies `bytes` behind what `buffer` holds.
///
/// In pieces that the C library copies with vector instructions: what is larger it gives to the processor's own
/// instruction for copies, which some take a multiple of the time for unless both sides are aligned alike.
fn append(buffer: &mut impl BufMut, bytes: &[u8]) {
    for piece in bytes.chunks(COPIED) {
        buffer.put_slice(piece);
    }
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRecord {
    /// It was not sealed by the peer as the next of this direction.
    Forged,
    /// Its kind is none that we know, or does not go with its body.
    Kind(u8),
}

impl From<Forged> for BadRecord {
    fn from(_: Forged) -> Self {
        Self::Forged
    }
}

/// Opens the records of one direction.
pub(super) struct Opener {
    line: Line,
    max_record: usize,
}

impl Opener {
    pub(super) fn new(
        backend: Backend,
        key: &Zeroizing<[u8; CIPHER_KEY]>,
        max_record: usize,
    ) -> Self {
        Self {
            line: Line::new(backend, key),
            max_record,
        }
    }

    /// Lengths that a record may announce.
    pub(super) fn lengths(&self) -> RangeInclusive<usize> {
        SEALED_OVERHEAD..=self.max_record + SEALED_OVERHEAD
    }

    /// Opens the record that `memory` holds behind `from`; kind and body come to lie in the front of it. What a close says is given,
    /// too.
    pub(super) fn open(&mut self, memory: &mut [u8], from: usize) -> Result<(Kind, u8), BadRecord> {
        self.line.open(memory, from)?;
        let body = memory.len() - from - SEALED_OVERHEAD;
        let (byte, reason) = (memory[0], memory[1]);
        let kind = Kind::from_wire(byte)
            .filter(|kind| kind.body().is_none_or(|size| size == body))
            .ok_or(BadRecord::Kind(byte))?;
        if kind == Kind::Rekey {
            self.line.rekey();
        }
        Ok((kind, reason))
    }
}
