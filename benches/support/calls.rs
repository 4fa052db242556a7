//! Calls of `add`, one after the other or many at once, in the same way for each contender.

use std::{future::Future, pin::Pin, time::Instant};

use tokio::task::JoinHandle;

use super::cell::{Outcome, Reports, Stop};

/// Who asks, and how.
#[derive(Clone, Copy)]
pub(crate) enum Asking {
    /// One task where the connection lives.
    Sequential,
    /// One task of a runtime on another thread.
    OtherThread,
    /// So many tasks where the connection lives, each asking one question after the other.
    InFlight(u64),
}

impl Asking {
    fn tasks(self) -> u64 {
        match self {
            Self::Sequential | Self::OtherThread => 1,
            Self::InFlight(tasks) => tasks,
        }
    }
}

/// A client of a service with `add`.
pub(crate) trait Client: Clone + Send + Sync + 'static {
    /// Asks for a sum.
    fn add(&self, a: i64, b: i64) -> impl Future<Output = i64> + Send;
}

/// Starts a task beside the one that asks.
pub(crate) type Spawn = fn(Pin<Box<dyn Future<Output = u64> + Send>>) -> JoinHandle<u64>;

/// Calls until it is time to stop, and reports how many calls there were.
pub(crate) async fn drive(
    client: &impl Client,
    asking: Asking,
    stop: Stop,
    reports: Reports,
    spawn: Spawn,
) {
    // The first call of a connection may ask for more than its answer.
    assert_eq!(client.add(1, 2).await, 3, "the answer is the sum");
    let began = Instant::now();
    let calls = if asking.tasks() == 1 {
        ask(client, &stop).await
    } else {
        let tasks: Vec<_> = (0..asking.tasks())
            .map(|_| {
                let (client, stop) = (client.clone(), stop.clone());
                spawn(Box::pin(async move { ask(&client, &stop).await }))
            })
            .collect();
        let mut calls = 0;
        for task in tasks {
            calls += task.await.expect("the task does not panic");
        }
        calls
    };
    let seconds = began.elapsed().as_secs_f64();
    let _ = reports.sent.send(calls);
    let _ = reports.outcome.send(Outcome::Flow {
        frames: calls,
        seconds,
    });
}

/// One question after the other. Gives their number.
async fn ask(client: &impl Client, stop: &Stop) -> u64 {
    let mut asked = 0;
    while !stop.is_set() {
        let sum = client.add(asked, 1).await;
        assert_eq!(sum, asked + 1, "the answer is the sum");
        asked += 1;
    }
    asked.unsigned_abs()
}
