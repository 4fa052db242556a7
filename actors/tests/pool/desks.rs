//! Connections that lie where their thread left them are as idle as any others.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use rpyc_actors::{
    Runtime, StreamPool,
    pool::{Check, PoolConfig, Retired},
};
use tokio::time::sleep;

use crate::{
    fake::{Fake, pool, settle, with_stopped_clock},
    support::{Random, until},
};

const SECOND: Duration = Duration::from_secs(1);

/// Makes so many connections, all of use, the last of which lies on the desk of this thread. Gives the number of that one.
async fn laid_down(pool: &StreamPool<Fake>, count: usize) -> u64 {
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(pool.get().await.expect("the peers answer"));
    }
    drop(leases);
    settle().await;
    // The actor comes, and finds that nobody waits.
    sleep(SECOND).await;
    let lease = pool.get().await.expect("they are idle");
    lease.id
}

#[test]
fn stats_count_them_as_idle() {
    with_stopped_clock(async {
        let (pool, _) = pool(PoolConfig::default().max_size(4));
        laid_down(&pool, 3).await;
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.idle, stats.acquired), (0, 3, 4));
        assert_eq!((stats.endpoints[0].in_use, stats.endpoints[0].idle), (0, 3));
        let lease = pool.get().await.expect("three are idle");
        let again = pool.get().await.expect("two are idle");
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.idle, stats.acquired), (2, 1, 6));
        drop((lease, again));
    });
}

#[test]
fn what_came_back_last_goes_first() {
    with_stopped_clock(async {
        let (pool, _) = pool(PoolConfig::default().max_size(4));
        laid_down(&pool, 4).await;
        let mut leases = Vec::new();
        for _ in 0..4 {
            leases.push(pool.get().await.expect("four are idle"));
        }
        let ids: Vec<_> = leases.iter().map(|lease| lease.id).collect();
        leases.into_iter().for_each(drop);
        for id in ids.iter().rev() {
            let lease = pool.get().await.expect("four are idle");
            assert_eq!(lease.id, *id);
            lease.discard();
        }
    });
}

#[test]
fn a_drain_closes_them() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(2));
        laid_down(&pool, 2).await;
        let drained = pool.drain(SECOND).await;
        assert!(drained.is_clean(), "{drained:?}");
        assert_eq!(pool.stats().retired.of(Retired::Closed), 2);
        assert_eq!(peers.open(), 0);
        assert!(pool.try_get().is_none());
    });
}

#[test]
fn dropping_the_pool_closes_them() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(2));
        laid_down(&pool, 2).await;
        drop(pool);
        settle().await;
        let closed = peers.closed.lock().clone();
        assert_eq!((closed.len(), peers.open()), (2, 0));
        assert!(closed.iter().all(|(_, why)| *why == Retired::Closed));
    });
}

#[test]
fn a_smaller_pool_keeps_what_was_used_last() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(4));
        let last = laid_down(&pool, 4).await;
        pool.resize(1);
        settle().await;
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.retired.of(Retired::Resized)), (1, 3));
        assert!(peers.closed.lock().iter().all(|(id, _)| *id != last));
    });
}

#[test]
fn they_go_when_they_are_unused_for_long() {
    with_stopped_clock(async {
        let config = PoolConfig::default()
            .idle_timeout(60 * SECOND)
            .check(Check::Never);
        let (pool, peers) = pool(config.max_size(1));
        let id = laid_down(&pool, 1).await;
        sleep(58 * SECOND).await;
        assert_eq!(peers.open(), 1);
        sleep(3 * SECOND).await;
        assert_eq!(*peers.closed.lock(), [(id, Retired::Idle)]);
    });
}

#[test]
fn they_are_checked_when_they_were_idle_for_long() {
    with_stopped_clock(async {
        let config = PoolConfig::default().check(Check::AfterIdle(16 * SECOND));
        let (pool, peers) = pool(config.max_size(1));
        laid_down(&pool, 1).await;
        assert!(pool.try_get().is_some(), "it needs no check");
        sleep(18 * SECOND).await;
        assert!(pool.try_get().is_none(), "it needs one");
        drop(pool.get().await.expect("it is well"));
        assert_eq!((peers.checked.load(SeqCst), pool.stats().acquired), (1, 4));
    });
}

#[test]
fn one_that_is_always_in_use_grows_old_all_the_same() {
    with_stopped_clock(async {
        let config = PoolConfig::default().max_lifetime(100 * SECOND);
        let (pool, peers) = pool(config.max_size(1));
        let id = laid_down(&pool, 1).await;
        // It is out whenever the actor comes.
        for _ in 0..300 {
            let lease = pool.get().await.expect("the peers answer");
            sleep(SECOND / 2).await;
            drop(lease);
        }
        assert_eq!(peers.closed.lock().first(), Some(&(id, Retired::Expired)));
        assert_eq!(peers.made(), 2);
    });
}

#[test]
fn one_that_breaks_there_is_not_lent() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(1));
        laid_down(&pool, 1).await;
        let lease = pool.get().await.expect("it is idle");
        let (id, broken) = (lease.id, lease.broken.clone());
        drop(lease);
        broken.store(true, SeqCst);
        let lease = pool.get().await.expect("another is made");
        assert_ne!(lease.id, id);
        assert_eq!(*peers.closed.lock(), [(id, Retired::Broken)]);
        assert_eq!(pool.stats().acquired, 4);
    });
}

/// Everything at once; afterwards the books are right to the last digit.
#[test]
fn a_storm_of_threads_ends_with_books_that_are_right() {
    let runtime = Runtime::start(2).expect("threads can be started");
    let config = PoolConfig::default()
        .max_size(6)
        .max_lifetime(Duration::from_millis(200))
        .check(Check::Never)
        .runtime(runtime);
    let (pool, peers) = pool(config);
    let work = |seed: u64| {
        let (pool, mut random, mut got) = (pool.clone(), Random(seed + 1), 0_u64);
        move || {
            for _ in 0..4000 {
                let lease = match random.below(4) {
                    0 => pool.try_get(),
                    _ => Some(pool.get_blocking().expect("one comes in time")),
                };
                let Some(lease) = lease else { continue };
                got += 1;
                let held = lease.hold();
                match random.below(400) {
                    0 => lease.break_it(),
                    1 => pool.resize(4 + random.below(4)),
                    2..10 => std::thread::yield_now(),
                    _ => {}
                }
                drop(held);
                if random.below(200) == 0 {
                    lease.discard();
                }
                if random.below(100) == 0 {
                    let stats = pool.stats();
                    assert!(stats.in_use + stats.idle <= 7, "{stats:?}");
                }
            }
            got
        }
    };
    let got: u64 = std::thread::scope(|threads| {
        let workers: Vec<_> = (0..5).map(|seed| threads.spawn(work(seed))).collect();
        let done = workers.into_iter().map(|worker| worker.join());
        done.map(|got| got.expect("it does not panic")).sum()
    });
    pool.resize(6);
    let waiter = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    waiter.block_on(until("all are closed that go", || {
        let stats = pool.stats();
        stats.closing == 0 && stats.opening == 0
    }));
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.waiting), (0, 0));
    assert_eq!(stats.acquired, got);
    assert_eq!(stats.opened - stats.retired.total(), stats.idle as u64);
    assert!(peers.most_open.load(SeqCst) <= 7);
    let all: Vec<_> = (0..6).map(|_| pool.get_blocking()).collect();
    assert!(all.iter().all(Result::is_ok), "a place is lost");
    drop(all);
    let drained = pool.drain_blocking(10 * SECOND).expect("no arbiter");
    assert!(drained.is_clean(), "{drained:?}");
    assert_eq!(peers.open(), 0);
}
