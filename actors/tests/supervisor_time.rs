//! What a supervisor does over seconds, minutes and hours: virtual time, transports in memory.
//!
//! When nothing is left to do, the clock jumps to the next timer, so these tests take no time and no luck.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rpyc_actors::{
    Chain, ConnectionEvent, Endpoint, Received, StreamError,
    error::{ConnectFailure, LossReason},
};
use support::absence::{Peer, Place, next, next_but_retrying, of_use, seeded, served, virtually};
use tokio::{io::DuplexStream, time::Instant};

#[test]
fn events_tell_a_whole_life_in_order() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let mut events = client.events();
        let server = served(&mut accepts).await;
        assert!(
            matches!(next(&mut events).await, ConnectionEvent::Connected { generation: 1, ref endpoint } if &**endpoint == "memory:")
        );
        of_use(&server, &client).await;
        place.becomes(Peer::Refuses);
        server.abort();
        drop(server);
        let ConnectionEvent::Lost(lost) = next(&mut events).await else {
            panic!("no loss");
        };
        assert_eq!(lost.generation, 1);
        let lost_at = Instant::now();
        for expected in 1..=5 {
            let ConnectionEvent::Retrying {
                after,
                attempt,
                failed,
                ..
            } = next(&mut events).await
            else {
                panic!("no retry");
            };
            assert_eq!(attempt, expected);
            assert_eq!(after.is_zero(), attempt == 1);
            assert!(after <= Duration::from_millis(100), "{after:?}");
            assert_eq!(failed.is_none(), attempt == 1, "{failed:?}");
        }
        place.becomes(Peer::Serves);
        let _server = served(&mut accepts).await;
        assert!(matches!(
            next_but_retrying(&mut events).await,
            ConnectionEvent::Connected { generation: 2, .. }
        ));
        let ConnectionEvent::Restored {
            generation,
            downtime,
            ..
        } = next(&mut events).await
        else {
            panic!("not restored");
        };
        assert_eq!(generation, 2);
        assert!(downtime >= Duration::from_millis(150) && downtime <= lost_at.elapsed());
        client.close().await.expect("closed");
        assert!(matches!(
            next(&mut events).await,
            ConnectionEvent::Closed { .. }
        ));
        assert!(events.next().await.is_none(), "events behind the end");
        let stats = client.stats();
        assert_eq!(
            (stats.generation, stats.losses, stats.connected),
            (2, 1, false)
        );
        assert_eq!(stats.attempts, place.attempts());
    });
}

#[test]
fn a_late_subscriber_learns_the_present_state_first() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let server = served(&mut accepts).await;
        of_use(&server, &client).await;
        let first = next(&mut client.events()).await;
        assert!(matches!(
            first,
            ConnectionEvent::Connected { generation: 1, .. }
        ));

        place.becomes(Peer::Refuses);
        drop(server);
        let mut witness = client.events();
        while !matches!(
            next(&mut witness).await,
            ConnectionEvent::Retrying { attempt: 3, .. }
        ) {}
        let mut late = client.events();
        assert!(matches!(next(&mut late).await, ConnectionEvent::Lost(_)));
        assert!(matches!(
            next(&mut late).await,
            ConnectionEvent::Retrying { attempt: 3, .. }
        ));
        // From here on both see the same.
        for _ in 0..10 {
            let (ours, theirs) = (next(&mut late).await, next(&mut witness).await);
            assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        }
        client.close().await.expect("closed");
        let mut too_late = client.events();
        assert!(matches!(
            next(&mut too_late).await,
            ConnectionEvent::Closed { .. }
        ));
        assert!(too_late.next().await.is_none());
    });
}

#[test]
fn a_peer_that_is_away_for_a_day_costs_next_to_nothing() {
    virtually(async {
        let (place, _accepts) = Place::new(Peer::Refuses);
        let client = place.chain().supervise(seeded());
        let day = Duration::from_secs(24 * 3600);
        tokio::time::sleep(Duration::from_secs(10)).await;
        let eager = place.attempts();
        assert!((100..=210).contains(&eager), "{eager} in the first 10 s");
        tokio::time::sleep(day).await;
        let then = place.attempts() - eager;
        // At most one in 2.5 s, at least one in 5 s.
        assert!((17_280..=34_580).contains(&then), "{then} in a day");
        drop(client);
    });
}

#[test]
fn an_attempt_that_hangs_is_given_up() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Hangs);
        let config = seeded().connect_timeout(Duration::from_secs(3));
        let client = place.chain().supervise(config);
        let mut events = client.events();
        let ConnectionEvent::Retrying { failed, .. } = next(&mut events).await else {
            panic!("no retry");
        };
        let Some(StreamError::Connect(error)) = failed else {
            panic!("{failed:?}");
        };
        assert!(
            matches!(error.reason, ConnectFailure::TimedOut(limit) if limit == Duration::from_secs(3)),
            "{error}"
        );
        place.becomes(Peer::Serves);
        served(&mut accepts).await;
    });
}

#[test]
fn a_connection_that_is_of_no_use_is_broken_and_probed() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Drops);
        let client = place.chain().supervise(seeded());
        let mut events = client.events();
        let mut generations = 0;
        let reason = loop {
            match next(&mut events).await {
                ConnectionEvent::Connected { .. } => generations += 1,
                ConnectionEvent::Broken { reason, .. } => break reason,
                ConnectionEvent::Closed { .. } => panic!("closed"),
                _ => {}
            }
        };
        assert_eq!(generations, 11);
        assert!(reason.is_connection_lost(), "{reason}");
        // One that comes now is told so.
        let mut late = client.events();
        assert!(matches!(next(&mut late).await, ConnectionEvent::Lost(_)));
        assert!(matches!(
            next(&mut late).await,
            ConnectionEvent::Broken { .. }
        ));
        // The failure goes up, to those who wait and to those who come.
        let refused = client.send("frame").await.expect_err("broken");
        assert!(refused.reason.is_connection_lost(), "{}", refused.reason);
        assert_eq!(&refused.into_item()[..], b"frame");
        // Probes, and no more than that.
        let before = place.attempts();
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert_eq!(place.attempts() - before, 10);
        assert_eq!(client.stats().broken, 1);
        let mut events = client.events();
        place.becomes(Peer::Serves);
        let server = served(&mut accepts).await;
        while !matches!(next(&mut events).await, ConnectionEvent::Restored { .. }) {}
        let reader = client.clone();
        server.send("well").await.expect("open");
        let came = reader.recv().await.expect("well again").frame();
        assert_eq!(came.as_deref(), Some(&b"well"[..]));
        // It was of use, so its loss begins a new outage.
        drop(server);
        assert!(matches!(next(&mut events).await, ConnectionEvent::Lost(_)));
        let event = next(&mut events).await;
        assert!(
            matches!(
                event,
                ConnectionEvent::Retrying {
                    attempt: 1,
                    after: Duration::ZERO,
                    ..
                }
            ),
            "{event:?}"
        );
    });
}

#[test]
fn failed_dials_never_break_a_connection() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Refuses);
        let client = place.chain().supervise(seeded());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(client.stats().broken, 0);
        place.becomes(Peer::Serves);
        served(&mut accepts).await;
    });
}

#[test]
fn what_no_attempt_can_cure_is_broken_at_once() {
    virtually(async {
        let chain = Chain::new(Endpoint::custom("mine:", || async {
            Err::<DuplexStream, _>(StreamError::misuse("this can never work"))
        }));
        let client = chain.supervise(seeded());
        let mut events = client.events();
        assert!(matches!(
            next(&mut events).await,
            ConnectionEvent::Broken {
                reason: StreamError::ApiMisuse(_),
                ..
            }
        ));
        assert!(matches!(
            next(&mut events).await,
            ConnectionEvent::Retrying { after, .. } if after == Duration::from_secs(30)
        ));
    });
}

#[test]
fn a_connection_that_lived_long_was_of_use_though_nothing_came() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let mut events = client.events();
        for _ in 0..30 {
            let server = served(&mut accepts).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            drop(server);
            while !matches!(next(&mut events).await, ConnectionEvent::Lost(_)) {}
            assert!(matches!(
                next(&mut events).await,
                ConnectionEvent::Retrying { attempt: 1, .. }
            ));
        }
        assert_eq!(client.stats().broken, 0);
    });
}

#[test]
fn receivers_learn_between_which_frames_a_connection_was_lost() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let clone = client.clone();
        for generation in 1..=3u64 {
            let server = served(&mut accepts).await;
            // Only the first of them waits for what comes; what the others gave waits.
            for number in 0..3 {
                let frame = format!("{generation}.{number}");
                server.send(frame).await.expect("open");
            }
            server.close().await.expect("all of it left");
        }
        let _server = served(&mut accepts).await;
        for generation in 1..=3u64 {
            for number in 0..3 {
                let frame = client.recv().await.expect("open").frame().expect("a frame");
                assert_eq!(frame, format!("{generation}.{number}"));
            }
            let Received::Lost(lost) = client.recv().await.expect("open") else {
                panic!("a frame instead of a loss");
            };
            assert_eq!(lost.generation, generation);
            assert!(matches!(lost.reason, LossReason::EndOfStream), "{lost}");
            // Each clone is told for itself.
            let Received::Lost(lost) = clone.recv().await.expect("open") else {
                panic!("a frame instead of a loss");
            };
            assert_eq!(lost.generation, generation);
        }
        assert!(!client.poll(Duration::from_secs(5)).await);
    });
}

#[test]
fn losses_without_frames_are_told_as_one() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let mut receiver = client.receiver();
        for _ in 0..5 {
            drop(served(&mut accepts).await);
        }
        let server = served(&mut accepts).await;
        server.send("at last").await.expect("open");
        let Received::Lost(lost) = receiver.recv().await.expect("open") else {
            panic!("a frame instead of a loss");
        };
        assert_eq!(lost.generation, 5);
        let batch = receiver.recv_batch().await.expect("open").frame();
        assert_eq!(batch.expect("a frame").len(), 1);
    });
}

#[test]
fn probes_without_a_pause_do_not_keep_the_processor_busy() {
    virtually(async {
        let attempts = Arc::new(AtomicU64::new(0));
        let counted = attempts.clone();
        let chain = Chain::new(Endpoint::custom("mine:", move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                if number > 10_000 {
                    std::future::pending::<()>().await;
                }
                Err::<DuplexStream, _>(StreamError::misuse("this can never work"))
            }
        }));
        let client = chain.supervise(seeded().probe(Duration::ZERO));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let attempts = attempts.load(Ordering::Relaxed);
        assert!(attempts <= 1001, "{attempts} in a second");
        drop(client);
    });
}
