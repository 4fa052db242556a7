//! Calls through a pool, and the same over one connection that all share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rpyc::{Chain, Connection, ConnectionPool, Connections, Endpoint, PoolConfig, TcpConfig};

use super::{
    calls::Client,
    cell::{Outcome, Stop},
    ends::runtimes,
};

/// Connections of a pool.
const SIZE: usize = 16;
/// Tasks that call, on two threads.
const TASKS: i64 = 64;

/// How a task comes to a connection for each call.
#[derive(Clone)]
pub(crate) enum Way {
    Pool(ConnectionPool),
    Shared(Connection),
}

impl Way {
    /// A pool of connections to a server on this port.
    pub(crate) fn pool(port: u16) -> Self {
        let config = PoolConfig::default()
            .max_size(SIZE)
            .runtime(runtimes()[0].clone());
        Self::Pool(ConnectionPool::of(Connections::new(chain(port)), config))
    }

    /// One connection to it.
    pub(crate) fn shared(port: u16) -> Self {
        let channel = chain(port)
            .runtime(runtimes()[0].clone())
            .connect_blocking()
            .expect("it listens");
        Self::Shared(Connection::new(channel, rpyc::VoidService))
    }

    async fn add(&self, a: i64, b: i64) -> i64 {
        match self {
            Self::Pool(pool) => {
                let connection = pool.get().await.expect("it listens");
                connection.add(a, b).await
            }
            Self::Shared(connection) => connection.add(a, b).await,
        }
    }
}

fn chain(port: u16) -> Chain {
    Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()))
}

/// Calls of many tasks, each one after the other.
pub(crate) fn measure(time: Duration, way: &Way) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let stop = Stop::default();
    let count = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (way, stop, count) = (way.clone(), stop.clone(), count.clone());
            runtime.spawn(async move {
                let mut asked = 0;
                while !stop.is_set() {
                    assert_eq!(way.add(asked, 1).await, asked + 1, "the answer is the sum");
                    asked += 1;
                }
                count.fetch_add(asked.unsigned_abs(), Ordering::Relaxed);
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
