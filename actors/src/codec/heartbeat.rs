//! [`Heartbeat`]: signs of life on a plain channel between two peers of this crate that are both configured for it.
//!
//! # Wire format
//!
//! A sign of life is an empty frame, which stands between two frames like any other: `00 00 00 00 | 00 | 0a` (length, flag, end mark; the
//! layout is that of [`Framing`](super::Framing)). The layer stands below the framing and follows the boundaries of frames in both
//! directions, so that *any* byte that came counts as a sign of life, also one in the middle of a frame that takes its time.
//!
//! # States
//!
//! None but the place in a frame, for each direction. Which end sends what does not depend on the other: each sends something at
//! least so often by itself, and counts how long nothing came.
//!
//! # Limits
//!
//! An empty frame of the application cannot be told from a sign of life, so it is refused where it is sent. At most five bytes
//! of a direction are held back: a head that is not whole yet. Both ends are to be configured alike; the more patient
//! one is to send as often as the other one listens.

use std::time::Instant;

use bytes::Bytes;

use super::{
    Codec, Host, Output, Outputs,
    pulse::{Due, Liveness, Pulse},
};
use crate::{
    credit::Gate,
    error::{ConnectionLostError, LossReason, StreamError},
    message::{Read, Write},
    unit::{Chunk, FRAME_HEAD},
};

/// An empty frame.
const SIGN: [u8; 6] = [0, 0, 0, 0, 0, b'\n'];

/// Sends signs of life, takes the peer's out, and notices their absence.
///
/// ```
/// use std::time::Duration;
/// use rpyc_actors::{Frames, codec::{Framing, Heartbeat, Liveness, testing::{Bench, Over}}};
///
/// let end = || Over::new(Framing::new(1024), Heartbeat::new(Liveness::new(Duration::from_secs(3))));
/// let mut bench = Bench::new(end(), end());
/// bench.left.write(Frames::single("hello".into()));
/// bench.run_split(1);
/// let received: Vec<_> = bench.right.received().into_iter().flatten().collect();
/// assert_eq!(received, [&b"hello"[..]]);
/// ```
#[derive(Debug)]
pub struct Heartbeat {
    liveness: Liveness,
    /// Since the connection is up.
    pulse: Option<Pulse>,
    down: Walk,
    up: Walk,
    /// Charged for signs of life: they are not the application's to wait for.
    signs: std::sync::Arc<Gate>,
    outputs: Outputs<Chunk, Chunk>,
}

impl Heartbeat {
    /// A codec that beats as `liveness` says.
    pub fn new(liveness: Liveness) -> Self {
        Self {
            liveness,
            pulse: None,
            down: Walk::default(),
            up: Walk::default(),
            signs: Gate::new(1),
            outputs: Outputs::default(),
        }
    }

    fn send_sign(&mut self, now: Instant) {
        // In the middle of a frame there is no place for one, and something was sent just now. Behind one that has not left
        // yet another would only pile up.
        if self.down.is_between() && self.signs.used() == 0 {
            let credit = self.signs.charge(SIGN.len());
            self.outputs.down(Bytes::from_static(&SIGN).into(), credit);
            if let Some(pulse) = &mut self.pulse {
                pulse.sent(now);
            }
        }
    }
}

impl Codec for Heartbeat {
    type Above = Chunk;
    type Below = Chunk;

    fn handle_write(&mut self, write: Write<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        let mut has_empty = false;
        let mut unit = Chunk::new();
        for piece in write.unit {
            self.down.pass(&piece, |_| {}, &mut has_empty);
            unit.push(piece);
        }
        if has_empty {
            let what = "an empty frame is a sign of life on this channel, and cannot be sent";
            return Err(StreamError::misuse(what));
        }
        if let Some(pulse) = &mut self.pulse {
            pulse.sent(host.now());
        }
        self.outputs.down(unit, write.credit);
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        if let Some(pulse) = &mut self.pulse {
            pulse.heard(host.now());
        }
        let mut unit = Chunk::new();
        for piece in read.unit {
            self.up.pass(&piece, |kept| unit.push(kept), &mut false);
        }
        if !unit.is_empty() {
            self.outputs.up(unit, read.credit);
        }
        Ok(())
    }

    fn handle_finish(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        if let Some(pulse) = &mut self.pulse {
            pulse.stop_sending();
        }
        self.outputs.finish();
        Ok(())
    }

    fn handle_end(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        if let Some(pulse) = &mut self.pulse {
            pulse.stop_hearing();
        }
        // What is held back of a head is for the framing to judge.
        let held = self.up.held();
        if !held.is_empty() {
            let credit = host.up_gate().charge(held.len());
            self.outputs.up(held.into(), credit);
        }
        self.outputs.end();
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant, host: &dyn Host) -> Result<(), StreamError> {
        let Some(pulse) = &mut self.pulse else {
            return Ok(());
        };
        match pulse.tick(now, host.up_gate().is_open()) {
            Due::Nothing => {}
            Due::Pong | Due::Ping => self.send_sign(now),
            Due::Dead(after) => {
                self.pulse = None;
                let reason = LossReason::Silent { after };
                return Err(ConnectionLostError::new(&"".into(), reason).into());
            }
        }
        Ok(())
    }

    fn poll_output(
        &mut self,
        _: bool,
        host: &dyn Host,
    ) -> Result<Option<Output<Chunk, Chunk>>, StreamError> {
        if self.pulse.is_none() {
            self.pulse = Some(Pulse::new(Some(self.liveness), None, host.now()));
        }
        Ok(self.outputs.poll())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.pulse.as_ref().and_then(Pulse::next)
    }
}

/// The place in a stream of frames.
#[derive(Debug, Default)]
struct Walk {
    head: [u8; FRAME_HEAD],
    /// Bytes of the head that are known.
    have: usize,
    /// Bytes of the frame behind its head.
    left: u64,
    /// The frame is empty.
    is_empty: bool,
}

impl Walk {
    fn is_between(&self) -> bool {
        self.have == 0
    }

    /// The head as far as it is held back.
    fn held(&self) -> Bytes {
        if self.have < FRAME_HEAD {
            Bytes::copy_from_slice(&self.head[..self.have])
        } else {
            Bytes::new()
        }
    }

    /// Follows the frames in `piece`, and keeps all but those that are empty, and but a head that is not whole yet.
    fn pass(&mut self, piece: &Bytes, mut keep: impl FnMut(Bytes), has_empty: &mut bool) {
        let mut at = 0;
        let mut kept_from = if self.is_empty { None } else { Some(0) };
        while at < piece.len() {
            if self.have < FRAME_HEAD {
                let known_before = self.have;
                let start = at;
                let count = (FRAME_HEAD - self.have).min(piece.len() - at);
                self.head[self.have..self.have + count].copy_from_slice(&piece[at..at + count]);
                self.have += count;
                at += count;
                if self.have < FRAME_HEAD {
                    if let Some(from) = kept_from {
                        keep(piece.slice(from..start));
                    }
                    return;
                }
                let length =
                    u32::from_be_bytes([self.head[0], self.head[1], self.head[2], self.head[3]]);
                // The end mark comes behind the payload.
                self.left = u64::from(length) + 1;
                self.is_empty = length == 0;
                if self.is_empty {
                    *has_empty = true;
                    if let Some(from) = kept_from.take() {
                        keep(piece.slice(from..start));
                    }
                } else if known_before > 0 {
                    // Its beginning was held back.
                    keep(Bytes::copy_from_slice(&self.head[..known_before]));
                    kept_from = Some(start);
                }
                continue;
            }
            let count = self.left.min((piece.len() - at) as u64);
            self.left -= count;
            at += usize::try_from(count).expect("within the piece");
            if self.left == 0 {
                self.have = 0;
                if std::mem::take(&mut self.is_empty) {
                    kept_from = Some(at);
                }
            }
        }
        if let Some(from) = kept_from {
            keep(piece.slice(from..));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        codec::{
            Framing,
            testing::{Bench, Over},
        },
        unit::Frames,
    };

    const SECOND: Duration = Duration::from_secs(1);

    type End = Over<Framing, Heartbeat>;

    fn bench() -> Bench<End, End> {
        let end = || {
            Over::new(
                Framing::new(1 << 20),
                Heartbeat::new(Liveness::new(SECOND * 3)),
            )
        };
        Bench::new(end(), end())
    }

    /// Only what is not a sign of life, whatever the pieces.
    fn kept(wire: &[u8], piece: usize) -> Vec<u8> {
        let mut walk = Walk::default();
        let mut kept = Vec::new();
        for piece in wire.chunks(piece) {
            let piece = Bytes::copy_from_slice(piece);
            walk.pass(&piece, |run| kept.extend_from_slice(&run), &mut false);
        }
        kept.extend_from_slice(&walk.held());
        kept
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut wire = crate::unit::head(payload.len()).to_vec();
        wire.extend_from_slice(payload);
        wire.push(b'\n');
        wire
    }

    #[test]
    fn signs_are_taken_out_at_every_split_and_nothing_else_is() {
        let (one, zeros, two) = (frame(b"one"), frame(&[0; 9]), frame(b"2"));
        let mixed = [&SIGN[..], &SIGN, &one, &SIGN, &zeros, &two, &SIGN].concat();
        let wanted = [one, zeros, two].concat();
        for piece in 1..=mixed.len() {
            assert_eq!(kept(&mixed, piece), wanted, "pieces of {piece}");
        }
        // What breaks off is the framing's to judge.
        for end in 0..=mixed.len() {
            let whole = kept(&mixed[..end], end.max(1));
            assert_eq!(kept(&mixed[..end], 1), whole, "cut at {end}");
            assert!(wanted.starts_with(&whole) || end < mixed.len());
        }
    }

    #[test]
    fn an_idle_pair_beats_and_lives() {
        let mut bench = bench();
        bench.run();
        for _ in 0..100 {
            bench.advance(SECOND / 2);
            bench.run();
        }
        assert!(bench.left.failure().is_none() && bench.right.failure().is_none());
        assert!(bench.left.received().is_empty() && bench.right.received().is_empty());
        bench.left.write(Frames::single("hello".into()));
        bench.run_split(1);
        assert_eq!(bench.right.received().len(), 1);
    }

    #[test]
    fn an_empty_frame_of_the_application_is_refused() {
        let mut bench = bench();
        bench.left.write(Frames::single(Bytes::new()));
        bench.run();
        let error = bench.left.failure().expect("refused");
        assert!(matches!(error, StreamError::ApiMisuse(_)), "{error}");
    }

    #[test]
    fn no_time_overflows_the_clock() {
        let end = || {
            let patient = Liveness::new(Duration::MAX).every(Duration::MAX);
            Over::new(Framing::new(1024), Heartbeat::new(patient))
        };
        let mut bench = Bench::new(end(), end());
        bench.left.write(Frames::single("hello".into()));
        bench.run();
        assert_eq!(bench.right.received().len(), 1);
    }
}
