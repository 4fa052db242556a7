//! [`Encrypt`]: the layer of bytes that nobody without the key can read, change or make.
//!
//! A Noise handshake with a pre-shared key gives fresh keys to every connection and direction; what travels then are
//! sealed records of many frames each. `docs/PROTOCOL.md` has it all with vectors.
//!
//! # Wire format
//!
//! | offset | size | what |
//! | --- | --- | --- |
//! | 0 | 2 | length of the rest in bytes, big-endian |
//! | 2 | length | a message of the handshake, and after two of them (one from each end) records |
//!
//! | offset in a record | size | what |
//! | --- | --- | --- |
//! | 0 | 1 | kind: 0 DATA, 1 FIN, 2 CLOSE, 3 REKEY, 4 PING, 5 PONG |
//! | 1 | length − 17 | body: bytes of the layer above for DATA, the reason for CLOSE, else none |
//! | length − 16 | 16 | ChaCha20-Poly1305's tag over kind and body, which are encrypted; the nonce counts records |
//!
//! Source: the Noise Protocol Framework, revision 34, pattern `NNpsk0`; the contents are our own.
//!
//! # States
//!
//! *Expect a hello* (the accepting end) or *expect an answer* (the dialling one); the accepting end then *expects a
//! proof*, the first record, since the hello may be an old one sent again. After that the channel is *open*, and
//! [`Established`](crate::ConnectionEvent::Established) is told. What is written before waits with its credit. After any failure it is
//! *over* for ever.
//!
//! # Limits
//!
//! The handshake has 5 s. A length is checked before anything is kept; a record has at most
//! [`max_record`](EncryptConfig::max_record) bytes of body. Records of our own that nobody asked for are not queued
//! behind each other. What nobody else sees is sealed where it lies; what is shared is copied once, so a frame is there twice while it
//! is sealed. Opened text stays in the memory and takes the credit of the records it came in.

mod aead;
mod blocks;
mod config;
mod engine;
mod handshake;
mod record;
mod session;
mod terms;
#[cfg(test)]
mod tests;
mod units;

use std::time::Instant;

use bytes::Bytes;

use self::{
    engine::{Engine, Fault, State},
    record::{RECORD_OVERHEAD, SEALED_OVERHEAD},
    units::{BadLength, HEAD, Units},
};
use super::{Codec, Host, Output};
use crate::{
    error::{ConnectionLostError, LossReason, StreamError},
    key::Key,
    message::{Read, Write},
    piece::Own,
    side::Side,
    unit::Chunk,
};

pub use aead::Backend;
pub use config::{
    EncryptConfig, Liveness, MAX_KEYS, MAX_RECORD, MIN_RECORD, MIN_SILENCE, RekeyAfter,
};

/// Seals what goes down and opens what comes up.
///
/// ```
/// use std::sync::Arc;
/// use rpyc_actors::{Chunk, Key, Side, codec::{Encrypt, EncryptConfig, testing::Bench}};
///
/// let config = EncryptConfig::new(Key::generate()?);
/// let mut bench = Bench::new(
///     Encrypt::new(&config, Side::Dialled, Key::generate()?),
///     Encrypt::new(&config, Side::Accepted, Key::generate()?),
/// );
/// bench.left.write(bytes::Bytes::from_static(b"hello").into());
/// bench.run_split(3); // three bytes at a time
/// let received: Vec<_> = bench.right.received().into_iter().flatten().collect();
/// assert_eq!(received, [&b"hello"[..]]);
/// # Ok::<(), rpyc_actors::KeyError>(())
/// ```
pub struct Encrypt {
    units: Units,
    engine: Engine,
}

impl std::fmt::Debug for Encrypt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encrypt")
            .field("side", &self.engine.side)
            .field("state", &self.engine.state.name())
            .finish_non_exhaustive()
    }
}

impl Encrypt {
    /// One end of a connection. `ephemeral` is a fresh random value for this connection alone, from
    /// [`Key::generate`]: whoever uses one twice gives both connections away.
    pub fn new(config: &EncryptConfig, side: Side, ephemeral: Key) -> Self {
        Self {
            units: Units::default(),
            engine: Engine::new(config, side, ephemeral),
        }
    }

    /// Takes what was read, unit by unit. Text stays where it was sealed, but for the gaps between records, which it closes.
    fn take(&mut self, mut piece: Own, text: &mut Chunk, now: Instant) -> Result<(), Fault> {
        let mut at = 0;
        if self.units.partial().is_some() {
            let (used, unit) = self
                .units
                .complete(&piece, &self.engine.lengths())
                .map_err(|bad| self.bad_length(bad))?;
            at = used;
            let Some(mut unit) = unit else { return Ok(()) };
            let body = unit.len() - RECORD_OVERHEAD;
            if self.engine.take(&mut unit, HEAD, now)? {
                text.push(Bytes::from(unit).slice(1..=body));
            }
        }
        let mut opened = at..at;
        let result = loop {
            let lengths = self.engine.lengths();
            let unit = match self.units.next(&piece, at, &lengths) {
                Ok(Some(unit)) => unit,
                Ok(None) => break Ok(()),
                Err(bad) => break Err(self.bad_length(bad)),
            };
            at = unit.end;
            // The kind comes to lie over the last byte of the text before it.
            let start = if opened.is_empty() {
                unit.start
            } else {
                opened.end - 1
            };
            let covered = piece[start];
            let taken = self
                .engine
                .take(&mut piece[start..unit.end], unit.start - start, now);
            let body = unit.len() - SEALED_OVERHEAD;
            if opened.is_empty() {
                opened = start + 1..start + 1;
            } else {
                piece[start] = covered;
            }
            match taken {
                Ok(true) => opened.end += body,
                Ok(false) => {}
                Err(fault) => break Err(fault),
            }
        };
        // What came in front of a bad record is still good.
        if !opened.is_empty() {
            let behind = piece.len() - opened.end;
            piece.shrink(opened.start, behind);
            text.push_piece(piece.into());
        }
        result
    }

    fn bad_length(&self, BadLength(length): BadLength) -> Fault {
        let what = format!("a length of {length} bytes is out of range");
        self.engine.state.fault(what)
    }
}

impl Codec for Encrypt {
    type Above = Chunk;
    type Below = Chunk;

    fn handle_write(&mut self, write: Write<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        if let Some(Write { unit, credit }) = self.write_through(write, host)? {
            self.engine.outputs.down(unit, credit);
        }
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        if let Some(Read { unit, credit }) = self.read_through(read, host)? {
            self.engine.outputs.up(unit, credit);
        }
        Ok(())
    }

    fn write_through(
        &mut self,
        write: Write<Chunk>,
        host: &dyn Host,
    ) -> Result<Option<Write<Chunk>>, StreamError> {
        let engine = &mut self.engine;
        match &mut engine.state {
            State::Open(session) => {
                let sealed = engine::seal(session, write, host.now());
                return Ok(engine.outputs.down_through(sealed));
            }
            State::Over => {}
            _ => {
                let Write { unit, credit } = write;
                let mut kept = Chunk::new();
                unit.into_kept().for_each(|piece| kept.push(piece));
                engine.waiting.push_back(Write { unit: kept, credit });
            }
        }
        Ok(None)
    }

    fn read_through(
        &mut self,
        read: Read<Chunk>,
        host: &dyn Host,
    ) -> Result<Option<Read<Chunk>>, StreamError> {
        if matches!(self.engine.state, State::Over) {
            return Ok(None);
        }
        let now = host.now();
        let Read { unit, mut credit } = read;
        let kept = self.units.partial().map_or(0, |(got, _)| got);
        let mut text = Chunk::new();
        let had_ended = self.engine.has_peer_finished();
        let result = unit
            .pieces
            .into_iter()
            .try_for_each(|piece| self.take(piece.into_own(), &mut text, now));
        let has_ended = !had_ended && self.engine.has_peer_finished();
        let mut opened = None;
        if !text.is_empty() {
            if kept > 0 {
                credit.set(credit.amount() + kept);
            }
            let read = Read { unit: text, credit };
            if !has_ended && result.is_ok() {
                opened = self.engine.outputs.up_through(read);
            } else {
                self.engine.outputs.up(read.unit, read.credit);
            }
        }
        if has_ended {
            self.engine.outputs.end();
        }
        result.or_else(|fault| self.engine.fail(fault, now))?;
        Ok(opened)
    }

    fn handle_finish(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        match self.engine.state {
            State::Open(_) => self.engine.finish(host.now()),
            State::Over => {}
            _ => self.engine.is_finishing = true,
        }
        Ok(())
    }

    fn handle_end(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        let engine = &mut self.engine;
        if engine.has_peer_finished() {
            return Ok(());
        }
        let what = match engine.state {
            State::ExpectProof(_) | State::Open(_) => "a record",
            _ => "the handshake",
        };
        let reason = match self.units.partial() {
            Some((got, due)) => LossReason::Truncated {
                what,
                got: got as u64,
                due: due as u64,
            },
            None => LossReason::EndOfStream,
        };
        engine.state = State::Over;
        Err(ConnectionLostError::new(&"".into(), reason).into())
    }

    fn handle_timeout(&mut self, now: Instant, host: &dyn Host) -> Result<(), StreamError> {
        // A reader that found the gate full is woken at half of its credit, and until then reads nothing though there is some.
        let gate = host.up_gate();
        let is_reading = gate.is_open() && !gate.is_contended();
        self.engine.tick(now, is_reading)
    }

    fn poll_output(
        &mut self,
        _: bool,
        host: &dyn Host,
    ) -> Result<Option<Output<Chunk, Chunk>>, StreamError> {
        self.engine.begin(host);
        Ok(self.engine.outputs.poll())
    }

    fn holds_writes(&self) -> bool {
        self.engine.is_in_handshake()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.next_tick()
    }

    fn expects_more(&self) -> bool {
        self.units.partial().is_some()
    }
}
