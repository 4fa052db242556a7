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
//! [`ConnectionEvent::Established`] is told. What is written before waits with its credit. After any failure it is
//! *over* for ever.
//!
//! # Limits
//!
//! The handshake has 5 s. A length is checked before anything is kept; a record has at most
//! [`max_record`](EncryptConfig::max_record) bytes of body. Records of our own that nobody asked for are not queued
//! behind each other. Text is copied once on each way, so a frame is there twice while it is sealed; opened text takes the memory and the credit of the records it came in.

mod aead;
mod config;
mod handshake;
mod pulse;
mod record;
mod session;
mod terms;
#[cfg(test)]
mod tests;
mod units;

use std::{collections::VecDeque, ops::RangeInclusive, sync::Arc, time::Instant};

use self::{
    handshake::{Handshake, MESSAGE_OVERHEAD},
    record::{Kind, Text},
    session::{Heard, Session},
    terms::{Agreed, TERMS, Terms},
    units::{BadLength, HEAD, Units},
};
use super::{Codec, Host, Output, Outputs};
use crate::{
    credit::{BATCH_COST, Gate},
    error::{ConnectionLostError, EncryptionError, LossReason, StreamError},
    event::ConnectionEvent,
    key::Key,
    message::{Read, Write},
    side::Side,
    unit::Chunk,
};

pub use aead::Backend;
pub use config::{
    EncryptConfig, Liveness, MAX_KEYS, MAX_RECORD, MIN_RECORD, MIN_SILENCE, RekeyAfter,
};

/// Longest payload of a message of the handshake: room for what later versions say.
const MAX_PAYLOAD: usize = 1024;
/// Lengths that a message of the handshake may announce.
const MESSAGES: RangeInclusive<usize> = MESSAGE_OVERHEAD + TERMS..=MESSAGE_OVERHEAD + MAX_PAYLOAD;

/// Why an end gives a connection up, as CLOSE says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Reason {
    /// The ends do not go together.
    Refused = 1,
    /// A record was not what it must be.
    BadRecord = 2,
}

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

/// All but what finds the units, so that a unit can be lent to it.
struct Engine {
    config: EncryptConfig,
    side: Side,
    state: State,
    /// When the handshake must be over; set when the host first asks for outputs.
    deadline: Option<Instant>,
    /// What was written before the channel is open, and that nothing more will be.
    waiting: VecDeque<Write<Chunk>>,
    is_finishing: bool,
    /// Counts records of our own that have not left yet.
    control: Arc<Gate>,
    outputs: Outputs<Chunk, Chunk>,
}

enum State {
    /// The accepting end waits for the dialling one's message.
    ExpectHello {
        ephemeral: Key,
    },
    /// The dialling end waits for the accepting one's.
    ExpectAnswer(Handshake),
    /// The accepting end waits for a record, which proves that the peer is there now.
    ExpectProof(Box<Session>),
    Open(Box<Session>),
    Over,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::ExpectHello { .. } => "expect a hello",
            Self::ExpectAnswer(_) => "expect an answer",
            Self::ExpectProof(_) => "expect a proof",
            Self::Open(_) => "open",
            Self::Over => "over",
        }
    }
}

/// How a connection ends that goes wrong.
enum Fault {
    /// At once.
    Silent(StreamError),
    /// The peer is told why.
    Told(Reason, StreamError),
}

impl Encrypt {
    /// One end of a connection. `ephemeral` is a fresh random value for this connection alone, from
    /// [`Key::generate`]: whoever uses one twice gives both connections away.
    pub fn new(config: &EncryptConfig, side: Side, ephemeral: Key) -> Self {
        let mut engine = Engine {
            config: config.clone(),
            side,
            state: State::Over,
            deadline: None,
            waiting: VecDeque::new(),
            is_finishing: false,
            control: Gate::new(1),
            outputs: Outputs::default(),
        };
        engine.state = match side {
            Side::Dialled => {
                let key = &config.keys[0];
                let mut handshake = Handshake::new(side, &config.prologue(), key, &ephemeral);
                engine.send_message(&mut handshake, &config.terms());
                State::ExpectAnswer(handshake)
            }
            Side::Accepted => State::ExpectHello { ephemeral },
        };
        Self {
            units: Units::default(),
            engine,
        }
    }

    /// Takes what was read, unit by unit.
    fn take(&mut self, chunk: &Chunk, text: &mut Text, now: Instant) -> Result<(), Fault> {
        for piece in chunk.pieces() {
            let mut input = &piece[..];
            loop {
                let lengths = self.engine.lengths();
                match self.units.next(&mut input, lengths) {
                    Ok(Some(unit)) => self.engine.take(unit, text, now)?,
                    Ok(None) => break,
                    Err(BadLength(length)) => {
                        let what = format!("a length of {length} bytes is out of range");
                        return Err(self.engine.state.fault(what));
                    }
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// What the peer sent is wrong. Only one that has proved itself is told.
    fn fault(&self, what: impl Into<Arc<str>>) -> Fault {
        let error = EncryptionError::new(what).into();
        match self {
            Self::Open(_) => Fault::Told(Reason::BadRecord, error),
            _ => Fault::Silent(error),
        }
    }
}

impl Engine {
    fn lengths(&self) -> RangeInclusive<usize> {
        match &self.state {
            State::ExpectProof(session) | State::Open(session) => session.lengths(),
            _ => MESSAGES,
        }
    }

    fn has_peer_finished(&self) -> bool {
        matches!(&self.state, State::Open(session) if session.has_peer_finished())
    }

    /// Takes a message of the handshake or a record.
    fn take(&mut self, unit: &[u8], text: &mut Text, now: Instant) -> Result<(), Fault> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::ExpectHello { ephemeral } => self.take_hello(unit, &ephemeral, now),
            State::ExpectAnswer(handshake) => self.take_answer(unit, handshake, now),
            State::ExpectProof(mut session) => {
                let heard = session.open(unit, text, now);
                let what = "the first record was not made by the holder of the key";
                let heard = heard.map_err(|_| Fault::Silent(EncryptionError::new(what).into()))?;
                match heard {
                    Heard::Close(_) => self.state = State::Open(session),
                    _ => self.establish(session, now),
                }
                self.obey(heard, now)
            }
            State::Open(mut session) => {
                let heard = session.open(unit, text, now);
                self.state = State::Open(session);
                let heard = heard.map_err(|what| self.state.fault(what))?;
                self.obey(heard, now)
            }
            State::Over => Ok(()),
        }
    }

    fn take_hello(&mut self, message: &[u8], ephemeral: &Key, now: Instant) -> Result<(), Fault> {
        let prologue = self.config.prologue();
        let accepted = Handshake::accept(&prologue, &self.config.keys, ephemeral, message);
        let (mut handshake, payload) = accepted.map_err(|_| stranger())?;
        let ours = self.config.terms();
        // Also when the ends do not go together: the peer sees why.
        let theirs = Terms::decode(&payload);
        let answer = theirs.as_ref().map_or(ours, |theirs| ours.answer(theirs));
        self.send_message(&mut handshake, &answer);
        let session = self.session(handshake, theirs, now)?;
        self.state = State::ExpectProof(session);
        Ok(())
    }

    fn take_answer(
        &mut self,
        message: &[u8],
        mut handshake: Handshake,
        now: Instant,
    ) -> Result<(), Fault> {
        let payload = handshake.read(message).map_err(|_| stranger())?;
        let theirs = Terms::decode(&payload);
        let session = self.session(handshake, theirs, now)?;
        self.establish(session, now);
        Ok(())
    }

    /// Begins to seal and open, if the ends go together.
    fn session(
        &mut self,
        handshake: Handshake,
        theirs: Result<Terms, String>,
        now: Instant,
    ) -> Result<Box<Session>, Fault> {
        let ours = self.config.terms();
        let agreed = theirs.and_then(|theirs| ours.agree(self.side, &theirs));
        let secrets = handshake.secrets();
        match agreed {
            Ok(agreed) => Ok(Box::new(Session::new(&self.config, &secrets, agreed, now))),
            Err(what) => {
                let session = Session::new(&self.config, &secrets, Agreed::NOTHING, now);
                self.state = State::Open(Box::new(session));
                let error = EncryptionError::new(format!("the peer does not go with us: {what}"));
                Err(Fault::Told(Reason::Refused, error.into()))
            }
        }
    }

    /// The peer is who it must be: tells so, and lets go of what waits.
    fn establish(&mut self, session: Box<Session>, now: Instant) {
        self.outputs.event(ConnectionEvent::Established {
            binding: session.binding(),
            features: session.features(),
        });
        self.deadline = None;
        let is_first = self.side == Side::Dialled && self.waiting.is_empty();
        self.state = State::Open(session);
        if is_first && !self.is_finishing {
            // The accepting end waits for a proof, and nobody else may have something to say for long.
            self.send_control(Kind::Pong, &[], now);
        }
        for write in std::mem::take(&mut self.waiting) {
            self.send(write, now);
        }
        if self.is_finishing {
            self.finish(now);
        }
    }

    fn obey(&mut self, heard: Heard, now: Instant) -> Result<(), Fault> {
        match heard {
            Heard::Nothing => {}
            Heard::Ping => {
                // One answer on its way is enough, or a peer that does not read could make us hold many.
                if self.control.used() == 0 {
                    self.send_control(Kind::Pong, &[], now);
                }
            }
            Heard::Close(reason) => {
                let error = match reason {
                    reason if reason == Reason::Refused as u8 => {
                        EncryptionError::new("the peer refused what this end asks for").into()
                    }
                    reason if reason == Reason::BadRecord as u8 => {
                        EncryptionError::new("the peer could not open what came from this end")
                            .into()
                    }
                    reason => {
                        ConnectionLostError::new(&"".into(), LossReason::PeerClosed(reason)).into()
                    }
                };
                return Err(Fault::Silent(error));
            }
        }
        Ok(())
    }

    // ---- down ----

    fn send(&mut self, write: Write<Chunk>, now: Instant) {
        let State::Open(session) = &mut self.state else {
            return;
        };
        let Write { unit, mut credit } = write;
        let before = unit.len();
        let sealed = session.seal(unit, now);
        // What is above the cap weighs the cap, and passes alone.
        if credit.amount() < credit.gate().cap() {
            credit.set(credit.amount() + sealed.len() - before);
        }
        self.outputs.down(sealed, credit);
    }

    fn send_control(&mut self, kind: Kind, body: &[u8], now: Instant) {
        if let State::Open(session) = &mut self.state
            && let Some(record) = session.control(kind, body, now)
        {
            let credit = self.control.charge(record.len());
            self.outputs.down(record.into(), credit);
        }
    }

    fn send_message(&mut self, handshake: &mut Handshake, terms: &Terms) {
        let message = handshake.write(&terms.encode());
        let length = u16::try_from(message.len()).expect("our terms are short");
        let mut unit = Vec::with_capacity(HEAD + message.len());
        unit.extend_from_slice(&length.to_be_bytes());
        unit.extend_from_slice(&message);
        let credit = self.control.charge(unit.len());
        self.outputs.down(bytes::Bytes::from(unit).into(), credit);
    }

    fn finish(&mut self, now: Instant) {
        self.send_control(Kind::Fin, &[], now);
        self.outputs.finish();
    }

    /// Everything is over. What the peer is told goes out first.
    fn fail(&mut self, fault: Fault, now: Instant) -> Result<(), StreamError> {
        let result = match fault {
            Fault::Silent(error) => Err(error),
            Fault::Told(reason, error) => {
                self.send_control(Kind::Close, &[reason as u8], now);
                self.outputs.fail(error);
                Ok(())
            }
        };
        self.state = State::Over;
        self.waiting.clear();
        result
    }
}

fn stranger() -> Fault {
    let what = "the handshake was not made with this key, label and version";
    Fault::Silent(EncryptionError::new(what).into())
}

impl Codec for Encrypt {
    type Above = Chunk;
    type Below = Chunk;

    fn handle_write(&mut self, write: Write<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        match self.engine.state {
            State::Open(_) => self.engine.send(write, host.now()),
            State::Over => {}
            _ => self.engine.waiting.push_back(write),
        }
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        if matches!(self.engine.state, State::Over) {
            return Ok(());
        }
        let now = host.now();
        let Read { unit, mut credit } = read;
        let kept = self.units.partial().map_or(0, |(got, _)| got);
        let mut text = Text::new(kept + unit.len());
        let had_ended = self.engine.has_peer_finished();
        let result = self.take(&unit, &mut text, now);
        // What came in front of a bad record is still good.
        if let Some((bytes, memory)) = text.into_bytes() {
            credit.set(memory + BATCH_COST);
            self.engine.outputs.up(bytes.into(), credit);
        }
        if !had_ended && self.engine.has_peer_finished() {
            self.engine.outputs.end();
        }
        result.or_else(|fault| self.engine.fail(fault, now))
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
        let engine = &mut self.engine;
        if engine.deadline.is_some_and(|deadline| deadline <= now) {
            engine.state = State::Over;
            return Err(StreamError::TimedOut {
                what: "the handshake",
                after: engine.config.handshake_timeout,
            });
        }
        let State::Open(session) = &mut engine.state else {
            return Ok(());
        };
        match session.tick(now, host.up_gate().is_open()) {
            pulse::Due::Nothing => {}
            // Behind one that has not left yet another would only pile up.
            pulse::Due::Pong | pulse::Due::Ping if engine.control.used() > 0 => {}
            pulse::Due::Pong => engine.send_control(Kind::Pong, &[], now),
            pulse::Due::Ping => engine.send_control(Kind::Ping, &[], now),
            pulse::Due::Dead(after) => {
                engine.state = State::Over;
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
        let engine = &mut self.engine;
        if engine.deadline.is_none() && !matches!(engine.state, State::Open(_) | State::Over) {
            engine.deadline = Some(host.now() + engine.config.handshake_timeout);
        }
        Ok(engine.outputs.poll())
    }

    fn holds_writes(&self) -> bool {
        !matches!(self.engine.state, State::Open(_) | State::Over)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.engine.state {
            State::Open(session) => session.next_tick(),
            State::Over => None,
            _ => self.engine.deadline,
        }
    }

    fn expects_more(&self) -> bool {
        self.units.partial().is_some()
    }
}
