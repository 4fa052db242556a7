//! Many at once: threads, runtimes, and tasks that go away at any moment.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use rpyc_actors::{
    Runtime, StreamPool,
    pool::{Check, Lease, PoolConfig, PoolError},
};

use crate::{
    fake::{Fake, pool},
    support::{Random, until, within},
};

type Getting = Pin<Box<dyn Future<Output = Result<Lease<Fake>, PoolError>>>>;

fn poll(getting: &mut Getting) -> Poll<Result<Lease<Fake>, PoolError>> {
    getting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

fn get(pool: &StreamPool<Fake>) -> Getting {
    let pool = pool.clone();
    Box::pin(async move { pool.get().await })
}

/// A pool on arbiters of its own.
fn config(size: usize) -> PoolConfig {
    let runtime = Runtime::start(2).expect("threads can be started");
    PoolConfig::default().max_size(size).runtime(runtime)
}

#[tokio::test]
async fn those_who_wait_are_served_in_order_and_those_who_went_are_left_out() {
    let (pool, _) = pool(config(1));
    let mut random = Random(7);
    for _ in 0..50 {
        let mut lease = within("dialling", pool.get()).await.expect("it is made");
        let mut waiting: Vec<Option<Getting>> = (0..40).map(|_| Some(get(&pool))).collect();
        for getting in waiting.iter_mut().flatten() {
            assert!(poll(getting).is_pending());
        }
        for getting in &mut waiting {
            if random.below(3) == 0 {
                *getting = None;
            }
        }
        // Newcomers stand behind them, however the connection is idle for an instant.
        while let Some(first) = waiting.iter().position(Option::is_some) {
            drop(lease);
            if random.below(4) == 0 {
                // It was given the connection, and goes without having looked.
                waiting[first] = None;
                let Some(next) = waiting.iter().position(Option::is_some) else {
                    lease = pool.try_get().expect("nobody waits any more");
                    break;
                };
                lease = served(&mut waiting, next);
                continue;
            }
            assert!(pool.try_get().is_none(), "somebody waits for it");
            lease = served(&mut waiting, first);
        }
        drop(lease);
    }
    assert_eq!((pool.stats().idle, pool.stats().waiting), (1, 0));
}

/// The one at this place has a connection, and nobody behind it has.
fn served(waiting: &mut [Option<Getting>], at: usize) -> Lease<Fake> {
    for behind in waiting[at + 1..].iter_mut().flatten() {
        assert!(poll(behind).is_pending(), "it was overtaken");
    }
    let mut first = waiting[at].take().expect("it waits");
    match poll(&mut first) {
        Poll::Ready(lease) => lease.expect("it is given"),
        Poll::Pending => panic!("it is its turn"),
    }
}

/// Gets, holds for a moment and returns; gives up in the middle now and then.
async fn work(pool: StreamPool<Fake>, seed: u64, rounds: usize, got: Arc<AtomicU64>) {
    let mut random = Random(seed);
    for _ in 0..rounds {
        let getting = pool.get();
        let lease = if random.below(3) == 0 {
            let patience = Duration::from_micros(random.next() % 300);
            match tokio::time::timeout(patience, getting).await {
                Ok(lease) => lease,
                Err(_) => continue,
            }
        } else {
            getting.await
        };
        let lease = lease.expect("one comes in time");
        got.fetch_add(1, SeqCst);
        assert!(!lease.is_broken(), "a broken one is never handed out");
        let held = lease.hold();
        match random.below(8) {
            0 => tokio::task::yield_now().await,
            1 => tokio::time::sleep(Duration::from_micros(random.next() % 200)).await,
            2 => lease.break_it(),
            _ => {}
        }
        drop(held);
        if random.below(20) == 0 {
            lease.discard();
        }
    }
}

#[test]
fn ten_threads_and_two_runtimes_share_three_connections() {
    let check = Check::AfterIdle(Duration::from_millis(16));
    let (pool, peers) = pool(
        config(3)
            .check(check)
            .max_lifetime(Duration::from_millis(50)),
    );
    let got = Arc::new(AtomicU64::new(0));
    let runtimes: Vec<_> = (0..2)
        .map(|_| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime can be built")
        })
        .collect();
    let tasks: Vec<_> = (0..20)
        .map(|seed| runtimes[seed % 2].spawn(work(pool.clone(), seed as u64, 500, got.clone())))
        .collect();
    std::thread::scope(|threads| {
        for _ in 0..10 {
            threads.spawn(|| {
                for _ in 0..500 {
                    let lease = pool.get_blocking().expect("one comes in time");
                    got.fetch_add(1, SeqCst);
                    assert!(!lease.is_broken());
                    drop(lease.hold());
                }
            });
        }
    });
    for task in tasks {
        runtimes[0]
            .block_on(within("working", task))
            .expect("it does not panic");
    }
    let got = got.load(SeqCst);
    assert!(got > 10_000, "{got}");
    assert!(peers.most_open.load(SeqCst) <= 3);
    runtimes[0].block_on(until("all are back", || {
        let stats = pool.stats();
        stats.in_use == 0 && stats.waiting == 0
    }));
    // Nothing leaked: all places can be had at once.
    let all: Vec<_> = (0..3)
        .map(|_| pool.get_blocking().expect("there are three places"))
        .collect();
    assert_eq!(pool.stats().in_use, 3);
    drop(all);
    assert!(peers.made() > 100, "they were replaced under load");
    assert!(
        pool.drain_blocking(Duration::from_secs(10))
            .expect("no arbiter")
            .is_clean()
    );
    assert_eq!(peers.open(), 0);
}

#[test]
fn a_storm_of_cancellations_loses_nothing() {
    let (pool, peers) = pool(config(3).check(Check::Always));
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for seed in 0..4 {
            let (pool, stop) = (&pool, &stop);
            threads.spawn(move || {
                let mut random = Random(seed);
                let mut waiting: Vec<Getting> = Vec::new();
                while !stop.load(SeqCst) {
                    match random.below(3) {
                        0 if waiting.len() < 50 => waiting.push(get(pool)),
                        1 if !waiting.is_empty() => {
                            let at = random.below(waiting.len());
                            drop(waiting.swap_remove(at));
                        }
                        _ if !waiting.is_empty() => {
                            let at = random.below(waiting.len());
                            if let Poll::Ready(lease) = poll(&mut waiting[at]) {
                                drop(waiting.swap_remove(at));
                                let lease = lease.expect("the pool is open");
                                drop(lease.hold());
                            }
                        }
                        _ => {}
                    }
                }
            });
        }
        // One who behaves gets on in the middle of it.
        for _ in 0..300 {
            let lease = pool.get_within_blocking(Duration::from_secs(20));
            drop(lease.expect("nobody keeps one"));
        }
        stop.store(true, SeqCst);
    });
    let all: Vec<_> = (0..3)
        .map(|_| pool.get_within_blocking(Duration::from_secs(20)))
        .collect();
    assert!(all.iter().all(Result::is_ok), "a place is lost");
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.waiting), (3, 0));
    assert!(peers.most_open.load(SeqCst) <= 3);
}

/// A task that holds a connection for as long as somebody may wake it.
struct Holder(#[expect(dead_code, reason = "its drop counts")] parking_lot::Mutex<Lease<Fake>>);

impl std::task::Wake for Holder {
    fn wake(self: Arc<Self>) {}
}

/// What a waker holds may return a connection as it goes.
#[test]
fn wakers_go_without_the_lock() {
    let (pool, _) = pool(config(1));
    for is_replaced in [true, false] {
        let lease = pool.get_blocking().expect("the peers answer");
        let holder = Holder(parking_lot::Mutex::new(lease));
        let mut getting = get(&pool);
        {
            let waker = Waker::from(Arc::new(holder));
            let waiting = getting.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(waiting.is_pending(), "there is only one");
        }
        if is_replaced {
            assert!(poll(&mut getting).is_pending(), "it looked just before");
            assert!(poll(&mut getting).is_ready(), "it was the last one's");
        } else {
            drop(getting);
        }
        assert_eq!((pool.stats().in_use, pool.stats().idle), (0, 1));
    }
}
