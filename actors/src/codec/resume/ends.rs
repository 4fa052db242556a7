//! How a session, or a link of it, comes to its end: by time, by a fault, or because somebody wants it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::{
    Output,
    engine::{Resume, State},
    wire::{Message, Reason},
};
use crate::{
    codec::pulse::Due,
    error::{ConnectionLostError, LossReason, SessionLost, StreamError},
    message::Write,
    side::Side,
};

impl Resume {
    // ---- time ----

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Open(open) => {
                self.intake.tick(now);
                match open.pulse.tick(now, true) {
                    Due::Nothing => {}
                    Due::Ping => self.say.ping = true,
                    Due::Pong => self.say.pong = true,
                    Due::Dead(after) => {
                        let error = self.lost(LossReason::Silent { after });
                        self.drop_link(error, now);
                    }
                }
            }
            State::ExpectAnswer(asked) if asked.until <= now => {
                let error = StreamError::TimedOut {
                    what: "a session's handshake",
                    after: self.config.handshake_timeout,
                };
                self.drop_link(error, now);
            }
            _ => {}
        }
        if self.patience_ends().is_some_and(|until| until <= now) {
            self.lose_patience();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let on_link = match &self.state {
            State::Open(open) => {
                let times = [self.intake.due(), open.pulse.next()];
                times.into_iter().flatten().min()
            }
            State::ExpectAnswer(asked) => Some(asked.until),
            State::Down | State::Over => None,
        };
        on_link.into_iter().chain(self.patience_ends()).min()
    }

    fn patience(&self) -> Duration {
        if self.ticket.is_none() || !self.is_confirmed && !self.is_down() {
            // The client has no session yet; or the server has one of which nobody has said that he has it.
            self.config.handshake_timeout
        } else {
            self.config.linger
        }
    }

    /// When the session ends unless it has a link, and each end knows of the other.
    fn patience_ends(&self) -> Option<Instant> {
        let is_waiting = match self.state {
            State::Down | State::ExpectAnswer(_) => true,
            State::Open(_) => !self.is_confirmed,
            State::Over => false,
        };
        is_waiting.then(|| self.lost_at + self.patience())
    }

    fn lose_patience(&mut self) {
        let error = if self.is_done() || self.side == Side::Accepted && !self.is_confirmed {
            None
        } else if self.ticket.is_some() {
            let after = self.config.linger;
            Some(self.session_lost(SessionLost::LingerOver { after }))
        } else {
            // A session that never was cannot be lost.
            let timed_out = StreamError::TimedOut {
                what: "a session's handshake",
                after: self.config.handshake_timeout,
            };
            Some(self.last_loss.take().unwrap_or(timed_out))
        };
        self.end(error);
    }

    // ---- ends ----

    /// Gives the session up, if anything is left of it. The peer is told, if there is a link.
    pub fn handle_abort(&mut self) {
        if !self.is_done() {
            self.give_up(Reason::Aborted, self.lost(LossReason::Aborted));
            return;
        }
        if matches!(self.state, State::Open(_)) {
            self.outputs.push_back(Output::FinishLink);
        }
        self.end(None);
    }

    /// The ends do not go together, and never will: the session begins with no link, or finds none any more.
    pub fn handle_refusal(&mut self, error: StreamError) {
        let error = if self.ticket.is_some() {
            self.session_lost(SessionLost::Fault(Arc::new(error)))
        } else {
            error
        };
        self.end((!self.is_done()).then_some(error));
    }

    /// Others need the room that this session takes.
    pub fn handle_eviction(&mut self) {
        self.end(Some(self.session_lost(SessionLost::Evicted)));
    }

    pub(super) fn lost(&self, reason: LossReason) -> StreamError {
        ConnectionLostError::new(&"".into(), reason).into()
    }

    pub(super) fn session_lost(&self, why: SessionLost) -> StreamError {
        self.lost(LossReason::SessionLost(why))
    }

    /// Something that came makes no sense.
    pub(super) fn fail(&mut self, error: StreamError, now: Instant) {
        match &self.state {
            State::Open(_) => {
                let lost = self.session_lost(SessionLost::Fault(Arc::new(error)));
                self.give_up(Reason::Fault, lost);
            }
            // Whoever answered may be somebody else.
            State::ExpectAnswer(_) if self.ticket.is_some() => self.drop_link(error, now),
            _ => self.end(Some(error)),
        }
    }

    pub(super) fn drop_link(&mut self, error: StreamError, now: Instant) {
        self.handle_detached(error.clone(), now);
        self.outputs.push_back(Output::DropLink(error));
    }

    /// The peer says that the session is over.
    pub(super) fn end_as_told(&mut self, reason: u8) {
        let why = match reason {
            reason if reason == Reason::Unknown as u8 => SessionLost::Unknown,
            reason if reason == Reason::Aborted as u8 => SessionLost::PeerAborted,
            reason if reason == Reason::Going as u8 => SessionLost::PeerGoing,
            reason => SessionLost::PeerRefused { reason },
        };
        self.end((!self.is_done()).then(|| self.session_lost(why)));
    }

    /// Ends the session from this end. What the peer is told still has to leave.
    pub(super) fn give_up(&mut self, reason: Reason, error: StreamError) {
        if let State::Open(open) = &self.state {
            let mut words = BytesMut::new();
            Message::Gone(reason as u8).encode(&mut words);
            let credit = open.gate.charge(words.len());
            let unit = words.freeze().into();
            self.outputs.push_back(Output::Down(Write { unit, credit }));
            self.outputs.push_back(Output::FinishLink);
        }
        self.end(Some(error));
    }

    pub(super) fn end(&mut self, error: Option<StreamError>) {
        if !self.is_over() {
            // What is kept stays until the host has told those who wait for its credit.
            self.state = State::Over;
            self.let_go();
            self.outputs.push_back(Output::Over(error));
        }
    }
}
