//! [`Uplink`]: what a session is to the link below it.

use std::sync::Arc;

use actix::Message;

use super::actor::Session;
use crate::{
    codec::resume::{Binding, SEALED_LINK_WINDOW},
    credit::Gate,
    error::StreamError,
    layer::{Above, Below, Gone},
    mail::WorkAddr,
    message::{End, Lost, Read, Tell},
    unit::Chunk,
};

/// A message of the link with this number. What an older link says is of no interest any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct FromLink<M> {
    pub(super) number: u64,
    pub(super) message: M,
}

/// The session as the uppermost actor of a link sees it.
pub(super) struct Uplink {
    pub(super) session: WorkAddr<Session>,
    pub(super) number: u64,
}

impl Uplink {
    fn post<M: Send + 'static>(&self, message: M) -> Result<(), Gone>
    where
        Session: actix::Handler<FromLink<M>>,
    {
        self.session.post(FromLink {
            number: self.number,
            message,
        })
    }
}

impl Above<Chunk> for Uplink {
    fn read(&self, message: Read<Chunk>) -> Result<(), Gone> {
        self.post(message)
    }

    // A session that is gone needs no news.

    fn end(&self) {
        let _ = self.post(End);
    }

    fn lost(&self, error: StreamError) {
        let _ = self.post(Lost(error));
    }

    fn write_failed(&self, error: StreamError) {
        // A link on which nothing can be said is of no use.
        let _ = self.post(Lost(error));
    }

    fn tell(&self, message: Tell) {
        let _ = self.post(message);
    }
}

/// A link in a session's hands. Dropping it lets go of the actors below.
pub(super) struct Attachment {
    pub(super) number: u64,
    pub(super) below: Box<dyn Below<Chunk>>,
    pub(super) gate: Arc<Gate>,
    /// Known once the layers below have shaken hands.
    pub(super) binding: Option<Binding>,
    /// Nothing more is to go down; what did still has to leave.
    pub(super) is_finished: bool,
}

impl Attachment {
    pub(super) fn new(number: u64, below: Box<dyn Below<Chunk>>, binding: Option<Binding>) -> Self {
        // One that is to be known later encrypts.
        let window = binding.as_ref().map_or(SEALED_LINK_WINDOW, Binding::window);
        Self {
            number,
            below,
            gate: Gate::new(window),
            binding,
            is_finished: false,
        }
    }

    pub(super) fn finish(&mut self) {
        self.is_finished = true;
        // One that is gone has finished.
        let _ = self.below.finish();
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if !self.is_finished {
            self.below.abort();
        }
        self.below.detach();
    }
}
