//! [`Work`]: an actor that does one thing between messages.
//!
//! An actor of a chain handles the messages that wait for it, and then gives out what they led to. actix's own context
//! can do that with a spawned future, but it visits its lists of futures, merges new ones and checks for cancelled ones at
//! every wake-up. A question and its answer wake eight actors, so the context here knows the one future there
//! always is, and looks at the rest only when there is any.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as TaskContext, Poll, Waker},
};

use actix::{
    Actor, ActorContext, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle, WeakAddr,
    dev::{Envelope, EnvelopeProxy, Mailbox, MessageResponse, ToEnvelope},
    fut::ActorFuture,
};
use tokio::sync::oneshot;

use crate::{
    error::LossReason,
    here::{self, Seat},
    mail::{Mail, WorkAddr},
    noted::Noted,
    panics,
};

/// An actor that works between messages.
pub trait Work: Actor<Context = WorkContext<Self>> + Unpin {
    /// Called after each batch of messages, and when a waker of `cx` is used. `Ready` stops the actor.
    fn work(&mut self, ctx: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()>;

    /// The actor panicked, and goes; its neighbours are told why.
    fn panicked(&mut self, reason: LossReason);
}

/// Starts an actor on the current arbiter.
///
/// # Panics
///
/// Outside of an actix arbiter.
pub(crate) fn start<A: Work>(actor: A) -> WorkAddr<A> {
    let (address, letterbox) = letterbox();
    actix_rt::spawn(Running::new(actor, letterbox));
    address
}

/// Makes and starts an actor on another arbiter. If that has stopped, the address is closed.
pub(crate) fn start_on<A: Work>(
    arbiter: &actix_rt::ArbiterHandle,
    make: impl FnOnce() -> A + Send + 'static,
) -> WorkAddr<A> {
    let (address, letterbox) = letterbox();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(Running::new(make(), letterbox));
    });
    address
}

/// Where the messages for an actor arrive, and its address.
fn letterbox<A: Work>() -> (WorkAddr<A>, Letterbox<A>) {
    // Zero means without a limit in actix, so `try_send` never refuses: credits bound what is in it.
    let (_, receiver) = actix::dev::channel::channel(0);
    let mailbox = Mailbox::new(receiver);
    let mail = Arc::new(Mail::default());
    let address = WorkAddr::new(mailbox.address(), mail.clone());
    let letterbox = Letterbox {
        mail: OwnMail(mail),
        mailbox,
        mailbox_noted: Noted::default(),
    };
    (address, letterbox)
}

type Slot<A> = Option<Pin<Box<dyn ActorFuture<A, Output = ()>>>>;

/// The context of an actor that works between messages.
pub struct WorkContext<A: Work> {
    address: WeakAddr<A>,
    mail: Arc<Mail<A>>,
    state: ActorState,
    /// Somebody held an address when the actor's task had its last turn; when that changes it has another.
    connected: bool,
    last_handle: SpawnHandle,
    /// A neighbour lets the actor handle its message, between the turns of the actor's task.
    visited: bool,
    /// The message that was handled last left no work.
    settled: bool,
    /// Futures besides the work, and those of them that keep messages waiting.
    spawned: Vec<(SpawnHandle, Slot<A>)>,
    awaited: Vec<SpawnHandle>,
}

impl<A: Work> std::fmt::Debug for WorkContext<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkContext")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl<A: Work> WorkContext<A> {
    /// True while somebody holds an address of the actor.
    pub fn connected(&self) -> bool {
        self.connected
    }

    /// The waker of the actor's task, in a turn that a neighbour gives; whatever else there is to do has woken that task, or will.
    pub(crate) fn visitor(&self) -> Option<&Waker> {
        self.mail.waker().filter(|_| self.visited)
    }

    /// Says that handling a message left nothing to be done.
    pub(crate) fn settle(&mut self) {
        self.settled = true;
    }

    /// The address for neighbours.
    pub(crate) fn work_address(&self) -> WorkAddr<A> {
        WorkAddr::new(self.address(), self.mail.clone())
    }

    /// Polls what was spawned. True when something ended, so that messages may go on.
    #[cold]
    fn poll_spawned(&mut self, actor: &mut A, cx: &mut TaskContext<'_>) -> bool {
        let mut any_ended = false;
        let handles: Vec<_> = self.spawned.iter().map(|(handle, _)| *handle).collect();
        for handle in handles {
            let Some(mut future) = self.slot(handle).and_then(Option::take) else {
                continue;
            };
            if future.as_mut().poll(actor, self, cx).is_ready() {
                any_ended |= self.cancel_future(handle);
            } else if let Some(slot) = self.slot(handle) {
                *slot = Some(future);
            }
        }
        any_ended
    }

    fn slot(&mut self, handle: SpawnHandle) -> Option<&mut Slot<A>> {
        let mut slots = self.spawned.iter_mut();
        slots.find_map(|(spawned, slot)| (*spawned == handle).then_some(slot))
    }
}

impl<A: Work> ActorContext for WorkContext<A> {
    fn stop(&mut self) {
        if self.state == ActorState::Running {
            self.state = ActorState::Stopping;
        }
    }

    fn terminate(&mut self) {
        self.state = ActorState::Stopped;
    }

    fn state(&self) -> ActorState {
        self.state
    }
}

impl<A: Work> AsyncContext<A> for WorkContext<A> {
    fn address(&self) -> Addr<A> {
        self.address
            .upgrade()
            .expect("an actor has its turn as long as its mailbox is there")
    }

    fn spawn<F>(&mut self, future: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        self.last_handle = self.last_handle.next();
        self.spawned
            .push((self.last_handle, Some(Box::pin(future))));
        self.last_handle
    }

    fn wait<F>(&mut self, future: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let handle = self.spawn(future);
        self.awaited.push(handle);
    }

    #[inline]
    fn waiting(&self) -> bool {
        !self.awaited.is_empty() || matches!(self.state, ActorState::Stopping | ActorState::Stopped)
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.awaited.retain(|awaited| *awaited != handle);
        let before = self.spawned.len();
        self.spawned.retain(|(spawned, _)| *spawned != handle);
        self.spawned.len() < before
    }
}

impl<A, M> ToEnvelope<A, M> for WorkContext<A>
where
    A: Work + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, answer: Option<oneshot::Sender<M::Result>>) -> Envelope<A> {
        Envelope::new(message, answer)
    }
}

/// What neighbours posted, and what others sent.
struct Letterbox<A: Work> {
    mail: OwnMail<A>,
    mailbox: Mailbox<A>,
    mailbox_noted: Noted,
}

/// Refuses mail once the actor is gone, or was never started.
struct OwnMail<A: Work>(Arc<Mail<A>>);

impl<A: Work> Drop for OwnMail<A> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<A: Work> Letterbox<A> {
    fn handle_all(&mut self, stage: &mut Stage<A>, cx: &TaskContext<'_>) {
        let Stage {
            actor, ctx, taken, ..
        } = stage;
        self.mail.0.take(taken, cx.waker());
        while !ctx.waiting()
            && let Some(mut envelope) = taken.pop_front()
        {
            envelope.handle(actor, ctx);
        }
        let mailbox = &mut self.mailbox;
        let _ = self.mailbox_noted.poll(cx, |cx| {
            mailbox.poll(actor, ctx, cx);
            // Whoever waits for a future of its own leaves messages where they are.
            if ctx.waiting() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        ctx.connected = self.mailbox.connected();
    }
}

/// An actor and what it knows of itself: in the hands of its task, or of a neighbour that has a message for it.
pub(crate) struct Stage<A: Work> {
    actor: A,
    ctx: WorkContext<A>,
    /// Mail that was taken and is not handled yet.
    taken: VecDeque<Envelope<A>>,
    /// The actor ended; its task has to drop it.
    over: bool,
}

impl<A: Work> Stage<A> {
    /// True when nothing comes before what is asked for now.
    pub(crate) fn is_free(&self) -> bool {
        self.ctx.state == ActorState::Running
            && !self.over
            && self.taken.is_empty()
            && !self.ctx.waiting()
    }

    /// Takes and handles a message at once, and does the work that follows.
    pub(crate) fn take_over<M>(&mut self, message: &mut Option<M>, waker: &Waker)
    where
        A: Handler<M>,
        M: Message<Result = ()> + Send + 'static,
    {
        self.extra_turn(waker, |actor, ctx| {
            if let Some(message) = message.take() {
                // The result may be of a kind that does something, but never gives anything.
                actor.handle(message, ctx).handle(ctx, None);
            }
        });
    }

    /// Does the work that there is now.
    pub(crate) fn go_on(&mut self, waker: &Waker) {
        self.extra_turn(waker, |_, _| ());
    }

    /// A turn besides those that the actor's task gives it.
    fn extra_turn(&mut self, waker: &Waker, first: impl FnOnce(&mut A, &mut WorkContext<A>)) {
        (self.ctx.visited, self.ctx.settled) = (true, false);
        let ended = self.guarded(|stage| {
            first(&mut stage.actor, &mut stage.ctx);
            if stage.ctx.settled {
                return Poll::Pending;
            }
            stage.work(&mut TaskContext::from_waker(waker))
        });
        self.ctx.visited = false;
        if ended.is_ready() || !self.ctx.spawned.is_empty() {
            // The task ends the actor, and polls what it spawned. Until then the letterbox stays open: whoever is told of the end
            // by a message must not find out in another way before it comes.
            waker.wake_by_ref();
        }
    }

    /// Lets the actor do something. Ready when it ended, or panicked.
    fn guarded(&mut self, turn: impl FnOnce(&mut Self) -> Poll<()>) -> Poll<()> {
        let ended = match panics::catch(|| turn(self)) {
            Ok(ended) => ended,
            Err(reason) => self.panicked(reason),
        };
        self.over |= ended.is_ready();
        ended
    }

    #[cold]
    fn panicked(&mut self, reason: LossReason) -> Poll<()> {
        self.actor.panicked(reason);
        Poll::Ready(())
    }

    fn work(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self { actor, ctx, .. } = self;
        if actor.work(ctx, cx).is_ready() {
            ctx.stop();
        }
        if ctx.state() == ActorState::Running {
            return Poll::Pending;
        }
        actor.stopped(ctx);
        Poll::Ready(())
    }

    fn turn(&mut self, letterbox: &mut Letterbox<A>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.ctx.state == ActorState::Started {
            self.ctx.state = ActorState::Running;
            self.actor.started(&mut self.ctx);
        }
        loop {
            letterbox.handle_all(self, cx);
            if self.work(cx).is_ready() {
                return Poll::Ready(());
            }
            let Self { actor, ctx, .. } = self;
            let spawned_before = ctx.last_handle;
            if ctx.spawned.is_empty()
                || !ctx.poll_spawned(actor, cx) && ctx.last_handle == spawned_before
            {
                return Poll::Pending;
            }
        }
    }
}

/// The task of one actor. Its letterbox closes first, so that whoever posts to it learns that it is gone.
struct Running<A: Work> {
    letterbox: Letterbox<A>,
    _seat: Seat,
    stage: Rc<RefCell<Stage<A>>>,
}

impl<A: Work> Running<A> {
    fn new(actor: A, letterbox: Letterbox<A>) -> Self {
        let address = letterbox.mailbox.address().downgrade();
        let ctx = WorkContext {
            address,
            mail: letterbox.mail.0.clone(),
            state: ActorState::Started,
            connected: true,
            visited: false,
            settled: false,
            last_handle: SpawnHandle::default(),
            spawned: Vec::new(),
            awaited: Vec::new(),
        };
        let stage = Rc::new(RefCell::new(Stage {
            actor,
            ctx,
            taken: VecDeque::new(),
            over: false,
        }));
        let seat = Seat::take(stage.clone());
        letterbox.mail.0.is_at(seat.place());
        Self {
            letterbox,
            _seat: seat,
            stage,
        }
    }
}

impl<A: Work> Future for Running<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self {
            letterbox, stage, ..
        } = self.get_mut();
        let mut stage = stage.borrow_mut();
        if stage.over {
            return Poll::Ready(());
        }
        here::in_turn(|| stage.guarded(|stage| stage.turn(letterbox, cx)))
    }
}
