//! [`Dialect`]: where the kind of a message stands, which is what RPyC 6 changed on the wire.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::message::{Kind, ProtocolError};
use super::pack::{PAIR, small};

/// The form of a message's envelope. Everything inside it is the same.
///
/// The first byte of a payload tells them apart, so an end that listens first need not be told: it answers as it is spoken to.
/// Whoever speaks first has to know. (`rpyc/core/protocol.py`, `Connection._send`; RPyC 6.0 changed it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// RPyC 4.1 and 5: the brine triple `(kind, seq, body)`.
    Rpyc5,
    /// RPyC 6: a byte for the kind, then the brine pair `(seq, body)`.
    #[default]
    Rpyc6,
}

/// Brine tag of a tuple of three.
const TRIPLE: u8 = 0x12;
/// Length of the thread ids that `bind_threads` puts in front. Their first byte is 0, ids being far below 2^56.
const THREAD_IDS: usize = 16;

impl Dialect {
    /// Appends what stands before the number of a message.
    pub(super) fn begin(self, out: &mut BytesMut, kind: Kind) {
        let kind = kind as u8;
        out.put_slice(&match self {
            Self::Rpyc5 => [TRIPLE, small(i64::from(kind))],
            Self::Rpyc6 => [kind, PAIR],
        });
    }

    /// Takes the kind off a payload that is not empty, and the header of the tuple where it stands before it. In RPyC 6 the header
    /// of the pair follows.
    pub(super) fn take_from(payload: &mut Bytes) -> Result<(Self, Kind), ProtocolError> {
        let length = payload.len();
        let first = payload.get_u8();
        if let Some(kind) = Kind::from_number(first) {
            return Ok((Self::Rpyc6, kind));
        }
        if first == TRIPLE
            && let Some(kind) = payload
                .first()
                .and_then(|byte| Kind::from_number(byte.wrapping_sub(small(0))))
        {
            payload.advance(1);
            return Ok((Self::Rpyc5, kind));
        }
        Err(if first == 0 && length > THREAD_IDS {
            ProtocolError::BoundThreads
        } else {
            ProtocolError::UnknownMessageType { byte: first }
        })
    }
}
