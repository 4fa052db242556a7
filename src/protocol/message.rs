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
//! its first byte is `12`, the tag of a tuple of three. That dialect is recognised here and not spoken yet; where it will be,
//! [`Kind::take_from`], [`begin_request`] and [`begin_answer`] are the places to teach.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Handler;
use super::pack::{PAIR, small};
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
    /// The peer is RPyC 5 or older.
    #[error("the peer speaks the protocol of rpyc 5 and older, which differs from that of 6")]
    OlderDialect,
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

/// First byte of a message of RPyC 5: the brine tag of a tuple of three.
const OLDER_DIALECT: u8 = 0x12;
/// Length of the thread ids that `bind_threads` puts in front. Their first byte is 0, ids being far below 2^56.
const THREAD_IDS: usize = 16;

impl Kind {
    /// Takes the first byte off a payload that is not empty.
    pub(super) fn take_from(payload: &mut Bytes) -> Result<Self, ProtocolError> {
        let length = payload.len();
        match payload.get_u8() {
            1 => Ok(Self::Request),
            2 => Ok(Self::Reply),
            3 => Ok(Self::Exception),
            OLDER_DIALECT => Err(ProtocolError::OlderDialect),
            0 if length > THREAD_IDS => Err(ProtocolError::BoundThreads),
            byte => Err(ProtocolError::UnknownMessageType { byte }),
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
pub(super) fn begin_request(out: &mut BytesMut, seq: u64, handler: Handler) {
    out.put_slice(&[Kind::Request as u8, PAIR]);
    brine::put_uint(out, seq);
    out.put_slice(&[PAIR, small(i64::from(handler.number()))]);
}

/// Appends what stands before the body of an answer.
pub(super) fn begin_answer(out: &mut BytesMut, kind: Kind, seq: &Seq) -> Result<(), BrineError> {
    out.put_slice(&[kind as u8, PAIR]);
    match &seq.0 {
        Value::Int(number) => brine::put_int(out, *number),
        other => brine::encode(other, out)?,
    }
    Ok(())
}
