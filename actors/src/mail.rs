//! [`WorkAddr`]: the way from one actor of a chain to another.
//!
//! Neighbours live on one arbiter, so what passes between them needs no queue that is made for many threads at once:
//! a list under a lock that nobody else wants costs half of what an actix mailbox does. Messages of neighbours keep their order;
//! those that others send to the actor's [`Addr`] have an order of their own.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    task::Waker,
};

use actix::{
    Addr, Handler, Message,
    dev::{Envelope, EnvelopeProxy, MessageResponse},
};
use parking_lot::Mutex;

use crate::{layer::Gone, work::Work};

/// The address of an actor that works, for its neighbours and handles.
pub(crate) struct WorkAddr<A: Work> {
    address: Addr<A>,
    mail: Arc<Mail<A>>,
}

impl<A: Work> Clone for WorkAddr<A> {
    fn clone(&self) -> Self {
        Self {
            address: self.address.clone(),
            mail: self.mail.clone(),
        }
    }
}

impl<A: Work> WorkAddr<A> {
    pub(crate) fn new(address: Addr<A>, mail: Arc<Mail<A>>) -> Self {
        Self { address, mail }
    }

    /// The address for everybody else.
    pub(crate) fn address(&self) -> &Addr<A> {
        &self.address
    }

    /// False once the actor is gone.
    pub(crate) fn connected(&self) -> bool {
        !self.mail.state.lock().closed
    }

    /// Posts a message, behind those posted before.
    pub(crate) fn post<M>(&self, message: M) -> Result<(), Gone>
    where
        A: Handler<M>,
        M: Message<Result = ()> + Send + 'static,
    {
        let envelope = Envelope::with_proxy(Box::new(Letter(Some(message))));
        let mut state = self.mail.state.lock();
        if state.closed {
            // Dropped without the lock, since a message that goes may post another.
            drop(state);
            return Err(Gone);
        }
        state.queue.push_back(envelope);
        let was_asleep = std::mem::replace(&mut state.asleep, false);
        drop(state);
        if was_asleep && let Some(waker) = self.mail.waker.get() {
            waker.wake_by_ref();
        }
        Ok(())
    }
}

/// A message that nobody waits for an answer to.
struct Letter<M>(Option<M>);

impl<A, M> EnvelopeProxy<A> for Letter<M>
where
    A: Work + Handler<M>,
    M: Message<Result = ()>,
{
    fn handle(&mut self, actor: &mut A, ctx: &mut A::Context) {
        if let Some(message) = self.0.take() {
            // The result may be of a kind that does something, but never gives anything.
            actor.handle(message, ctx).handle(ctx, None);
        }
    }
}

/// Messages that wait for an actor.
pub(crate) struct Mail<A: Work> {
    state: Mutex<State<A>>,
    /// Wakes the actor's task, which stays the same for its whole life.
    waker: OnceLock<Waker>,
}

struct State<A: Work> {
    queue: VecDeque<Envelope<A>>,
    /// The actor took all there was, and must be woken for more.
    asleep: bool,
    closed: bool,
}

impl<A: Work> Default for Mail<A> {
    fn default() -> Self {
        let state = State {
            queue: VecDeque::new(),
            asleep: false,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            waker: OnceLock::new(),
        }
    }
}

impl<A: Work> Mail<A> {
    /// Moves all there is behind `taken`. What is posted from now on wakes the task.
    pub(crate) fn take(&self, taken: &mut VecDeque<Envelope<A>>, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
        let mut state = self.state.lock();
        state.asleep = true;
        if taken.is_empty() {
            std::mem::swap(&mut state.queue, taken);
        } else {
            taken.append(&mut state.queue);
        }
    }

    /// Refuses messages from now on, and drops those that wait.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
    }
}
