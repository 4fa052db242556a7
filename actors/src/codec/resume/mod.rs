//! [`Resume`]: a stream of bytes that lives on over any number of links.
//!
//! It stands where [`Codec`](super::Codec)s stand, between chunks above and chunks below, and is given the same inputs. But a
//! codec's life is one connection's; this one's begins with the first of them and goes on over those that follow, so
//! it is told of links that are gone and of new ones. Bytes are numbered, kept until the peer has them, and sent again where they
//! are lost.
//!
//! # Wire format
//!
//! | offset | size | what |
//! | --- | --- | --- |
//! | 0 | 1 | kind: 1 HELLO, 2 NEW, 3 NEW_OK, 4 ATTACH, 5 ATTACHED, 6 GONE, 7 DATA, 8 ACK, 9 PING, 10 PONG, 11 GOAWAY, 12 FIN, 13 FIN_OK, 14 RUN |
//! | 1 | 2 | length of the body in bytes, big-endian |
//! | 3 | length | body: for DATA 8 bytes of offset and then 1 to 16,384 bytes of the stream; else of one length for each kind |
//! | 15 | count | behind the body of a RUN, which is offset and count: bytes of the stream |
//!
//! Source: our own; `docs/PROTOCOL.md` has the bodies and vectors.
//!
//! # States
//!
//! The dialling end is *down*, *expects an answer* to its NEW or ATTACH, or is *open*; the accepting end is down or open, since a
//! [`Greeting`] reads what a link says first. Down for longer than `linger` it is *over*: the session is lost. In good order
//! it is over when both directions have ended and both ends know it.
//!
//! # Limits
//!
//! Down, what is kept is what was written, bounded by the gate of that direction, whose credit returns when the peer has
//! acknowledged. Up, the peer may send what it was granted: the room of the gate of that direction, 1 MiB by default. A link
//! is always read, whatever is blocked, since both ends could wait for each other otherwise. On a link at most
//! [`LINK_WINDOW`] or [`SEALED_LINK_WINDOW`] bytes wait to be written, and what is no data is not queued behind more.

mod config;
mod ends;
mod engine;
mod greeting;
mod intake;
mod proof;
mod replay;
mod shake;
#[cfg(test)]
mod tests;
mod wire;

pub use config::ResumeConfig;
pub use engine::Resume;
pub use greeting::{Greeting, Request};
pub use proof::Binding;
pub use shake::Refusal;

use std::{sync::Arc, time::Instant};

use crate::{
    credit::Gate,
    error::StreamError,
    message::{Read, Write},
    unit::Chunk,
};

/// Bytes that may wait on one link to be written: what is kept anyway, so nothing waits twice. Half of it comes to a sender that waits
/// for credit at once, and is to travel in one write.
pub const LINK_WINDOW: usize = 1 << 20;

/// The same on a link that encrypts, which holds what waits a second time, as records. An acknowledgement does not wait for long behind it.
pub const SEALED_LINK_WINDOW: usize = 256 << 10;

/// What a session gives to its host.
#[derive(Debug)]
pub enum Output {
    /// Goes down the present link.
    Down(Write<Chunk>),
    /// Goes to the neighbour above.
    Up(Read<Chunk>),
    /// The neighbour above learns that the peer finished its direction.
    End,
    /// The peer knows of the session: whoever waits for it can have it now.
    Confirmed,
    /// The session goes on over the present link.
    Attached,
    /// The peer will give the session up soon.
    GoingAway,
    /// The present link shall finish its direction: nothing more will go down.
    FinishLink,
    /// The present link is of no use, and the session waits for another.
    DropLink(StreamError),
    /// It is all over: in good order, or with an error.
    Over(Option<StreamError>),
}

/// A link that is ready for the session.
#[derive(Clone, Debug)]
pub struct Link {
    /// What proofs are tied to.
    pub binding: Binding,
    /// Counts what waits on this link to be written; its cap is [`Binding::window`] as a rule.
    pub gate: Arc<Gate>,
    /// When it became ready.
    pub now: Instant,
}

/// Fresh random bytes for one session of a server, and what this run of the server is known by.
pub struct Identity {
    /// What finds the session.
    pub session: [u8; 16],
    /// What proves that somebody may go on with it.
    pub secret: [u8; 32],
    /// The same for all sessions of one run.
    pub incarnation: [u8; 16],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}
