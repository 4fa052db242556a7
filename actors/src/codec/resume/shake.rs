//! How a link becomes the session's: the client's question, and the server's answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::{
    Identity, Link, Output,
    config::ResumeConfig,
    engine::{Asked, Open, Resume, State, Stop},
    greeting::Request,
    proof::{Claim, Ticket},
    wire::{Attach, Attached, Hello, Message, NewOk, Reason, TAKES_RUNS},
};
use crate::{
    codec::{
        Host,
        pulse::{MIN_SILENCE, Pulse},
    },
    credit::Gate,
    error::{SessionLost, StreamError},
    message::Write,
    side::Side,
};

/// Why a server does not go on with a session over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Whoever asked does not know the secret, is not on a link like the first one, or comes late. Nothing has changed.
    Stranger,
    /// The client remembers another past than this end; the session is over.
    Impossible,
}

impl Resume {
    // ---- the dialling end ----

    /// A new link is ready: asks for a session, or to go on with the one there is.
    pub fn handle_attached(&mut self, link: Link) {
        if !self.is_down() {
            return;
        }
        let ask = match &self.ticket {
            None => Message::New,
            Some(ticket) => {
                self.epoch += 1;
                let received_to = self.intake.received();
                let claim = Claim::Attach { received_to };
                Message::Attach(Attach {
                    session: ticket.new.session,
                    epoch: self.epoch,
                    received_to,
                    proof: ticket.prove(&claim, self.epoch, &link.binding),
                })
            }
        };
        self.say_on(&link.gate, &[Message::Hello(self.hello()), ask]);
        let until = link.now + self.config.handshake_timeout;
        self.state = State::ExpectAnswer(Box::new(Asked {
            // No sign of life is due before the answer, and nothing of the stream.
            open: Open::new(link.gate, Pulse::new(None, None, link.now), 0),
            binding: link.binding,
            hello: None,
            until,
        }));
    }

    /// Takes the answer, message by message.
    pub(super) fn take_answer(&mut self, message: Message, now: Instant) -> Result<(), Stop> {
        let State::ExpectAnswer(asked) = &mut self.state else {
            return Ok(());
        };
        match (message, asked.hello, &self.ticket) {
            (Message::Hello(hello), None, _) => {
                asked.hello = Some(hello);
                Ok(())
            }
            (Message::NewOk(new), Some(hello), None) => {
                let binding = asked.binding;
                self.ticket = Some(Ticket { new, binding });
                self.is_confirmed = true;
                self.outputs.push_back(Output::Confirmed);
                self.open(hello, now);
                Ok(())
            }
            (Message::Attached(attached), Some(hello), Some(ticket)) => {
                let Attached {
                    received_to,
                    credit,
                    proof,
                } = attached;
                let claim = Claim::Attached {
                    received_to,
                    credit,
                };
                if !ticket.verify(&proof, &claim, self.epoch, &asked.binding) {
                    return Err(StreamError::peer("it does not know the session's secret").into());
                }
                let is_possible = self.replay.rewind(received_to).is_ok()
                    && self.replay.acknowledge(received_to, credit).is_ok();
                self.open(hello, now);
                if !is_possible {
                    self.fail(other_past(), now);
                }
                Ok(())
            }
            (Message::Gone(reason), Some(_), _) => Err(Stop::Gone(reason)),
            _ => Err(StreamError::peer("it answers what was not asked").into()),
        }
    }

    /// The answer is there.
    fn open(&mut self, theirs: Hello, now: Instant) {
        let pulse = self.pulse(theirs, now);
        if let State::ExpectAnswer(asked) = std::mem::replace(&mut self.state, State::Down) {
            let mut open = asked.open;
            open.pulse = pulse;
            open.longest = theirs.longest();
            self.begin(open);
        }
    }

    // ---- the accepting end ----

    /// A new session for a client that asks for one.
    pub fn accept(
        config: &ResumeConfig,
        identity: Identity,
        request: &Request,
        link: Link,
    ) -> Self {
        let mut session = Self::down(config, Side::Accepted, link.now);
        let new = NewOk {
            session: identity.session,
            secret: identity.secret,
            incarnation: identity.incarnation,
        };
        let binding = link.binding;
        session.ticket = Some(Ticket { new, binding });
        session.say_on(
            &link.gate,
            &[Message::Hello(session.hello()), Message::NewOk(new)],
        );
        session.take_link(link, request.hello);
        session
    }

    /// A client wants to go on over another link. If it may, that is the present one from now on.
    ///
    /// # Errors
    ///
    /// When it may not: the link is to be refused.
    pub fn handle_attach(
        &mut self,
        request: &Request,
        link: Link,
        host: &dyn Host,
    ) -> Result<(), Refusal> {
        let (Some(attach), Some(ticket)) = (&request.attach, &self.ticket) else {
            return Err(Refusal::Stranger);
        };
        let received_to = attach.received_to;
        let is_known = ticket.binding.admits(&link.binding)
            && ticket.verify(
                &attach.proof,
                &Claim::Attach { received_to },
                attach.epoch,
                &link.binding,
            );
        if !is_known || attach.epoch <= self.epoch || self.is_over() {
            return Err(Refusal::Stranger);
        }
        self.epoch = attach.epoch;
        // It has a ticket, so it has our first answer.
        self.confirm();
        if self.replay.rewind(received_to).is_err() {
            let lost = self.session_lost(SessionLost::Fault(Arc::new(other_past())));
            self.give_up(Reason::Fault, lost);
            return Err(Refusal::Impossible);
        }
        let (received_to, credit) = self.intake.tell(host.up_gate());
        let claim = Claim::Attached {
            received_to,
            credit,
        };
        let Some(ticket) = &self.ticket else {
            return Err(Refusal::Stranger);
        };
        let proof = ticket.prove(&claim, self.epoch, &link.binding);
        let attached = Attached {
            received_to,
            credit,
            proof,
        };
        // What was to be said on the link before is void.
        self.outputs
            .retain(|output| !matches!(output, Output::Down(_) | Output::Attached));
        self.say_on(
            &link.gate,
            &[Message::Hello(self.hello()), Message::Attached(attached)],
        );
        self.take_link(link, request.hello);
        Ok(())
    }

    fn take_link(&mut self, link: Link, theirs: Hello) {
        let pulse = self.pulse(theirs, link.now);
        self.begin(Open::new(link.gate, pulse, theirs.longest()));
    }

    // ---- both ----

    fn begin(&mut self, open: Open) {
        self.state = State::Open(Box::new(open));
        // The peer learns at once what came, and that its answer did.
        self.intake.hurry();
        self.say.fin_ok = self.intake.has_ended();
        self.say.go_away = self.is_going;
        self.outputs.push_back(Output::Attached);
    }

    fn hello(&self) -> Hello {
        let silence = self.config.liveness.map(|liveness| liveness.silence());
        let silence = silence.map_or(0, |silence| silence.as_millis());
        Hello {
            features: TAKES_RUNS,
            silence: u32::try_from(silence).unwrap_or(u32::MAX),
        }
    }

    fn pulse(&self, theirs: Hello, now: Instant) -> Pulse {
        // Signs of life more often than this would only be noise.
        let asked = (theirs.silence > 0)
            .then(|| Duration::from_millis(theirs.silence.into()).max(MIN_SILENCE));
        Pulse::new(self.config.liveness, asked, now)
    }

    /// Says something that waits for nothing.
    fn say_on(&mut self, gate: &Arc<Gate>, messages: &[Message]) {
        let mut words = BytesMut::new();
        messages
            .iter()
            .for_each(|message| message.encode(&mut words));
        let write = Write {
            credit: gate.charge(words.len()),
            unit: words.freeze().into(),
        };
        self.outputs.push_back(Output::Down(write));
    }
}

fn other_past() -> StreamError {
    StreamError::peer("it remembers another past of the session")
}
