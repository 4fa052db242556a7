//! [`Work`]: an actor that does one thing between messages.
//!
//! An actor of a chain handles the messages that wait for it, and then gives out what they led to. actix's own context
//! can do that with a spawned future, but it visits its lists of futures, merges new ones and checks for cancelled ones at
//! every wake-up. A question and its answer wake eight actors, so the context here knows the one future there
//! always is, and looks at the rest only when there is any.

use std::{
    future::Future,
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use actix::{
    Actor, ActorContext, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle,
    dev::{
        ContextParts, Envelope, Mailbox, ToEnvelope,
        channel::{AddressReceiver, AddressSender},
    },
    fut::ActorFuture,
};
use tokio::sync::oneshot;

/// An actor that works between messages.
pub trait Work: Actor<Context = WorkContext<Self>> + Unpin {
    /// Called after each batch of messages, and when a waker of `cx` is used. `Ready` stops the actor.
    fn work(&mut self, ctx: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()>;

    /// Starts the actor on the current arbiter. Its mailbox has no limit: credits bound what is in it.
    ///
    /// # Panics
    ///
    /// Outside of an actix arbiter.
    fn start_work(self) -> Addr<Self> {
        let (sender, receiver) = unbounded();
        actix_rt::spawn(Running::new(self, receiver));
        Addr::new(sender)
    }

    /// Makes and starts the actor on another arbiter. If that has stopped, the address is closed.
    ///
    /// Not [`start_in_arbiter`](Actor::start_in_arbiter), whose mailbox is bounded until the actor starts, and refuses
    /// the 17th message that comes before.
    fn start_work_on(
        arbiter: &actix_rt::ArbiterHandle,
        make: impl FnOnce() -> Self + Send + 'static,
    ) -> Addr<Self> {
        let (sender, receiver) = unbounded();
        arbiter.spawn_fn(move || {
            actix_rt::spawn(Running::new(make(), receiver));
        });
        Addr::new(sender)
    }
}

/// The two ends of a mailbox that never refuses: zero means without a limit in actix.
fn unbounded<A: Actor>() -> (AddressSender<A>, AddressReceiver<A>) {
    actix::dev::channel::channel(0)
}

/// A future besides the work; it is taken out while it is polled.
type Slot<A> = Option<Pin<Box<dyn ActorFuture<A, Output = ()>>>>;

/// The context of an actor that works between messages.
pub struct WorkContext<A: Work> {
    parts: ContextParts<A>,
    started: bool,
    last_handle: SpawnHandle,
    /// Futures besides the work, and those of them that keep messages waiting.
    spawned: Vec<(SpawnHandle, Slot<A>)>,
    awaited: Vec<SpawnHandle>,
}

impl<A: Work> std::fmt::Debug for WorkContext<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkContext")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl<A: Work> WorkContext<A> {
    /// True while somebody holds an address of the actor.
    pub fn connected(&self) -> bool {
        self.parts.connected()
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
        self.parts.stop();
    }

    fn terminate(&mut self) {
        self.parts.terminate();
    }

    fn state(&self) -> ActorState {
        self.parts.state()
    }
}

impl<A: Work> AsyncContext<A> for WorkContext<A> {
    fn address(&self) -> Addr<A> {
        self.parts.address()
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
        !self.awaited.is_empty() || self.parts.waiting()
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

/// The task of one actor.
struct Running<A: Work> {
    actor: A,
    ctx: WorkContext<A>,
    mailbox: Mailbox<A>,
}

impl<A: Work> Running<A> {
    fn new(actor: A, receiver: AddressReceiver<A>) -> Self {
        let mailbox = Mailbox::new(receiver);
        let ctx = WorkContext {
            parts: ContextParts::new(mailbox.sender_producer()),
            started: false,
            last_handle: SpawnHandle::default(),
            spawned: Vec::new(),
            awaited: Vec::new(),
        };
        Self {
            actor,
            ctx,
            mailbox,
        }
    }
}

impl<A: Work> Future for Running<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self {
            actor,
            ctx,
            mailbox,
        } = self.get_mut();
        if !ctx.started {
            ctx.started = true;
            actor.started(ctx);
        }
        loop {
            mailbox.poll(actor, ctx, cx);
            if actor.work(ctx, cx).is_ready() {
                ctx.stop();
            }
            if ctx.state() != ActorState::Running {
                actor.stopped(ctx);
                return Poll::Ready(());
            }
            let spawned_before = ctx.last_handle;
            if ctx.spawned.is_empty()
                || !ctx.poll_spawned(actor, cx) && ctx.last_handle == spawned_before
            {
                return Poll::Pending;
            }
        }
    }
}
