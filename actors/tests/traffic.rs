//! Frames under way: order, crossing traffic, many senders and receivers, cancellation.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use rpyc_actors::{
    Channel, Frames, Limits, StreamError, channel::TryRecvError, channel::TrySendError,
};
use support::{Random, channel_and_peer, frame, measure::settled, pair, pair_with, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn numbered(number: u32, size: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(size.max(4), number as u8);
    payload.into()
}

fn number_of(frame: &[u8]) -> u32 {
    let number = u32::from_be_bytes(frame[..4].try_into().expect("a number"));
    assert!(
        frame[4..].iter().all(|byte| *byte == number as u8),
        "damaged"
    );
    number
}

/// Sends `count` frames of mixed sizes in mixed ways while it receives as many.
async fn cross(channel: Channel, seed: u64, count: u32) {
    let sender = tokio::spawn({
        let channel = channel.clone();
        async move {
            let mut random = Random(seed);
            let mut number = 0;
            while number < count {
                let size = [4, 60, 1000, 5000, 70_000, 400_000][random.below(6)];
                match random.below(3) {
                    0 => channel.send(numbered(number, size)).await.expect("open"),
                    1 => channel
                        .send_slice(&numbered(number, size))
                        .await
                        .expect("open"),
                    _ => {
                        let until = (number + 5).min(count);
                        let batch = (number..until).map(|number| numbered(number, size));
                        channel.send_all(batch).await.expect("open");
                        number = until - 1;
                    }
                }
                number += 1;
            }
        }
    });
    for number in 0..count {
        let frame = within("receiving", channel.recv())
            .await
            .expect("no loss")
            .expect("not the end");
        assert_eq!(number_of(&frame), number);
    }
    within("the sender", sender).await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crossing_traffic_keeps_order_and_never_hangs() {
    for credit in [4096, 1 << 20] {
        let (client, server) = pair_with(Limits::default().credit(credit)).await;
        let other = tokio::spawn(cross(server.clone(), 7, 1000));
        cross(client.clone(), 11, 1000).await;
        within("the other end", other).await.expect("no panic");
        let (closed, also) = within("closing", async {
            tokio::join!(client.close(), server.close())
        })
        .await;
        closed.and(also).expect("all was taken");
        assert_eq!(client.stats().frames_sent, 1000);
        assert_eq!(client.stats().frames_received, 1000);
    }
}

/// Asks when it is woken, from within.
struct Asks(Channel);

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        self.0.try_send("question").expect("there is credit");
    }
}

/// On another processor, whoever is woken by an answer may have the next question out before the turn is over in which the
/// channel's actor gave the answer. Here that is so each time.
#[tokio::test]
async fn a_question_that_is_sent_while_its_sender_is_woken_goes_out() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let waker = Waker::from(Arc::new(Asks(channel.clone())));
    let question = frame(b"question");
    // One frame passes the framing as it comes, of several it keeps some for a moment.
    for answers in [1, 3].repeat(20) {
        let mut receiving = Box::pin(channel.recv());
        let polled = receiving.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "{polled:?}");
        drop(receiving);
        let sent = peer.write_all(&frame(b"answer").repeat(answers)).await;
        sent.expect("the channel reads");
        let mut asked = vec![0; question.len()];
        let read = within("the question", peer.read_exact(&mut asked)).await;
        read.expect("no loss");
        assert_eq!(asked, question);
        for _ in 0..answers {
            let answer = within("the answer", channel.recv()).await;
            assert_eq!(answer.expect("no loss").as_deref(), Some(&b"answer"[..]));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ends_that_echo_each_other_never_hang() {
    // Both ends answer everything, with more under way than one gate lets pass.
    let (client, server) = pair_with(Limits::default().credit(4096)).await;
    let echo = tokio::spawn(async move {
        while let Some(frame) = server.recv().await.expect("no loss") {
            server.send(frame).await.expect("open");
        }
        server.close().await
    });
    let sender = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 0..3000 {
                client.send(numbered(number, 500)).await.expect("open");
            }
            client.finish().expect("open");
        }
    });
    for number in 0..3000 {
        let frame = within("receiving", client.recv()).await.expect("no loss");
        assert_eq!(number_of(&frame.expect("not the end")), number);
    }
    within("the sender", sender).await.expect("no panic");
    within("the echo", echo)
        .await
        .expect("no panic")
        .expect("taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_senders_on_one_gate_all_wake() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let started = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..8u32)
        .map(|sender| {
            let (channel, started) = (channel.clone(), started.clone());
            tokio::spawn(async move {
                for round in 0..20 {
                    started.fetch_add(1, Ordering::Relaxed);
                    channel
                        .send(numbered(sender * 100 + round, 300_000))
                        .await
                        .expect("open");
                }
            })
        })
        .collect();
    // All have begun, and all wait: nothing moves while the peer does not read.
    until("the gate is full", || {
        started.load(Ordering::Relaxed) >= 8
            && matches!(
                channel.try_send(vec![0; 300_000]),
                Err(TrySendError::Full(_))
            )
    })
    .await;
    let reading = tokio::spawn(async move {
        let mut wire = Vec::new();
        peer.read_to_end(&mut wire).await.expect("an orderly end");
        wire
    });
    for sender in senders {
        within("a sender", sender).await.expect("no panic");
    }
    let closing = within("closing", channel.close()).await;
    closing.expect("taken");
    let wire = within("reading", reading).await.expect("no panic");
    // Frames of one sender came in order, and none is missing.
    let mut next = [0u32; 8];
    for frame in wire.chunks(300_006) {
        let payload = &frame[5..300_005];
        if payload[..4] == [0; 4] && payload[4] == 0 && next[0] > 0 {
            continue; // One of those that asked whether the gate is full.
        }
        let number = number_of(payload);
        let sender = (number / 100) as usize;
        assert_eq!(number % 100, next[sender]);
        next[sender] += 1;
    }
    assert_eq!(next, [20; 8]);
}

#[tokio::test]
async fn cancelled_sends_send_nothing_and_leave_the_line() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let mut sent = 0u32;
    // A send that waits is served only when half of the gate is free, and one that comes then as soon as it fits: there must be no room for
    // one more, whatever the kernel has left.
    settled("the gate shuts", || {
        while channel.try_send(numbered(sent, 300_000)).is_ok() {
            sent += 1;
        }
        u64::from(sent)
    })
    .await;
    // These are cancelled in another order than they came.
    let mut waiting: Vec<_> = (0..5)
        .map(|number| {
            let channel = channel.clone();
            tokio::spawn(async move { channel.send(numbered(1000 + number, 300_000)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let last = waiting.pop().expect("five");
    for one in waiting.iter().rev() {
        one.abort();
    }
    for one in waiting {
        assert!(within("cancelling", one).await.is_err());
    }
    let reading = tokio::spawn(async move {
        let mut wire = Vec::new();
        peer.read_to_end(&mut wire).await.expect("an orderly end");
        wire
    });
    within("the last one", last)
        .await
        .expect("no panic")
        .expect("open");
    within("closing", channel.close()).await.expect("taken");
    let wire = within("reading", reading).await.expect("no panic");
    let numbers: Vec<u32> = wire
        .chunks(300_006)
        .map(|frame| number_of(&frame[5..300_005]))
        .collect();
    let expected: Vec<u32> = (0..sent).chain([1004]).collect();
    assert_eq!(numbers, expected);
    assert_eq!(channel.stats().bytes_under_way, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_receives_lose_nothing() {
    let (client, server) = pair().await;
    const COUNT: u32 = 3000;
    // These are cancelled for sure, since nothing is there.
    for _ in 0..20 {
        let receive = tokio::time::timeout(Duration::from_micros(50), server.recv());
        assert!(receive.await.is_err());
    }
    let sender = tokio::spawn(async move {
        for number in 0..COUNT {
            client.send(numbered(number, 100)).await.expect("open");
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        client.close().await
    });
    let mut random = Random(3);
    let mut number = 0;
    within("receiving", async {
        while number < COUNT {
            let patience = Duration::from_micros(random.next() % 60);
            if let Ok(frame) = tokio::time::timeout(patience, server.recv()).await {
                let frame = frame.expect("no loss").expect("not the end");
                assert_eq!(number_of(&frame), number);
                number += 1;
            }
            // A select that loses at once drops a receive that was polled once.
            tokio::select! {
                biased;
                frame = server.recv() => {
                    if number < COUNT {
                        let frame = frame.expect("no loss").expect("not the end");
                        assert_eq!(number_of(&frame), number);
                        number += 1;
                    }
                }
                () = std::future::ready(()) => {}
            }
        }
    })
    .await;
    drop(server);
    within("the sender", sender)
        .await
        .expect("no panic")
        .expect("taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_frame_goes_to_one_of_several_receivers() {
    let (client, server) = pair().await;
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move {
                let mut numbers = Vec::new();
                while let Some(frame) = server.recv().await.expect("no loss") {
                    numbers.push(number_of(&frame));
                    tokio::task::yield_now().await;
                }
                numbers
            })
        })
        .collect();
    for number in 0..5000 {
        within("sending", client.send(numbered(number, 64)))
            .await
            .expect("open");
    }
    client.finish().expect("open");
    let mut all = Vec::new();
    for receiver in receivers {
        let numbers = within("a receiver", receiver).await.expect("no panic");
        assert!(numbers.is_sorted(), "each of them sees the order");
        all.extend(numbers);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..5000));
}

#[tokio::test]
async fn a_receiver_is_the_only_one_and_gives_back_what_it_did_not_take() {
    let (client, server) = pair().await;
    client
        .send_batch((0..10).map(|number| numbered(number, 20)).collect())
        .await
        .expect("open");
    let waiting = tokio::spawn({
        let channel = client.clone();
        async move { channel.recv().await }
    });
    tokio::task::yield_now().await;
    let mut receiver = server.receiver().expect("the first one");
    assert!(matches!(server.receiver(), Err(StreamError::ApiMisuse(_))));
    assert!(matches!(
        within("receiving", server.recv()).await,
        Err(StreamError::ApiMisuse(_))
    ));
    for number in 0..3 {
        let frame = within("receiving", receiver.recv()).await.expect("no loss");
        assert_eq!(number_of(&frame.expect("not the end")), number);
    }
    drop(receiver);
    for number in 3..6 {
        let frame = within("receiving", server.recv()).await.expect("no loss");
        assert_eq!(number_of(&frame.expect("not the end")), number);
    }
    // A receiver goes on in the middle of a batch that handles have begun.
    let mut receiver = server.receiver().expect("the only one");
    let batch = within("receiving", receiver.recv_batch())
        .await
        .expect("no loss")
        .expect("not the end");
    let numbers: Vec<u32> = batch.into_iter().map(|frame| number_of(&frame)).collect();
    assert_eq!(numbers, [6, 7, 8, 9]);

    // Whoever waited on handles when a receiver took over learns of it.
    let taker = client.receiver().expect("the only one");
    let refused = within("the waiting receive", waiting)
        .await
        .expect("no panic");
    assert!(matches!(refused, Err(StreamError::ApiMisuse(_))));
    drop(taker);
    assert!(matches!(client.try_recv(), Err(TryRecvError::Empty)));
}

#[tokio::test]
async fn a_dropped_batch_receive_takes_nothing() {
    let (client, server) = pair().await;
    let mut receiver = server.receiver().expect("the only one");
    assert!(
        tokio::time::timeout(Duration::from_millis(5), receiver.recv_batch())
            .await
            .is_err()
    );
    client.send("hello").await.expect("open");
    let batch = within("receiving", receiver.recv_batch())
        .await
        .expect("no loss")
        .expect("not the end");
    assert_eq!(batch.into_iter().collect::<Vec<_>>(), ["hello"]);
    client.finish().expect("open");
    assert!(
        within("receiving", receiver.recv_batch())
            .await
            .expect("an orderly end")
            .is_none()
    );
}

#[tokio::test]
async fn try_send_tells_full_from_closed_and_gives_the_frame_back() {
    let (channel, _peer) = channel_and_peer(Limits::default()).await;
    let full = within("the gate is full", async {
        loop {
            match channel.try_send(vec![1; 200_000]) {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(matches!(full, TrySendError::Full(item) if item.len() == 200_000));
    channel.finish().expect("open");
    let closed = channel.try_send("late").expect_err("finished");
    let TrySendError::Closed(error) = closed else {
        panic!("not closed: {closed}")
    };
    assert_eq!(error.item, "late");
    assert!(matches!(error.reason, StreamError::Closed));
}

#[tokio::test]
async fn bytes_that_trickle_in_one_by_one_make_frames() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let wire = [frame(b"slow"), frame(b""), frame(b"motion")].concat();
    for byte in wire {
        within("writing", peer.write_all(&[byte]))
            .await
            .expect("open");
        within("flushing", peer.flush()).await.expect("open");
        tokio::task::yield_now().await;
    }
    for expected in ["slow", "", "motion"] {
        let frame = within("receiving", channel.recv()).await.expect("no loss");
        assert_eq!(frame, Some(expected.into()));
    }
}

#[tokio::test]
async fn empty_batches_and_empty_frames_are_told_apart() {
    let (client, server) = pair().await;
    client.send_batch(Frames::default()).await.expect("nothing");
    client.send_all([]).await.expect("nothing");
    client.send("").await.expect("open");
    client.finish().expect("open");
    let first = within("receiving", server.recv()).await.expect("no loss");
    assert_eq!(first, Some("".into()));
    assert_eq!(
        within("receiving", server.recv()).await.expect("an end"),
        None
    );
    assert_eq!(client.stats().frames_sent, 1);
}
