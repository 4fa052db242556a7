//! [`Incoming`], what a received message means, and [`Stats`], what a connection holds.

use super::{CallError, Exception, Item, Request, Seq};

/// What a received message means.
#[derive(Debug)]
#[must_use = "a request wants an answer, a waiter its result"]
pub enum Incoming<W, T> {
    /// The peer asks for something: answer with [`Protocol::reply`](super::Protocol::reply) or [`Protocol::exception`](super::Protocol::exception), in any order.
    Request {
        /// To be repeated in the answer.
        seq: Seq,
        /// What it asks for.
        request: Request<T>,
    },
    /// The peer asks for something that makes no sense: answer with this exception.
    BadRequest {
        /// To be repeated in the answer.
        seq: Seq,
        /// What to raise.
        exception: Exception,
    },
    /// The answer to a request of ours.
    Answer {
        /// The number of the request.
        seq: u64,
        /// Who waits for it.
        waiter: W,
        /// What came of it.
        result: Result<Item<T>, CallError>,
    },
    /// An answer that nobody waits for. Its references were given back.
    Late,
    /// The peer closes the connection. There is no answer: end the stream.
    Close,
    /// An empty frame, which means nothing.
    Nothing,
}

/// How much a connection holds at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Requests of ours without an answer, wanted or not.
    pub pending: usize,
    /// Objects of ours that the peer holds.
    pub exported: usize,
    /// Objects of the peer that we hold, or have not told it yet that we do not.
    pub imported: usize,
    /// Requests of the peer that were answered with an exception because of a limit of the host's, since the beginning. The protocol
    /// itself leaves it at 0.
    pub refused: u64,
}
