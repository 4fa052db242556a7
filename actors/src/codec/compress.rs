//! [`Compress`]: each frame compressed by itself, on its way down.
//!
//! It stands among the layers of frames. Nothing is compressed together with another frame, so that the size of one
//! tells nothing about another; a sender can mark frames that are to go as they are
//! ([`Frames::uncompressed`]). On the way up it has nothing to do: [`Framing`](super::Framing) inflates, since a peer may
//! compress whether we do or not.
//!
//! # Wire format
//!
//! That of [`Framing`](super::Framing) with another flag: 1 and a zlib stream (RFC 1950), which any RPyC reads, or 2 and a
//! snappy block (`snappy/format_description.txt` of google/snappy), for peers of this crate that were both configured for
//! it. A frame at or below the threshold, or one that does not shrink, keeps flag 0.
//!
//! # States
//!
//! None: compressors live as long as their thread, and are reset for each frame.
//!
//! # Limits
//!
//! What a frame is compressed into never takes more memory than the frame, which is let go of right behind it.

use std::cell::RefCell;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, FlushCompress, Status};

use super::{Codec, Host, Output, Outputs, inflate};
use crate::{
    credit::BATCH_COST,
    error::StreamError,
    limits::DEFAULT_COMPRESSION_LEVEL,
    message::{Read, Write},
    piece::Piece,
    unit::{FLUSHER, FRAME_HEAD, FRAME_OVERHEAD, Frames, Part, payload_length},
};

/// Payloads of up to this many bytes stay plain by default (RPyC 6.0.2, `core/channel.py`, `COMPRESSION_THRESHOLD`).
pub const DEFAULT_THRESHOLD: usize = 3000;
/// Bytes that go through a compressor at once, which is what the snappy format divides its input into.
const PIECE: usize = 64 << 10;

/// How frames are compressed.
///
/// ```
/// use rpyc_actors::codec::CompressConfig;
///
/// let config = CompressConfig::zlib(9).threshold(512);
/// assert_eq!(CompressConfig::default(), CompressConfig::zlib(6));
/// # let _ = config;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressConfig {
    pub(crate) method: Method,
    threshold: usize,
    pub(crate) max_ratio: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Zlib(u32),
    #[cfg(feature = "snappy")]
    Snappy,
}

impl Default for CompressConfig {
    fn default() -> Self {
        Self::zlib(DEFAULT_COMPRESSION_LEVEL)
    }
}

impl CompressConfig {
    /// Zlib at a level from 0, which never compresses, to 9; more counts as 9. Any RPyC reads it.
    pub fn zlib(level: u32) -> Self {
        Self::new(Method::Zlib(level.min(9)))
    }

    /// Snappy: ten times as fast as zlib's level 6 at about half the ratio. The peer must be configured for it, too.
    #[cfg(feature = "snappy")]
    pub fn snappy() -> Self {
        Self::new(Method::Snappy)
    }

    fn new(method: Method) -> Self {
        Self {
            method,
            threshold: DEFAULT_THRESHOLD,
            max_ratio: None,
        }
    }

    /// Sets the size, in bytes, up to which a payload stays plain. 3000 by default; what is lower costs time and seldom
    /// saves packets.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets how many times its own size a frame of the peer may become. Without a limit by default: credit and
    /// `max_frame` bound it.
    #[must_use]
    pub fn max_ratio(mut self, ratio: u32) -> Self {
        self.max_ratio = Some(ratio);
        self
    }

    /// What such a channel understands.
    pub fn inflation(&self, max_frame: usize) -> super::Inflation {
        let mut inflation = super::Inflation::new(max_frame);
        #[cfg(feature = "snappy")]
        {
            inflation.snappy = self.method == Method::Snappy;
        }
        inflation.max_ratio = self.max_ratio;
        inflation
    }
}

/// Compresses frames on their way down.
///
/// ```
/// use rpyc_actors::{Frames, codec::{Compress, CompressConfig, Framing, testing::{Bench, Over}}};
///
/// let config = CompressConfig::zlib(6);
/// let end = || Over::new(Compress::new(config), Framing::with_inflation(config.inflation(1 << 20)));
/// let mut bench = Bench::new(end(), end());
/// bench.left.write(Frames::single(vec![b'a'; 100_000].into()));
/// assert!(bench.left.wire().len() < 1000);
/// bench.run();
/// let frames: Vec<_> = bench.right.received().into_iter().flatten().collect();
/// assert_eq!(frames, [vec![b'a'; 100_000]]);
/// ```
#[derive(Debug)]
pub struct Compress {
    config: CompressConfig,
    outputs: Outputs<Frames, Frames>,
}

impl Compress {
    /// A codec that compresses as `config` says.
    pub fn new(config: CompressConfig) -> Self {
        Self {
            config,
            outputs: Outputs::default(),
        }
    }

    fn wants(&self, length: usize) -> bool {
        length > self.config.threshold && self.config.method != Method::Zlib(0)
    }

    fn batch(&self, frames: Frames, compressor: &mut Compressor) -> Frames {
        let mut output = Frames::default();
        for part in frames.parts {
            match part {
                Part::Packed {
                    run,
                    count,
                    as_is: false,
                } => output.push_part(self.run(run, count, compressor)),
                Part::Single {
                    head,
                    payload,
                    as_is: false,
                } => output.push_part(self.single(head, payload, compressor)),
                as_is => output.push_part(as_is),
            }
        }
        output
    }

    /// A large frame becomes a smaller one in a buffer of its own, or stays what it is.
    fn single(&self, head: Bytes, payload: Bytes, compressor: &mut Compressor) -> Part {
        let payload = if self.wants(payload.len()) {
            match compressor.take(self.config.method, payload) {
                Ok(run) => {
                    return Part::Packed {
                        run: run.into(),
                        count: 1,
                        as_is: true,
                    };
                }
                Err(payload) => payload,
            }
        } else {
            payload
        };
        Part::Single {
            head,
            payload,
            as_is: true,
        }
    }

    /// A run without a frame to compress goes on untouched. Any other is laid out anew as a whole, so that the old one is let
    /// go of.
    fn run(&self, run: Piece, count: usize, compressor: &mut Compressor) -> Part {
        let any = || frames_of(&run).any(|frame| self.wants(payload_of(frame).len()));
        let run = if self.wants(run.len()) && any() {
            let mut output = Vec::with_capacity(run.len());
            for frame in frames_of(&run) {
                let payload = payload_of(frame);
                if !(self.wants(payload.len())
                    && compressor.append(self.config.method, payload, &mut output))
                {
                    output.extend_from_slice(frame);
                }
            }
            output.shrink_to_fit();
            Bytes::from(output).into()
        } else {
            run
        };
        Part::Packed {
            run,
            count,
            as_is: true,
        }
    }
}

/// The whole frames of a run.
fn frames_of(run: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let (frame, after) = rest.split_at(payload_length(rest)? + FRAME_OVERHEAD);
        rest = after;
        Some(frame)
    })
}

fn payload_of(frame: &[u8]) -> &[u8] {
    &frame[FRAME_HEAD..frame.len() - FLUSHER.len()]
}

/// A thread's compressors. No idle connection holds the 300 KiB that zlib takes.
#[derive(Default)]
struct Compressor {
    zlib: [Option<flate2::Compress>; 10],
    #[cfg(feature = "snappy")]
    snappy: Option<snap::raw::Encoder>,
    scratch: Vec<u8>,
}

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
}

impl Compressor {
    /// Appends a frame with the payload compressed. Appends nothing, and says so, if that does not shrink it.
    fn append(&mut self, method: Method, payload: &[u8], output: &mut Vec<u8>) -> bool {
        let start = output.len();
        output.put_slice(&[0; FRAME_HEAD]);
        let flag = self.pieces(method, payload, |piece| {
            output.extend_from_slice(piece);
            output.len() - start - FRAME_HEAD < payload.len()
        });
        let Some(flag) = flag else {
            output.truncate(start);
            return false;
        };
        let length = output.len() - start - FRAME_HEAD;
        output[start..start + FRAME_HEAD].copy_from_slice(&head(length, flag));
        output.extend_from_slice(FLUSHER);
        true
    }

    /// A large payload as a frame in a buffer of just its size, or the payload again. What it is compressed into is gathered in pieces, since
    /// a buffer that grows would stand beside its successor and the payload.
    fn take(&mut self, method: Method, payload: Bytes) -> Result<Bytes, Bytes> {
        let (mut pieces, mut length) = (Vec::new(), 0);
        let flag = self.pieces(method, &payload, |piece| {
            length += piece.len();
            pieces.push(Bytes::copy_from_slice(piece));
            length < payload.len()
        });
        let Some(flag) = flag else {
            return Err(payload);
        };
        drop(payload);
        let mut frame = BytesMut::with_capacity(length + FRAME_OVERHEAD);
        frame.put_slice(&head(length, flag));
        pieces.into_iter().for_each(|piece| frame.put(piece));
        frame.put_slice(FLUSHER);
        Ok(frame.freeze())
    }

    /// Compresses, and gives what comes piece by piece to `take` until that has enough. `None` if it had, else the flag.
    fn pieces(
        &mut self,
        method: Method,
        payload: &[u8],
        take: impl FnMut(&[u8]) -> bool,
    ) -> Option<u8> {
        match method {
            Method::Zlib(level) => self.zip(level, payload, take).then_some(inflate::ZLIB),
            #[cfg(feature = "snappy")]
            Method::Snappy => self.snap(payload, take).then_some(inflate::SNAPPY),
        }
    }

    fn zip(&mut self, level: u32, payload: &[u8], mut take: impl FnMut(&[u8]) -> bool) -> bool {
        let state = self.zlib[level as usize]
            .get_or_insert_with(|| flate2::Compress::new(Compression::new(level), true));
        state.reset();
        self.scratch.resize(self.scratch.len().max(PIECE), 0);
        loop {
            let (consumed, before) = (state.total_in() as usize, state.total_out());
            let result = state.compress(
                &payload[consumed..],
                &mut self.scratch,
                FlushCompress::Finish,
            );
            let length = (state.total_out() - before) as usize;
            match result {
                Ok(Status::StreamEnd) => return take(&self.scratch[..length]),
                Ok(_) if take(&self.scratch[..length]) => {}
                // Never an error with a whole input and room for the output; if it were, plain is right.
                Ok(_) | Err(_) => return false,
            }
        }
    }

    /// The format divides its input into blocks of 64 KiB that know nothing of each other, behind the length of it all: so it
    /// can be made block by block, with no more room than one of them takes.
    #[cfg(feature = "snappy")]
    fn snap(&mut self, payload: &[u8], mut take: impl FnMut(&[u8]) -> bool) -> bool {
        let room = snap::raw::max_compress_len(PIECE);
        self.scratch.resize(self.scratch.len().max(room), 0);
        let (length, size) = varint(payload.len());
        if !take(&length[..size]) {
            return false;
        }
        let encoder = self.snappy.get_or_insert_with(snap::raw::Encoder::new);
        payload.chunks(PIECE).all(|piece| {
            let (_, own_length) = varint(piece.len());
            match encoder.compress(piece, &mut self.scratch) {
                Ok(end) => take(&self.scratch[own_length..end]),
                // Only for an input above 4 GiB.
                Err(_) => false,
            }
        })
    }
}

fn head(length: usize, flag: u8) -> [u8; FRAME_HEAD] {
    let mut head = crate::unit::head(length);
    head[FRAME_HEAD - 1] = flag;
    head
}

/// A length as the snappy format writes it: seven bits in each byte, the lowest first, the top bit on all but the last.
#[cfg(feature = "snappy")]
fn varint(mut value: usize) -> ([u8; 10], usize) {
    let (mut bytes, mut size) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[size] = value as u8 | 0x80;
        value >>= 7;
        size += 1;
    }
    bytes[size] = value as u8;
    (bytes, size + 1)
}

impl Codec for Compress {
    type Above = Frames;
    type Below = Frames;

    fn handle_write(&mut self, write: Write<Frames>, _: &dyn Host) -> Result<(), StreamError> {
        let Write { unit, mut credit } = write;
        let before = unit.wire_len();
        let unit = COMPRESSOR.with_borrow_mut(|compressor| self.batch(unit, compressor));
        if unit.wire_len() < before {
            // What was above the cap weighs the cap, and may be above it still.
            credit.set(credit.amount().min(unit.wire_len() + BATCH_COST));
        }
        self.outputs.down(unit, credit);
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Frames>, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.up(read.unit, read.credit);
        Ok(())
    }

    fn handle_finish(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.finish();
        Ok(())
    }

    fn handle_end(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.end();
        Ok(())
    }

    fn poll_output(
        &mut self,
        _: bool,
        _: &dyn Host,
    ) -> Result<Option<Output<Frames, Frames>>, StreamError> {
        Ok(self.outputs.poll())
    }
}
