//! Records: [`Sealer`] makes those of one direction, [`Opener`] takes those of the other.

use std::{
    ops::{DerefMut, RangeInclusive},
    time::Instant,
};

use bytes::{Buf, BufMut, Bytes};
use zeroize::Zeroizing;

use super::{
    aead::{Backend, CIPHER_KEY, Cipher, Forged, TAG},
    blocks::Block,
    config::RekeyAfter,
    units::HEAD,
};
use crate::unit::Chunk;

/// Bytes of a record's sealed part besides its body: kind and tag.
pub(super) const SEALED_OVERHEAD: usize = 1 + TAG;
/// Bytes of a record besides its body.
pub(super) const RECORD_OVERHEAD: usize = HEAD + SEALED_OVERHEAD;

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

    fn open(&mut self, sealed: &mut [u8]) -> Result<(), Forged> {
        self.cipher.open(self.counter, sealed)?;
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

    /// As many records as `chunk` needs. Its bytes are copied once, into the place where they are sealed.
    pub(super) fn data(&mut self, chunk: Chunk, now: Instant) -> Chunk {
        if (1..=self.body_size()).contains(&chunk.len()) && !self.is_rekey_due(now) {
            return self.only_record(&chunk).into();
        }
        let mut left = chunk.len();
        let mut pieces = chunk.into_iter();
        let mut piece = Bytes::new();
        let mut sealed = Chunk::new();
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
        sealed
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
        let size =
            u16::try_from(length + SEALED_OVERHEAD).expect("a record is at most 64,017 bytes");
        block.put_slice(&size.to_be_bytes());
        let start = block.len();
        block.put_slice(&[kind as u8]);
        fill(block);
        let tag = self.line.seal(&mut block[start..]);
        block.put_slice(&tag);
        self.records += 1;
        self.bytes += length as u64;
        self.early = self.early.saturating_sub(length);
    }
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

    /// Opens one record; the body of data is put behind what `text` holds, that of a close is given as the reason.
    pub(super) fn open(&mut self, sealed: &[u8], text: &mut Text) -> Result<(Kind, u8), BadRecord> {
        let record = text.take(sealed);
        if let Err(Forged) = self.line.open(record) {
            text.put_back(0);
            return Err(BadRecord::Forged);
        }
        let (byte, body) = (record[0], record.len() - SEALED_OVERHEAD);
        let reason = record[1];
        let kind = Kind::from_wire(byte)
            .filter(|kind| kind.body().is_none_or(|size| size == body))
            .ok_or(BadRecord::Kind(byte));
        text.put_back(if kind == Ok(Kind::Data) { body } else { 0 });
        let kind = kind?;
        if kind == Kind::Rekey {
            self.line.rekey();
        }
        Ok((kind, reason))
    }
}

/// The bodies of opened records, one behind the other without a gap.
///
/// Each record is copied to the end and opened there: its kind takes the place of the last byte before it, which is
/// put back afterwards, and the next record takes the place of its tag.
#[derive(Default)]
pub(super) struct Text {
    /// One byte that means nothing, and then the text.
    buffer: Vec<u8>,
    /// Bytes of all records of one read, which is what the buffer must hold at most.
    expected: usize,
    /// The byte under the kind, and where that is.
    covered: u8,
    at: usize,
}

impl Text {
    /// Room for records that come in `expected` bytes; it is taken with the first record.
    pub(super) fn new(expected: usize) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    fn take(&mut self, sealed: &[u8]) -> &mut [u8] {
        if self.buffer.is_empty() {
            self.buffer.reserve(self.expected.max(sealed.len()) + 1);
            self.buffer.extend_from_slice(&[0]);
        }
        self.at = self.buffer.len() - 1;
        self.covered = self.buffer[self.at];
        self.buffer.truncate(self.at);
        append(&mut self.buffer, sealed);
        &mut self.buffer[self.at..]
    }

    /// Keeps `body` bytes of the record that was opened last.
    fn put_back(&mut self, body: usize) {
        self.buffer.truncate(self.at + 1 + body);
        self.buffer[self.at] = self.covered;
    }

    /// The text, if there is any, and the memory that it takes.
    pub(super) fn into_bytes(self) -> Option<(Bytes, usize)> {
        let capacity = self.buffer.capacity();
        let mut bytes = Bytes::from(self.buffer);
        (bytes.len() > 1).then(|| {
            bytes.advance(1);
            (bytes, capacity)
        })
    }
}
