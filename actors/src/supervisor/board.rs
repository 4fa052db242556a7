//! [`Board`]: who is told what happens to a supervised connection, and what newcomers are told first.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix::WeakRecipient;
use tokio::sync::mpsc;

use crate::event::ConnectionEvent;

/// What happens to a supervised connection, as a stream.
///
/// It begins with the present state, misses nothing after that, keeps the order, and ends behind
/// [`Closed`](ConnectionEvent::Closed). What is not taken waits, without a bound: drop what you do not read.
#[derive(Debug)]
pub struct Events(mpsc::UnboundedReceiver<ConnectionEvent>);

impl Events {
    pub(super) fn new() -> (Newcomer, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Newcomer(Some(Subscriber::Stream(sender))), Self(receiver))
    }

    /// The next event; `None` when the supervisor is gone.
    ///
    /// # Cancellation
    ///
    /// Nothing was taken.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        self.0.recv().await
    }

    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Option<ConnectionEvent> {
        self.0.try_recv().ok()
    }

    /// [`next`](Self::next) for plain threads.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn next_blocking(&mut self) -> Result<Option<ConnectionEvent>, crate::StreamError> {
        crate::runtime::block_on(self.next())
    }
}

impl futures_core::Stream for Events {
    type Item = ConnectionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConnectionEvent>> {
        self.0.poll_recv(cx)
    }
}

enum Subscriber {
    Stream(mpsc::UnboundedSender<ConnectionEvent>),
    Actor(WeakRecipient<ConnectionEvent>),
}

impl Subscriber {
    /// False when nobody listens any more.
    fn tell(&self, event: ConnectionEvent) -> bool {
        match self {
            Self::Stream(sender) => sender.send(event).is_ok(),
            Self::Actor(recipient) => recipient
                .upgrade()
                .is_some_and(|recipient| recipient.try_send(event).is_ok()),
        }
    }
}

/// A subscriber on its way to the board.
pub(super) struct Newcomer(Option<Subscriber>);

impl Newcomer {
    pub(super) fn actor(recipient: WeakRecipient<ConnectionEvent>) -> Self {
        Self(Some(Subscriber::Actor(recipient)))
    }

    /// The supervisor is gone, so this is all there is to tell.
    pub(super) fn too_late(mut self, endpoint: &Arc<str>) {
        if let Some(subscriber) = self.0.take() {
            subscriber.tell(ConnectionEvent::Closed {
                endpoint: endpoint.clone(),
            });
        }
    }
}

/// The subscribers, and the present state in terms of events.
#[derive(Default)]
pub(super) struct Board {
    subscribers: Vec<Subscriber>,
    present: Vec<ConnectionEvent>,
}

impl Board {
    pub(super) fn subscribe(&mut self, mut newcomer: Newcomer) {
        if let Some(subscriber) = newcomer.0.take()
            && self
                .present
                .iter()
                .all(|event| subscriber.tell(event.clone()))
        {
            self.subscribers.push(subscriber);
        }
    }

    pub(super) fn tell(&mut self, event: ConnectionEvent) {
        self.subscribers
            .retain(|subscriber| subscriber.tell(event.clone()));
        match &event {
            // The connection that a newcomer finds was never away from it.
            ConnectionEvent::Restored { .. } => return,
            ConnectionEvent::Retrying { .. } => self
                .present
                .retain(|event| !matches!(event, ConnectionEvent::Retrying { .. })),
            ConnectionEvent::Broken { .. } => {}
            _ => self.present.clear(),
        }
        self.present.push(event);
    }
}
