//! [`Engine`]: the states of one end, from the handshake to the end of it all.

use std::{collections::VecDeque, ops::RangeInclusive, sync::Arc, time::Instant};

use super::{
    config::EncryptConfig,
    handshake::{Handshake, MESSAGE_OVERHEAD},
    record::Kind,
    session::{Heard, Session},
    terms::{Agreed, TERMS, Terms},
    units::HEAD,
};
use crate::{
    codec::pulse::Due,
    codec::{Host, Outputs},
    credit::Gate,
    error::{ConnectionLostError, EncryptionError, LossReason, StreamError},
    event::ConnectionEvent,
    key::Key,
    message::Write,
    side::Side,
    unit::Chunk,
};

/// Longest payload of a message of the handshake: room for what later versions say.
const MAX_PAYLOAD: usize = 1024;
/// Lengths that a message of the handshake may announce.
pub(super) const MESSAGES: RangeInclusive<usize> =
    MESSAGE_OVERHEAD + TERMS..=MESSAGE_OVERHEAD + MAX_PAYLOAD;

/// Why an end gives a connection up, as CLOSE says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reason {
    /// The ends do not go together.
    Refused = 1,
    /// A record was not what it must be.
    BadRecord = 2,
}

/// All but what finds the units, so that a unit can be lent to it.
pub(super) struct Engine {
    config: EncryptConfig,
    pub(super) side: Side,
    pub(super) state: State,
    /// When the handshake must be over; set when the host first asks for outputs.
    deadline: Option<Instant>,
    /// What was written before the channel is open, and that nothing more will be.
    pub(super) waiting: VecDeque<Write<Chunk>>,
    pub(super) is_finishing: bool,
    /// Counts records of our own that have not left yet.
    control: Arc<Gate>,
    pub(super) outputs: Outputs<Chunk, Chunk>,
}

pub(super) enum State {
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
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::ExpectHello { .. } => "expect a hello",
            Self::ExpectAnswer(_) => "expect an answer",
            Self::ExpectProof(_) => "expect a proof",
            Self::Open(_) => "open",
            Self::Over => "over",
        }
    }

    /// What the peer sent is wrong. Only one that has proved itself is told.
    pub(super) fn fault(&self, what: impl Into<Arc<str>>) -> Fault {
        let error = EncryptionError::new(what).into();
        match self {
            Self::Open(_) => Fault::Told(Reason::BadRecord, error),
            _ => Fault::Silent(error),
        }
    }
}

/// How a connection ends that goes wrong.
pub(super) enum Fault {
    /// At once.
    Silent(StreamError),
    /// The peer is told why.
    Told(Reason, StreamError),
}

impl Engine {
    pub(super) fn new(config: &EncryptConfig, side: Side, ephemeral: Key) -> Self {
        let mut engine = Self {
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
        engine
    }

    /// Sets the handshake's deadline, the first time: before that there is no clock.
    pub(super) fn begin(&mut self, host: &dyn Host) {
        if self.deadline.is_none() && self.is_in_handshake() {
            self.deadline = Some(host.now() + self.config.handshake_timeout);
        }
    }

    pub(super) fn is_in_handshake(&self) -> bool {
        !matches!(self.state, State::Open(_) | State::Over)
    }

    /// When [`tick`](Self::tick) is wanted.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        match &self.state {
            State::Open(session) => session.next_tick(),
            State::Over => None,
            _ => self.deadline,
        }
    }

    /// The handshake's limit and the signs of life; `is_reading` is whether what the peer sends would be read.
    pub(super) fn tick(&mut self, now: Instant, is_reading: bool) -> Result<(), StreamError> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.state = State::Over;
            return Err(StreamError::TimedOut {
                what: "the handshake",
                after: self.config.handshake_timeout,
            });
        }
        let State::Open(session) = &mut self.state else {
            return Ok(());
        };
        match session.tick(now, is_reading) {
            Due::Nothing => {}
            // Behind one that has not left yet another would only pile up.
            Due::Pong | Due::Ping if self.control.used() > 0 => {}
            Due::Pong => self.send_control(Kind::Pong, &[], now),
            Due::Ping => self.send_control(Kind::Ping, &[], now),
            Due::Dead(after) => {
                self.state = State::Over;
                let reason = LossReason::Silent { after };
                return Err(ConnectionLostError::new(&"".into(), reason).into());
            }
        }
        Ok(())
    }

    pub(super) fn lengths(&self) -> RangeInclusive<usize> {
        match &self.state {
            State::ExpectProof(session) | State::Open(session) => session.lengths(),
            _ => MESSAGES,
        }
    }

    pub(super) fn has_peer_finished(&self) -> bool {
        matches!(&self.state, State::Open(session) if session.has_peer_finished())
    }

    /// Takes what `memory` holds behind `from`, a message of the handshake or a record. True when that was text: it begins with the
    /// second byte of `memory` then.
    pub(super) fn take(
        &mut self,
        memory: &mut [u8],
        from: usize,
        now: Instant,
    ) -> Result<bool, Fault> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::ExpectHello { ephemeral } => {
                self.take_hello(&memory[from..], &ephemeral, now)?;
                Ok(false)
            }
            State::ExpectAnswer(handshake) => {
                self.take_answer(&memory[from..], handshake, now)?;
                Ok(false)
            }
            State::ExpectProof(mut session) => {
                let heard = session.open(memory, from, now);
                let what = "the first record was not made by the holder of the key";
                let heard = heard.map_err(|_| Fault::Silent(EncryptionError::new(what).into()))?;
                match heard {
                    Heard::Close(_) => self.state = State::Open(session),
                    _ => self.establish(session, now),
                }
                self.obey(heard, now)
            }
            State::Open(mut session) => {
                let heard = session.open(memory, from, now);
                self.state = State::Open(session);
                let heard = heard.map_err(|what| self.state.fault(what))?;
                self.obey(heard, now)
            }
            State::Over => Ok(false),
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
                let error =
                    EncryptionError::refusal(format!("the peer does not go with us: {what}"));
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
        if let State::Open(session) = &mut self.state {
            for write in std::mem::take(&mut self.waiting) {
                let Write { unit, credit } = seal(session, write, now);
                self.outputs.down(unit, credit);
            }
        }
        if self.is_finishing {
            self.finish(now);
        }
    }

    fn obey(&mut self, heard: Heard, now: Instant) -> Result<bool, Fault> {
        match heard {
            Heard::Text => return Ok(true),
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
                        EncryptionError::refusal("the peer refused what this end asks for").into()
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
        Ok(false)
    }

    // ---- down ----

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

    pub(super) fn finish(&mut self, now: Instant) {
        self.send_control(Kind::Fin, &[], now);
        self.outputs.finish();
    }

    /// Everything is over. What the peer is told goes out first.
    pub(super) fn fail(&mut self, fault: Fault, now: Instant) -> Result<(), StreamError> {
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

/// Seals what goes down.
pub(super) fn seal(session: &mut Session, write: Write<Chunk>, now: Instant) -> Write<Chunk> {
    let Write { unit, mut credit } = write;
    let before = unit.len();
    let unit = session.seal(unit, now);
    // What is above the cap weighs the cap, and passes alone.
    if credit.amount() < credit.gate().cap() {
        credit.set(credit.amount() + unit.len() - before);
    }
    Write { unit, credit }
}

fn stranger() -> Fault {
    let what = "the handshake was not made with this key, label and version";
    Fault::Silent(EncryptionError::new(what).into())
}
