//! [`Alarm`]: wakes a task at an instant.
//!
//! A thread with any timer asks for the time at every wake-up, several times, which is more than an actor's whole turn
//! costs. Signs of life have each connection wait for something that is seconds ahead, so arbiters of our own leave such
//! timers to the thread of their system, which has nothing else to do.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_rt::ArbiterHandle;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep},
};

/// What is nearer has its timer on the thread that waits: it is over soon.
const FAR: Duration = Duration::from_secs(1);

thread_local! {
    /// Who waits for what is far ahead, on arbiters of our own.
    static KEEPER: RefCell<Option<ArbiterHandle>> = const { RefCell::new(None) };
}

/// Leaves the timers of this thread that are far ahead to `keeper`.
pub(crate) fn leave_to(keeper: ArbiterHandle) {
    KEEPER.set(Some(keeper));
}

/// An instant that one task waits for.
pub(crate) struct Alarm {
    deadline: Instant,
    timer: Timer,
}

enum Timer {
    Here(Pin<Box<Sleep>>),
    /// The keeper rings it, unless nobody waits for it any more: then the task there ends at once, and not hours later.
    AtKeeper {
        bell: Arc<Bell>,
        /// Never used: its drop tells the keeper.
        _wanted: oneshot::Sender<Infallible>,
    },
}

#[derive(Default)]
struct Bell {
    has_rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.has_rung.store(true, Ordering::Release);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_rung.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        match &mut *self.waker.lock() {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        // It may have rung before it knew whom to wake.
        if self.has_rung.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Alarm {
    /// An alarm at `deadline`, for a task of this arbiter.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(crate) fn at(deadline: Instant) -> Self {
        let timer = KEEPER
            .with_borrow(Option::clone)
            .filter(|_| deadline.saturating_duration_since(Instant::now()) >= FAR)
            .and_then(|keeper| Timer::at_keeper(&keeper, deadline))
            .unwrap_or_else(|| Timer::Here(Box::pin(tokio::time::sleep_until(deadline))));
        Self { deadline, timer }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ready from the deadline on.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Timer::Here(sleep) => sleep.as_mut().poll(cx),
            Timer::AtKeeper { bell, .. } => bell.poll(cx),
        }
    }

    /// Moves the deadline.
    pub(crate) fn reset(&mut self, deadline: Instant) {
        match &mut self.timer {
            Timer::Here(sleep) => {
                self.deadline = deadline;
                sleep.as_mut().reset(deadline);
            }
            Timer::AtKeeper { .. } => *self = Self::at(deadline),
        }
    }
}

impl Timer {
    /// `None` when the keeper has stopped.
    fn at_keeper(keeper: &ArbiterHandle, deadline: Instant) -> Option<Self> {
        let bell = Arc::<Bell>::default();
        let (wanted, unwanted) = oneshot::channel();
        let to_ring = bell.clone();
        let is_set = keeper.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => to_ring.ring(),
                _ = unwanted => {}
            }
        });
        is_set.then_some(Self::AtKeeper {
            bell,
            _wanted: wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Weak};

    use super::*;
    use crate::runtime::Runtime;

    impl Alarm {
        fn bell(&self) -> Option<Weak<Bell>> {
            match &self.timer {
                Timer::Here(_) => None,
                Timer::AtKeeper { bell, .. } => Some(Arc::downgrade(bell)),
            }
        }
    }

    async fn rings(after: Duration) -> (bool, Duration) {
        let runtime = Runtime::start(1).expect("a thread");
        let arbiter = runtime.arbiter().clone();
        let wait = move || async move {
            let began = Instant::now();
            let mut alarm = Alarm::at(began + after);
            let is_kept = alarm.bell().is_some();
            assert_eq!(alarm.deadline(), began + after);
            poll_fn(|cx| alarm.poll(cx)).await;
            (is_kept, began.elapsed())
        };
        Runtime::run_on(&arbiter, wait).await.expect("an arbiter")
    }

    #[tokio::test]
    async fn what_is_far_ahead_rings_elsewhere_and_what_is_near_here() {
        let (is_kept, after) = rings(FAR + Duration::from_millis(50)).await;
        assert!(is_kept && after > FAR);
        let (is_kept, after) = rings(Duration::from_millis(20)).await;
        assert!(!is_kept && after >= Duration::from_millis(20));
    }

    /// Batches that fill up in time, and connections that come and go, drop alarms by the thousand long before they would ring.
    #[tokio::test]
    async fn the_keeper_forgets_what_nobody_waits_for() {
        let runtime = Runtime::start(1).expect("a thread");
        let set = || async {
            let mut alarm = Alarm::at(Instant::now() + Duration::from_secs(3600));
            let first = alarm.bell().expect("far ahead");
            alarm.reset(Instant::now() + Duration::from_secs(7200));
            [first, alarm.bell().expect("far ahead")]
        };
        let arbiter = runtime.arbiter().clone();
        let bells = Runtime::run_on(&arbiter, set).await.expect("an arbiter");
        let forgotten = async {
            while bells.iter().any(|bell| bell.strong_count() > 0) {
                tokio::task::yield_now().await;
            }
        };
        let patience = Duration::from_secs(10);
        let result = tokio::time::timeout(patience, forgotten).await;
        result.expect("the keeper's tasks end");
    }

    #[tokio::test]
    async fn a_thread_without_a_keeper_has_its_own_timers() {
        let mut alarm = Alarm::at(Instant::now() + 2 * FAR);
        assert!(matches!(alarm.timer, Timer::Here(_)));
        alarm.reset(Instant::now());
        poll_fn(|cx| alarm.poll(cx)).await;
    }
}
