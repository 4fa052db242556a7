//! Streams with layers on them: `BufferedStream`, `MonitoredStream`, and each of them on the other.

mod support;

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rpyc_actors::{
    BufferedStream, Channel, Chunk, Limits, MonitoredStream, Monitors, PipeStream, StreamError,
    StreamHandle, TcpConfig,
    codec::{Buffer, BufferConfig, PassThrough, testing::Bench},
    error::LossReason,
};
use support::{frame, stream_and_peer, until, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn socket() -> (StreamHandle, TcpStream) {
    socket_with(Limits::default()).await
}

async fn socket_with(limits: Limits) -> (StreamHandle, TcpStream) {
    let (stream, peer) = stream_and_peer(TcpConfig::default().limits(limits)).await;
    (stream.into(), peer)
}

fn buffered(stream: StreamHandle) -> StreamHandle {
    BufferedStream::new(stream, 8192)
        .expect("below the limit")
        .into()
}

fn monitored(stream: StreamHandle) -> StreamHandle {
    MonitoredStream::with_monitors(stream, &Monitors::new()).into()
}

/// A name, and what it puts on a stream.
type Dressing = (&'static str, fn(StreamHandle) -> StreamHandle);

/// Every way to put the two on a stream.
fn dressings() -> Vec<Dressing> {
    vec![
        ("buffered", buffered),
        ("monitored", monitored),
        ("buffered on monitored", |stream| {
            buffered(monitored(stream))
        }),
        ("monitored on buffered", |stream| {
            monitored(buffered(stream))
        }),
        ("pass-through", |stream| {
            stream.layered(PassThrough::default())
        }),
    ]
}

async fn read(stream: &StreamHandle, count: usize) -> Bytes {
    within("reading", stream.read(count))
        .await
        .expect("not the end")
}

#[tokio::test]
async fn a_layered_stream_reads_writes_flushes_and_closes_like_any_other() {
    for (name, dress) in dressings() {
        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        assert!(
            !stream.closed() && stream.endpoint().starts_with("tcp://127.0.0.1"),
            "{name}"
        );
        for piece in ["one ", "two ", "three"] {
            stream.write(piece).await.expect("open");
        }
        within("flushing", stream.flush()).await.expect("taken");
        let mut buffer = [0; 13];
        within("reading", peer.read_exact(&mut buffer))
            .await
            .expect("sent");
        assert_eq!(&buffer, b"one two three", "{name}");

        peer.write_all(b"hello world").await.expect("open");
        assert_eq!(read(&stream, 6).await, "hello ", "{name}");
        assert_eq!(read(&stream, 0).await, "", "{name}");
        assert_eq!(read(&stream, 5).await, "world", "{name}");

        stream.write("bye").await.expect("open");
        let closing = async {
            within("closing", stream.close())
                .await
                .expect("all was taken")
        };
        let ending = async {
            let mut rest = Vec::new();
            within("the end", peer.read_to_end(&mut rest))
                .await
                .expect("orderly");
            assert_eq!(rest, b"bye", "{name}");
            drop(peer);
        };
        tokio::join!(closing, ending);
        assert!(stream.closed(), "{name}");
        let refused = stream.write("late").await.expect_err("closed");
        assert!(
            matches!(refused.reason, StreamError::Closed),
            "{name}: {}",
            refused.reason
        );
        assert!(within("reading", stream.read(1)).await.is_err(), "{name}");
        within("closing again", stream.close())
            .await
            .expect("no error");
    }
}

#[tokio::test]
async fn nothing_is_read_before_somebody_asks_unless_it_is_to_be_read_ahead() {
    let (stream, mut peer) = socket().await;
    let stream = MonitoredStream::new(stream);
    peer.write_all(b"early").await.expect("open");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stream.stats().bytes_received, 0);
    assert_eq!(read(&stream, 2).await, "ea");
    // What one read brought is there; nothing more is read while nobody asks.
    assert_eq!(stream.stats().bytes_received, 5);
    peer.write_all(b" later").await.expect("open");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stream.stats().bytes_received, 5);
    assert_eq!(read(&stream, 9).await, "rly later");

    let (stream, mut peer) = socket().await;
    let below = MonitoredStream::new(stream);
    let stream = BufferedStream::new(below.clone(), 10_000).expect("below the limit");
    peer.write_all(&[1; 4000]).await.expect("open");
    until("it is read ahead", || below.stats().bytes_received == 4000).await;
    peer.write_all(&[1; 1_000_000])
        .await
        .expect("the kernel takes some");
    until("the buffer is full", || {
        below.stats().bytes_received >= 10_000
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let ahead = below.stats().bytes_received;
    assert!(ahead < 10_000 + (256 << 10) + 1, "{ahead}");
    for _ in 0..1004 {
        assert_eq!(read(&stream, 1000).await, [1; 1000][..]);
    }
}

#[tokio::test]
async fn a_read_may_ask_for_more_than_all_credit() {
    for (name, dress) in dressings() {
        let limits = Limits::default().credit(4096);
        let (stream, mut peer) = socket_with(limits).await;
        let stream = dress(stream);
        let sending = async {
            peer.write_all(&vec![5; 1 << 20])
                .await
                .expect("somebody reads")
        };
        let (bytes, ()) = tokio::join!(read(&stream, 1 << 20), sending);
        assert!(
            bytes.len() == 1 << 20 && bytes.iter().all(|byte| *byte == 5),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_refusal_loses_nothing() {
    // A buffer that is too large gives the stream back.
    let (stream, mut peer) = socket_with(Limits::default().max_buffer(1000)).await;
    peer.write_all(&[7; 5000]).await.expect("open");
    assert_eq!(read(&stream, 10).await, [7; 10][..]);
    let refused = BufferedStream::new(stream, 1001).expect_err("above the limit");
    assert_eq!((refused.reason.limit, refused.reason.got), (1000, 1001));
    assert_eq!(read(&refused.stream, 10).await, [7; 10][..]);
    let stream = BufferedStream::new(refused.stream, 1000).expect("at the limit");

    // A read that is too large takes nothing.
    let error = within("reading", stream.read(1001))
        .await
        .expect_err("above the limit");
    let StreamError::BufferOverflow(overflow) = &error else {
        panic!("{error}")
    };
    assert_eq!((overflow.limit, overflow.got), (1000, 1001));
    let mut left = 4980;
    while left > 0 {
        let count = left.min(1000);
        assert_eq!(read(&stream, count).await, vec![7; count]);
        left -= count;
    }
    // A write above the buffer goes straight through.
    stream.write(vec![9; 100_000]).await.expect("open");
    let mut all = vec![0; 100_000];
    within("reading", peer.read_exact(&mut all))
        .await
        .expect("sent");
    assert!(all.iter().all(|byte| *byte == 9));

    // The default limit is the seed's, and can be raised.
    let (stream, _peer) = socket().await;
    let refused = BufferedStream::new(stream, (1 << 20) + 1).expect_err("above the limit");
    assert!(BufferedStream::new(refused.stream, 1 << 20).is_ok());
    let (stream, _peer) = socket_with(Limits::default().max_buffer(8 << 20)).await;
    assert!(BufferedStream::new(stream, 8 << 20).is_ok());
}

#[tokio::test]
async fn a_read_that_is_cancelled_keeps_its_bytes() {
    for (name, dress) in dressings() {
        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        for round in 0..50u8 {
            let sent = [round, round];
            let waiting = tokio::time::timeout(Duration::from_micros(round.into()), stream.read(2));
            let (cancelled, _) = tokio::join!(waiting, peer.write_all(&sent));
            if cancelled.is_err() {
                assert_eq!(read(&stream, 2).await, [round; 2][..], "{name}");
            }
        }
    }
}

#[tokio::test]
async fn an_end_is_told_to_readers_with_what_was_missing() {
    for (name, dress) in dressings() {
        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        peer.write_all(b"abc").await.expect("open");
        peer.shutdown().await.expect("open");
        let error = within("reading", stream.read(5))
            .await
            .expect_err("too short");
        let StreamError::ConnectionLost(lost) = &error else {
            panic!("{name}: {error}")
        };
        assert!(
            matches!(lost.reason, LossReason::Truncated { got: 3, due: 5, .. }),
            "{name}: {error}"
        );
        assert_eq!(read(&stream, 3).await, "abc", "{name}");
        let error = within("reading", stream.read(1))
            .await
            .expect_err("the end");
        assert!(error.is_connection_lost(), "{name}: {error}");
        // Our direction goes on.
        stream.write("still").await.expect("open");
        let mut buffer = [0; 5];
        within("reading", peer.read_exact(&mut buffer))
            .await
            .expect("sent");
    }
}

#[tokio::test]
async fn dropping_the_last_handle_sends_what_was_accepted_and_ends() {
    for (name, dress) in dressings() {
        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        let clone = stream.clone();
        for _ in 0..100 {
            stream.write("0123456789").await.expect("open");
        }
        drop((stream, clone));
        let mut all = Vec::new();
        within("the end", peer.read_to_end(&mut all))
            .await
            .expect("orderly");
        assert_eq!(all, b"0123456789".repeat(100), "{name}");
    }
}

#[tokio::test]
async fn a_finish_ends_one_direction_and_an_abort_both() {
    for (name, dress) in dressings() {
        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        stream.write("last").await.expect("open");
        stream.finish().expect("open");
        let mut all = Vec::new();
        within("the end", peer.read_to_end(&mut all))
            .await
            .expect("orderly");
        assert_eq!(all, b"last", "{name}");
        peer.write_all(b"reply").await.expect("open");
        assert_eq!(read(&stream, 5).await, "reply", "{name}");

        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        stream.abort();
        let error = within("reading", stream.read(1))
            .await
            .expect_err("aborted");
        assert!(error.is_connection_lost(), "{name}: {error}");
        let error = within("the reset", peer.read(&mut [0; 1]))
            .await
            .expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{name}");
    }
}

#[tokio::test]
async fn a_channel_on_a_layered_stream_begins_with_what_was_read_ahead() {
    for (name, dress) in dressings() {
        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        let wire = [
            &b"token"[..],
            &frame(b"one"),
            &frame(b"two"),
            &frame(&[3; 50_000]),
        ]
        .concat();
        peer.write_all(&wire).await.expect("open");
        assert_eq!(read(&stream, 5).await, "token", "{name}");
        let waiting = tokio::spawn({
            let stream = stream.clone();
            async move { stream.read(1 << 20).await }
        });
        tokio::task::yield_now().await;
        let channel = Channel::new(stream.clone());
        for expected in [&b"one"[..], b"two", &[3; 50_000]] {
            let frame = within("receiving", channel.recv()).await.expect("no loss");
            assert_eq!(frame.as_deref(), Some(expected), "{name}");
        }
        let error = within("the reader", waiting)
            .await
            .expect("no panic")
            .expect_err("too late");
        assert!(
            matches!(error, StreamError::ApiMisuse(_)),
            "{name}: {error}"
        );
        let error = within("reading", stream.read(1))
            .await
            .expect_err("too late");
        assert!(
            matches!(error, StreamError::ApiMisuse(_)),
            "{name}: {error}"
        );
        drop(stream);

        channel.send("answer").await.expect("open");
        peer.shutdown().await.expect("open");
        assert_eq!(
            within("the end", channel.recv()).await.expect("orderly"),
            None,
            "{name}"
        );
        within("closing", channel.close()).await.expect("taken");
        let mut all = Vec::new();
        within("the end", peer.read_to_end(&mut all))
            .await
            .expect("orderly");
        assert_eq!(all, frame(b"answer"), "{name}");
    }
}

#[tokio::test]
async fn a_channel_learns_of_an_end_that_came_before_it() {
    for (name, dress) in dressings() {
        let (stream, mut peer) = socket().await;
        let stream = dress(stream);
        peer.write_all(&frame(b"only")).await.expect("open");
        peer.shutdown().await.expect("open");
        let error = within("reading", stream.read(1000))
            .await
            .expect_err("too short");
        assert!(error.is_connection_lost(), "{name}: {error}");
        let channel = Channel::new(stream);
        let frame = within("receiving", channel.recv()).await.expect("no loss");
        assert_eq!(frame.as_deref(), Some(&b"only"[..]), "{name}");
        assert_eq!(
            within("the end", channel.recv()).await.expect("orderly"),
            None,
            "{name}"
        );
    }
}

#[tokio::test]
async fn pipes_can_be_layered_and_two_layered_ends_talk() {
    let (left, right) = PipeStream::create_pair().await.expect("pipes");
    let left = BufferedStream::new(MonitoredStream::new(left), 100).expect("small");
    let right = MonitoredStream::new(BufferedStream::new(right, 1 << 20).expect("at the limit"));
    let (left, right) = (Channel::new(left), Channel::new(right.clone()));
    for number in 0..200u32 {
        left.send(vec![number as u8; number as usize * 37])
            .await
            .expect("open");
        let frame = within("receiving", right.recv())
            .await
            .expect("no loss")
            .expect("not the end");
        assert!(frame.len() == number as usize * 37);
    }
    let (one, other) = tokio::join!(left.close(), right.close());
    one.and(other).expect("all was taken");
}

#[tokio::test]
async fn small_writes_go_on_together() {
    let (stream, mut peer) = socket().await;
    let below = MonitoredStream::new(stream);
    let stream = BufferedStream::new(below.clone(), 8192).expect("below the limit");
    // From another thread the actor is woken once and finds many; from here each may be found alone. Both are right.
    let writing = std::thread::spawn(move || {
        for _ in 0..20_000 {
            stream.write_blocking("0123456789").expect("open");
        }
        stream
    });
    let mut all = vec![0; 200_000];
    within("reading", peer.read_exact(&mut all))
        .await
        .expect("sent");
    assert_eq!(all, b"0123456789".repeat(20_000));
    let stats = below.stats();
    println!(
        "20,000 writes of 10 bytes went on in {} chunks",
        stats.writes
    );
    assert_eq!(stats.bytes_sent, 200_000);
    assert!(stats.writes < 20_000, "{}", stats.writes);
    drop(writing.join().expect("no panic"));
}

// ---- the codec ----

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_are_joined_up_to_the_size_and_no_byte_changes(
        size in 0..64usize,
        sizes in prop::collection::vec(0..100usize, 0..40),
    ) {
        let config = BufferConfig::new(size).expect("small");
        let mut bench = Bench::new(Buffer::new(config), Buffer::new(config));
        let (mut chunk, mut all, mut pieces) = (Chunk::new(), Vec::new(), 0);
        for length in &sizes {
            let piece: Vec<u8> = (0..*length).map(|_| { pieces += 1; pieces as u8 }).collect();
            all.extend_from_slice(&piece);
            chunk.push(piece.into());
        }
        let before = chunk.pieces().len();
        bench.left.write(chunk);
        let joined = bench.left.pieces().to_vec();
        prop_assert!(joined.len() <= before);
        // No two neighbours would have fitted together.
        prop_assert!(joined.windows(2).all(|pair| pair[0] + pair[1] > size));
        let wire: Vec<u8> = bench.left.wire().iter().copied().collect();
        prop_assert_eq!(wire, all);
        prop_assert_eq!(bench.left.host.down_gate().used(), 0);
    }
}
