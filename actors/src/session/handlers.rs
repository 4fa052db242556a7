//! What a session does with each message. The work itself is its future's.

use actix::{Actor, Handler};
use tokio::time::Instant;

use super::{
    actor::{Evict, GoAway, Keeper, Session, TakeLink},
    link::FromLink,
};
use crate::{
    codec::{
        Host,
        resume::{Binding, Link, Request},
    },
    error::{LossReason, StreamError},
    event::{ConnectionEvent, log_started},
    message::{Abort, Attach, Detach, End, ExpectMore, Finish, Flush, Lost, Read, Tell, Write},
    stream::{CloseStream, Keep},
    unit::Chunk,
    work::WorkContext,
};

impl Actor for Session {
    type Context = WorkContext<Self>;

    fn started(&mut self, ctx: &mut WorkContext<Self>) {
        log_started::<Self>(&self.surroundings.endpoint);
        if let Some(link) = self.link.take() {
            self.use_link(link, ctx.work_address());
        }
    }
}

// ---- messages from above ----

impl Handler<Attach<Chunk>> for Session {
    type Result = ();

    fn handle(&mut self, Attach(above): Attach<Chunk>, _: &mut WorkContext<Self>) {
        for read in self.early.drain(..) {
            // One that is gone already is noticed with the next read.
            let _ = above.read(read);
        }
        match &self.outcome {
            Some(error) if !self.has_ended => above.lost(error.clone()),
            _ if self.has_ended => above.end(),
            _ => {}
        }
        self.above = Some(above);
    }
}

impl Handler<Write<Chunk>> for Session {
    type Result = ();

    fn handle(&mut self, message: Write<Chunk>, _: &mut WorkContext<Self>) {
        self.codec.handle_write(message);
    }
}

impl Handler<Finish> for Session {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut WorkContext<Self>) {
        self.codec.handle_finish();
    }
}

impl Handler<Flush> for Session {
    type Result = ();

    fn handle(&mut self, flush: Flush, _: &mut WorkContext<Self>) {
        match &self.outcome {
            Some(StreamError::Closed) => flush.answer(Ok(())),
            Some(error) => flush.answer(Err(error.clone())),
            None => {
                self.codec.handle_flush();
                self.flushes.push_back((self.codec.written(), flush));
            }
        }
    }
}

impl Handler<CloseStream> for Session {
    type Result = ();

    fn handle(&mut self, message: CloseStream, _: &mut WorkContext<Self>) {
        self.surroundings.down_gate.close(StreamError::Closed);
        if let Some(above) = self.above.take()
            && self.outcome.is_none()
        {
            // Somebody closed the stream under a channel.
            above.lost(StreamError::Closed);
        }
        self.closes.push(message);
        self.leave();
    }
}

impl Handler<Abort> for Session {
    type Result = ();

    fn handle(&mut self, _: Abort, _: &mut WorkContext<Self>) {
        self.codec.handle_abort();
    }
}

impl Handler<ExpectMore> for Session {
    type Result = ();

    fn handle(&mut self, _: ExpectMore, _: &mut WorkContext<Self>) {
        // A hint for peers that hold back what is small; one of ours does not.
    }
}

impl Handler<Detach> for Session {
    type Result = ();

    fn handle(&mut self, _: Detach, _: &mut WorkContext<Self>) {
        self.above = None;
        self.leave();
    }
}

impl Handler<Keep> for Session {
    type Result = ();

    fn handle(&mut self, message: Keep, _: &mut WorkContext<Self>) {
        self.kept = Some(message.0);
    }
}

// ---- messages from links ----

impl Handler<FromLink<Read<Chunk>>> for Session {
    type Result = ();

    fn handle(&mut self, read: FromLink<Read<Chunk>>, _: &mut WorkContext<Self>) {
        if self.is_present(read.number) {
            self.codec.handle_read(read.message, &self.surroundings);
        }
    }
}

impl Handler<FromLink<End>> for Session {
    type Result = ();

    fn handle(&mut self, end: FromLink<End>, _: &mut WorkContext<Self>) {
        if self.is_present(end.number) {
            self.codec.handle_end(self.surroundings.now());
            if !self.codec.is_over() {
                let error = self.lost(LossReason::EndOfStream);
                self.let_go(error);
            }
        }
    }
}

impl Handler<FromLink<Lost>> for Session {
    type Result = ();

    fn handle(&mut self, lost: FromLink<Lost>, _: &mut WorkContext<Self>) {
        if !self.is_present(lost.number) {
            return;
        }
        let Lost(error) = lost.message;
        if error.is_refusal() && matches!(self.keeper, Keeper::Dialler(_)) {
            self.codec.handle_refusal(error);
        } else {
            self.lose_link(error);
        }
    }
}

impl Handler<FromLink<Tell>> for Session {
    type Result = ();

    fn handle(&mut self, tell: FromLink<Tell>, _: &mut WorkContext<Self>) {
        if !self.is_present(tell.number) {
            return;
        }
        if let ConnectionEvent::Established { binding, .. } = &tell.message.0
            && let Some(link) = &mut self.link
            && link.binding.is_none()
        {
            link.binding = Some(Binding::noise(*binding));
            self.ask();
        }
        self.tell(tell.message.0);
    }
}

impl Handler<TakeLink> for Session {
    type Result = ();

    fn handle(&mut self, mut message: TakeLink, ctx: &mut WorkContext<Self>) {
        let Some(below) = message.below.take() else {
            return;
        };
        let mut link = self.new_link(below, Some(message.binding));
        let ready = Link {
            binding: message.binding,
            gate: link.gate.clone(),
            now: self.surroundings.now(),
        };
        match self
            .codec
            .handle_attach(&message.request, ready, &self.surroundings)
        {
            Ok(()) => {
                // The client has moved on, so what is left of the link before is of no use.
                self.link = None;
                self.detached.get_or_insert_with(Instant::now);
                self.use_link(link, ctx.work_address());
            }
            Err(why) => {
                let word = Request::refuse(why);
                let write = Write {
                    credit: link.gate.charge(word.len()),
                    unit: word.into(),
                };
                // A link that is gone needs no answer.
                let _ = link.below.write(write);
                link.finish();
            }
        }
    }
}

impl Handler<GoAway> for Session {
    type Result = ();

    fn handle(&mut self, _: GoAway, _: &mut WorkContext<Self>) {
        self.codec.handle_go_away();
    }
}

impl Handler<Evict> for Session {
    type Result = ();

    fn handle(&mut self, _: Evict, _: &mut WorkContext<Self>) {
        // One that found a link meanwhile needs no room.
        if self.link.is_none() {
            self.codec.handle_eviction();
        }
    }
}
