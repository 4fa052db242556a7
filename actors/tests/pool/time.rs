//! Lifetimes, timeouts and backoff, by a clock that stands still until nothing else can happen.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use rpyc_actors::pool::{Check, DialFailure, PoolConfig, PoolError, Retired, WaitedFor};
use tokio::time::{Instant, advance, sleep};

use crate::fake::{pool, settle, with_stopped_clock};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn old_connections_are_replaced_when_nobody_has_them() {
    with_stopped_clock(async {
        let config = PoolConfig::default()
            .max_size(4)
            .min_idle(2)
            .idle_timeout(None)
            .max_lifetime(Duration::from_secs(100));
        let (pool, peers) = pool(config);
        pool.warm_up().await.expect("the peers answer");
        let kept = pool.get().await.expect("one is idle");
        sleep(85 * SECOND).await;
        assert_eq!(peers.closed.lock().len(), 0, "none is old yet");
        sleep(20 * SECOND).await;
        let closed = peers.closed.lock().clone();
        assert!(
            closed.iter().all(|(_, why)| *why == Retired::Expired) && !closed.is_empty(),
            "{closed:?}"
        );
        assert!(
            closed.iter().all(|(id, _)| *id != kept.id),
            "what is out stays with its user"
        );
        let id = kept.id;
        drop(kept);
        settle().await;
        assert!(peers.closed.lock().contains(&(id, Retired::Expired)));
        pool.warm_up().await.expect("they are replaced");
        assert_eq!(pool.stats().idle, 2);
    });
}

#[test]
fn unused_connections_go_and_the_least_stays() {
    with_stopped_clock(async {
        let config = PoolConfig::default()
            .max_size(8)
            .min_idle(2)
            .idle_timeout(60 * SECOND)
            .max_lifetime(None)
            .check(Check::Never);
        let (pool, peers) = pool(config);
        let mut leases = Vec::new();
        for _ in 0..8 {
            leases.push(pool.get().await.expect("there is room"));
        }
        drop(leases);
        sleep(58 * SECOND).await;
        assert_eq!(pool.stats().idle, 8);
        // One that is used stays.
        let id = pool.get().await.expect("eight are idle").id;
        sleep(5 * SECOND).await;
        let stats = pool.stats();
        assert_eq!((stats.idle, stats.retired.of(Retired::Idle)), (2, 6));
        assert!(peers.closed.lock().iter().all(|(closed, _)| *closed != id));
    });
}

#[test]
fn only_what_was_idle_for_long_is_checked() {
    with_stopped_clock(async {
        let config = PoolConfig::default()
            .max_size(1)
            .check(Check::AfterIdle(16 * SECOND));
        let (pool, peers) = pool(config);
        drop(pool.get().await.expect("the peers answer"));
        for _ in 0..10 {
            sleep(10 * SECOND).await;
            drop(pool.get().await.expect("one is idle"));
        }
        assert_eq!(peers.checked.load(SeqCst), 0);
        sleep(18 * SECOND).await;
        drop(pool.get().await.expect("it is well"));
        assert_eq!(peers.checked.load(SeqCst), 1);
        assert_eq!(pool.stats().check_waits.count, 1);
        assert_eq!(peers.made(), 1);
    });
}

#[test]
fn what_fails_its_check_is_never_handed_out() {
    with_stopped_clock(async {
        let config = PoolConfig::default().max_size(3).check(Check::Always);
        let (pool, peers) = pool(config);
        let first = pool.get().await.expect("the peers answer");
        let id = first.id;
        drop(first);
        peers.fail_checks.store(true, SeqCst);
        let waiting = tokio::task::spawn_local({
            let pool = pool.clone();
            async move { pool.get().await.expect("another one is made").id }
        });
        // The endpoint is taken for dead, and tried again with a check.
        sleep(SECOND).await;
        assert!(!waiting.is_finished());
        assert!(peers.closed.lock().contains(&(id, Retired::CheckFailed)));
        assert!(pool.stats().endpoints[0].is_out);
        peers.fail_checks.store(false, SeqCst);
        assert_ne!(waiting.await.expect("it does not panic"), id);
    });
}

#[test]
fn a_check_that_hangs_costs_its_time_and_no_more() {
    with_stopped_clock(async {
        let config = PoolConfig::default()
            .max_size(1)
            .check(Check::Always)
            .check_timeout(3 * SECOND);
        let (pool, peers) = pool(config);
        drop(pool.get().await.expect("the peers answer"));
        peers.hang_checks.store(true, SeqCst);
        let began = Instant::now();
        let hurried = pool.get_within(SECOND).await;
        let Err(PoolError::TimedOut { waited_for, .. }) = hurried else {
            panic!("its time is over")
        };
        assert_eq!(waited_for, WaitedFor::Check);
        assert!((SECOND..SECOND + Duration::from_millis(5)).contains(&began.elapsed()));
        peers.hang_checks.store(false, SeqCst);
        let second = pool.get().await.expect("another one is made");
        assert_eq!(second.id, 2);
        assert!((3 * SECOND..4 * SECOND).contains(&began.elapsed()));
    });
}

#[test]
fn an_attempt_that_hangs_keeps_its_place_for_its_time_and_no_longer() {
    with_stopped_clock(async {
        let config = PoolConfig::default()
            .max_size(1)
            .connect_timeout(3 * SECOND);
        let (pool, peers) = pool(config);
        *peers.dial_time.lock() = 1_000_000 * SECOND;
        let began = Instant::now();
        let waiting = tokio::task::spawn_local({
            let pool = pool.clone();
            async move { pool.get().await }
        });
        sleep(SECOND).await;
        *peers.dial_time.lock() = Duration::ZERO;
        let lease = waiting.await.expect("it does not panic");
        drop(lease.expect("the next attempt is made"));
        assert!((3 * SECOND..4 * SECOND).contains(&began.elapsed()));
        assert_eq!((peers.attempts(), pool.stats().failed_dials), (2, 1));
    });
}

#[test]
fn a_timeout_says_what_was_waited_for_and_why_there_is_none() {
    with_stopped_clock(async {
        let config = PoolConfig::default().max_size(1).timeout(2 * SECOND);
        let (pool, peers) = pool(config);
        let lease = pool.get().await.expect("the peers answer");
        let began = Instant::now();
        let Err(PoolError::TimedOut {
            waited_for,
            after,
            last,
        }) = pool.get().await
        else {
            panic!("there is only one")
        };
        assert_eq!((waited_for, after), (WaitedFor::Slot, 2 * SECOND));
        assert!(last.is_none());
        assert!((2 * SECOND..2 * SECOND + Duration::from_millis(5)).contains(&began.elapsed()));
        peers.refuse.store(true, SeqCst);
        lease.discard();
        let error = pool.get().await.expect_err("nobody listens");
        assert_eq!(
            error.to_string(),
            "no connection within 2s: still waiting for a new one"
        );
        let source = std::error::Error::source(&error).expect("there is a cause");
        assert_eq!(source.to_string(), "the peer misbehaved: nobody listens");
        let stats = pool.stats();
        assert_eq!((stats.timed_out, stats.waiting), (2, 0), "{stats:?}");
        assert_eq!(
            (stats.slot_waits.count, stats.slot_waits.time),
            (1, 2 * SECOND)
        );
        assert_eq!(
            (stats.dial_waits.count, stats.dial_waits.time),
            (2, 2 * SECOND),
            "the first one waited, too, for no time at all"
        );
    });
}

#[test]
fn each_wait_is_told_apart() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(1));
        *peers.dial_time.lock() = 2 * SECOND;
        let lease = pool.get().await.expect("the peers answer");
        let other = tokio::task::spawn_local({
            let pool = pool.clone();
            async move { drop(pool.get().await.expect("one comes")) }
        });
        sleep(3 * SECOND).await;
        lease.discard();
        other.await.expect("it does not panic");
        let stats = pool.stats();
        assert_eq!((stats.dials.count, stats.dials.time), (2, 4 * SECOND));
        assert_eq!(stats.dial_waits.count, 2);
        // The second one waited for the first one's, and then for its own.
        let exact = |time: Duration, wanted: Duration| {
            (wanted..wanted + Duration::from_millis(10)).contains(&time)
        };
        assert!(exact(stats.dial_waits.time, 4 * SECOND), "{stats:?}");
        assert_eq!(stats.slot_waits.count, 1);
        assert!(exact(stats.slot_waits.time, 3 * SECOND), "{stats:?}");
        assert_eq!(stats.check_waits.count, 0);
    });
}

#[test]
fn a_peer_that_comes_back_serves_at_once_however_many_wait() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(5));
        peers.refuse.store(true, SeqCst);
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let pool = pool.clone();
                tokio::task::spawn_local(async move { pool.get().await.map(drop) })
            })
            .collect();
        sleep(5 * SECOND).await;
        let attempts = peers.attempts();
        assert!((50..110).contains(&attempts), "{attempts} attempts in 5 s");
        peers.refuse.store(false, SeqCst);
        let back = Instant::now();
        for waiting in waiting {
            let got = waiting.await.expect("it does not panic");
            got.expect("it waited for it");
        }
        assert!(back.elapsed() <= Duration::from_millis(101));
        assert!(peers.most_open.load(SeqCst) <= 5);
    });
}

#[test]
fn whoever_does_not_want_to_wait_is_told_at_once() {
    with_stopped_clock(async {
        let config = PoolConfig::default().dial_failure(DialFailure::Fail);
        let (pool, peers) = pool(config.min_idle(1));
        peers.refuse.store(true, SeqCst);
        let began = Instant::now();
        for _ in 0..20 {
            let error = pool.get().await.expect_err("nobody listens");
            assert!(matches!(error, PoolError::Connect(_)), "{error:?}");
        }
        let error = pool.warm_up().await.expect_err("nobody listens");
        assert!(matches!(error, PoolError::Connect(_)), "{error:?}");
        assert!(began.elapsed() < SECOND);
        peers.refuse.store(false, SeqCst);
        // The pool tries by itself, so the next one is served.
        advance(SECOND).await;
        settle().await;
        drop(pool.get().await.expect("it is back"));
    });
}

#[test]
fn a_pool_warms_up_and_stays_warm() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(8).min_idle(3));
        *peers.dial_time.lock() = SECOND;
        let began = Instant::now();
        pool.warm_up().await.expect("the peers answer");
        assert!(
            (SECOND..SECOND * 3 / 2).contains(&began.elapsed()),
            "all at once"
        );
        assert_eq!(pool.stats().idle, 3);
        let leases = [
            pool.try_get().expect("one is idle"),
            pool.try_get().expect("one is idle"),
        ];
        // What is lent is replaced with the next look at the books.
        sleep(3 * SECOND).await;
        assert_eq!((pool.stats().idle, pool.stats().in_use), (3, 2));
        drop(leases);
        assert_eq!(pool.stats().idle, 5);
    });
}

#[test]
fn a_connection_that_breaks_while_it_is_idle_is_replaced_unasked() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(2).min_idle(2));
        pool.warm_up().await.expect("the peers answer");
        let lease = pool.get().await.expect("two are idle");
        let (id, broken) = (lease.id, lease.broken.clone());
        drop(lease);
        broken.store(true, SeqCst);
        sleep(3 * SECOND).await;
        assert!(peers.closed.lock().contains(&(id, Retired::Broken)));
        assert_eq!(pool.stats().idle, 2);
    });
}
