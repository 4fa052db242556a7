//! Signs of life on plain channels: who is dead is noticed in time, and nobody else is taken for dead.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use rpyc_actors::{
    Channel, ConnectionEvent, Layers, Limits, PipeStream, StreamError, StreamHandle, TcpConfig,
    codec::Liveness, error::LossReason,
};
use support::{
    chaos::{Chaos, Weather},
    frame, pair_of, stream_and_peer, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const QUICK: Duration = Duration::from_millis(400);

fn layers() -> Layers {
    Layers::parse(["liveness:400ms"]).expect("a layer")
}

async fn loss(channel: &Channel) -> StreamError {
    within("the loss", async {
        loop {
            match channel.recv().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("an orderly end"),
                Err(error) => return error,
            }
        }
    })
    .await
}

fn assert_silent(error: &StreamError) {
    assert!(
        matches!(error, StreamError::ConnectionLost(lost)
            if matches!(lost.reason, LossReason::Silent { after } if after == QUICK)),
        "{error}"
    );
}

async fn hello(from: &Channel, to: &Channel) {
    within("sending", from.send("hello")).await.expect("open");
    let came = within("receiving", to.recv()).await.expect("open");
    assert_eq!(came.as_deref(), Some(&b"hello"[..]));
}

/// Pairs over each kind of stream that two ends in one process can have.
async fn pairs() -> Vec<(&'static str, Channel, Channel)> {
    let layers = layers();
    let (one, other) = pair_of(Limits::default(), &layers).await;
    let (left, right) = PipeStream::create_pair().await.expect("pipes");
    let (near, far) = tokio::net::UnixStream::pair().expect("unix sockets");
    let near = StreamHandle::from_io("unix", near)
        .await
        .expect("an arbiter");
    let far = StreamHandle::from_io("unix", far)
        .await
        .expect("an arbiter");
    vec![
        ("tcp", one, other),
        ("pipe", layers.channel(left), layers.channel(right)),
        ("unix", layers.channel(near), layers.channel(far)),
    ]
}

#[tokio::test]
async fn idle_pairs_live() {
    let pairs = pairs().await;
    tokio::time::sleep(QUICK * 4).await;
    for (kind, one, other) in &pairs {
        assert!(!one.closed() && !other.closed(), "{kind}");
        hello(one, other).await;
        hello(other, one).await;
        assert_eq!(
            one.stats().frames_received,
            1,
            "{kind}: signs are no frames"
        );
    }
    for (_, one, other) in pairs {
        let closing = tokio::spawn(async move { one.close().await });
        assert_eq!(
            within("the end", other.recv()).await.expect("orderly"),
            None
        );
        other.close().await.expect("closed");
        closing.await.expect("no panic").expect("closed");
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_lost_in_time() {
    // Its kernel acknowledges everything, and that is all.
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let channel = layers().channel(stream);
    let started = Instant::now();
    assert_silent(&loss(&channel).await);
    let took = started.elapsed();
    assert!((QUICK..QUICK * 3).contains(&took), "{took:?}");
    // Meanwhile it was told that we live: empty frames, and nothing else.
    let mut came = Vec::new();
    // The connection was reset, so this may be an error, behind what came.
    let _ = within("reading", peer.read_to_end(&mut came)).await;
    assert!(came.chunks(6).all(|sign| sign == [0, 0, 0, 0, 0, b'\n']));
}

#[tokio::test]
async fn any_byte_of_a_frame_is_a_sign_of_life() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let channel = layers().channel(stream);
    let wire = frame(b"a frame that takes its time");
    let slow = tokio::spawn(async move {
        for byte in wire {
            peer.write_all(&[byte]).await.expect("open");
            tokio::time::sleep(QUICK / 8).await;
        }
        peer
    });
    let came = within("receiving", channel.recv()).await.expect("alive");
    assert_eq!(came.as_deref(), Some(&b"a frame that takes its time"[..]));
    let _peer = slow.await.expect("no panic");
    assert_silent(&loss(&channel).await);
}

/// Both ends send all they can, and nobody reads for longer than the silence that is borne.
async fn crowd(kind: &'static str, one: Channel, other: Channel) {
    let flood = |channel: Channel| async move {
        let started = Instant::now();
        let mut sent = 0u64;
        while started.elapsed() < QUICK * 3 {
            channel.send(Bytes::from(vec![1; 30_000])).await?;
            sent += 1;
        }
        channel.finish()?;
        Ok::<u64, StreamError>(sent)
    };
    let (there, back) = (
        tokio::spawn(flood(one.clone())),
        tokio::spawn(flood(other.clone())),
    );
    tokio::time::sleep(QUICK * 2).await;
    let drain = |channel: Channel| async move {
        let mut count = 0u64;
        loop {
            match channel.recv().await {
                Ok(Some(_)) => count += 1,
                Ok(None) => break count,
                Err(error) => panic!("{kind}: {error}"),
            }
        }
    };
    let (from_other, from_one) =
        within("draining", async { tokio::join!(drain(one), drain(other)) }).await;
    assert_eq!(there.await.expect("no panic").expect(kind), from_one);
    assert_eq!(back.await.expect("no panic").expect(kind), from_other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_false_alarm_under_full_load_and_with_a_reader_that_sleeps() {
    let mut pairs = pairs().await;
    #[cfg(feature = "encrypt")]
    {
        use rpyc_actors::{Key, codec::EncryptConfig};
        let config = EncryptConfig::new(Key::new([1; 32])).liveness(Liveness::new(QUICK));
        let (one, other) = pair_of(Limits::default(), &Layers::new().encrypt(config)).await;
        pairs.push(("encrypted", one, other));
    }
    let layers = || Layers::new().resume(support::resumed::plain().liveness(Liveness::new(QUICK)));
    let line = support::resumed::Line::new(Weather::default(), layers(), layers()).await;
    pairs.push(("session", line.client.clone(), line.server.clone()));
    let (_watcher, mut events) = support::resumed::watch(&line.client).await;
    let crowds = pairs
        .into_iter()
        .map(|(kind, one, other)| tokio::spawn(crowd(kind, one, other)));
    for crowd in crowds.collect::<Vec<_>>() {
        crowd.await.expect("no panic");
    }
    // A session that took its link for dead would go on over the next one.
    while let Ok(event) = events.try_recv() {
        assert!(
            !matches!(event, ConnectionEvent::Detached { .. }),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn signs_survive_small_pieces() {
    use rpyc_actors::{Chain, Endpoint, Listener, ListenerConfig};
    let (sender, mut accepted) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let accept = move |stream| {
        let _ = sender.send(layers().channel(stream));
    };
    let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept)
        .await
        .expect("a free port");
    let weather = Weather {
        write: 1..=3,
        ..Weather::default()
    };
    let chaos = Chaos::before(listener.port().expect("TCP"), 1, weather).await;
    let endpoint = Endpoint::tcp("127.0.0.1", chaos.port(), TcpConfig::default());
    let client = Chain::new(endpoint).layers(layers());
    let client = within("connecting", client.connect()).await.expect("open");
    let server = within("accepting", accepted.recv()).await.expect("open");
    for _ in 0..5 {
        hello(&client, &server).await;
        hello(&server, &client).await;
        tokio::time::sleep(QUICK / 2).await;
    }
}

#[tokio::test]
async fn an_empty_frame_is_refused_where_it_is_sent() {
    let (one, other) = pair_of(Limits::default(), &layers()).await;
    within("sending", one.send("")).await.expect("accepted");
    let error = loss(&one).await;
    assert!(error.to_string().contains("sign of life"), "{error}");
    assert!(loss(&other).await.is_connection_lost());
}

#[test]
fn liveness_as_text() {
    assert!(Layers::parse(["liveness"]).is_ok());
    let error = Layers::parse(["liveness:1ms"]).expect_err("too short");
    assert_eq!(
        error.to_string(),
        r#"liveness: "1ms" is no silence: expected at least 200ms, for example 3s"#
    );
    let error = Layers::parse(["encrypt:key", "liveness"]).expect_err("no frames there");
    assert_eq!(
        error.to_string(),
        "liveness looks at frames, which it cannot see below encrypt:key"
    );
    assert_eq!(Liveness::new(QUICK).silence(), QUICK);
}

/// Whoever wants no verdict at all may say so with the longest of times.
#[tokio::test]
async fn silence_may_be_borne_for_ever() {
    let for_ever = || Liveness::new(Duration::MAX).every(Duration::MAX);
    let plain = [("plain", Layers::new().liveness(for_ever()))];
    #[cfg(feature = "encrypt")]
    let encrypted = {
        use rpyc_actors::{Key, codec::EncryptConfig};
        let config = EncryptConfig::new(Key::new([1; 32]))
            .liveness(for_ever())
            .handshake_timeout(Duration::MAX);
        [("encrypted", Layers::new().encrypt(config))]
    };
    #[cfg(not(feature = "encrypt"))]
    let encrypted = [];
    for (kind, layers) in plain.into_iter().chain(encrypted) {
        let (one, other) = pair_of(Limits::default(), &layers).await;
        hello(&one, &other).await;
        hello(&other, &one).await;
        assert!(!one.closed() && !other.closed(), "{kind}");
    }
    let layers = || {
        Layers::new().resume(
            support::resumed::plain()
                .liveness(for_ever())
                .handshake_timeout(Duration::MAX)
                .linger(Duration::MAX),
        )
    };
    let line = support::resumed::Line::new(Weather::default(), layers(), layers()).await;
    hello(&line.client, &line.server).await;
    line.chaos.cut(support::chaos::Cut::Reset);
    hello(&line.server, &line.client).await;
}
