//! [`Demand`]: bytes that somebody asks for by their number, and bytes that nobody asked for yet.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use super::ReadExact;
use crate::error::{ConnectionLostError, LossReason, StreamError};

/// What answers a read.
pub(crate) type Answer = oneshot::Sender<Result<Bytes, StreamError>>;

/// What was read of a stream that is not part of a channel, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    surplus: BytesMut,
    requests: VecDeque<ReadExact>,
    /// Nothing more comes: the peer's orderly end, or why else.
    ending: Option<Ending>,
}

#[derive(Clone, Debug)]
struct Ending {
    endpoint: Arc<str>,
    error: Option<StreamError>,
}

impl Demand {
    /// True while somebody waits for more than is here.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.requests.is_empty()
    }

    /// Bytes that nobody took.
    pub(crate) fn surplus(&self) -> usize {
        self.surplus.len()
    }

    pub(crate) fn ask(&mut self, request: ReadExact) {
        self.requests.push_back(request);
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.surplus.extend_from_slice(bytes);
    }

    /// Takes back bytes whose reader went away: they are the next ones.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        let mut all = BytesMut::with_capacity(bytes.len() + self.surplus.len());
        all.extend_from_slice(bytes);
        all.extend_from_slice(&self.surplus);
        self.surplus = all;
    }

    /// Nothing more comes, for whatever reason; the first one stays.
    pub(crate) fn end(&mut self, endpoint: &Arc<str>, error: Option<StreamError>) {
        self.ending.get_or_insert_with(|| Ending {
            endpoint: endpoint.clone(),
            error,
        });
    }

    /// The next reader who can be answered, and the answer. If it went away meanwhile, the bytes are to be
    /// [`put_back`](Self::put_back) before anything else.
    pub(crate) fn next(&mut self) -> Option<(Answer, Result<Bytes, StreamError>)> {
        loop {
            let count = self.requests.front()?.count;
            let got = self.surplus.len();
            if got < count && self.ending.is_none() {
                return None;
            }
            let ReadExact { answer, .. } = self.requests.pop_front()?;
            if answer.is_closed() {
                continue;
            }
            return Some(match &self.ending {
                Some(ending) if got < count => (answer, Err(ending.told(got, count))),
                _ => (answer, Ok(self.surplus.split_to(count).freeze())),
            });
        }
    }

    /// Answers all who can be answered.
    pub(crate) fn serve(&mut self) {
        while let Some((answer, result)) = self.next() {
            if let Err(Ok(bytes)) = answer.send(result) {
                self.put_back(&bytes);
            }
        }
    }

    /// Whether nothing more comes, and why if that was not orderly.
    pub(crate) fn ending(&self) -> Option<Option<StreamError>> {
        self.ending.as_ref().map(|ending| ending.error.clone())
    }

    /// Gives what nobody took to a channel; whoever waits is told.
    pub(crate) fn hand_over(self) -> (Bytes, Vec<Answer>) {
        let waiting = self.requests.into_iter().map(|request| request.answer);
        (self.surplus.freeze(), waiting.collect())
    }
}

impl Ending {
    fn told(&self, got: usize, due: usize) -> StreamError {
        let reason = if got == 0 {
            LossReason::EndOfStream
        } else {
            LossReason::Truncated {
                what: "a read",
                got: got as u64,
                due: due as u64,
            }
        };
        self.error
            .clone()
            .unwrap_or_else(|| ConnectionLostError::new(&self.endpoint, reason).into())
    }
}

/// The answer to somebody who reads from a stream that a channel was built on meanwhile.
pub(crate) fn became_a_channel() -> StreamError {
    StreamError::misuse("the stream became part of a channel while it was read")
}
