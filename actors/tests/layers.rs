//! Every combination of the layers over real TCP: round trip, order, half-close and close.

mod support;

#[cfg(feature = "encrypt")]
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpyc_actors::{BatchingChannel, Channel, Layers, Limits, StreamError, TcpConfig};
use support::{Random, pair_of, stream_and_peer, within};
use tokio::io::AsyncReadExt as _;

#[cfg(feature = "snappy")]
const COMPRESSIONS: [&str; 4] = ["", "zlib:1", "zlib:9", "snappy"];
#[cfg(not(feature = "snappy"))]
const COMPRESSIONS: [&str; 3] = ["", "zlib:1", "zlib:9"];

/// All combinations, as text: each layer there or not, those of bytes in any order, and a monitor at every height.
fn combinations() -> Vec<Vec<&'static str>> {
    #[cfg(feature = "encrypt")]
    let encrypt: &str = &ENCRYPT;
    #[cfg(not(feature = "encrypt"))]
    let encrypt = "";
    let mut all = Vec::new();
    for compression in COMPRESSIONS {
        for batch in ["", "batch:20,5ms"] {
            for bytes in [
                ["", ""],
                ["buffer:32768", ""],
                [encrypt, ""],
                ["buffer:32768", encrypt],
                [encrypt, "buffer:32768"],
            ] {
                let layers = [batch, compression, bytes[0], bytes[1]];
                let layers: Vec<_> = layers.into_iter().filter(|text| !text.is_empty()).collect();
                for height in 0..=layers.len() {
                    let mut layers = layers.clone();
                    layers.insert(height, "monitor");
                    all.push(layers);
                }
                all.push([&["monitor:channel"], &layers[..]].concat());
                all.push(layers);
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Encryption with a key in a file, which is made once.
#[cfg(feature = "encrypt")]
static ENCRYPT: LazyLock<String> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/layers.key");
    if rpyc_actors::Key::load(path).is_err() {
        let key = rpyc_actors::Key::generate().expect("random bytes");
        key.save(path).expect("a new file");
    }
    format!("encrypt:{path}")
});

/// Frames of all kinds of size and content, of which each says its number.
fn frames(seed: u64, count: usize) -> Vec<Bytes> {
    let mut random = Random(seed);
    let kind = |number: usize, random: &mut Random| {
        let size = match number % 10 {
            0 => 0,
            1..5 => random.below(200),
            5 => 2990 + random.below(20),
            6 => 4090 + random.below(20),
            7 | 8 => random.below(100_000),
            _ if number == 59 => (1 << 20) + 500_000,
            _ => 20_000,
        };
        let mut frame = match number % 3 {
            0 => (0..size).map(|_| random.next() as u8).collect(),
            1 => vec![number as u8; size],
            _ => b"all work and no play "
                .iter()
                .copied()
                .cycle()
                .take(size)
                .collect::<Vec<u8>>(),
        };
        frame.extend_from_slice(&(number as u32).to_be_bytes());
        frame.into()
    };
    (0..count).map(|number| kind(number, &mut random)).collect()
}

async fn receive_all(channel: &Channel, expected: &[Bytes], layers: &[&str]) {
    for (number, expected) in expected.iter().enumerate() {
        let frame = within("receiving", channel.recv()).await.expect("no loss");
        let frame = frame.expect("not the end");
        assert!(
            frame == expected,
            "{layers:?}: frame {number} of {} bytes",
            expected.len()
        );
    }
}

#[tokio::test]
async fn every_combination_carries_frames_in_order_and_ends_each_direction_by_itself() {
    let (to_right, to_left) = (frames(1, 70), frames(2, 70));
    for layers in combinations() {
        let recipe = Layers::parse(&layers).expect("the right order");
        let (left, right) = pair_of(Limits::default(), &recipe).await;
        let send = async |channel: &Channel, frames: &[Bytes]| {
            for frame in frames {
                within("sending", channel.send(frame.clone()))
                    .await
                    .expect("open");
            }
        };
        tokio::join!(
            send(&left, &to_right),
            send(&right, &to_left),
            receive_all(&right, &to_right, &layers),
            receive_all(&left, &to_left, &layers),
        );

        // Half-close: what was sent before comes, then the end; the other direction goes on.
        left.send("the last").await.expect("open");
        left.finish().expect("open");
        receive_all(&right, &["the last".into()], &layers).await;
        assert_eq!(
            within("the end", right.recv()).await.expect("orderly"),
            None
        );
        right.send("still").await.expect("open");
        receive_all(&left, &["still".into()], &layers).await;

        // Close: what was accepted before arrives.
        for frame in &to_left {
            within("sending", right.send(frame.clone()))
                .await
                .expect("open");
        }
        let closing = async {
            within("closing", right.close())
                .await
                .expect("all was taken")
        };
        let receiving = async {
            receive_all(&left, &to_left, &layers).await;
            assert_eq!(
                within("the end", left.recv()).await.expect("orderly"),
                None,
                "{layers:?}"
            );
        };
        tokio::join!(closing, receiving);
        assert!(left.closed() && right.closed());
        assert!(matches!(
            right.send("late").await.map_err(StreamError::from),
            Err(StreamError::Closed)
        ));
    }
}

#[tokio::test]
async fn dropping_the_last_handle_sends_what_every_combination_holds() {
    for layers in combinations() {
        let recipe = Layers::parse(&layers).expect("the right order");
        let (left, right) = pair_of(Limits::default(), &recipe).await;
        let sent = frames(3, 13);
        for frame in &sent {
            within("sending", left.send(frame.clone()))
                .await
                .expect("open");
        }
        drop(left);
        receive_all(&right, &sent, &layers).await;
        assert_eq!(
            within("the end", right.recv()).await.expect("orderly"),
            None
        );
    }
}

#[tokio::test]
async fn an_abort_is_a_loss_at_both_ends_of_every_combination() {
    for layers in combinations() {
        let recipe = Layers::parse(&layers).expect("the right order");
        let (left, right) = pair_of(Limits::default(), &recipe).await;
        left.send("hello").await.expect("open");
        within("flushing", left.flush()).await.expect("taken");
        receive_all(&right, &["hello".into()], &layers).await;
        left.abort();
        let error = within("the loss", right.recv()).await.expect_err("a reset");
        assert!(error.is_connection_lost(), "{layers:?}: {error}");
        assert!(left.recv().await.expect_err("aborted").is_connection_lost());
    }
}

// ---- batching, over real time ----

const FOR_EVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_batch_goes_when_it_is_full_and_not_before() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let channel = BatchingChannel::new(stream, 3, FOR_EVER);
    for _ in 0..2 {
        channel.send("a").await.expect("open");
    }
    let mut buffer = [0; 100];
    let early = tokio::time::timeout(Duration::from_millis(50), peer.read(&mut buffer)).await;
    assert!(early.is_err(), "two of three frames are held");
    channel.send("a").await.expect("open");
    let read = within("the batch", peer.read(&mut buffer))
        .await
        .expect("open");
    assert_eq!(buffer[..read], support::frame(b"a").repeat(3), "one write");
}

#[tokio::test]
async fn a_batch_goes_when_its_time_is_over() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let channel = BatchingChannel::new(stream, 1000, Duration::from_millis(80));
    let start = Instant::now();
    channel.send("a").await.expect("open");
    let mut buffer = [0; 100];
    assert_eq!(
        within("the batch", peer.read(&mut buffer))
            .await
            .expect("open"),
        7
    );
    assert!(
        start.elapsed() >= Duration::from_millis(80),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_flush_and_a_hint_let_go_of_a_batch() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let channel = BatchingChannel::new(stream, 1000, FOR_EVER);
    let mut buffer = [0; 100];
    channel.send("a").await.expect("open");
    within("flushing", channel.flush()).await.expect("taken");
    assert_eq!(
        within("the frame", peer.read(&mut buffer))
            .await
            .expect("open"),
        7
    );
    channel.send("b").await.expect("open");
    channel.pass_on();
    assert_eq!(
        within("the frame", peer.read(&mut buffer))
            .await
            .expect("open"),
        7
    );
}

#[tokio::test]
async fn whoever_waits_for_credit_gets_that_of_a_batch() {
    let limits = Limits::default().credit(64 << 10);
    let layers = Layers::parse(["batch:1000,60m"]).expect("a batch");
    let (left, right) = pair_of(limits, &layers).await;
    // Held: far below a quarter of the credit.
    left.send("small").await.expect("open");
    // As heavy as all of the credit, so it waits for that of the small one.
    let large = Bytes::from(vec![7; 64 << 10]);
    within("the credit", left.send(large.clone()))
        .await
        .expect("open");
    for expected in ["small".into(), large] {
        let frame = within("receiving", right.recv()).await.expect("no loss");
        assert_eq!(frame, Some(expected));
    }
}
