//! Every actix message of the data path and of its control.
//!
//! Data messages carry their [`Credit`], so that dropping one anywhere gives it back. Between two actors all
//! messages keep their order, whatever their type.

use actix::Message;
use tokio::sync::oneshot;

use crate::{credit::Credit, error::StreamError, event::ConnectionEvent, unit::Unit};

/// Data on its way down, towards the socket.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Write<U: Unit> {
    /// What is to be written.
    pub unit: U,
    /// What it weighs in the gate of its direction.
    pub credit: Credit,
}

/// Data on its way up, towards the application.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Read<U: Unit> {
    /// What was read.
    pub unit: U,
    /// What it weighs in the gate of its direction; drop it when the data is used up.
    pub credit: Credit,
}

/// Nothing more comes down: this end finished its direction.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Finish;

/// Tell me when all that came before this has reached the kernel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Flush(pub(crate) oneshot::Sender<Result<(), StreamError>>);

impl Flush {
    /// The message, and where the answer arrives.
    pub fn new() -> (Self, oneshot::Receiver<Result<(), StreamError>>) {
        let (answer, receiver) = oneshot::channel();
        (Self(answer), receiver)
    }

    pub(crate) fn answer(self, result: Result<(), StreamError>) {
        // Whoever asked may have gone; then nobody misses the answer.
        let _ = self.0.send(result);
    }
}

/// Drop what is under way and reset the connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Abort;

/// What was read last ended inside a unit, so more of it is under way.
///
/// A TCP stream answers with TCP_QUICKACK, which cures the 40 ms stall of a peer whose Nagle algorithm
/// holds the rest back until an acknowledgement arrives.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ExpectMore;

/// Nothing more comes up: the peer ended its direction.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct End;

/// The connection is lost; nothing more comes up.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Lost(pub StreamError);

/// Nothing more can be written; what the peer sent may still come up.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct WriteFailed(pub StreamError);

/// A fact about the connection on its way up.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Tell(pub ConnectionEvent);

/// The neighbour above is gone; give out what is left, and go, too.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Detach;

/// Names the neighbour above, and starts the flow towards it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Attach<U: Unit>(pub(crate) Box<dyn crate::layer::Above<U>>);
