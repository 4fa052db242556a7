//! [`Work`]: an actor that does one thing between messages.
//!
//! An actor of a chain handles the messages that wait for it, and then gives out what they led to. actix's own context
//! can do that with a spawned future, but it visits its lists of futures, merges new ones and checks for cancelled ones at
//! every wake-up. A question and its answer wake eight actors, so the context here knows the one future there
//! always is, and looks at the rest only when there is any.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use actix::{
    Actor, ActorContext, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle,
    dev::{ContextParts, Envelope, EnvelopeProxy, Mailbox, ToEnvelope},
    fut::ActorFuture,
};
use tokio::sync::oneshot;

use crate::{
    error::LossReason,
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
        taken: VecDeque::new(),
    };
    (address, letterbox)
}

type Slot<A> = Option<Pin<Box<dyn ActorFuture<A, Output = ()>>>>;

/// The context of an actor that works between messages.
pub struct WorkContext<A: Work> {
    parts: ContextParts<A>,
    mail: Arc<Mail<A>>,
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

    /// The address for neighbours.
    pub(crate) fn work_address(&self) -> WorkAddr<A> {
        WorkAddr::new(self.parts.address(), self.mail.clone())
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

/// What neighbours posted, and what others sent.
struct Letterbox<A: Work> {
    mail: OwnMail<A>,
    mailbox: Mailbox<A>,
    mailbox_noted: Noted,
    /// Mail that was taken and is not handled yet.
    taken: VecDeque<Envelope<A>>,
}

/// Refuses mail once the actor is gone, or was never started.
struct OwnMail<A: Work>(Arc<Mail<A>>);

impl<A: Work> Drop for OwnMail<A> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<A: Work> Letterbox<A> {
    fn handle_all(&mut self, actor: &mut A, ctx: &mut WorkContext<A>, cx: &TaskContext<'_>) {
        self.mail.0.take(&mut self.taken, cx.waker());
        while !ctx.waiting()
            && let Some(mut envelope) = self.taken.pop_front()
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
    }
}

/// The task of one actor. Its letterbox closes first, so that whoever posts to it learns that it is gone.
struct Running<A: Work> {
    letterbox: Letterbox<A>,
    actor: A,
    ctx: WorkContext<A>,
}

impl<A: Work> Running<A> {
    fn new(actor: A, letterbox: Letterbox<A>) -> Self {
        let ctx = WorkContext {
            parts: ContextParts::new(letterbox.mailbox.sender_producer()),
            mail: letterbox.mail.0.clone(),
            started: false,
            last_handle: SpawnHandle::default(),
            spawned: Vec::new(),
            awaited: Vec::new(),
        };
        Self {
            letterbox,
            actor,
            ctx,
        }
    }
}

impl<A: Work> Future for Running<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        match panics::catch(|| this.turn(cx)) {
            Ok(polled) => polled,
            Err(reason) => {
                this.actor.panicked(reason);
                Poll::Ready(())
            }
        }
    }
}

impl<A: Work> Running<A> {
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self {
            letterbox,
            actor,
            ctx,
        } = self;
        if !ctx.started {
            ctx.started = true;
            actor.started(ctx);
        }
        loop {
            letterbox.handle_all(actor, ctx, cx);
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
