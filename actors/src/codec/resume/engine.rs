//! [`Resume`]: the states of one end of a session, and both directions of its stream.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{
    Output,
    config::ResumeConfig,
    intake::{Gathered, Held, Intake},
    proof::{Binding, Ticket},
    replay::Replay,
    wire::{Decoder, Hello, Item, Message},
};
use crate::{
    codec::{Host, pulse::Pulse},
    credit::{BATCH_COST, Gate},
    error::{LossReason, StreamError},
    message::{Read, Write},
    side::Side,
    unit::Chunk,
};

/// Room for what is said at once, as a rule: an acknowledgement, and what stands in front of data.
const WORDS: usize = 32;

/// One end of a session.
pub struct Resume {
    pub(super) config: ResumeConfig,
    pub(super) side: Side,
    pub(super) state: State,
    /// What both ends know; none before the server has answered the first time.
    pub(super) ticket: Option<Ticket>,
    /// Counts links: an older one cannot push out a newer one.
    pub(super) epoch: u64,
    /// When there was a link last, and why there is none now.
    pub(super) lost_at: Instant,
    pub(super) last_loss: Option<StreamError>,
    pub(super) replay: Replay,
    pub(super) intake: Intake,
    held: Held,
    pub(super) say: Say,
    /// This end will give the session up soon; the peer will, and that was told.
    pub(super) is_going: bool,
    is_peer_going: bool,
    /// Our direction ends behind what was written; the peer knows.
    is_finishing: bool,
    is_finish_sent: bool,
    is_finish_known: bool,
    /// The client has our answer: only then anybody may use the session.
    pub(super) is_confirmed: bool,
    pub(super) outputs: VecDeque<Output>,
}

pub(super) enum State {
    /// Waits for a link.
    Down,
    /// The dialling end waits for the accepting one's answer.
    ExpectAnswer(Box<Asked>),
    Open(Box<Open>),
    Over,
}

/// A question under way.
pub(super) struct Asked {
    pub(super) open: Open,
    pub(super) binding: Binding,
    pub(super) hello: Option<Hello>,
    pub(super) until: Instant,
}

/// A link in use.
pub(super) struct Open {
    pub(super) gate: Arc<Gate>,
    pub(super) decoder: Decoder,
    pub(super) pulse: Pulse,
    /// The most bytes of the stream that the peer takes in one message.
    pub(super) longest: usize,
    /// FIN was sent on this link, and FIN_OK.
    has_sent_fin: bool,
    has_sent_fin_ok: bool,
    /// Nothing more goes down.
    has_finished: bool,
}

/// What is to be said besides data and acknowledgements.
#[derive(Debug, Default)]
pub(super) struct Say {
    /// Behind all data: somebody waits for the acknowledgement.
    ask: bool,
    pub(super) ping: bool,
    pub(super) pong: bool,
    pub(super) fin_ok: bool,
    pub(super) go_away: bool,
}

/// Why no more of what came is looked at.
pub(super) enum Stop {
    /// The peer says that the session is over, for this reason.
    Gone(u8),
    Fault(StreamError),
}

impl From<StreamError> for Stop {
    fn from(error: StreamError) -> Self {
        Self::Fault(error)
    }
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Down => "down",
            State::ExpectAnswer(_) => "expects an answer",
            State::Open(_) => "open",
            State::Over => "over",
        };
        f.debug_struct("Resume")
            .field("side", &self.side)
            .field("state", &state)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Open {
    pub(super) fn new(gate: Arc<Gate>, pulse: Pulse, longest: usize) -> Self {
        Self {
            gate,
            decoder: Decoder::default(),
            pulse,
            longest,
            has_sent_fin: false,
            has_sent_fin_ok: false,
            has_finished: false,
        }
    }
}

impl Resume {
    /// The dialling end of a session that begins with its first link.
    pub fn new(config: &ResumeConfig, now: Instant) -> Self {
        Self::down(config, Side::Dialled, now)
    }

    pub(super) fn down(config: &ResumeConfig, side: Side, now: Instant) -> Self {
        Self {
            config: config.clone(),
            side,
            state: State::Down,
            ticket: None,
            epoch: 0,
            lost_at: now,
            last_loss: None,
            replay: Replay::default(),
            intake: Intake::default(),
            held: Held::default(),
            say: Say::default(),
            is_going: false,
            is_peer_going: false,
            is_finishing: false,
            is_finish_sent: false,
            is_finish_known: false,
            is_confirmed: false,
            outputs: VecDeque::new(),
        }
    }

    // ---- inputs from above ----

    /// Takes data on its way down.
    pub fn handle_write(&mut self, write: Write<Chunk>) {
        if !self.is_finishing && !self.is_over() {
            self.replay.push(write);
        }
    }

    /// Nothing more comes down.
    pub fn handle_finish(&mut self) {
        self.is_finishing = true;
    }

    /// Somebody waits until all that was written is acknowledged.
    pub fn handle_flush(&mut self) {
        self.say.ask |= self.replay.kept() > 0;
    }

    /// The peer shall know that this end will give the session up soon, and what has come until now.
    pub fn handle_go_away(&mut self) {
        self.is_going = true;
        self.say.go_away = true;
    }

    // ---- inputs from below ----

    /// Takes what came over the present link.
    pub fn handle_read(&mut self, read: Read<Chunk>, host: &dyn Host) {
        let now = host.now();
        let Read { unit, credit } = read;
        let mut text = Gathered::default();
        let had_ended = self.intake.has_ended();
        let result = unit
            .into_iter()
            .try_for_each(|piece| self.take(piece, &mut text, now));
        // What came in front of a fault, or of an end, is delivered first.
        let text = text.into_chunk();
        if !text.is_empty() {
            // From here on it counts for the session: a link is read whatever the application takes.
            let memory = credit.amount().max(text.len());
            drop(credit);
            let gate = host.up_gate();
            if self.held() == 0 && gate.is_open() {
                self.outputs.push_back(Output::Up(Read {
                    unit: text,
                    credit: gate.charge(memory),
                }));
            } else {
                self.held.push(&text, gate);
            }
        }
        if !had_ended && self.intake.has_ended() {
            self.let_go();
            self.outputs.push_back(Output::End);
        }
        if let State::Open(open) = &mut self.state {
            open.pulse.heard(now);
            self.intake.note(now, host.up_gate());
        }
        match result {
            Ok(()) => {}
            Err(Stop::Gone(reason)) => self.end_as_told(reason),
            Err(Stop::Fault(error)) => self.fail(error, now),
        }
    }

    fn take(&mut self, mut piece: Bytes, text: &mut Gathered, now: Instant) -> Result<(), Stop> {
        loop {
            let decoder = match &mut self.state {
                State::Open(open) => &mut open.decoder,
                State::ExpectAnswer(asked) => &mut asked.open.decoder,
                State::Down | State::Over => return Ok(()),
            };
            let item = decoder
                .next(&mut piece)
                .map_err(|bad| StreamError::peer(bad.to_string()))?;
            let Some(item) = item else { return Ok(()) };
            match (item, &mut self.state) {
                (Item::Data { offset, bytes }, State::Open(_)) => {
                    let new = self
                        .intake
                        .take(offset, bytes)
                        .map_err(|refused| StreamError::peer(refused.to_string()))?;
                    text.push(new);
                    self.confirm();
                }
                (Item::Message(message), State::Open(_)) => {
                    self.obey(message)?;
                    self.confirm();
                }
                (Item::Message(message), _) => self.take_answer(message, now)?,
                (Item::Data { .. }, _) => {
                    return Err(StreamError::peer("it sends data before its answer").into());
                }
            }
        }
    }

    fn obey(&mut self, message: Message) -> Result<(), Stop> {
        match message {
            Message::Ack {
                received_to,
                credit,
            } => {
                self.replay
                    .acknowledge(received_to, credit)
                    .map_err(|_| StreamError::peer("it acknowledges what was never sent"))?;
            }
            Message::Ping => {
                self.say.pong = true;
                self.intake.hurry();
            }
            Message::Pong => {}
            Message::Fin { offset } => {
                self.intake
                    .finish(offset)
                    .map_err(|refused| StreamError::peer(refused.to_string()))?;
                // One that is sent again crosses the answer that each link begins with.
                if let State::Open(open) = &self.state {
                    self.say.fin_ok |= !open.has_sent_fin_ok;
                }
            }
            Message::FinOk => {
                let never_sent = || StreamError::peer("it answers an end that was never sent");
                if !self.is_finish_sent {
                    return Err(never_sent().into());
                }
                self.replay
                    .acknowledge(self.replay.written(), 0)
                    .map_err(|_| never_sent())?;
                self.is_finish_known = true;
            }
            Message::GoAway { received_to } => {
                self.replay
                    .acknowledge(received_to, 0)
                    .map_err(|_| StreamError::peer("it acknowledges what was never sent"))?;
                if !std::mem::replace(&mut self.is_peer_going, true) {
                    self.outputs.push_back(Output::GoingAway);
                }
            }
            Message::Gone(reason) => return Err(Stop::Gone(reason)),
            Message::Hello(_)
            | Message::New
            | Message::NewOk(_)
            | Message::Attach(_)
            | Message::Attached(_) => {
                return Err(StreamError::peer("it begins a session inside of one").into());
            }
        }
        Ok(())
    }

    /// The client says something, so it has our answer.
    pub(super) fn confirm(&mut self) {
        if !self.is_confirmed && !self.is_over() {
            self.is_confirmed = true;
            self.outputs.push_front(Output::Confirmed);
        }
    }

    /// The present link ended in order.
    pub fn handle_end(&mut self, now: Instant) {
        if self.is_done() {
            // In order from this end, too, if that was not said yet.
            self.outputs.push_back(Output::FinishLink);
            self.end(None);
        } else {
            self.handle_detached(self.lost(LossReason::EndOfStream), now);
        }
    }

    /// The present link is gone.
    pub fn handle_detached(&mut self, error: StreamError, now: Instant) {
        match std::mem::replace(&mut self.state, State::Down) {
            State::Open(_) => self.lost_at = now,
            State::Over => self.state = State::Over,
            State::Down | State::ExpectAnswer(_) => {}
        }
        self.last_loss = Some(error);
        self.replay.detach();
    }

    // ---- outputs ----

    /// The next output.
    pub fn poll_output(&mut self, host: &dyn Host) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if self.held.is_due(host.up_gate()) {
            return self.held.take().map(Output::Up);
        }
        let is_done = self.is_done();
        let State::Open(open) = &mut self.state else {
            return None;
        };
        let up_gate = host.up_gate();
        let has_data = self.replay.sendable() > 0;
        let is_fin_due = self.is_finishing && !self.is_finish_known && !open.has_sent_fin;
        let has_words = self.intake.must_tell(up_gate)
            || self.say.has_words()
            || self.replay.is_all_sent() && (self.say.ask || is_fin_due);
        if open.has_finished || !has_data && !has_words {
            return (is_done && !std::mem::replace(&mut open.has_finished, true))
                .then_some(Output::FinishLink);
        }
        if !open.gate.is_open() {
            return None;
        }
        let mut chunk = Chunk::new();
        // Acknowledgements before data: what the peer waits for does not stand behind what it does not.
        let mut words = BytesMut::with_capacity(WORDS);
        if self.intake.must_tell(up_gate) || has_data && self.intake.may_tell(up_gate) {
            let (received_to, credit) = self.intake.tell(up_gate);
            let ack = Message::Ack {
                received_to,
                credit,
            };
            ack.encode(&mut words);
        }
        open.has_sent_fin_ok |= self.say.first(self.intake.received(), &mut words);
        let room = open.gate.cap().saturating_sub(open.gate.used());
        self.replay.send(room, open.longest, &mut words, &mut chunk);
        if self.replay.is_all_sent() {
            if std::mem::take(&mut self.say.ask) {
                Message::Ping.encode(&mut words);
            }
            if is_fin_due {
                open.has_sent_fin = true;
                self.is_finish_sent = true;
                let offset = self.replay.written();
                Message::Fin { offset }.encode(&mut words);
            }
        }
        chunk.push(words.freeze());
        open.pulse.sent(host.now());
        let credit = open.gate.charge(chunk.len() + BATCH_COST);
        let write = Write {
            unit: chunk,
            credit,
        };
        Some(Output::Down(write))
    }

    /// The gate of the present link, when it is shut: to be asked again once it is open.
    pub fn shut_link(&self) -> Option<&Arc<Gate>> {
        match &self.state {
            State::Open(open) if !open.gate.is_open() => Some(&open.gate),
            _ => None,
        }
    }

    /// True when the peer is to be told as soon as half of the gate of the way up is free.
    pub fn wants_room(&self, host: &dyn Host) -> bool {
        self.held() == 0
            && matches!(self.state, State::Open(_))
            && self.intake.is_narrow(host.up_gate())
    }

    /// Bytes that go up as soon as the gate of that way is open, not counting these.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What is held goes up in front of what comes last.
    pub(super) fn let_go(&mut self) {
        self.outputs.extend(self.held.take().map(Output::Up));
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.replay.written()
    }

    /// Bytes that the peer has.
    pub fn acknowledged(&self) -> u64 {
        self.replay.acknowledged()
    }

    /// Bytes of both directions that have come to their end: a link on which this grows is of use.
    pub fn passed(&self) -> u64 {
        self.replay
            .acknowledged()
            .wrapping_add(self.intake.received())
    }

    /// True when a link is wanted.
    pub fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }

    /// True when the session has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// True when both directions have ended, and the peer knows of ours.
    pub fn is_done(&self) -> bool {
        self.is_finish_known && self.intake.has_ended() && !self.say.fin_ok
    }
}

impl Say {
    fn has_words(&self) -> bool {
        self.ping || self.pong || self.fin_ok || self.go_away
    }

    /// What goes in front of data. True when FIN_OK is among it.
    fn first(&mut self, received_to: u64, words: &mut BytesMut) -> bool {
        if std::mem::take(&mut self.ping) {
            Message::Ping.encode(words);
        }
        if std::mem::take(&mut self.pong) {
            Message::Pong.encode(words);
        }
        if std::mem::take(&mut self.go_away) {
            Message::GoAway { received_to }.encode(words);
        }
        let fin_ok = std::mem::take(&mut self.fin_ok);
        if fin_ok {
            Message::FinOk.encode(words);
        }
        fin_ok
    }
}
