//! [`Doorman`]: reads what a client says first on a link, and then shows it where it belongs.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    actor::Offer,
    binding::check,
    dialler::Opened,
    seats::{Sessions, refuse},
};
use crate::{
    codec::resume::{Binding, Greeting, Request},
    error::{ConnectionLostError, LossReason, StreamError},
    event::ConnectionEvent,
    layer::{Above, Gone},
    message::{Read, Tell},
    unit::Chunk,
};

type Decision = Result<(Request, Binding), StreamError>;

/// Greets a client on the arbiter of its link, for as long as a handshake may take.
pub(super) fn greet(sessions: &Arc<Sessions>, opened: Opened, offer: Option<Offer>) {
    let endpoint = opened.stream.endpoint().to_owned();
    if let Err(error) = check(opened.binding.as_ref(), sessions.config()) {
        tracing::warn!(%error, endpoint, "a client was refused");
        refuse(Some(opened.below), Request::refuse_link());
        return;
    }
    let (decided, decision) = oneshot::channel();
    let doorman = Doorman(Arc::new(Mutex::new(State {
        greeting: Greeting::default(),
        binding: opened.binding,
        decided: Some(decided),
        ending: None,
    })));
    // A link that is gone already is noticed by the decision that never comes.
    let _ = opened.below.attach(Box::new(doorman));
    let turn = sessions.turn(&opened.stream);
    let sessions = sessions.clone();
    actix_rt::spawn(async move {
        let patience = sessions.config().handshake_timeout;
        let waiting = tokio::time::timeout(patience, decision);
        match turn.during(waiting).await {
            Some(Ok(Ok(Ok((request, binding))))) => {
                sessions.admit(request, binding, opened, offer);
                return;
            }
            // A link that dies as it begins is the weather's fault, not the client's.
            Some(Ok(Ok(Err(error)))) if !error.is_connection_lost() => {
                tracing::warn!(%error, endpoint, "a client asked for no session");
            }
            Some(Ok(Ok(Err(_)) | Err(_)) | Err(_)) => {
                tracing::debug!(endpoint, "a client went, or said nothing in time");
            }
            None => {
                sessions.count_pushed_out();
                tracing::warn!(
                    endpoint,
                    "a client has not said what it wants, as too many have not: it gives way to a newer one"
                );
            }
        }
        opened.below.abort();
        opened.below.detach();
    });
}

/// The neighbour above a link whose session is not known yet.
struct Doorman(Arc<Mutex<State>>);

struct State {
    greeting: Greeting,
    binding: Option<Binding>,
    decided: Option<oneshot::Sender<Decision>>,
    /// How the link ended meanwhile.
    ending: Option<Option<StreamError>>,
}

impl State {
    fn decide(&mut self, decision: Decision) {
        if let Some(decided) = self.decided.take() {
            // Whoever waited may have lost patience.
            let _ = decided.send(decision);
        }
    }

    fn take(&mut self, chunk: &Chunk) {
        if self.decided.is_none() {
            // A client waits for its answer.
            let error = StreamError::peer("it goes on before it has an answer");
            self.ending.get_or_insert(Some(error));
            return;
        }
        match self.greeting.take(chunk) {
            Ok(None) => {}
            Ok(Some(request)) => {
                let unsealed = || StreamError::peer("it did not shake hands first");
                let decision = self.binding.map(|binding| (request, binding));
                self.decide(decision.ok_or_else(unsealed));
            }
            Err(error) => self.decide(Err(error)),
        }
    }
}

impl Above<Chunk> for Doorman {
    fn read(&self, message: Read<Chunk>) -> Result<(), Gone> {
        self.0.lock().take(&message.unit);
        Ok(())
    }

    fn end(&self) {
        let mut state = self.0.lock();
        state.ending.get_or_insert(None);
        let reason = LossReason::EndOfStream;
        state.decide(Err(ConnectionLostError::new(&"".into(), reason).into()));
    }

    fn lost(&self, error: StreamError) {
        let mut state = self.0.lock();
        state.ending.get_or_insert(Some(error.clone()));
        state.decide(Err(error));
    }

    fn write_failed(&self, error: StreamError) {
        self.lost(error);
    }

    fn tell(&self, message: Tell) {
        if let ConnectionEvent::Established { binding, .. } = message.0 {
            self.0.lock().binding = Some(Binding::noise(binding));
        }
    }

    fn hand_over(&self, successor: &dyn Above<Chunk>) {
        let ending = self.0.lock().ending.take();
        match ending {
            Some(Some(error)) => successor.lost(error),
            Some(None) => successor.end(),
            None => {}
        }
    }
}
