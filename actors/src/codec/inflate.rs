//! [`Inflation`]: compressed frames as they come, and what bounds their inflating.
//!
//! The one place that inflates. [`Framing`](super::Framing) asks it frame by frame, and only while there is room above;
//! [`Compress`](super::Compress) is the other direction.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};

use crate::{
    credit::Credit,
    error::{CompressionError, StreamError},
};

/// The flag of a frame whose payload is a zlib stream (RPyC 6.0.2, `core/channel.py`, `Channel.send`).
pub(crate) const ZLIB: u8 = 1;
/// The flag of a frame whose payload is a snappy block. Ours: RPyC would take it for a zlib stream and give up.
pub(crate) const SNAPPY: u8 = 2;

/// Buffers below this size quadruple when they must grow, larger ones grow by half.
const FAST_GROWTH: usize = 2 << 20;
/// The first piece of an inflated frame, in bytes.
const FIRST_INFLATED: usize = 16 << 10;
/// No snappy block yields more than this many times its own size: three bytes make 64 at best.
#[cfg(feature = "snappy")]
const MOST_SNAPPY: usize = 22;

/// What inflating may cost, and whether snappy is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inflation {
    /// Largest frame, inflated, in bytes.
    pub max_frame: usize,
    /// Understands frames with flag 2. False by default: a peer that was not asked for snappy must not send it.
    pub snappy: bool,
    /// How many times its own size a frame may become. `None`, the default, leaves it to `max_frame` and to credit:
    /// ordinary repetition reaches 229 at RPyC's own level (seen).
    pub max_ratio: Option<u32>,
}

impl Default for Inflation {
    /// Whatever the wire can say.
    fn default() -> Self {
        Self::new(u32::MAX as usize)
    }
}

thread_local! {
    /// 40 KiB that no idle connection holds. Reset for each frame, so that nothing of one is in another.
    static ZLIB_STATE: RefCell<Decompress> = RefCell::new(Decompress::new(true));
}

impl Inflation {
    /// Zlib only, up to `max_frame` bytes, at any ratio.
    pub fn new(max_frame: usize) -> Self {
        Self {
            max_frame,
            snappy: false,
            max_ratio: None,
        }
    }

    /// Inflates one payload. The credit follows the size of the output as it grows.
    pub(super) fn inflate(
        &self,
        flag: u8,
        payload: &[u8],
        credit: &mut Credit,
    ) -> Result<Bytes, StreamError> {
        if flag == SNAPPY {
            return self.unsnap(payload, credit);
        }
        ZLIB_STATE.with_borrow_mut(|state| self.unzip(state, payload, credit))
    }

    /// The most that a payload of this size may become, and what says so.
    fn limit(&self, payload: usize) -> (usize, &'static str) {
        let by_ratio = self
            .max_ratio
            .map_or(usize::MAX, |ratio| payload.saturating_mul(ratio as usize));
        if by_ratio < self.max_frame {
            (by_ratio, "frame inflated at too high a ratio")
        } else {
            (self.max_frame, "inflated frame")
        }
    }

    fn unzip(
        &self,
        state: &mut Decompress,
        payload: &[u8],
        credit: &mut Credit,
    ) -> Result<Bytes, StreamError> {
        let (limit, what) = self.limit(payload.len());
        let mut output: Vec<u8> =
            Vec::with_capacity(FIRST_INFLATED.max(payload.len()).min(limit + 1));
        state.reset(true);
        loop {
            let consumed = state.total_in() as usize;
            let status = state
                .decompress_vec(&payload[consumed..], &mut output, FlushDecompress::None)
                .map_err(|error| CompressionError::new(format!("not a zlib stream: {error}")))?;
            if output.len() > limit {
                return Err(too_large(what, limit, output.len()));
            }
            credit.set(output.capacity());
            match status {
                Status::StreamEnd => return Ok(output.into()),
                _ if output.len() < output.capacity() => {
                    let what =
                        format!("the zlib stream is cut short after {} bytes", payload.len());
                    return Err(CompressionError::new(what).into());
                }
                _ => {
                    let room = grown(output.capacity(), output.len() + 1, limit + 1);
                    output.reserve_exact(room - output.len());
                }
            }
        }
    }

    #[cfg(feature = "snappy")]
    fn unsnap(&self, payload: &[u8], credit: &mut Credit) -> Result<Bytes, StreamError> {
        if !self.snappy {
            return Err(not_configured());
        }
        let bad =
            |error: snap::Error| CompressionError::new(format!("not a snappy block: {error}"));
        let claimed = snap::raw::decompress_len(payload).map_err(bad)?;
        let (limit, what) = self.limit(payload.len());
        if claimed > limit {
            return Err(too_large(what, limit, claimed));
        }
        if claimed > payload.len().saturating_mul(MOST_SNAPPY) {
            let what = format!(
                "a snappy block of {} bytes cannot yield the {claimed} it claims",
                payload.len()
            );
            return Err(CompressionError::new(what).into());
        }
        credit.set(claimed);
        let mut output = vec![0; claimed];
        let length = snap::raw::Decoder::new()
            .decompress(payload, &mut output)
            .map_err(bad)?;
        output.truncate(length);
        Ok(output.into())
    }

    #[cfg(not(feature = "snappy"))]
    fn unsnap(&self, _: &[u8], _: &mut Credit) -> Result<Bytes, StreamError> {
        Err(not_configured())
    }
}

fn not_configured() -> StreamError {
    CompressionError::new("the frame is a snappy block, which this end is not configured for")
        .into()
}

fn too_large(what: &'static str, limit: usize, got: usize) -> StreamError {
    StreamError::LimitExceeded {
        what,
        limit: limit as u64,
        got: got as u64,
        endpoint: None,
    }
}

/// The next capacity of a buffer that must hold `needed` bytes now, and `most` in the end.
pub(super) fn grown(capacity: usize, needed: usize, most: usize) -> usize {
    let next = if capacity < FAST_GROWTH {
        capacity * 4
    } else {
        capacity + capacity / 2
    };
    // A last step from just below would hold almost twice as much while it copies, instead of 1.75 times.
    if next.max(needed) > most / 4 * 3 {
        most.max(needed)
    } else {
        next.max(needed)
    }
}
