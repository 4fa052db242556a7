//! [`Framing`]: RPyC's frames, the layer between batches and bytes.
//!
//! # Wire format
//!
//! | offset | size | what |
//! | --- | --- | --- |
//! | 0 | 4 | length of the payload as sent, in bytes, big-endian |
//! | 4 | 1 | flag: 0 plain; 2 a snappy block, where both ends are configured for it; anything else a zlib stream (RFC 1950). We write 0 here, layers above may write 1 or 2 |
//! | 5 | length | payload |
//! | 5 + length | 1 | `0x0a`, skipped unread by a receiver |
//!
//! Source: RPyC 6.0.2, `core/channel.py`, class `Channel` (`FRAME_HEADER`, `FLUSHER`), measured against the package.
//!
//! # States
//!
//! Going down there is none. Going up, either every byte that came is handed on, or the start of one frame is
//! kept until the rest arrives; the kept bytes hold no credit, since a frame above the cap could never become
//! whole otherwise. They are bounded by `max_frame`, and their buffer grows only as bytes arrive.
//!
//! # Limits
//!
//! `max_frame` is compared with the announced length before anything is kept, and with the size after inflating
//! as it grows ([`Inflation`]). Frames are inflated one by one, and only while there is room above.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::{Codec, Host, Inflation, Output, Outputs, inflate::grown};
use crate::{
    credit::Credit,
    error::{ConnectionLostError, LossReason, StreamError},
    message::{Read, Write},
    unit::{COPY_LIMIT, Chunk, FLUSHER, FRAME_HEAD, FRAME_OVERHEAD, Frames, Part, payload_length},
};

/// Lays batches out as bytes, and finds the frames in what was read.
///
/// ```
/// use rpyc_actors::{Chunk, FramesBuilder, codec::{Framing, testing::Bench}};
///
/// let mut bench = Bench::new(Framing::new(1024), Framing::new(1024));
/// let mut builder = FramesBuilder::new();
/// builder.push_slice(b"hello");
/// bench.left.write(builder.take());
/// bench.run_split(3); // three bytes at a time
/// let frames: Vec<_> = bench.right.received().into_iter().flatten().collect();
/// assert_eq!(frames, [&b"hello"[..]]);
/// ```
#[derive(Debug)]
pub struct Framing {
    inflation: Inflation,
    /// Each frame is a piece of its own.
    is_separate: bool,
    /// The start of a frame whose rest is not here yet.
    kept: Vec<u8>,
    /// Frames in order, some of them still compressed.
    pending: VecDeque<Pending>,
    /// Credit of the compressed frames in `pending`.
    held: usize,
    outputs: Outputs<Frames, Chunk>,
}

#[derive(Debug)]
enum Pending {
    Plain(Read<Frames>),
    Compressed {
        flag: u8,
        payload: Bytes,
        credit: Credit,
    },
    End,
}

impl Framing {
    /// A codec that accepts frames of up to `max_frame` bytes, plain or zlib; the wire cannot say more than `u32::MAX`.
    pub fn new(max_frame: usize) -> Self {
        Self::with_inflation(Inflation::new(max_frame))
    }

    /// A codec with limits of its own for compressed frames.
    pub fn with_inflation(mut inflation: Inflation) -> Self {
        inflation.max_frame = inflation.max_frame.min(u32::MAX as usize);
        Self {
            inflation,
            is_separate: false,
            kept: Vec::new(),
            pending: VecDeque::new(),
            held: 0,
            outputs: Outputs::default(),
        }
    }

    /// Gives each frame as a piece of its own from now on, so that a stream of records puts no two frames into one.
    ///
    /// Stock Python asks the socket whether there is more, and does not know of what its TLS has decrypted already: the
    /// second frame of a record would lie there until something else arrives.
    pub fn separate(&mut self) {
        self.is_separate = true;
    }

    /// The whole size of the frame at the start of `bytes`, once its head is there.
    #[inline]
    fn frame_size(&self, bytes: &[u8]) -> Result<Option<usize>, StreamError> {
        if bytes.len() < FRAME_HEAD {
            return Ok(None);
        }
        let Some(length) = payload_length(bytes) else {
            return Ok(None);
        };
        if length > self.inflation.max_frame {
            return Err(StreamError::LimitExceeded {
                what: "frame",
                limit: self.inflation.max_frame as u64,
                got: length as u64,
                endpoint: None,
            });
        }
        Ok(Some(length + FRAME_OVERHEAD))
    }

    /// How many frames `piece` is, if it is plain frames within the limits and nothing else.
    fn whole_frames(&self, piece: &[u8]) -> Option<usize> {
        let (mut rest, mut count) = (piece, 0);
        while !rest.is_empty() {
            let size = self.frame_size(rest).ok().flatten()?;
            if rest.get(FRAME_HEAD - 1) != Some(&0) {
                return None;
            }
            rest = rest.get(size..)?;
            count += 1;
        }
        Some(count)
    }

    /// Copies from `piece` what the kept frame lacks. Gives the frame once it is whole.
    fn complete_kept(&mut self, piece: &mut Bytes) -> Result<Option<Bytes>, StreamError> {
        if self.kept.len() < FRAME_HEAD {
            let head = piece.split_to(piece.len().min(FRAME_HEAD - self.kept.len()));
            self.kept.extend_from_slice(&head);
        }
        let Some(size) = self.frame_size(&self.kept)? else {
            return Ok(None);
        };
        let more = piece.split_to(piece.len().min(size - self.kept.len()));
        self.keep(&more, size);
        Ok((self.kept.len() == size).then(|| std::mem::take(&mut self.kept).into()))
    }

    /// Copies `bytes` behind the kept ones, of which there will be `size` in the end if that is known.
    fn keep(&mut self, bytes: &[u8], size: usize) {
        let needed = self.kept.len() + bytes.len();
        if needed > self.kept.capacity() {
            let room = grown(self.kept.capacity(), needed, size);
            // Not `reserve`, which doubles.
            self.kept.reserve_exact(room - self.kept.len());
        }
        self.kept.extend_from_slice(bytes);
    }

    /// Scans a piece. Plain frames gather in `batch`; a compressed one closes it.
    fn scan(
        &mut self,
        mut piece: Bytes,
        credit: &mut Credit,
        batch: &mut Frames,
        host: &dyn Host,
    ) -> Result<(), StreamError> {
        let mut copied = 0;
        if !self.kept.is_empty() {
            let before = piece.len();
            let frame = self.complete_kept(&mut piece);
            copied = before - piece.len();
            let Some(frame) = frame? else {
                drop(credit.split(copied));
                return Ok(());
            };
            let size = frame.len();
            credit.merge(host.up_gate().charge(size.min(host.up_gate().cap())));
            self.accept(frame, 1, credit, batch);
        }
        let (mut start, mut at, mut count) = (0, 0, 0);
        let scanned = loop {
            let size = match self.frame_size(&piece[at..]) {
                Ok(Some(size)) if size <= piece.len() - at => size,
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            };
            if piece[at + 4] == 0 {
                at += size;
                count += 1;
                continue;
            }
            batch.push_run(piece.slice(start..at), count);
            self.accept(piece.slice(at..at + size), 1, credit, batch);
            at += size;
            (start, count) = (at, 0);
        };
        let rest = piece.split_off(at);
        if start > 0 {
            piece.advance(start);
        }
        // Also when a bad frame is next.
        batch.push_run(piece, count);
        scanned?;
        if !rest.is_empty() {
            copied += rest.len();
            let size = self.frame_size(&rest)?.unwrap_or(FRAME_HEAD);
            self.keep(&rest, size);
        }
        // Frames that were not copied hold the whole piece, and so their batch pays for all of it.
        if at == 0 {
            drop(credit.split(copied));
        }
        Ok(())
    }

    /// Takes one whole frame of either kind.
    fn accept(&mut self, frame: Bytes, count: usize, credit: &mut Credit, batch: &mut Frames) {
        if frame[4] == 0 {
            batch.push_run(frame, count);
            return;
        }
        let credit_of_frame = credit.split(frame.len());
        self.close_batch(batch, credit);
        self.held += credit_of_frame.amount();
        let payload = frame.slice(FRAME_HEAD..frame.len() - FLUSHER.len());
        self.pending.push_back(Pending::Compressed {
            flag: frame[4],
            payload,
            credit: credit_of_frame,
        });
    }

    /// Puts the frames gathered so far in line, with as much of the credit as they weigh.
    fn close_batch(&mut self, batch: &mut Frames, credit: &mut Credit) {
        if !batch.is_empty() {
            let credit = credit.split(batch.wire_len());
            self.pass(Pending::Plain(Read {
                unit: std::mem::take(batch),
                credit,
            }));
        }
    }

    /// Puts something in line, or straight out when the line is empty.
    #[inline]
    fn pass(&mut self, item: Pending) {
        if !self.pending.is_empty() {
            self.pending.push_back(item);
            return;
        }
        match item {
            Pending::Plain(read) => self.outputs.up(read.unit, read.credit),
            Pending::End => self.outputs.end(),
            Pending::Compressed { .. } => self.pending.push_back(item),
        }
    }
}

impl Codec for Framing {
    type Above = Frames;
    type Below = Chunk;

    fn handle_write(&mut self, write: Write<Frames>, _: &dyn Host) -> Result<(), StreamError> {
        let mut chunk = Chunk::new();
        for part in write.unit.parts {
            match part {
                Part::Packed { run, .. } if self.is_separate => {
                    let mut run = run.into_bytes();
                    while let Some(length) = payload_length(&run) {
                        chunk.push(run.split_to(length + FRAME_OVERHEAD));
                    }
                }
                Part::Packed { run, .. } => chunk.push_piece(run),
                Part::Single { head, payload, .. } => {
                    chunk.push(head);
                    chunk.push(payload);
                    chunk.push(Bytes::from_static(FLUSHER));
                }
            }
        }
        self.outputs.down(chunk, write.credit);
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        let Read { unit, mut credit } = read;
        let mut batch = Frames::default();
        let result = unit
            .into_iter()
            .try_for_each(|piece| self.scan(piece, &mut credit, &mut batch, host));
        // Frames before a bad one still arrive.
        if !batch.is_empty() {
            self.pass(Pending::Plain(Read {
                unit: batch,
                credit,
            }));
        }
        result
    }

    fn write_through(
        &mut self,
        mut write: Write<Frames>,
        host: &dyn Host,
    ) -> Result<Option<Write<Chunk>>, StreamError> {
        if self.outputs.is_empty()
            && !self.is_separate
            && let Some(run) = write.unit.take_run()
        {
            return Ok(Some(Write {
                unit: run.into(),
                credit: write.credit,
            }));
        }
        self.handle_write(write, host)?;
        Ok(None)
    }

    fn read_through(
        &mut self,
        mut read: Read<Chunk>,
        host: &dyn Host,
    ) -> Result<Option<Read<Frames>>, StreamError> {
        // A short read is one piece, and mostly of whole plain frames; the end of a long one mostly is inside a frame.
        if read.unit.len() <= COPY_LIMIT
            && self.outputs.is_empty()
            && self.pending.is_empty()
            && self.kept.is_empty()
            && let [piece] = read.unit.pieces()
            && let Some(count) = self.whole_frames(piece)
            && let Some(run) = read.unit.take_only()
        {
            let mut unit = Frames::default();
            unit.push_run(run, count);
            return Ok(Some(Read {
                unit,
                credit: read.credit,
            }));
        }
        self.handle_read(read, host)?;
        Ok(None)
    }

    fn handle_finish(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.finish();
        Ok(())
    }

    fn handle_end(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        if self.kept.is_empty() {
            self.pass(Pending::End);
            return Ok(());
        }
        let due = self.frame_size(&self.kept)?.unwrap_or(FRAME_OVERHEAD);
        let reason = LossReason::Truncated {
            what: "a frame",
            got: self.kept.len() as u64,
            due: due as u64,
        };
        Err(ConnectionLostError::new(&"".into(), reason).into())
    }

    fn poll_output(
        &mut self,
        may_grow: bool,
        _: &dyn Host,
    ) -> Result<Option<Output<Frames, Chunk>>, StreamError> {
        if let Some(output) = self.outputs.poll() {
            return Ok(Some(output));
        }
        match self.pending.front() {
            None => return Ok(None),
            Some(Pending::Compressed { .. }) if !may_grow => return Ok(None),
            Some(_) => {}
        }
        match self.pending.pop_front() {
            Some(Pending::Compressed {
                flag,
                payload,
                mut credit,
            }) => {
                self.held -= credit.amount();
                let inflated = self
                    .inflation
                    .inflate(flag, &payload, &mut credit)
                    .inspect_err(|_| {
                        // Nothing behind a bad frame is delivered, since the bad one would be missing.
                        self.pending.clear();
                        self.held = 0;
                    })?;
                self.outputs.up(Frames::single(inflated), credit);
            }
            Some(Pending::Plain(read)) => self.outputs.up(read.unit, read.credit),
            Some(Pending::End) => self.outputs.end(),
            None => {}
        }
        Ok(self.outputs.poll())
    }

    fn held(&self) -> usize {
        self.held
    }

    fn expects_more(&self) -> bool {
        !self.kept.is_empty()
    }
}
