//! The books by themselves: everything that can happen, in any order, on a virtual clock.

mod world;

use super::*;
use crate::{backoff::BackoffConfig, pool::WaitedFor};
use world::World;

fn config() -> PoolConfig {
    let backoff = BackoffConfig::default().seed(1);
    PoolConfig::default()
        .max_size(4)
        .seed(1)
        .backoff(backoff)
        .check(Check::Never)
}

#[test]
fn nothing_is_lost_and_no_limit_exceeded_whatever_happens() {
    for seed in 0..400 {
        let check = match seed % 3 {
            0 => Check::Never,
            1 => Check::Always,
            _ => Check::AfterIdle(Duration::from_millis(500)),
        };
        let config = config()
            .check(check)
            .min_idle((seed % 4) as usize)
            .max_lifetime(Duration::from_secs(20))
            .idle_timeout(Duration::from_secs(3));
        let config = if seed % 5 == 0 {
            config.dial_failure(DialFailure::Fail)
        } else {
            config
        };
        let mut world = World::new(&config, 1 + (seed % 3) as usize, seed);
        for step in 0..600 {
            world.happens();
            world.collect();
            let audited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.audit()));
            assert!(audited.is_ok(), "seed {seed}, step {step}");
        }
        // Peers that answer, and users who return what they have: everybody is served or told.
        for _ in 0..2000 {
            world.now += Duration::from_millis(50);
            world.keep();
            world.dial_ends(true);
            world.check_ends(true);
            world.close_ends();
            world.collect();
            world.returns(None);
            world.audit();
        }
        assert!(
            world.waiting.is_empty(),
            "seed {seed}: somebody is forgotten"
        );
        assert!(
            world.out.is_empty() && world.dials.is_empty(),
            "seed {seed}"
        );
    }
}

#[test]
fn waiters_are_served_in_order_of_arrival() {
    for seed in 0..200 {
        let config = config().max_size(3).timeout(None);
        let mut world = World::new(&config, 1, seed);
        let mut last_served = 0;
        for _ in 0..1000 {
            match world.random.u32(..6) {
                0..2 => world.get(None),
                2 => world.returns(None),
                3 => world.leaves(),
                4 => world.dial_ends(true),
                _ => world.keep(),
            }
            let served = world.collect();
            for ticket in &served {
                assert!(*ticket > last_served, "seed {seed}: {ticket} was overtaken");
                last_served = *ticket;
            }
            let first = world.waiting.first();
            assert!(
                first.is_none_or(|first| *first > last_served),
                "seed {seed}: somebody was passed over"
            );
        }
    }
}

#[test]
fn one_who_was_given_a_broken_connection_stays_first() {
    let mut world = World::new(&config().max_size(1), 1, 0);
    let first = world.join(None);
    let second = world.join(None);
    world.keep();
    world.dial_ends(true);
    let Some(Ok(grant)) = world.books.line.take(first) else {
        panic!("the first is served");
    };
    world
        .books
        .retire(grant.member, Retired::Broken, &mut Woken::new());
    let waiter = world.waiter(None);
    let now = world.now;
    world.books.join(first, waiter, now, &mut Woken::new());
    world.keep();
    world.close_ends();
    world.keep();
    // What ended before it was of use counts as a failed dial, so the next one is a probe.
    world.dial_ends(true);
    assert!(world.books.line.take(second).is_none());
    assert!(matches!(world.books.line.take(first), Some(Ok(_))));
}

#[test]
fn errors_say_what_was_waited_for() {
    let mut world = World::new(&config().max_size(1), 1, 0);
    let timeout = Some(Duration::from_secs(1));
    let dialling = world.join(timeout);
    let in_line = world.join(timeout);
    world.keep();
    world.now += Duration::from_secs(1);
    world.keep();
    let waited_for = |given: Option<Result<Grant<u64>, PoolError>>| match given {
        Some(Err(PoolError::TimedOut { waited_for, .. })) => waited_for,
        _ => panic!("its time is over"),
    };
    let taken = world.books.line.take(dialling);
    assert_eq!(waited_for(taken), WaitedFor::Dial);
    let taken = world.books.line.take(in_line);
    assert_eq!(waited_for(taken), WaitedFor::Slot);
    assert_eq!(world.books.counts.timed_out, 2);
}

#[test]
fn a_dead_endpoint_is_tried_by_one_probe_at_a_time() {
    let mut world = World::new(&config(), 1, 0);
    for _ in 0..3 {
        world.join(None);
    }
    world.keep();
    assert_eq!(world.dials.len(), 3, "one for each who waits");
    while !world.dials.is_empty() {
        world.dial_ends(false);
    }
    world.keep();
    assert_eq!(
        world.dials.len(),
        1,
        "the first retry is at once, and alone"
    );
    assert!(world.dials[0].is_probe);
    world.dial_ends(false);
    world.keep();
    assert!(world.dials.is_empty(), "the second one waits");
    world.now += Duration::from_millis(100);
    world.keep();
    assert_eq!(world.dials.len(), 1);
    world.dial_ends(true);
    world.keep();
    assert_eq!(
        world.dials.len(),
        2,
        "it is back, so the others are served, too"
    );
}

#[test]
fn a_server_that_accepts_and_hangs_up_is_not_dialled_without_a_pause() {
    let mut world = World::new(&config().max_size(1), 1, 0);
    let mut dials = 0;
    world.get(None);
    // One second, in which each connection breaks as soon as somebody has it.
    for _ in 0..1000 {
        world.now += Duration::from_millis(1);
        world.keep();
        dials += world.dials.len();
        world.dial_ends(true);
        world.collect();
        if !world.out.is_empty() {
            world.returns(Some(Retired::Broken));
            world.get(None);
        }
        world.close_ends();
    }
    assert!((8..25).contains(&dials), "{dials} attempts in a second");
}

#[test]
fn lifetimes_differ_by_up_to_a_tenth() {
    let config = config()
        .max_size(100)
        .min_idle(100)
        .max_lifetime(Duration::from_secs(100));
    let mut world = World::new(&config, 1, 0);
    world.keep();
    while !world.dials.is_empty() {
        world.dial_ends(true);
    }
    let ends: Vec<Duration> = world.books.sites[0]
        .idle
        .iter()
        .map(|member| member.expires_at.expect("there is a most") - world.now)
        .collect();
    assert_eq!(ends.len(), 100);
    let (first, last) = (ends.iter().min(), ends.iter().max());
    let (first, last) = (first.expect("some"), last.expect("some"));
    assert!(*first >= Duration::from_secs(90) && *last <= Duration::from_secs(100));
    assert!(*last - *first > Duration::from_secs(8), "they are spread");
}

#[test]
fn all_there_may_be_can_be_kept_idle_for_ever() {
    let for_ever = config()
        .min_idle(usize::MAX)
        .max_lifetime(Duration::MAX)
        .idle_timeout(Duration::MAX);
    let mut world = World::new(&for_ever, 1, 0);
    world.get(None);
    world.keep();
    assert_eq!(world.dials.len(), 4, "as many as there may be");
    while !world.dials.is_empty() {
        world.dial_ends(true);
    }
    assert_eq!(world.collect().len(), 1);
    assert_eq!((world.books.idle(), world.books.in_use()), (3, 1));
}

#[test]
fn connections_are_spread_over_endpoints_and_lent_where_less_is_in_use() {
    let config = config().max_size(40).min_idle(40);
    let mut world = World::new(&config, 4, 0);
    world.keep();
    while !world.dials.is_empty() {
        world.dial_ends(true);
    }
    for site in &world.books.sites {
        assert!((7..=13).contains(&site.total()), "{}", site.total());
    }
    (0..20).for_each(|_| world.get(None));
    for site in &world.books.sites {
        assert!((3..=7).contains(&site.in_use), "{}", site.in_use);
    }
}

#[test]
fn an_endpoint_that_fails_gets_nothing_but_probes_while_others_serve() {
    let mut world = World::new(&config().max_size(30), 2, 0);
    for _ in 0..2000 {
        world.now += Duration::from_millis(20);
        world.get(Some(Duration::from_secs(1)));
        world.keep();
        while let Some(dial) = world.dials.first().copied() {
            let mut woken = Woken::new();
            world.dials.remove(0);
            if dial.site == 0 {
                let error = Arc::new(StreamError::Closed);
                world.books.dial_failed(dial, error, world.now, &mut woken);
            } else {
                world.made += 1;
                let made = world.made;
                world
                    .books
                    .dialled(dial, made, Duration::ZERO, world.now, &mut woken);
            }
        }
        world.collect();
        world.returns(None);
        world.audit();
    }
    assert_eq!(world.books.counts.timed_out, 0, "everybody is served");
    // 40 s: eager for ten, then up to 5 s apart.
    let failed = world.books.counts.failed_dials;
    assert!((60..250).contains(&failed), "{failed} probes in 40 s");
    assert!(world.books.sites[0].is_out() && !world.books.sites[1].is_out());
}

#[test]
fn what_was_looked_at_keeps_its_place_and_its_age() {
    let mut world = World::new(&config().min_idle(4), 1, 0);
    world.keep();
    while !world.dials.is_empty() {
        world.dial_ends(true);
    }
    let order = |world: &World| -> Vec<(u64, Instant)> {
        let idle = world.books.sites[0].idle.iter();
        idle.map(|member| (member.connection, member.idle_since))
            .collect()
    };
    let before = order(&world);
    world.now += Duration::from_secs(2);
    world.keep();
    let taken = world.books.take_long_idle();
    assert_eq!((taken.len(), world.books.in_use()), (4, 4));
    for member in taken.into_iter().rev() {
        world.books.put_back_looked_at(member, &mut Woken::new());
    }
    assert_eq!(order(&world), before);
    assert_eq!(world.books.in_use(), 0);
}

#[test]
fn a_smaller_pool_lets_go_of_what_is_idle_at_once_and_of_the_rest_later() {
    let mut world = World::new(&config().min_idle(4), 1, 0);
    world.keep();
    while !world.dials.is_empty() {
        world.dial_ends(true);
    }
    world.get(None);
    world.get(None);
    world.books.resize(1, &mut Woken::new());
    world.keep();
    assert_eq!((world.books.idle(), world.closing.len()), (0, 2));
    world.returns(None);
    world.keep();
    assert_eq!(world.closing.len(), 3, "one too many came back");
    while !world.closing.is_empty() {
        world.close_ends();
    }
    world.returns(None);
    world.keep();
    assert_eq!((world.books.idle(), world.books.total()), (1, 1));
}

#[test]
fn a_drain_serves_those_who_wait_and_nobody_else() {
    let mut world = World::new(&config().max_size(1), 1, 0);
    world.get(None);
    world.keep();
    world.dial_ends(true);
    world.collect();
    let in_line = world.join(None);
    let until = world.now + Duration::from_secs(10);
    world.books.drain(until, &mut Woken::new());
    assert!(matches!(world.books.take(), Taken::Refused));
    world.keep();
    world.returns(None);
    assert_eq!(world.collect(), [in_line]);
    world.keep();
    assert!(matches!(world.books.phase, Phase::Draining(_)));
    world.returns(None);
    world.keep();
    world.close_ends();
    let plan = world
        .books
        .keep(world.now, Waker::noop(), &mut Woken::new());
    assert_eq!(world.books.phase, Phase::Closed);
    assert!(plan.is_done);
}

#[test]
fn a_smaller_pool_keeps_what_it_has_room_for_while_others_close() {
    let mut world = World::new(&config().min_idle(4), 1, 0);
    world.keep();
    while !world.dials.is_empty() {
        world.dial_ends(true);
    }
    (0..4).for_each(|_| world.get(None));
    world.books.resize(2, &mut Woken::new());
    let waiting = world.join(None);
    (0..4).for_each(|_| world.returns(None));
    assert_eq!(world.collect(), [waiting], "there is one for it");
    world.keep();
    assert_eq!((world.books.idle(), world.closing.len()), (1, 2));
}

#[test]
fn whoever_would_have_a_connection_of_a_closed_pool_checked_is_told() {
    let mut world = World::new(&config().check(Check::Always), 1, 0);
    world.get(None);
    world.keep();
    world.dial_ends(true);
    world.collect();
    world.returns(None);
    let Taken::Unchecked(member) = world.books.take() else {
        panic!("it is idle");
    };
    world.books.abandon(&mut Woken::new());
    let ticket = world.books.line.ticket();
    world.check(Some(ticket), member);
    let told = world.books.line.take(ticket);
    assert!(matches!(told, Some(Err(PoolError::Closed))), "it hangs");
    assert_eq!(world.books.in_use(), 0);
}

#[test]
fn no_pace_of_retries_overflows_the_clock() {
    let never = BackoffConfig::default().seed(1).eager(Duration::MAX);
    let mut world = World::new(&config().backoff(never), 1, 0);
    world.join(None);
    for _ in 0..2 {
        world.keep();
        world.dial_ends(false);
    }
    world.keep();
    assert!(world.dials.is_empty() && world.books.sites[0].is_out());
}

/// A full pool of idle connections to one of two endpoints, the other of which is ejected.
fn full_beside_a_dead_endpoint(min_idle: usize) -> World {
    let config = config().max_size(2).min_idle(min_idle);
    let mut world = World::new(&config, 2, 0);
    for _ in 0..2 {
        world.join(None);
    }
    while world.out.len() < 2 {
        world.now += Duration::from_secs(1);
        world.keep();
        answers(&mut world, |site| site == 0);
        world.collect();
    }
    assert!(world.books.sites[1].is_out());
    assert_eq!(world.books.sites[0].in_use, 2);
    world
}

/// What is being made comes to its end, at endpoints that are up or not.
fn answers(world: &mut World, is_up: impl Fn(usize) -> bool) -> usize {
    let mut probes = 0;
    for dial in std::mem::take(&mut world.dials) {
        probes += usize::from(dial.is_probe);
        world.dials.push(dial);
        world.dial_ends(is_up(dial.site));
    }
    probes
}

/// Lets a time go by, in steps of a tenth of a second. Gives how often the ejected endpoint was asked.
fn goes_by(world: &mut World, tenths: usize, is_up: impl Fn(usize) -> bool) -> usize {
    let mut probes = 0;
    for _ in 0..tenths {
        world.now += Duration::from_millis(100);
        world.keep();
        probes += answers(world, &is_up);
        world.close_ends();
        world.audit();
    }
    probes
}

#[test]
fn a_full_pool_asks_an_ejected_endpoint_with_the_place_of_one_that_nobody_needs() {
    let mut world = full_beside_a_dead_endpoint(0);
    assert_eq!(goes_by(&mut world, 300, |site| site == 0), 0, "all are out");
    while !world.out.is_empty() {
        world.returns(None);
    }
    let probes = goes_by(&mut world, 300, |site| site == 0);
    assert!(probes > 3, "{probes} in half a minute");
    let retired = world.books.counts.retired;
    assert_eq!((retired.of(Retired::Idle), retired.total()), (1, 1));
    goes_by(&mut world, 100, |_| true);
    let idle: Vec<_> = world
        .books
        .sites
        .iter()
        .map(|site| site.idle.len())
        .collect();
    assert_eq!(idle, [1, 1], "it is back");
}

#[test]
fn what_is_to_be_kept_idle_gives_no_place_to_a_probe() {
    let mut world = full_beside_a_dead_endpoint(2);
    while !world.out.is_empty() {
        world.returns(None);
    }
    assert_eq!(goes_by(&mut world, 300, |_| true), 0);
    assert_eq!(world.books.counts.retired.total(), 0);
    // Whatever makes room does.
    world.get(None);
    world.returns(Some(Retired::Broken));
    goes_by(&mut world, 100, |_| true);
    assert!(!world.books.sites[1].is_out());
}
