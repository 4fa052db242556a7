//! What neighbours in a chain know of each other.
//!
//! Addresses are strong in both directions, since upgrading a weak one costs two allocations for each message;
//! `Detach`, sent from `Drop`, is what breaks the circle.

use actix::Handler;

use crate::{
    error::StreamError,
    mail::WorkAddr,
    message::{
        Abort, Attach, Detach, End, ExpectMore, Finish, Flush, Lost, Read, Tell, Write, WriteFailed,
    },
    stream::CloseStream,
    unit::Unit,
    work::Work,
};

/// A neighbour is gone; whoever notices takes the chain down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The neighbour below, as the actor above sees it.
///
/// Every method posts a message; none waits. `Gone` says that the mailbox is closed, and the message was dropped
/// with its credit.
pub(crate) trait Below<U: Unit>: Send + Sync {
    fn write(&self, message: Write<U>) -> Result<(), Gone>;
    fn finish(&self) -> Result<(), Gone>;
    fn flush(&self, message: Flush) -> Result<(), Gone>;
    fn close(&self, message: CloseStream) -> Result<(), Gone>;
    fn abort(&self);
    fn expect_more(&self);
    fn attach(&self, above: Box<dyn Above<U>>) -> Result<(), Gone>;
    fn detach(&self);
}

/// The neighbour above, as the actor below sees it.
pub(crate) trait Above<U: Unit>: Send {
    fn read(&self, message: Read<U>) -> Result<(), Gone>;
    fn end(&self);
    fn lost(&self, error: StreamError);
    fn write_failed(&self, error: StreamError);
    fn tell(&self, message: Tell);
    /// Another one takes this one's place, and with it whatever nobody took here. An actor has handed on all it had.
    fn hand_over(&self, successor: &dyn Above<U>) {
        let _ = successor;
    }
}

impl<U, A> Below<U> for WorkAddr<A>
where
    U: Unit,
    A: Work
        + Handler<Write<U>>
        + Handler<Finish>
        + Handler<Flush>
        + Handler<CloseStream>
        + Handler<Abort>
        + Handler<ExpectMore>
        + Handler<Attach<U>>
        + Handler<Detach>,
{
    fn write(&self, message: Write<U>) -> Result<(), Gone> {
        self.hand(message)
    }

    fn finish(&self) -> Result<(), Gone> {
        self.post(Finish)
    }

    fn flush(&self, message: Flush) -> Result<(), Gone> {
        self.post(message)
    }

    fn close(&self, message: CloseStream) -> Result<(), Gone> {
        self.post(message)
    }

    fn abort(&self) {
        // A neighbour that is gone needs no reset.
        let _ = self.post(Abort);
    }

    fn expect_more(&self) {
        // Only a hint.
        let _ = self.post(ExpectMore);
    }

    fn attach(&self, above: Box<dyn Above<U>>) -> Result<(), Gone> {
        self.post(Attach(above))
    }

    fn detach(&self) {
        // A neighbour that is gone needs no telling.
        let _ = self.post(Detach);
    }
}

impl<U, A> Above<U> for WorkAddr<A>
where
    U: Unit,
    A: Work
        + Handler<Read<U>>
        + Handler<End>
        + Handler<Lost>
        + Handler<WriteFailed>
        + Handler<Tell>,
{
    fn read(&self, message: Read<U>) -> Result<(), Gone> {
        self.hand(message)
    }

    // Whoever is gone above needs no news: it took its own state down, and told its own waiters.

    fn end(&self) {
        let _ = self.post(End);
    }

    fn lost(&self, error: StreamError) {
        let _ = self.post(Lost(error));
    }

    fn write_failed(&self, error: StreamError) {
        let _ = self.post(WriteFailed(error));
    }

    fn tell(&self, message: Tell) {
        let _ = self.post(message);
    }
}
