//! [`Waiting`]: a call that was sent, until its answer comes.

use rpyc_actors::StreamError;
use tokio::sync::oneshot;

use super::{Link, link::LocalItem};
use crate::protocol::CallError;

/// What a call gets in the end.
pub(super) type Answer = Result<LocalItem, Failure>;

/// Why a call has no answer.
pub(super) enum Failure {
    Call(CallError),
    NotSent(StreamError),
    MayHaveRun(StreamError),
    TimedOut,
}

/// A call that waits.
pub(super) struct Waiter {
    pub(super) answer: oneshot::Sender<Answer>,
    /// The number of its frame.
    pub(super) frame: u64,
}

impl Waiter {
    /// Gives the answer; gives it back if nobody waits any more.
    pub(super) fn tell(self, answer: Answer) -> Result<(), Answer> {
        self.answer.send(answer)
    }
}

/// The wait for an answer. Dropped early, it gives back the references of an answer that had just come.
pub(super) struct Waiting<'a> {
    pub(super) link: &'a Link,
    pub(super) receiver: oneshot::Receiver<Answer>,
}

impl Future for Waiting<'_> {
    type Output = Answer;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Answer> {
        let result = std::task::ready!(std::pin::Pin::new(&mut self.receiver).poll(cx));
        // The sender is dropped without a word only together with the whole connection.
        let gone = || Failure::MayHaveRun(self.link.end_reason().unwrap_or(StreamError::Closed));
        std::task::Poll::Ready(result.unwrap_or_else(|_| Err(gone())))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.receiver.close();
        if let Ok(Ok(item)) = self.receiver.try_recv() {
            self.link.give_back(&item);
        }
    }
}
