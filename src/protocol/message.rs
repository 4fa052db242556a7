//! The envelope: one byte for the kind of message, then a brine pair of sequence number and body.
//!
//! # Wire format
//!
//! | payload | |
//! |---|---|
//! | `01`, brine `(seq, (handler, box))` | request |
//! | `02`, brine `(seq, box)` | reply |
//! | `03`, brine `(seq, exception)` | exception |
//!
//! Bytes after the pair are ignored, as Python does. RPyC before 6.0 put the kind inside the brine: `(kind, seq, body)`, so that
//! its first byte is `12`, the tag of a tuple of three; see [`Dialect`].

use bytes::{BufMut, BytesMut};

use super::pack::{PAIR, small};
use super::{Dialect, Handler};
use crate::brine::{self, BrineError, Value};

/// The peer sent something after which it cannot be understood any more: the connection must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A payload starts with a byte that is no kind of message.
    #[error("unknown message type {byte}")]
    UnknownMessageType {
        /// The byte.
        byte: u8,
    },
    /// The peer is RPyC 5 or older, and was spoken to as one of 6.
    #[error(
        "the peer speaks the protocol of rpyc 5 and older, which differs from that of 6: connect with Dialect::Rpyc5"
    )]
    OlderDialect,
    /// The peer is RPyC 6, and was spoken to as one of 5.
    #[error(
        "the peer speaks the protocol of rpyc 6, which differs from that of 5: connect with Dialect::Rpyc6"
    )]
    NewerDialect,
    /// The peer runs with `bind_threads`, which puts two thread ids before each message.
    #[error("the peer binds threads (RPYC_BIND_THREADS), which both ends must do or neither")]
    BoundThreads,
    /// The brine of a message is not a pair.
    #[error("a {what} is not a pair of sequence number and body")]
    NotAPair {
        /// What kind of message it is.
        what: &'static str,
    },
    /// The brine of a message is broken.
    #[error("a {what} cannot be decoded")]
    Brine {
        /// What kind of message it is.
        what: &'static str,
        /// What is wrong; offsets count from after the type byte.
        source: BrineError,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request = 1,
    Reply = 2,
    Exception = 3,
}

impl Kind {
    pub(super) fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Request),
            2 => Some(Self::Reply),
            3 => Some(Self::Exception),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Reply => "reply",
            Self::Exception => "exception",
        }
    }
}

/// The number of a request that the peer sent, to be repeated in the answer.
///
/// Python counts up from 0, and echoes whatever stands there; so do we.
#[derive(Debug, Clone, PartialEq)]
pub struct Seq(pub(super) Value);

impl Seq {
    /// The number as it came.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.0
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// Appends what stands before the boxed arguments of a request of ours.
pub(super) fn begin_request(out: &mut BytesMut, dialect: Dialect, seq: u64, handler: Handler) {
    dialect.begin(out, Kind::Request);
    brine::put_uint(out, seq);
    out.put_slice(&[PAIR, small(i64::from(handler.number()))]);
}

/// Appends what stands before the body of an answer.
pub(super) fn begin_answer(
    out: &mut BytesMut,
    dialect: Dialect,
    kind: Kind,
    seq: &Seq,
) -> Result<(), BrineError> {
    dialect.begin(out, kind);
    match &seq.0 {
        Value::Int(number) => brine::put_int(out, *number),
        other => brine::encode(other, out)?,
    }
    Ok(())
}
