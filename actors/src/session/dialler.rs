//! [`Dialler`]: opens one link after the other for a session of the dialling end.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use tokio::time::{Instant, Sleep};

use super::{
    actor::{Keeper, Session},
    binding::{binding_of, check},
    link::Attachment,
};
use crate::{
    backoff::{Backoff, BackoffConfig},
    chain::{Stack, stacked},
    codec::resume::{Binding, ResumeConfig},
    endpoint::Endpoint,
    error::StreamError,
    layer::Below,
    stream::StreamHandle,
    unit::Chunk,
};

/// How links are made: an endpoint, and the layers below the session.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) endpoint: Endpoint,
    pub(crate) lower: Lower,
    pub(crate) config: ResumeConfig,
}

/// The layers below a session.
#[derive(Clone)]
pub(crate) struct Lower {
    pub(crate) stacks: Arc<[Stack<Chunk>]>,
    /// One of them shakes hands, and says what its link is known by.
    pub(crate) is_sealed: bool,
    /// What all layers together need at both ends.
    pub(crate) needed: u32,
}

/// A link that was opened.
pub(super) struct Opened {
    pub(super) stream: StreamHandle,
    pub(super) below: Box<dyn Below<Chunk>>,
    pub(super) binding: Option<Binding>,
}

impl Lower {
    /// Builds the layers on a stream, on its arbiter.
    pub(super) fn build(&self, stream: StreamHandle) -> Opened {
        let below = stacked(&self.stacks, stream.below(), &stream, self.needed);
        let binding = binding_of(&stream, self.is_sealed);
        Opened {
            stream,
            below,
            binding,
        }
    }
}

impl Recipe {
    /// Opens a first link and starts a session on it, on the current arbiter.
    ///
    /// # Errors
    ///
    /// `Connect` when there is no link; `ApiMisuse` when anybody can read it.
    pub(crate) async fn connect(self) -> Result<StreamHandle, StreamError> {
        let opened = self.open().await?;
        let mut info = (**opened.stream.info()).clone();
        info.endpoint = self.endpoint.text().clone();
        let config = self.config.clone();
        let dialler = Dialler::new(self);
        let attachment = Attachment::new(0, opened.below, opened.binding);
        Ok(Session::dial(config, info, dialler, attachment))
    }

    async fn open(&self) -> Result<Opened, StreamError> {
        let stream = self.endpoint.open().await?;
        let binding = binding_of(&stream, self.lower.is_sealed);
        if let Err(refused) = check(binding.as_ref(), &self.config) {
            stream.abort();
            return Err(refused);
        }
        Ok(self.lower.build(stream))
    }
}

type Dialling = Pin<Box<dyn Future<Output = Result<Opened, StreamError>>>>;

/// What a session of the dialling end does while it has no link.
pub(crate) struct Dialler {
    recipe: Recipe,
    backoff: Backoff,
    state: State,
}

enum State {
    Idle,
    Waiting(Pin<Box<Sleep>>),
    Dialling(Dialling),
}

impl Dialler {
    fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            backoff: Backoff::new(BackoffConfig::default()),
            state: State::Idle,
        }
    }

    /// The link that is lost was of use.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// A link is there, or none is wanted any more.
    pub(super) fn stop(&mut self) {
        self.state = State::Idle;
    }

    /// The next link, once it is open.
    pub(super) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Opened> {
        loop {
            match &mut self.state {
                State::Idle => self.retry(),
                State::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    self.dial();
                }
                State::Dialling(dialling) => match ready!(dialling.as_mut().poll(cx)) {
                    Ok(opened) => {
                        self.state = State::Idle;
                        return Poll::Ready(opened);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a session finds no new link");
                        self.retry();
                    }
                },
            }
        }
    }

    fn retry(&mut self) {
        let now = Instant::now();
        let retry = self.backoff.next_retry(now.into_std());
        if retry.after.is_zero() {
            self.dial();
        } else {
            let sleep = tokio::time::sleep_until(now + retry.after);
            self.state = State::Waiting(Box::pin(sleep));
        }
    }

    fn dial(&mut self) {
        let recipe = self.recipe.clone();
        self.state = State::Dialling(Box::pin(async move { recipe.open().await }));
    }
}

impl From<Dialler> for Keeper {
    fn from(dialler: Dialler) -> Self {
        Self::Dialler(Box::new(dialler))
    }
}
