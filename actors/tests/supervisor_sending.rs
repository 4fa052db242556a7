//! What becomes of frames that are given to a supervised connection while it is there, or not: virtual time, transports in memory.

mod support;

use std::time::Duration;

use rpyc_actors::{ConnectionEvent, Meanwhile, StreamError, supervisor::Drain};
use support::absence::{Peer, Place, next, of_use, seeded, served, virtually};
use tokio::time::Instant;

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
fn the_deadline_counts_from_when_a_frame_was_given() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Serves);
        let deadline = Duration::from_secs(20);
        let meanwhile = Meanwhile::Wait {
            deadline,
            bytes: 8 << 20,
        };
        let client = place.chain().supervise(seeded().meanwhile(meanwhile));
        let peer = accepts.recv().await.expect("the supervisor dials");
        // Nobody reads, so it takes what its credit is worth, and no more.
        client
            .send(vec![1; 2 << 20])
            .await
            .expect("it passes alone");
        let started = Instant::now();
        let sender = client.clone();
        let sending = actix_rt::spawn(async move { sender.send("second").await });
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert!(!sending.is_finished(), "there is credit");
        place.becomes(Peer::Refuses);
        drop(peer);
        let refused = sending
            .await
            .expect("no panic")
            .expect_err("nobody is there");
        assert!(
            matches!(refused.reason, StreamError::TimedOut { after, .. } if after == deadline),
            "{}",
            refused.reason
        );
        assert_eq!(started.elapsed(), deadline);
    });
}

#[test]
fn slices_and_many_frames_wait_for_a_connection_as_well() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Refuses);
        let client = place.chain().supervise(seeded());
        let sender = client.clone();
        let sending = actix_rt::spawn(async move {
            sender.send_slice(b"slice").await.expect("it waits");
            let many = (0..1000_u32).map(|number| number.to_be_bytes().to_vec().into());
            sender.send_all(many).await.expect("it goes on");
            sender.send_all(std::iter::empty()).await.expect("nothing");
        });
        tokio::time::sleep(Duration::from_secs(3)).await;
        place.becomes(Peer::Serves);
        let server = served(&mut accepts).await;
        let frame = server.recv().await.expect("open").expect("sent");
        assert_eq!(&frame[..], b"slice");
        for number in 0..1000_u32 {
            let frame = server.recv().await.expect("open").expect("sent");
            assert_eq!(frame[..], number.to_be_bytes());
        }
        sending.await.expect("no panic");
        client.close().await.expect("closed");
        let refused = client.send_slice(b"late").await.expect_err("closed");
        assert!(matches!(refused, StreamError::Closed), "{refused}");
        let refused = client.send_all(["late".into()]).await.expect_err("closed");
        assert_eq!(refused.into_item().len(), 1);
    });
}

#[test]
fn a_drain_sends_what_waits_for_a_connection_and_then_closes() {
    virtually(async {
        let (place, mut accepts) = Place::new(Peer::Refuses);
        let client = place.chain().supervise(seeded());
        let mut events = client.events();
        let sender = client.clone();
        let sending = actix_rt::spawn(async move { sender.send("waits").await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let within = Duration::from_secs(20);
        let drained = client.address().send(Drain { within });
        drained.await.expect("the supervisor lives");
        let refused = client.send("new").await.expect_err("it drains");
        assert!(matches!(refused.reason, StreamError::Closed));
        assert!(client.closed());
        place.becomes(Peer::Serves);
        let server = served(&mut accepts).await;
        let frame = server.recv().await.expect("open").expect("sent");
        assert_eq!(&frame[..], b"waits");
        assert_eq!(server.recv().await.expect("an orderly end"), None);
        server.close().await.expect("closed");
        sending.await.expect("no panic").expect("sent");
        while !matches!(next(&mut events).await, ConnectionEvent::Closed { .. }) {}
        client.close().await.expect("it has closed");
    });
}

#[test]
fn a_drain_has_an_end() {
    virtually(async {
        let (place, _accepts) = Place::new(Peer::Refuses);
        let client = place.chain().supervise(seeded());
        let sender = client.clone();
        let sending = actix_rt::spawn(async move { sender.send("waits").await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (started, within) = (Instant::now(), Duration::from_secs(5));
        client.drain(within).await.expect("closed");
        assert_eq!(started.elapsed(), within);
        let refused = sending.await.expect("no panic").expect_err("too late");
        assert!(matches!(refused.reason, StreamError::Closed));
        assert_eq!(&refused.into_item()[..], b"waits");

        let (place, mut accepts) = Place::new(Peer::Serves);
        let client = place.chain().supervise(seeded());
        let server = served(&mut accepts).await;
        of_use(&server, &client).await;
        let (started, within) = (Instant::now(), Duration::from_secs(5));
        let close = actix_rt::spawn(async move {
            while let Ok(Some(_)) = server.recv().await {}
            server.close().await
        });
        client.drain(within).await.expect("closed");
        assert_eq!(started.elapsed(), Duration::ZERO, "nothing waits");
        close.await.expect("no panic").expect("closed");
    });
}
