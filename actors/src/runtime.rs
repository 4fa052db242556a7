//! Which actix System and which arbiters a chain runs on.
//!
//! All actors of one connection live on one arbiter; connections are spread over the arbiters of a [`Runtime`].

use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Arbiter, System};
use actix_rt::ArbiterHandle;
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
    /// When the operating system refuses a thread.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Runtime> = OnceLock::new();
        SHARED
            .get_or_init(|| {
                let threads = std::thread::available_parallelism().map_or(2, usize::from);
                Self::start(threads)
                    .expect("the operating system gives the threads of the shared runtime")
            })
            .clone()
    }

    /// Starts a System of its own, with `arbiters` arbiters, that runs until the process ends.
    ///
    /// # Errors
    ///
    /// When the operating system refuses a thread.
    pub fn start(arbiters: usize) -> std::io::Result<Self> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("rpyc-system".into())
            .spawn(move || {
                let system = System::new();
                let handles: Arc<[ArbiterHandle]> = system.block_on(async move {
                    let keeper = System::current().arbiter().clone();
                    let arbiter = |_| {
                        let (arbiter, keeper) = (Arbiter::new().handle(), keeper.clone());
                        arbiter.spawn_fn(move || alarm::leave_to(keeper));
                        arbiter
                    };
                    (0..arbiters.max(1)).map(arbiter).collect()
                });
                // A caller that gave up meanwhile has no use for them.
                let _ = sender.send(handles);
                let _ = system.run();
            })?;
        let arbiters = receiver
            .recv()
            .map_err(|_| std::io::Error::other("the system's thread ended before it started"))?;
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
    pub fn current() -> Self {
        match Arbiter::try_current() {
            Some(arbiter) => Self {
                arbiters: Arc::from([arbiter]),
                next: Arc::default(),
            },
            None => Self::shared(),
        }
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
