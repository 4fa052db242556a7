//! The two units of the data path: [`Chunk`], bytes without boundaries, and [`Frames`], a batch of whole frames.
//!
//! Above the framing layer travel `Frames`, below it `Chunk`s. A batch in memory *is* the wire of a plain
//! channel: `u32 length (big-endian) | u8 flag | payload | 0x0a`, repeated. This module lays frames out and walks
//! over them; it does not read sockets and does not know compression.

mod builder;

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

pub use self::builder::FramesBuilder;
pub(crate) use self::builder::RUN_ROOM;
use crate::piece::Piece;

/// Bytes before the payload of a frame: length and flag.
pub const FRAME_HEAD: usize = 5;
/// Bytes of a frame that are not payload: the head and the trailing `0x0a`.
pub const FRAME_OVERHEAD: usize = FRAME_HEAD + 1;
/// The byte behind each payload. A receiver skips it unread (RPyC `core/channel.py`, `FLUSHER`).
pub(crate) const FLUSHER: &[u8] = b"\n";
/// A payload above this many bytes travels down without a copy.
pub const COPY_LIMIT: usize = 4096;

/// Something that travels through a chain and whose bytes can be counted.
pub trait Unit: Send + Unpin + 'static {
    /// Bytes of memory that this unit holds on the data path.
    fn weight(&self) -> usize;

    /// Frames in it; none in bytes without boundaries.
    fn frames(&self) -> usize {
        0
    }
}

/// Bytes without boundaries, in one or more pieces.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    pub(crate) pieces: SmallVec<[Piece; 1]>,
    bytes: usize,
}

impl Chunk {
    /// An empty chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a piece; an empty one is left out.
    #[inline]
    pub fn push(&mut self, piece: Bytes) {
        self.push_piece(piece.into());
    }

    /// Appends a piece that may be writable; an empty one is left out.
    pub(crate) fn push_piece(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push(piece);
        }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The one piece that this chunk is, if it is one. It is empty then.
    pub(crate) fn take_only(&mut self) -> Option<Piece> {
        if self.pieces.len() != 1 {
            return None;
        }
        self.bytes = 0;
        self.pieces.pop()
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces in order, to be kept: few bytes do not hold much memory.
    pub(crate) fn into_kept(self) -> impl Iterator<Item = Bytes> {
        self.pieces.into_iter().map(Piece::into_kept)
    }
}

impl From<Bytes> for Chunk {
    fn from(piece: Bytes) -> Self {
        Piece::from(piece).into()
    }
}

impl From<Piece> for Chunk {
    #[inline]
    fn from(piece: Piece) -> Self {
        let mut chunk = Self::new();
        chunk.push_piece(piece);
        chunk
    }
}

impl IntoIterator for Chunk {
    type Item = Bytes;
    type IntoIter = std::iter::Map<smallvec::IntoIter<[Piece; 1]>, fn(Piece) -> Bytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter().map(Piece::into_bytes)
    }
}

impl Unit for Chunk {
    fn weight(&self) -> usize {
        self.bytes
    }
}

/// One part of a batch. One that is marked `as_is` is not compressed: its sender does not want it, or it is already.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// A run of whole frames, laid out as on the wire.
    Packed {
        run: Piece,
        count: usize,
        as_is: bool,
    },
    /// One large frame: its five head bytes, and its payload as the sender gave it.
    Single {
        head: Bytes,
        payload: Bytes,
        as_is: bool,
    },
}

/// A batch of whole frames.
///
/// ```
/// use rpyc_actors::FramesBuilder;
///
/// let mut builder = FramesBuilder::new();
/// builder.push_slice(b"one");
/// builder.push(vec![7; 100_000].into());
/// let frames = builder.take();
/// assert_eq!(frames.len(), 2);
/// let sizes: Vec<usize> = frames.into_iter().map(|frame| frame.len()).collect();
/// assert_eq!(sizes, [3, 100_000]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Frames {
    pub(crate) parts: SmallVec<[Part; 1]>,
    count: usize,
    bytes: usize,
}

impl Frames {
    /// A batch of one frame whose payload is not copied.
    pub fn single(payload: Bytes) -> Self {
        let mut frames = Self::default();
        frames.push_part(Part::Single {
            head: Bytes::copy_from_slice(&head(payload.len())),
            payload,
            as_is: false,
        });
        frames
    }

    /// A batch of one frame whose payload is copied.
    pub(crate) fn copied(payload: &[u8]) -> Self {
        let mut builder = FramesBuilder::new();
        builder.push_slice(payload);
        builder.take()
    }

    /// A batch of one frame that is laid out around its payload. Gives back what has no room for that.
    ///
    /// # Panics
    ///
    /// When the payload is longer than `u32::MAX` bytes, which the wire cannot say.
    pub(crate) fn around(payload: Piece) -> Result<Self, Piece> {
        let head = head(payload.len());
        let mut run = payload.try_into_own(FRAME_HEAD, FLUSHER.len())?;
        run.grow(FRAME_HEAD, FLUSHER.len());
        run[..FRAME_HEAD].copy_from_slice(&head);
        let end = run.len() - FLUSHER.len();
        run[end..].copy_from_slice(FLUSHER);
        let mut frames = Self::default();
        frames.push_run(run, 1);
        Ok(frames)
    }

    /// Takes a run of `count` whole frames as laid out on the wire, all with flag 0.
    #[inline]
    pub(crate) fn push_run(&mut self, run: impl Into<Piece>, count: usize) {
        if count > 0 {
            self.push_part(Part::Packed {
                run: run.into(),
                count,
                as_is: false,
            });
        }
    }

    pub(crate) fn push_part(&mut self, part: Part) {
        let (bytes, count) = match &part {
            Part::Packed { run, count, .. } => (run.len(), *count),
            Part::Single { payload, .. } => (payload.len() + FRAME_OVERHEAD, 1),
        };
        self.bytes += bytes;
        self.count += count;
        self.parts.push(part);
    }

    /// The same frames, marked so that no layer compresses them.
    ///
    /// For secrets that share an encrypted connection with text of somebody else's choice: the length of a compressed
    /// frame tells what it is made of.
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        for part in &mut self.parts {
            match part {
                Part::Packed { as_is, .. } | Part::Single { as_is, .. } => *as_is = true,
            }
        }
        self
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True when there is no frame.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes that this batch takes on the wire of a plain channel.
    pub fn wire_len(&self) -> usize {
        self.bytes
    }

    /// Bytes of the first payload that is longer than `limit`.
    pub(crate) fn above(&self, limit: usize) -> Option<usize> {
        let above = |length: &usize| *length > limit;
        self.parts.iter().find_map(|part| match part {
            // Only a run that is long enough to hold such a frame is walked over.
            Part::Packed { run, .. } if run.len() <= limit => None,
            Part::Packed { run, .. } => payload_lengths(run).find(above),
            Part::Single { payload, .. } => Some(payload.len()).filter(above),
        })
    }

    /// The payload of the one frame that this batch is, if it is one. It is empty then.
    pub(crate) fn take_only(&mut self) -> Option<Piece> {
        if self.count != 1 {
            return None;
        }
        let part = self.parts.pop()?;
        (self.count, self.bytes) = (0, 0);
        Some(match part {
            Part::Packed { mut run, .. } => {
                run.shrink(FRAME_HEAD, FLUSHER.len());
                run
            }
            Part::Single { payload, .. } => payload.into(),
        })
    }

    /// The run of frames that this batch is, if it is one. It is empty then.
    pub(crate) fn take_run(&mut self) -> Option<Piece> {
        if !matches!(self.parts[..], [Part::Packed { .. }]) {
            return None;
        }
        (self.count, self.bytes) = (0, 0);
        match self.parts.pop() {
            Some(Part::Packed { run, .. }) => Some(run),
            _ => None,
        }
    }

    /// Moves the frames of `other` behind those of this batch.
    pub fn append(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.parts.extend(other.parts);
    }

    /// Visits each payload without touching reference counts.
    pub fn for_each_slice(&self, mut visit: impl FnMut(&[u8])) {
        for part in &self.parts {
            match part {
                Part::Packed { run, .. } => {
                    let mut rest = &run[..];
                    while let Some(length) = payload_length(rest) {
                        visit(&rest[FRAME_HEAD..FRAME_HEAD + length]);
                        rest = &rest[length + FRAME_OVERHEAD..];
                    }
                }
                Part::Single { payload, .. } => visit(payload),
            }
        }
    }
}

impl Unit for Frames {
    fn weight(&self) -> usize {
        self.bytes
    }

    fn frames(&self) -> usize {
        self.count
    }
}

impl FromIterator<Bytes> for Frames {
    fn from_iter<I: IntoIterator<Item = Bytes>>(payloads: I) -> Self {
        let mut builder = FramesBuilder::new();
        payloads
            .into_iter()
            .for_each(|payload| builder.push(payload));
        builder.take()
    }
}

impl IntoIterator for Frames {
    type Item = Bytes;
    type IntoIter = FramesIter;

    fn into_iter(self) -> FramesIter {
        FramesIter {
            parts: self.parts.into_iter(),
            run: Bytes::new(),
        }
    }
}

/// The payloads of a batch, as slices of its buffers.
#[derive(Debug)]
pub struct FramesIter {
    parts: smallvec::IntoIter<[Part; 1]>,
    run: Bytes,
}

impl Default for FramesIter {
    fn default() -> Self {
        Frames::default().into_iter()
    }
}

impl FramesIter {
    /// True when no frame is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.run.is_empty() && self.parts.as_slice().is_empty()
    }

    /// The frames that are left, as a batch.
    pub(crate) fn into_frames(self) -> Frames {
        let mut frames = Frames::default();
        let count = payload_lengths(&self.run).count();
        frames.push_run(self.run, count);
        self.parts.for_each(|part| frames.push_part(part));
        frames
    }
}

impl Iterator for FramesIter {
    type Item = Bytes;

    #[inline]
    fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(length) = payload_length(&self.run) {
                let payload = self.run.slice(FRAME_HEAD..FRAME_HEAD + length);
                self.run.advance(length + FRAME_OVERHEAD);
                return Some(payload);
            }
            match self.parts.next()? {
                Part::Packed { run, .. } => self.run = run.into_bytes(),
                Part::Single { payload, .. } => return Some(payload),
            }
        }
    }
}

/// The payload length that the head at the start of `run` announces, if a head is there.
#[inline]
pub(crate) fn payload_length(run: &[u8]) -> Option<usize> {
    let length = run.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*length) as usize)
}

/// The payload lengths of the frames in a run.
fn payload_lengths(run: &[u8]) -> impl Iterator<Item = usize> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let length = payload_length(rest)?;
        rest = &rest[length + FRAME_OVERHEAD..];
        Some(length)
    })
}

/// The head of a plain frame.
#[inline]
pub(crate) fn head(length: usize) -> [u8; FRAME_HEAD] {
    let length = u32::try_from(length).expect("a frame is at most u32::MAX bytes long");
    let [a, b, c, d] = length.to_be_bytes();
    [a, b, c, d, 0]
}
