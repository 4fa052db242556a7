//! Desks by themselves, and that pools use them.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use super::*;
use crate::{
    error::StreamError,
    pool::{PoolConfig, Recipe, StreamPool},
    runtime::{Runtime, start_of_virtual_time},
};

fn member(connection: u64, now: Instant) -> Member<u64> {
    Member {
        connection,
        site: 0,
        expires_at: None,
        idle_since: now,
        is_proven: true,
    }
}

fn number(member: Option<Member<u64>>) -> Option<u64> {
    member.map(|member| member.connection)
}

#[test]
fn what_came_back_last_is_taken_first() {
    let now = start_of_virtual_time();
    let desks = Desks::new(now);
    desks.open(now);
    assert_eq!(number(desks.put(0, member(1, now))), None);
    assert_eq!(number(desks.put(0, member(2, now))), Some(1));
    assert_eq!(number(desks.take(0)), Some(2));
    assert_eq!(number(desks.take(0)), None);
}

#[test]
fn closed_desks_are_empty_and_stay_so() {
    let now = start_of_virtual_time();
    let desks = Desks::new(now);
    assert_eq!(number(desks.put(0, member(1, now))), Some(1));
    desks.open(now);
    for (at, connection) in (0..desks.count()).zip(1..) {
        assert_eq!(number(desks.put(at, member(connection, now))), None);
    }
    assert_eq!(number(desks.take(0)), Some(1));
    assert_eq!(number(desks.put(0, member(1, now))), None);
    let (mut gathered, mut acquired) = (Vec::new(), 0);
    desks.close(now, |member, count| {
        gathered.extend(number(member));
        acquired += count;
    });
    assert_eq!(gathered.len(), desks.count());
    assert_eq!(acquired, 1);
    assert_eq!(number(desks.put(0, member(1, now))), Some(1));
    assert_eq!(number(desks.take(1)), None);
}

#[test]
fn what_is_new_or_old_goes_to_the_books() {
    let mut now = start_of_virtual_time();
    let desks = Desks::new(now);
    desks.open(now);
    let mut new = member(1, now);
    new.is_proven = false;
    assert_eq!(number(desks.put(0, new)), Some(1));
    let with_an_end = || {
        let mut member = member(2, now);
        member.expires_at = Some(now + Duration::from_secs(1));
        member
    };
    let (first, second) = (with_an_end(), with_an_end());
    assert_eq!(number(desks.put(0, first)), None);
    now += Duration::from_secs(1);
    desks.gather(now, |_, _| {});
    assert_eq!(number(desks.put(0, second)), Some(2));
    // One that is kept is as old as the last visit says.
    assert_eq!(number(desks.put(0, member(3, now))), None);
    let kept = desks.take(0).expect("it lies there");
    assert_eq!(kept.idle_since, now);
}

#[test]
fn what_is_laid_down_while_the_desks_are_closed_is_gathered_or_refused() {
    let now = start_of_virtual_time();
    let desks = Desks::new(now);
    let starts = Barrier::new(3);
    let ends = Barrier::new(3);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for at in 0..2 {
            let (desks, starts, ends, refused) = (&desks, &starts, &ends, &refused);
            threads.spawn(move || {
                for _ in 0..2000 {
                    starts.wait();
                    // Also one that is taken up and laid down again.
                    let mine = desks.put(at, member(at as u64, now));
                    let again = desks.take(at).and_then(|member| desks.put(at, member));
                    let count = usize::from(mine.is_some()) + usize::from(again.is_some());
                    refused.fetch_add(count, Relaxed);
                    ends.wait();
                }
            });
        }
        for round in 0..2000 {
            desks.open(now);
            let mut gathered = 0;
            starts.wait();
            desks.close(now, |member, _| gathered += usize::from(member.is_some()));
            ends.wait();
            assert_eq!(gathered + refused.swap(0, Relaxed), 2, "round {round}");
            assert_eq!(lying(&desks), 0, "round {round}");
        }
    });
}

#[test]
fn whoever_waited_for_a_desk_while_it_was_closed_lays_nothing_there() {
    let now = start_of_virtual_time();
    let desks = Desks::new(now);
    let starts = Barrier::new(2);
    for round in 0..200 {
        desks.open(now);
        let refused = std::thread::scope(|threads| {
            let desk = desks.desks[0].0.lock();
            let waiting = threads.spawn(|| {
                starts.wait();
                desks.put(0, member(1, now))
            });
            starts.wait();
            // Most find it open in this time, and then stand before the lock; the others find it closed, which is as good.
            (0..100).for_each(|_| std::thread::yield_now());
            desks.are_open.store(false, Relaxed);
            drop(desk);
            waiting.join().expect("it does not panic")
        });
        assert_eq!(number(refused), Some(1), "round {round}");
        assert_eq!(lying(&desks), 0, "round {round}");
    }
}

fn lying<C>(desks: &Desks<C>) -> usize {
    let lies = |desk: &&Apart<Mutex<Desk<C>>>| desk.0.lock().member.is_some();
    desks.desks.iter().filter(lies).count()
}

/// Connections that are nothing.
struct Plain;

impl Recipe for Plain {
    type Connection = ();

    fn endpoint(&self) -> &str {
        "plain:"
    }

    async fn connect(&self, _: &Runtime) -> Result<(), StreamError> {
        Ok(())
    }

    fn is_usable(&self, (): &()) -> bool {
        true
    }
}

/// A pool with one idle connection that was of use, and open desks.
fn pool(config: PoolConfig) -> StreamPool<Plain> {
    let runtime = Runtime::start(1).expect("a thread can be started");
    let pool = StreamPool::of(Plain, config.max_size(1).runtime(runtime));
    drop(pool.get_blocking().expect("it is made"));
    pool
}

/// Has the actor come, which opens the desks.
fn open(pool: &StreamPool<Plain>) {
    let began = Instant::now();
    while !pool.shared.desks.are_open() {
        pool.resize(1);
        std::thread::yield_now();
        assert!(began.elapsed() < Duration::from_secs(20), "nobody comes");
    }
}

#[test]
fn a_pool_keeps_at_hand_what_its_thread_returned_last() {
    let pool = pool(PoolConfig::default());
    open(&pool);
    drop(pool.get_blocking().expect("it is idle"));
    assert_eq!(lying(&pool.shared.desks), 1);
    drop(pool.get_blocking().expect("it lies there"));
    assert_eq!(lying(&pool.shared.desks), 1);
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.idle, stats.acquired), (0, 1, 3));
    // Another thread finds it, wherever it lies.
    drop(pool.get_blocking().expect("it is idle"));
    std::thread::scope(|threads| {
        let other = threads.spawn(|| pool.try_get().is_some());
        assert!(other.join().expect("it does not panic"));
    });
}

#[test]
fn connections_that_are_all_checked_lie_on_no_desk() {
    let pool = pool(PoolConfig::default().check(Check::Always));
    for _ in 0..20 {
        pool.resize(1);
        drop(pool.get_blocking().expect("it passes"));
        assert!(!pool.shared.desks.are_open());
    }
}

#[test]
fn whoever_joins_the_line_gets_what_is_laid_down_meanwhile() {
    let pool = pool(PoolConfig::default());
    let starts = Arc::new(Barrier::new(2));
    for round in 0..1000 {
        let lease = pool.get_blocking().expect("it is idle");
        open(&pool);
        std::thread::scope(|threads| {
            let starts = &starts;
            threads.spawn(move || {
                starts.wait();
                drop(lease);
            });
            starts.wait();
            let waiting = pool.get_within_blocking(Duration::from_secs(20));
            assert!(waiting.is_ok(), "round {round}: it was forgotten");
        });
    }
    assert_eq!(pool.stats().opened, 1);
}
