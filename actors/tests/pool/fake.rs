//! Connections that need no peer, and a clock that stands still.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix::System;
use parking_lot::Mutex;
use rpyc_actors::{
    Runtime, StreamError, StreamPool,
    pool::{PoolConfig, Recipe, Retired},
};

/// What the peers do, and what they saw.
#[derive(Default)]
pub(crate) struct Peers {
    /// Nobody listens.
    pub(crate) refuse: AtomicBool,
    /// Checks fail.
    pub(crate) fail_checks: AtomicBool,
    /// So many checks fail, and those behind them pass.
    pub(crate) fail_checks_times: AtomicUsize,
    /// Checks are never answered.
    pub(crate) hang_checks: AtomicBool,
    /// The next attempt to connect panics.
    pub(crate) panic_once: AtomicBool,
    /// How long an attempt to connect takes.
    pub(crate) dial_time: Mutex<Duration>,
    /// How long closing takes.
    pub(crate) close_time: Mutex<Duration>,
    pub(crate) attempts: AtomicU64,
    pub(crate) made: AtomicU64,
    pub(crate) checked: AtomicU64,
    pub(crate) open: AtomicUsize,
    pub(crate) most_open: AtomicUsize,
    pub(crate) closed: Mutex<Vec<(u64, Retired)>>,
}

impl Peers {
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts.load(SeqCst)
    }

    pub(crate) fn made(&self) -> u64 {
        self.made.load(SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }
}

/// Makes connections to them.
#[derive(Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Peers>);

/// A connection to them.
pub(crate) struct Line {
    pub(crate) id: u64,
    pub(crate) broken: Arc<AtomicBool>,
    /// Somebody has it.
    held: AtomicBool,
    peers: Arc<Peers>,
}

impl Line {
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(SeqCst)
    }

    pub(crate) fn break_it(&self) {
        self.broken.store(true, SeqCst);
    }

    /// Fails when somebody else has it, too.
    pub(crate) fn hold(&self) -> Held<'_> {
        assert!(!self.held.swap(true, SeqCst), "two have one connection");
        Held(self)
    }
}

/// Exclusive use of a connection.
pub(crate) struct Held<'a>(&'a Line);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.store(false, SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.peers.open.fetch_sub(1, SeqCst);
    }
}

impl Recipe for Fake {
    type Connection = Line;

    fn endpoint(&self) -> &str {
        "fake:"
    }

    async fn connect(&self, _: &Runtime) -> Result<Line, StreamError> {
        let peers = &self.0;
        peers.attempts.fetch_add(1, SeqCst);
        let time = *peers.dial_time.lock();
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        assert!(!peers.panic_once.swap(false, SeqCst), "a recipe may panic");
        if peers.refuse.load(SeqCst) {
            return Err(StreamError::peer("nobody listens"));
        }
        let open = peers.open.fetch_add(1, SeqCst) + 1;
        peers.most_open.fetch_max(open, SeqCst);
        Ok(Line {
            id: peers.made.fetch_add(1, SeqCst) + 1,
            broken: Arc::default(),
            held: AtomicBool::new(false),
            peers: peers.clone(),
        })
    }

    fn is_usable(&self, line: &Line) -> bool {
        !line.is_broken()
    }

    async fn check(&self, _: &Line) -> Result<(), StreamError> {
        self.0.checked.fetch_add(1, SeqCst);
        if self.0.hang_checks.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let times = &self.0.fail_checks_times;
        let fails = times.fetch_update(SeqCst, SeqCst, |times| times.checked_sub(1));
        if fails.is_ok() || self.0.fail_checks.load(SeqCst) {
            return Err(StreamError::peer("it is not well"));
        }
        Ok(())
    }

    async fn close(&self, line: Line, why: Retired) {
        let time = *self.0.close_time.lock();
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        self.0.closed.lock().push((line.id, why));
    }
}

/// A pool of such connections, and their peers.
pub(crate) fn pool(config: PoolConfig) -> (StreamPool<Fake>, Arc<Peers>) {
    let fake = Fake::default();
    let peers = fake.0.clone();
    (StreamPool::of(fake, config.seed(1)), peers)
}

/// Runs a test in an actix System whose time stands still while anything can be done, and jumps to the next timer otherwise.
pub(crate) fn with_stopped_clock(test: impl Future<Output = ()>) {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime can be built")
    };
    System::with_tokio_rt(runtime).block_on(test);
}

/// Lets everything happen that can without time passing.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
