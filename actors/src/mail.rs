//! [`WorkAddr`]: the way from one actor of a chain to another.
//!
//! Neighbours live on one arbiter, so what passes between them needs no queue that is made for many threads at once:
//! a list under a lock that nobody else wants costs half of what an actix mailbox does. Messages of neighbours keep their order;
//! those that others send to the actor's [`Addr`] have an order of their own.

use std::{
    any::Any,
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
};

use actix::{
    Addr, Handler, Message,
    dev::{Envelope, EnvelopeProxy, MessageResponse},
};
use parking_lot::Mutex;

use crate::{
    here::{self, Place},
    layer::Gone,
    queue,
    work::{Stage, Work},
};

/// The address of an actor that works, for its neighbours and handles.
pub(crate) struct WorkAddr<A: Work> {
    /// Shared, since each clone of one takes memory of its own.
    address: Arc<Addr<A>>,
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
        let address = Arc::new(address);
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

    /// Gives a message to a neighbour: at once if nothing comes before it and both are on this thread, by post otherwise.
    pub(crate) fn hand<M>(&self, message: M) -> Result<(), Gone>
    where
        A: Handler<M>,
        M: Message<Result = ()> + Send + 'static,
    {
        let mut message = Some(message);
        if self.mail.give(&mut message) {
            return Ok(());
        }
        message.map_or(Ok(()), |message| self.post(message))
    }

    /// For those who hold no address of the actor, and want it to work.
    pub(crate) fn mail(&self) -> &Arc<Mail<A>> {
        &self.mail
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
        queue::push(&mut state.queue, envelope);
        let was_idle = self.mail.door.idle.load(Ordering::Relaxed);
        self.mail.door.idle.store(false, Ordering::Release);
        drop(state);
        if was_idle && let Some(waker) = self.mail.door.waker.get() {
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
    door: Door,
}

/// The way to an actor that is on this thread.
#[derive(Default)]
struct Door {
    /// The actor took all there was, and must be woken for more. Changed under the lock only.
    idle: AtomicBool,
    /// Wakes the actor's task, which stays the same for its whole life.
    waker: OnceLock<Waker>,
    /// Where the actor is, once it is started.
    place: OnceLock<Place>,
}

impl Door {
    /// The actor, if it is on this thread and no mail waits for it.
    ///
    /// Never inlined: a question passes a dozen doors, and finds this code warm behind the first of them.
    #[inline(never)]
    fn open(&self) -> Option<(Rc<dyn Any>, &Waker)> {
        // What another thread writes is not looked at on this one.
        let actor = self.place.get().copied().and_then(here::find)?;
        let waker = self.waker.get()?;
        self.idle.load(Ordering::Acquire).then_some((actor, waker))
    }
}

struct State<A: Work> {
    queue: VecDeque<Envelope<A>>,
    closed: bool,
}

impl<A: Work> Default for Mail<A> {
    fn default() -> Self {
        let state = State {
            queue: VecDeque::new(),
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            door: Door::default(),
        }
    }
}

impl<A: Work> Mail<A> {
    /// Notes where the actor was started.
    pub(crate) fn is_at(&self, place: Place) {
        self.door.place.get_or_init(|| place);
    }

    /// Wakes the actor's task, once that had a turn.
    pub(crate) fn waker(&self) -> Option<&Waker> {
        self.door.waker.get()
    }

    /// True on the actor's thread.
    pub(crate) fn is_here(&self) -> bool {
        self.door
            .place
            .get()
            .is_some_and(|place| here::is_on(*place))
    }

    /// Has the actor handle a message now, and takes it. False unless an actor of this thread has its turn, this one is on it too, and
    /// nothing comes before.
    ///
    /// The message stays where it is until it is handled: each move would touch memory that is cold by then.
    pub(crate) fn give<M>(&self, message: &mut Option<M>) -> bool
    where
        A: Handler<M>,
        M: Message<Result = ()> + Send + 'static,
    {
        here::has_turn() && self.visit(|stage, waker| stage.take_over(message, waker))
    }

    /// Has the actor work now instead of in its next turn, if it is on this thread and nothing comes before.
    pub(crate) fn urge(&self) {
        // Whoever is in other hands has its turn anyway.
        here::in_turn(|| self.visit(Stage::go_on));
    }

    /// Visits the actor, if it is on this thread, in nobody's hands, and nothing comes before.
    fn visit(&self, visit: impl FnOnce(&mut Stage<A>, &Waker)) -> bool {
        if let Some((actor, waker)) = self.door.open()
            && let Some(stage) = actor.downcast_ref::<RefCell<Stage<A>>>()
            // One that waits for us to return is borrowed.
            && let Ok(mut stage) = stage.try_borrow_mut()
            && stage.is_free()
        {
            visit(&mut stage, waker);
            return true;
        }
        false
    }

    /// Moves all there is behind `taken`, without a look at the lock when nothing was posted since the last time. What is
    /// posted from now on wakes the task.
    pub(crate) fn take(&self, taken: &mut VecDeque<Envelope<A>>, waker: &Waker) {
        if self.door.idle.load(Ordering::Acquire) {
            return;
        }
        self.door.waker.get_or_init(|| waker.clone());
        let mut state = self.state.lock();
        self.door.idle.store(!state.closed, Ordering::Relaxed);
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
        self.door.idle.store(false, Ordering::Relaxed);
        let dropped = std::mem::take(&mut state.queue);
        drop(state);
        drop(dropped);
    }
}

#[cfg(test)]
mod tests;
