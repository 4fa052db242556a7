//! [`Channel::established`]: waiting for the proof of who the peer is.

use actix::{Actor, Context, Handler};
use tokio::sync::oneshot;

use super::{Channel, Subscribe};
use crate::{
    error::{ConnectionLostError, LossReason, StreamError},
    event::ConnectionEvent,
    runtime::Runtime,
};

impl Channel {
    /// Resolves when a layer has proved who the peer is, such as encryption once the holder of the key has answered.
    ///
    /// Whoever acts for a peer before the peer has said anything waits for this first. On a channel without such a layer it
    /// never comes, and this waits until the channel ends.
    ///
    /// # Errors
    ///
    /// When the channel is lost or closed, or ends, before that.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn established(&self) -> Result<(), StreamError> {
        let (answer, told) = oneshot::channel();
        let watch = Watch {
            answer: Some(answer),
        };
        // Held until there is an answer: channels hold whoever watches them weakly.
        let watch = Runtime::run_on(self.arbiter(), move || async move { watch.start() }).await?;
        self.subscribe(Subscribe {
            frames: None,
            events: Some(watch.clone().recipient().downgrade()),
        })?;
        told.await.unwrap_or_else(|_| Err(self.reason()))
    }
}

struct Watch {
    answer: Option<oneshot::Sender<Result<(), StreamError>>>,
}

impl Actor for Watch {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Watch {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        let result = match event {
            ConnectionEvent::Established { .. } => Ok(()),
            ConnectionEvent::Lost(error) => Err(error.into()),
            ConnectionEvent::Ended { endpoint } => {
                Err(ConnectionLostError::new(&endpoint, LossReason::EndOfStream).into())
            }
            ConnectionEvent::Closed { .. } => Err(StreamError::Closed),
            _ => return,
        };
        if let Some(answer) = self.answer.take() {
            // Whoever asked may have gone.
            let _ = answer.send(result);
        }
    }
}
