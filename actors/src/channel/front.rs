//! [`Front`]: the application's side of a channel's actor.
//!
//! It knows who takes the frames, who watches the connection, and how it all ended.

use std::sync::{Arc, atomic::Ordering};

use actix::WeakRecipient;

use super::{Shared, Subscribe};
use crate::{
    error::{ConnectionLostError, LossReason, StreamError},
    event::ConnectionEvent,
    layer::{Above, Gone, Upward},
    message::Read,
    unit::Frames,
};

/// Who takes the frames.
enum Consumer {
    /// Handles, which find them in the inbox.
    Inbox,
    /// An actor, by messages.
    Subscriber(WeakRecipient<Read<Frames>>),
    /// What stands on the channel; it learns how they end, too.
    Attached(Box<dyn Above<Frames>>),
}

impl Consumer {
    /// Gives back what nobody takes.
    fn take(&self, message: Read<Frames>) -> Result<(), Option<Read<Frames>>> {
        match self {
            Self::Inbox => Err(Some(message)),
            Self::Subscriber(subscriber) => match subscriber.upgrade() {
                Some(subscriber) => subscriber
                    .try_send(message)
                    .map_err(|refused| Some(refused.into_inner())),
                None => Err(Some(message)),
            },
            Self::Attached(above) => above.read(message).map_err(|Gone| None),
        }
    }
}

pub(super) struct Front {
    pub(super) shared: Arc<Shared>,
    consumer: Consumer,
    watchers: Vec<WeakRecipient<ConnectionEvent>>,
    /// That the peer is known, for watchers that come later.
    established: Option<Box<ConnectionEvent>>,
    /// The outbox was told that somebody looks there before this turn is over.
    pub(super) must_look: bool,
    /// The peer finished its direction.
    pub(super) ended: bool,
    /// Why it all ended, once it did.
    pub(super) outcome: Option<Box<StreamError>>,
}

impl Front {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            consumer: Consumer::Inbox,
            watchers: Vec::new(),
            established: None,
            must_look: false,
            ended: false,
            outcome: None,
        }
    }

    pub(super) fn loss(&self, reason: LossReason) -> StreamError {
        ConnectionLostError::new(&self.shared.info.endpoint, reason).into()
    }

    /// Gives a batch to whoever takes them, or puts it where handles find it.
    pub(super) fn deliver(&mut self, message: Read<Frames>) {
        if let Err(refused) = self.consumer.take(message) {
            self.consumer = Consumer::Inbox;
            if let Some(message) = refused {
                self.put_in(message);
            }
        }
    }

    /// Gives what waits in the inbox to a new consumer.
    fn hand_over(&mut self, consumer: Consumer) {
        self.consumer = consumer;
        while !matches!(self.consumer, Consumer::Inbox)
            && let Some(Ok(Some(waiting))) = self.shared.inbox.try_next_batch()
        {
            self.deliver(waiting);
        }
    }

    /// Frames go to `above` from now on, those that wait first; then how they ended, if they did.
    pub(super) fn attach(&mut self, above: Box<dyn Above<Frames>>) {
        self.hand_over(Consumer::Attached(above));
        if let Consumer::Attached(above) = &self.consumer {
            match self.outcome.as_deref() {
                Some(error) => above.lost(error.clone()),
                None if self.ended => above.end(),
                None => {}
            }
        }
    }

    /// Puts a batch where handles find it.
    fn put_in(&mut self, batch: Read<Frames>) {
        if self.shared.waits_elsewhere.load(Ordering::Relaxed) {
            self.shared.waits_elsewhere.store(false, Ordering::Relaxed);
            // Whoever wakes up on another thread may have the next question out before this turn is over.
            self.shared.outbox.look_soon();
            self.must_look = true;
        }
        self.shared.inbox.push(batch);
    }

    pub(super) fn subscribe(&mut self, Subscribe { frames, events }: Subscribe) {
        if let Some(frames) = frames {
            self.hand_over(Consumer::Subscriber(frames));
        }
        if let Some(events) = events {
            // What the newcomer missed, behind the frames that came before; one that is gone misses nothing.
            if let Some(watcher) = events.upgrade() {
                for missed in self
                    .established
                    .as_deref()
                    .cloned()
                    .into_iter()
                    .chain(self.last_event())
                {
                    let _ = watcher.try_send(missed);
                }
            }
            self.watchers.retain(|watcher| watcher.upgrade().is_some());
            self.watchers.push(events);
        }
    }

    /// What a watcher that comes now would wait for in vain.
    fn last_event(&self) -> Option<ConnectionEvent> {
        let endpoint = self.shared.info.endpoint.clone();
        match self.outcome.as_deref() {
            Some(StreamError::Closed) => Some(ConnectionEvent::Closed { endpoint }),
            Some(error) => Some(self.event_of_loss(error.clone())),
            None => self.ended.then_some(ConnectionEvent::Ended { endpoint }),
        }
    }

    pub(super) fn tell(&mut self, event: &ConnectionEvent) {
        if let ConnectionEvent::Established { .. } = event {
            self.established = Some(event.clone().into());
        }
        self.watchers.retain(|watcher| {
            watcher
                .upgrade()
                .is_some_and(|watcher| watcher.try_send(event.clone()).is_ok())
        });
    }

    /// The channel closed in good order, or as good as its patience allowed.
    pub(super) fn closed(&mut self) {
        let event = ConnectionEvent::Closed {
            endpoint: self.shared.info.endpoint.clone(),
        };
        self.tell(&event);
        if self.outcome.is_none() {
            self.outcome = Some(StreamError::Closed.into());
            self.tell_attached(StreamError::Closed);
        }
    }

    /// Ends everything with an error. False when it had ended before.
    pub(super) fn fail(&mut self, error: StreamError) -> bool {
        if self.outcome.is_some() {
            return false;
        }
        self.outcome = Some(error.clone().into());
        self.shared.outbox.close(error.clone());
        self.shared.down_gate.close(error.clone());
        self.shared.inbox.end(Err(error.clone()));
        self.tell_attached(error.clone());
        let event = self.event_of_loss(error);
        self.tell(&event);
        true
    }

    fn tell_attached(&self, error: StreamError) {
        if let Consumer::Attached(above) = &self.consumer {
            above.lost(error);
        }
    }

    fn event_of_loss(&self, error: StreamError) -> ConnectionEvent {
        ConnectionEvent::Lost(match error {
            StreamError::ConnectionLost(error) => error,
            other => {
                let reason = LossReason::Failed(Arc::new(other));
                ConnectionLostError::new(&self.shared.info.endpoint, reason)
            }
        })
    }
}

/// What comes up through the channel's own codec, or from the layer below.
impl Upward<Frames> for Front {
    fn read(&mut self, message: Read<Frames>) -> Result<(), Gone> {
        self.shared.stats.received(&message.unit);
        self.deliver(message);
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        self.shared.inbox.end(Ok(()));
        if let Consumer::Attached(above) = &self.consumer {
            above.end();
        }
        let event = ConnectionEvent::Ended {
            endpoint: self.shared.info.endpoint.clone(),
        };
        self.tell(&event);
    }

    fn lost(&mut self, error: StreamError) {
        self.fail(error);
    }

    fn tell(&mut self, event: ConnectionEvent) {
        Self::tell(self, &event);
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler};

    use super::*;
    use crate::{channel::Channel, runtime::Runtime, stream::StreamHandle};

    struct Watcher;

    impl Actor for Watcher {
        type Context = Context<Self>;
    }

    impl Handler<ConnectionEvent> for Watcher {
        type Result = ();

        fn handle(&mut self, _: ConnectionEvent, _: &mut Context<Self>) {}
    }

    /// Somebody may ask before each call whether the peer is established, and events are rare.
    #[tokio::test]
    async fn watchers_that_are_gone_are_forgotten() {
        let (io, _peer) = tokio::io::duplex(64);
        let stream = StreamHandle::from_io("test:", io).await.expect("a stream");
        let channel = Channel::new(stream);
        let arbiter = channel.arbiter().clone();
        let watch = || async move {
            let mut front = Front::new(channel.shared.clone());
            for _ in 0..100 {
                let watcher = Watcher.start().recipient();
                front.subscribe(Subscribe {
                    frames: None,
                    events: Some(watcher.downgrade()),
                });
                drop(watcher);
                // It stops in its next turn.
                tokio::task::yield_now().await;
            }
            front.watchers.len()
        };
        let left = Runtime::run_on(&arbiter, watch).await.expect("an arbiter");
        assert!(left < 10, "{left}");
    }
}
