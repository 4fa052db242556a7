//! Pools of connected channels, ours and deadpool's, which look at a channel in the same way before they give it out.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use rpyc_actors::{
    Chain, Channel, Endpoint, Listener, ListenerConfig, StreamError, StreamPool, TcpConfig,
    pool::PoolConfig,
};

use super::{
    cell::{Outcome, Stop},
    ends::runtimes,
};

/// Who gets connections, and how many there are.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    tasks: u64,
    size: usize,
    /// A connection is kept while other tasks run.
    yields: bool,
}

impl Load {
    /// One task.
    pub(crate) const ONE: Self = Self {
        tasks: 1,
        size: 16,
        yields: false,
    };
    /// Ten tasks on two threads, with a connection for each.
    pub(crate) const TEN: Self = Self {
        tasks: 10,
        size: 16,
        yields: false,
    };
    /// Ten tasks on two threads that stand in line for three.
    pub(crate) const LINE: Self = Self {
        tasks: 10,
        size: 3,
        yields: true,
    };
}

/// A pool of either kind.
pub(crate) trait Pooled: Clone + Send + Sync + 'static {
    /// Gets a connection, keeps it while `use_it` lasts, and returns it.
    fn borrow(&self, use_it: impl Future<Output = ()> + Send) -> impl Future<Output = ()> + Send;
}

impl Pooled for StreamPool {
    async fn borrow(&self, use_it: impl Future<Output = ()> + Send) {
        let lease = self.get().await.expect("the peer listens");
        use_it.await;
        drop(lease);
    }
}

impl Pooled for managed::Pool<Manager> {
    async fn borrow(&self, use_it: impl Future<Output = ()> + Send) {
        let object = self.get().await.expect("the peer listens");
        use_it.await;
        drop(object);
    }
}

/// Accepts channels, and keeps them until the benchmark's end.
fn chain() -> Chain {
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let config = ListenerConfig::default().runtime(runtimes()[1].clone());
    let listening = Listener::bind(&endpoint, config, |stream| {
        std::mem::forget(Channel::new(stream));
    });
    let listener = pollster::block_on(listening).expect("a free port");
    let port = listener.port().expect("a TCP port");
    std::mem::forget(listener);
    let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default());
    Chain::new(endpoint).runtime(runtimes()[0].clone())
}

pub(crate) fn ours(load: Load) -> StreamPool {
    let config = PoolConfig::default()
        .max_size(load.size)
        .runtime(runtimes()[0].clone());
    StreamPool::of(chain(), config)
}

pub(crate) fn deadpool(load: Load) -> managed::Pool<Manager> {
    managed::Pool::builder(Manager(chain()))
        .max_size(load.size)
        .build()
        .expect("it needs no timers")
}

/// As our recipe for bare channels.
pub(crate) struct Manager(Chain);

impl managed::Manager for Manager {
    type Type = Channel;
    type Error = StreamError;

    async fn create(&self) -> Result<Channel, StreamError> {
        self.0.connect().await
    }

    async fn recycle(&self, channel: &mut Channel, _: &Metrics) -> RecycleResult<StreamError> {
        if channel.closed() || channel.poll(Duration::ZERO).await {
            return Err(RecycleError::message("it is not usable"));
        }
        Ok(())
    }
}

/// Gets and returns for a while, and counts how often.
pub(crate) fn measure<P: Pooled>(time: Duration, pool: &P, load: Load) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let stop = Stop::default();
    let count = std::sync::Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let tasks: Vec<_> = (0..load.tasks)
        .map(|_| {
            let (pool, stop, count) = (pool.clone(), stop.clone(), count.clone());
            runtime.spawn(async move {
                let mut borrowed = 0;
                while !stop.is_set() {
                    pool.borrow(async {
                        if load.yields {
                            tokio::task::yield_now().await;
                        }
                    })
                    .await;
                    borrowed += 1;
                }
                count.fetch_add(borrowed, Ordering::Relaxed);
            })
        })
        .collect();
    stop.after(time);
    for task in tasks {
        runtime.block_on(task).expect("the task does not panic");
    }
    Outcome::Flow {
        frames: count.load(Ordering::Relaxed),
        seconds: began.elapsed().as_secs_f64(),
    }
}
