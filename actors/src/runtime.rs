//! Which actix System and which arbiters a chain runs on.
//!
//! All actors of one connection live on one arbiter; connections are spread over the arbiters of a [`Runtime`].

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Arbiter, System};
use actix_rt::ArbiterHandle;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{alarm, error::StreamError};

/// A set of arbiters over which connections are spread in turn.
///
/// Where none is passed, a chain that is built inside an actix System stays on the arbiter it is built on; anywhere
/// else it uses [`Runtime::shared`], a System of our own that never stops.
#[derive(Clone, Debug)]
pub struct Runtime {
    arbiters: Arc<[ArbiterHandle]>,
    next: Arc<AtomicUsize>,
}

impl Runtime {
    /// The process-wide runtime with one arbiter for each processor, made on first use. It lives as long as the process.
    ///
    /// # Panics
    ///
    /// When the operating system refuses it threads or descriptors: [`try_shared`](Self::try_shared) says so in an error.
    pub fn shared() -> Self {
        Self::try_shared()
            .expect("the operating system gives threads and descriptors to the shared runtime")
    }

    /// As [`shared`](Self::shared).
    ///
    /// # Errors
    ///
    /// [`StreamError::Runtime`], when the operating system refuses it threads or descriptors. The next use tries again.
    pub fn try_shared() -> Result<Self, StreamError> {
        static SHARED: Mutex<Option<Runtime>> = Mutex::new(None);
        let mut shared = SHARED.lock();
        if let Some(runtime) = &*shared {
            return Ok(runtime.clone());
        }
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let started =
            Self::start(threads).map_err(|error| StreamError::Runtime(Arc::new(error)))?;
        Ok(shared.insert(started).clone())
    }

    /// Starts a System of its own, with `arbiters` arbiters, that runs until the process ends.
    ///
    /// # Errors
    ///
    /// When the operating system refuses it threads or descriptors.
    pub fn start(arbiters: usize) -> io::Result<Self> {
        let arbiters = arbiters.max(1);
        let refused = |error: io::Error| {
            let what = format!("cannot start the event loops of {arbiters} threads: {error}");
            io::Error::new(error.kind(), what)
        };
        probe(1 + arbiters).map_err(refused)?;
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("rpyc-system".into())
            .spawn(move || {
                let system = System::new();
                let started = system.block_on(async move { start_arbiters(arbiters) });
                let is_running = started.is_ok();
                // A caller that gave up meanwhile has no use for them.
                let _ = sender.send(started);
                if is_running {
                    let _ = system.run();
                }
            })
            .map_err(refused)?;
        let arbiters = receiver
            .recv()
            .map_err(|_| io::Error::other("the system's thread ended before it started"))?
            .map_err(refused)?;
        Ok(Self {
            arbiters,
            next: Arc::default(),
        })
    }

    /// A runtime that uses just these arbiters, in turn.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` when there are none.
    pub fn with_arbiters(
        arbiters: impl IntoIterator<Item = ArbiterHandle>,
    ) -> Result<Self, StreamError> {
        let arbiters: Arc<[_]> = arbiters.into_iter().collect();
        if arbiters.is_empty() {
            return Err(StreamError::misuse("a runtime needs at least one arbiter"));
        }
        Ok(Self {
            arbiters,
            next: Arc::default(),
        })
    }

    /// The current arbiter when called on one, else [`Runtime::shared`].
    ///
    /// # Panics
    ///
    /// As `shared`: [`try_current`](Self::try_current) says so in an error.
    pub fn current() -> Self {
        Self::of_this_thread().unwrap_or_else(Self::shared)
    }

    /// As [`current`](Self::current).
    ///
    /// # Errors
    ///
    /// As [`try_shared`](Self::try_shared).
    pub fn try_current() -> Result<Self, StreamError> {
        Self::of_this_thread().map_or_else(Self::try_shared, Ok)
    }

    fn of_this_thread() -> Option<Self> {
        Arbiter::try_current().map(|arbiter| Self {
            arbiters: Arc::from([arbiter]),
            next: Arc::default(),
        })
    }

    /// The runtime that was chosen, else that of [`try_current`](Self::try_current).
    pub(crate) fn or_current(chosen: Option<&Self>) -> Result<Self, StreamError> {
        chosen.cloned().map_or_else(Self::try_current, Ok)
    }

    /// The arbiter whose turn it is.
    pub fn arbiter(&self) -> &ArbiterHandle {
        &self.arbiters[self.next.fetch_add(1, Ordering::Relaxed) % self.arbiters.len()]
    }

    /// All arbiters.
    pub fn arbiters(&self) -> &[ArbiterHandle] {
        &self.arbiters
    }

    /// Runs `make` on `arbiter` and drives the future it gives there.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` when the arbiter has stopped.
    ///
    /// # Cancellation
    ///
    /// The future is dropped on its arbiter.
    pub(crate) async fn run_on<F, R>(
        arbiter: &ArbiterHandle,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Result<R, StreamError>
    where
        F: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        let (mut sender, receiver) = oneshot::channel();
        let task = move || {
            actix_rt::spawn(async move {
                let work = make();
                tokio::select! {
                    result = work => { let _ = sender.send(result); }
                    () = sender.closed() => {}
                }
            });
        };
        let stopped = || StreamError::misuse("the arbiter that should run this has stopped");
        if !arbiter.spawn_fn(task) {
            return Err(stopped());
        }
        receiver.await.map_err(|_| stopped())
    }

    /// Resolves after `time`, on whatever runtime it is awaited.
    pub async fn sleep(&self, time: Duration) {
        Self::sleep_on(self.arbiter(), time).await;
    }

    pub(crate) async fn sleep_on(arbiter: &ArbiterHandle, time: Duration) {
        if Self::run_on(arbiter, move || tokio::time::sleep(time))
            .await
            .is_err()
        {
            // Without an arbiter there is nothing to wait for, since nothing can happen any more.
        }
    }
}

/// Starts the arbiters of a System from within it; all of them or none.
fn start_arbiters(count: usize) -> io::Result<Arc<[ArbiterHandle]>> {
    let keeper = System::current().arbiter().clone();
    let mut arbiters = Vec::with_capacity(count);
    for _ in 0..count {
        match Arbiter::try_new() {
            Ok(arbiter) => {
                let (arbiter, keeper) = (arbiter.handle(), keeper.clone());
                arbiter.spawn_fn(move || alarm::leave_to(keeper));
                arbiters.push(arbiter);
            }
            Err(error) => {
                for arbiter in &arbiters {
                    arbiter.stop();
                }
                return Err(error);
            }
        }
    }
    Ok(arbiters.into())
}

/// Opens as many descriptors as so many event loops need, and closes them.
///
/// An event loop that finds none for signals panics in tokio, and so does a System without an event loop in actix; so neither is tried.
fn probe(event_loops: usize) -> io::Result<()> {
    /// Of two descriptors each: an event loop has a queue, a copy of it, what wakes it and its ear for signals.
    const PIPES: usize = 2;
    /// What the first event loop of a process makes for signals.
    const FOR_SIGNALS: usize = 1;
    (0..event_loops * PIPES + FOR_SIGNALS)
        .map(|_| io::pipe())
        .collect::<io::Result<Vec<_>>>()?;
    Ok(())
}

/// Waits for a future on a plain thread.
///
/// # Errors
///
/// `ApiMisuse` on an arbiter, whose own work the future may need.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, StreamError> {
    may_block()?;
    Ok(pollster::block_on(future))
}

/// Refuses to block an arbiter.
pub(crate) fn may_block() -> Result<(), StreamError> {
    if Arbiter::try_current().is_some() {
        return Err(StreamError::misuse(
            "a blocking call on an arbiter would wait for itself: use the async twin",
        ));
    }
    Ok(())
}

/// Any instant will do as the start of a virtual clock.
pub(crate) fn start_of_virtual_time() -> Instant {
    Instant::now()
}
