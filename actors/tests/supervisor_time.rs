//! What a supervisor does over seconds, minutes and hours: virtual time, transports in memory.
//!
//! When nothing is left to do, the clock jumps to the next timer, so these tests take no time and no luck.

mod support;

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rpyc_actors::{
    BackoffConfig, Chain, Channel, ConnectError, ConnectionEvent, Endpoint, Events, Meanwhile,
    Received, StreamError, StreamHandle, SupervisedChannel, SupervisorConfig,
    error::{ConnectFailure, LossReason},
};
use tokio::{io::DuplexStream, sync::mpsc, time::Instant};

/// Runs a test on an arbiter whose clock is virtual.
fn virtually<F: Future>(test: F) -> F::Output {
    actix::System::with_tokio_rt(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
    })
    .block_on(test)
}

/// What the next attempts find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Serves,
    /// Connects, and is gone.
    Drops,
    Refuses,
    /// Takes the connection and says nothing; the dial never ends.
    Hangs,
}

/// A peer in memory, that is there or not.
#[derive(Clone)]
struct Place {
    peer: Arc<Mutex<Peer>>,
    attempts: Arc<AtomicU64>,
    accepted: mpsc::UnboundedSender<DuplexStream>,
}

impl Place {
    fn new(peer: Peer) -> (Self, mpsc::UnboundedReceiver<DuplexStream>) {
        let (accepted, accepts) = mpsc::unbounded_channel();
        let place = Self {
            peer: Arc::new(Mutex::new(peer)),
            attempts: Arc::default(),
            accepted,
        };
        (place, accepts)
    }

    fn becomes(&self, peer: Peer) {
        *self.peer.lock() = peer;
    }

    fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    fn chain(&self) -> Chain {
        let place = self.clone();
        Chain::new(Endpoint::custom("memory:", move || place.clone().dial()))
    }

    async fn dial(self) -> Result<DuplexStream, StreamError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let peer = *self.peer.lock();
        match peer {
            Peer::Serves => {
                let _ = self.accepted.send(theirs);
            }
            Peer::Drops => drop(theirs),
            Peer::Refuses => {
                let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Err(ConnectError::new("memory:", refused.into()).into());
            }
            Peer::Hangs => std::future::pending().await,
        }
        Ok(ours)
    }
}

fn seeded() -> SupervisorConfig {
    SupervisorConfig::default().backoff(BackoffConfig::default().seed(1))
}

async fn served(accepts: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Channel {
    let transport = accepts.recv().await.expect("the supervisor dials");
    let stream = StreamHandle::from_io("memory:", transport)
        .await
        .expect("an arbiter");
    Channel::new(stream)
}

async fn next(events: &mut Events) -> ConnectionEvent {
    events.next().await.expect("a supervisor")
}

async fn next_but_retrying(events: &mut Events) -> ConnectionEvent {
    loop {
        match next(events).await {
            ConnectionEvent::Retrying { .. } => {}
            event => return event,
        }
    }
}

/// Has the peer send something, so that the connection was of use.
async fn of_use(server: &Channel, client: &SupervisedChannel) {
    server.send("hello").await.expect("open");
    match client.recv().await.expect("open") {
        Received::Frame(frame) => assert_eq!(&frame[..], b"hello"),
        Received::Lost(lost) => panic!("{lost}"),
    }
}

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
fn frames_wait_for_a_connection_within_deadline_and_bound() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Refuses);
        let deadline = Duration::from_secs(20);
        let meanwhile = Meanwhile::Wait {
            deadline,
            bytes: 1000,
        };
        let client = place.chain().supervise(seeded().meanwhile(meanwhile));
        let started = Instant::now();
        let refused = client.send("late").await.expect_err("nobody is there");
        assert!(
            matches!(refused.reason, StreamError::TimedOut { after, .. } if after == deadline),
            "{}",
            refused.reason
        );
        assert_eq!(started.elapsed(), deadline);
        assert_eq!(&refused.into_item()[..], b"late");

        let waiting: Vec<_> = (0..9)
            .map(|_| {
                let client = client.clone();
                actix_rt::spawn(async move { client.send(vec![1; 100]).await })
            })
            .collect();
        tokio::task::yield_now().await;
        let refused = client.send(vec![2; 100]).await.expect_err("no room");
        assert!(
            matches!(&refused.reason, StreamError::BufferOverflow(error) if error.limit == 1000),
            "{}",
            refused.reason
        );
        place.becomes(Peer::Serves);
        let server = served(&mut accepts).await;
        for sent in waiting {
            sent.await.expect("no panic").expect("sent");
            assert_eq!(server.recv().await.expect("open").expect("sent").len(), 100);
        }
        // The room is free again.
        client.send(vec![2; 100]).await.expect("sent");
    });
}

#[test]
fn frames_fail_at_once_and_come_back_where_nobody_waits() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded().meanwhile(Meanwhile::Fail));
        let server = served(&mut accepts).await;
        of_use(&server, &client).await;
        client.send("one").await.expect("open");
        place.becomes(Peer::Refuses);
        let mut events = client.events();
        drop(server);
        while !matches!(next(&mut events).await, ConnectionEvent::Lost(_)) {}
        let started = Instant::now();
        let refused = client.send("two").await.expect_err("nobody is there");
        assert_eq!(started.elapsed(), Duration::ZERO);
        assert!(
            matches!(&refused.reason, StreamError::ConnectionLost(lost) if lost.generation == 1)
                || matches!(&refused.reason, StreamError::Connect(_)),
            "{}",
            refused.reason
        );
        assert_eq!(&refused.into_item()[..], b"two");
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
fn a_flush_tells_of_frames_that_went_with_their_connection() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let server = served(&mut accepts).await;
        of_use(&server, &client).await;
        client.send("one").await.expect("open");
        client.flush().await.expect("open");
        client.send("two").await.expect("open");
        let mut events = client.events();
        drop(server);
        let server = served(&mut accepts).await;
        while !matches!(next(&mut events).await, ConnectionEvent::Restored { .. }) {}
        let error = client.flush().await.expect_err("its connection is lost");
        assert!(
            matches!(&error, StreamError::ConnectionLost(lost) if lost.generation == 1),
            "{error}"
        );
        client.flush().await.expect("told once");
        client.send("three").await.expect("open");
        client.flush().await.expect("open");
        let came = server.recv().await.expect("open").expect("a frame");
        assert_eq!(&came[..], b"three");
    });
}

#[test]
fn a_close_ends_the_waiting() {
    virtually(async {
        let (place, _accepts) = Place::new(Peer::Refuses);
        let client = place.chain().supervise(seeded());
        let sender = client.clone();
        let sending = actix_rt::spawn(async move { sender.send("frame").await });
        let receiver = client.clone();
        let receiving = actix_rt::spawn(async move { receiver.recv().await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        client.close().await.expect("closed");
        let refused = sending.await.expect("no panic").expect_err("closed");
        assert!(matches!(refused.reason, StreamError::Closed));
        let end = receiving.await.expect("no panic").expect_err("closed");
        assert!(matches!(end, StreamError::Closed));
        assert!(client.closed());
        client.close().await.expect("twice is no error");
        let attempts = place.attempts();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(place.attempts(), attempts, "it dials on");
    });
}

#[test]
fn the_last_handle_closes_the_connection() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let mut events = client.events();
        let address = client.address().downgrade();
        let server = served(&mut accepts).await;
        client.send("last").await.expect("open");
        drop(client);
        assert_eq!(
            &server.recv().await.expect("open").expect("flushed")[..],
            b"last"
        );
        assert_eq!(server.recv().await.expect("an orderly end"), None);
        server.close().await.expect("closed");
        while !matches!(next(&mut events).await, ConnectionEvent::Closed { .. }) {}
        assert!(events.next().await.is_none());
        tokio::task::yield_now().await;
        assert!(address.upgrade().is_none_or(|address| !address.connected()));
    });
}

#[test]
fn what_is_sent_during_a_flush_is_left_for_the_next_one() {
    virtually(async {
        const LARGE: usize = 200_000;
        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let mut peer = accepts.recv().await.expect("the supervisor dials");
        client.send(vec![1; LARGE]).await.expect("sent");
        let mut flush = std::pin::pin!(client.flush());
        let pending = tokio::time::timeout(Duration::ZERO, &mut flush).await;
        assert!(pending.is_err(), "the peer reads nothing");
        client.send(vec![2; LARGE]).await.expect("sent");
        let mut came = vec![0; 2 * (LARGE + 6)];
        tokio::io::AsyncReadExt::read_exact(&mut peer, &mut came)
            .await
            .expect("both");
        flush.await.expect("the first one has left");
        let mut events = client.events();
        drop(peer);
        while !matches!(next(&mut events).await, ConnectionEvent::Lost(_)) {}
        let error = client
            .flush()
            .await
            .expect_err("nobody flushed the second one");
        assert!(error.is_connection_lost(), "{error}");
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
