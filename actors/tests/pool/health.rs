//! What breaks, who is told, and how a pool ends.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use rpyc_actors::{
    Runtime, StreamPool,
    pool::{Check, PoolConfig, PoolError, PoolEvent, PoolEvents, Retired},
};
use tokio::time::{Instant, sleep};

use crate::{
    fake::{Fake, Peers, pool, settle, with_stopped_clock},
    support::{recorder::Registry, until, within},
};

const SECOND: Duration = Duration::from_secs(1);

/// What came so far, in short.
fn told(events: &mut PoolEvents) -> Vec<String> {
    let name = |event: &PoolEvent| match event {
        PoolEvent::Opened { .. } => "opened".to_owned(),
        PoolEvent::DialFailed { .. } => "failed".to_owned(),
        PoolEvent::Retired { why, .. } => format!("{why:?}"),
        PoolEvent::Ejected { .. } => "ejected".to_owned(),
        PoolEvent::Restored { .. } => "restored".to_owned(),
        PoolEvent::Resized { max_size } => format!("resized to {max_size}"),
        PoolEvent::Draining => "draining".to_owned(),
        PoolEvent::Closed => "closed".to_owned(),
        other => panic!("not known: {other:?}"),
    };
    std::iter::from_fn(|| events.try_next())
        .map(|event| name(&event))
        .collect()
}

#[test]
fn every_change_is_told_in_order_to_all_who_listen() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(1));
        let (mut events, mut others) = (pool.events(), pool.events());
        let lease = pool.get().await.expect("the peers answer");
        lease.broken.store(true, SeqCst);
        peers.refuse.store(true, SeqCst);
        drop(lease);
        let waiting = tokio::task::spawn_local({
            let pool = pool.clone();
            async move { pool.get().await.expect("they come back").discard() }
        });
        settle().await;
        peers.refuse.store(false, SeqCst);
        waiting.await.expect("it does not panic");
        pool.resize(7);
        let drained = pool.drain(SECOND).await;
        assert!(drained.is_clean(), "{drained:?}");
        settle().await;
        let story = told(&mut events);
        assert_eq!(
            story,
            [
                "opened",
                "Broken",
                "ejected",
                "failed",
                "restored",
                "opened",
                "Discarded",
                "resized to 7",
                "draining",
                "closed"
            ]
        );
        assert_eq!(told(&mut others), story);
        assert!(
            others.next().await.is_none(),
            "nothing comes behind the end"
        );
    });
}

#[test]
fn a_recipe_that_panics_costs_one_connection_and_no_place() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(1));
        for _ in 0..5 {
            peers.panic_once.store(true, SeqCst);
            let lease = pool.get().await.expect("the next attempt works");
            lease.discard();
        }
        let stats = pool.stats();
        assert_eq!((stats.failed_dials, stats.opened), (5, 5));
    });
}

#[test]
fn what_a_panicking_user_had_is_given_up() {
    with_stopped_clock(async {
        let (pool, _) = pool(PoolConfig::default().max_size(1));
        let lease = pool.get().await.expect("the peers answer");
        let user = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _lease = lease;
            panic!("in the middle of a question");
        }));
        assert!(user.is_err());
        assert_eq!(pool.stats().retired.of(Retired::Discarded), 1);
        assert_eq!(pool.get().await.expect("another one is made").id, 2);
    });
}

#[test]
fn a_connection_can_be_taken_out_for_good() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(1));
        let kept = pool.get().await.expect("the peers answer").into_inner();
        let lease = pool.get().await.expect("its place is free");
        assert_eq!((kept.id, lease.id, peers.open()), (1, 2, 2));
        assert_eq!(pool.stats().retired.of(Retired::Taken), 1);
    });
}

#[test]
fn a_place_is_free_only_when_its_connection_is_closed() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(1));
        *peers.close_time.lock() = 3 * SECOND;
        pool.get().await.expect("the peers answer").discard();
        let began = Instant::now();
        drop(pool.get().await.expect("there is room again"));
        assert!(began.elapsed() >= 3 * SECOND);
        assert_eq!(peers.most_open.load(SeqCst), 1);
    });
}

#[test]
fn a_drain_ends_in_time_and_says_what_is_left() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().max_size(2));
        let kept = pool.get().await.expect("the peers answer");
        let returned = pool.get().await.expect("the peers answer");
        let get = || {
            let pool = pool.clone();
            tokio::task::spawn_local(async move { pool.get().await })
        };
        let (served, hopeless) = (get(), get());
        settle().await;
        let draining = tokio::task::spawn_local({
            let pool = pool.clone();
            async move { pool.drain(5 * SECOND).await }
        });
        settle().await;
        assert!(matches!(pool.get().await, Err(PoolError::Closed)));
        assert!(pool.closed() && pool.try_get().is_none());
        drop(returned);
        let served = served.await.expect("it does not panic");
        let served = served.expect("it stood in line before");
        let began = Instant::now();
        let drained = draining.await.expect("it does not panic");
        assert!((5 * SECOND..6 * SECOND).contains(&began.elapsed()));
        assert_eq!((drained.in_use, drained.closing), (2, 0));
        assert!(!drained.is_clean());
        let hopeless = hopeless.await.expect("it does not panic");
        assert!(matches!(hopeless, Err(PoolError::Closed)));
        // They work on, and close when they come back.
        assert!(!kept.is_broken() && peers.open() == 2);
        drop((kept, served));
        settle().await;
        assert_eq!(peers.open(), 0);
        let again = pool.drain(SECOND).await;
        assert!(again.is_clean(), "{again:?}");
    });
}

#[test]
fn dropping_the_last_handle_closes_the_pool() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().min_idle(3));
        pool.warm_up().await.expect("the peers answer");
        let lease = pool.get().await.expect("one is idle");
        let address = pool.address();
        let other = pool.clone();
        drop(pool);
        settle().await;
        assert!(!other.closed(), "there is another handle");
        drop(other);
        settle().await;
        assert_eq!(peers.open(), 1, "what is out is not taken away");
        assert!(!address.connected(), "an address keeps nothing open");
        drop(lease);
        assert_eq!(peers.open(), 0);
    });
}

#[test]
fn dropping_the_last_handle_gives_up_what_is_being_made() {
    with_stopped_clock(async {
        let (pool, peers) = pool(PoolConfig::default().min_idle(3));
        *peers.dial_time.lock() = 1000 * SECOND;
        settle().await;
        assert_eq!(peers.attempts(), 3);
        drop(pool);
        sleep(SECOND).await;
        assert_eq!(Arc::strong_count(&peers), 1, "nobody is left");
    });
}

#[tokio::test]
async fn an_arbiter_that_stops_ends_the_pool_with_an_error() {
    let runtime = Runtime::start(1).expect("threads can be started");
    let arbiter = runtime.arbiters()[0].clone();
    let (pool, _) = pool(PoolConfig::default().max_size(1).runtime(runtime.clone()));
    let lease = within("dialling", pool.get()).await.expect("it is made");
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    until("somebody waits", || pool.stats().waiting == 1).await;
    arbiter.stop();
    let waited = within("being told", waiting).await;
    let waited = waited.expect("it does not panic");
    assert!(matches!(waited, Err(PoolError::Closed)), "{waited:?}");
    drop(lease);
    assert!(matches!(pool.get().await, Err(PoolError::Closed)));
    assert!(matches!(pool.warm_up().await, Err(PoolError::Closed)));
    pool.drain(SECOND).await;
    // One that is started there is closed from the start.
    until("it takes nothing more", || !arbiter.spawn_fn(|| ())).await;
    let pool = StreamPool::of(Fake::default(), PoolConfig::default().runtime(runtime));
    let got = within("being told", pool.get()).await;
    assert!(matches!(got, Err(PoolError::Closed)), "{got:?}");
}

#[test]
fn several_endpoints_share_the_work_and_a_dead_one_gets_none() {
    with_stopped_clock(async {
        let fakes = [Fake::default(), Fake::default(), Fake::default()];
        let peers: Vec<_> = fakes.iter().map(|fake| fake.0.clone()).collect();
        let config = PoolConfig::default()
            .max_size(30)
            .min_idle(30)
            .seed(1)
            .max_lifetime(100 * SECOND);
        let pool = StreamPool::over(fakes, config).expect("there are three");
        pool.warm_up().await.expect("the peers answer");
        for peer in &peers {
            assert!((7..=13).contains(&peer.open()), "{}", peer.open());
        }
        // One dies: what leads there is replaced elsewhere.
        peers[0].refuse.store(true, SeqCst);
        peers[0].fail_checks.store(true, SeqCst);
        sleep(101 * SECOND).await;
        pool.warm_up().await.expect("the others answer");
        assert_eq!(peers[0].open(), 0);
        assert!(pool.stats().endpoints[0].is_out);
        let attempts = peers[0].attempts();
        sleep(100 * SECOND).await;
        let probes = peers[0].attempts() - attempts;
        assert!(probes < 60, "{probes} probes in 100 s");
        // It is back, and gets its share as connections grow old.
        peers[0].refuse.store(false, SeqCst);
        peers[0].fail_checks.store(false, SeqCst);
        sleep(120 * SECOND).await;
        pool.warm_up().await.expect("the peers answer");
        assert!(!pool.stats().endpoints[0].is_out);
        assert!(peers[0].open() > 3, "{}", peers[0].open());
    });
}

/// Two endpoints, and what is told of them.
async fn two(check: Check) -> (StreamPool<Fake>, [Arc<Peers>; 2]) {
    let fakes = [Fake::default(), Fake::default()];
    let peers = fakes.clone().map(|fake| fake.0);
    let config = PoolConfig::default().max_size(20).min_idle(10);
    let pool = StreamPool::over(fakes, config.seed(1).check(check)).expect("there are two");
    pool.warm_up().await.expect("the peers answer");
    (pool, peers)
}

#[test]
fn a_check_that_fails_once_is_that_connections_own_fault() {
    with_stopped_clock(async {
        let (pool, peers) = two(Check::Always).await;
        let mut events = pool.events();
        peers[0].fail_checks_times.store(1, SeqCst);
        peers[1].fail_checks_times.store(1, SeqCst);
        for _ in 0..40 {
            drop(pool.get().await.expect("others pass"));
        }
        settle().await;
        let stats = pool.stats();
        assert_eq!(stats.retired.of(Retired::CheckFailed), 2);
        let story = told(&mut events);
        assert!(!story.contains(&"ejected".to_owned()), "{story:?}");
    });
}

#[test]
fn checks_that_fail_in_a_row_eject_an_endpoint() {
    with_stopped_clock(async {
        let (pool, peers) = two(Check::Always).await;
        // It accepts, and answers nothing.
        peers[0].fail_checks.store(true, SeqCst);
        for _ in 0..20 {
            drop(pool.get().await.expect("the other one answers"));
        }
        assert!(pool.stats().endpoints[0].is_out);
        assert!(!pool.stats().endpoints[1].is_out);
        let failed = pool.stats().retired.of(Retired::CheckFailed);
        assert!(failed <= 3, "{failed} checks failed");
        peers[0].fail_checks.store(false, SeqCst);
        sleep(60 * SECOND).await;
        assert!(!pool.stats().endpoints[0].is_out);
    });
}

#[test]
fn metrics_tell_what_the_stats_do() {
    with_stopped_clock(async {
        let registry = Registry::default();
        let (pool, peers) =
            metrics::with_local_recorder(&registry, || pool(PoolConfig::default().max_size(2)));
        *peers.dial_time.lock() = SECOND;
        let kept = pool.get().await.expect("the peers answer");
        pool.get().await.expect("the peers answer").discard();
        sleep(2 * SECOND).await;
        let value = |name: &str| registry.value(name);
        let gauge = |name: &str| f64::from_bits(value(name));
        assert_eq!(value("rpyc_pool_acquired_total"), 2);
        assert_eq!(value("rpyc_pool_opened_total"), 2);
        assert_eq!(value("rpyc_pool_failed_dials_total"), 0);
        assert_eq!(value("rpyc_pool_retired_total cause=discarded"), 1);
        assert_eq!(value("rpyc_pool_wait_seconds for=dial"), 2);
        assert_eq!(value("rpyc_pool_wait_seconds for=slot"), 0);
        assert_eq!(gauge("rpyc_pool_connections state=in_use"), 1.0);
        drop((kept, pool));
        settle().await;
        assert_eq!(gauge("rpyc_pool_connections state=in_use"), 0.0);
    });
}

#[test]
fn a_pool_without_endpoints_is_refused() {
    let refused = StreamPool::<Fake>::over([], PoolConfig::default());
    assert!(matches!(refused, Err(PoolError::ApiMisuse(_))));
}
