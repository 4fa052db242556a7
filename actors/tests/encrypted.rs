//! Encrypted channels over real sockets and pipes.
#![cfg(feature = "encrypt")]

mod support;

use std::{sync::Arc, time::Duration};

use actix::{Actor, Context, Handler};
use bytes::Bytes;
use rpyc_actors::{
    Chain, Channel, ConnectionEvent, EncryptedChannel, Endpoint, Key, Layers, Limits, Listener,
    ListenerConfig, PipeStream, Side, SocketStream, StreamError, TcpConfig,
    channel::Subscribe,
    codec::{
        EncryptConfig,
        encrypt::{Liveness, RekeyAfter},
    },
    error::LossReason,
};
use support::{PATIENCE, Random, listening, stream_and_peer, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

/// A time of silence that a loaded machine does not reach by itself.
const QUICK: Duration = Duration::from_millis(1000);

fn key() -> Arc<Key> {
    Arc::new(Key::new([1; 32]))
}

fn config() -> EncryptConfig {
    EncryptConfig::new(key())
}

/// A connected pair over loopback TCP: the dialling end, and the accepting one.
async fn pair(left: EncryptConfig, right: EncryptConfig) -> (Channel, Channel) {
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let accept = move |stream| {
        let channel = EncryptedChannel::with_config(stream, right.clone());
        sender
            .send(channel.into_channel())
            .expect("the test takes it");
    };
    let (_listener, port) = listening(Limits::default(), accept).await;
    let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default());
    let chain = Chain::new(endpoint).layers(Layers::new().encrypt(left));
    let client = within("connecting", chain.connect())
        .await
        .expect("a listener");
    let server = within("accepting", accepted.recv())
        .await
        .expect("a client");
    (client, server)
}

async fn frame(channel: &Channel) -> Option<Bytes> {
    within("a frame", channel.recv()).await.expect("no loss")
}

async fn loss(channel: &Channel) -> StreamError {
    loop {
        match within("the loss", channel.recv()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an orderly end"),
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn frames_of_all_sizes_arrive_in_order() {
    let (client, server) = pair(config(), config()).await;
    let sizes = [0, 1, 64, 1380, 4096, 4097, 16_384, 65_536, 1 << 20, 5 << 20];
    let sender = tokio::spawn(async move {
        for round in 0..3u8 {
            for size in sizes {
                client.send(vec![round; size]).await.expect("open");
            }
        }
        client.close().await.expect("the kernel takes everything");
    });
    for round in 0..3u8 {
        for size in sizes {
            let frame = frame(&server).await.expect("not the end");
            assert!(frame.len() == size && frame.iter().all(|byte| *byte == round));
        }
    }
    assert!(frame(&server).await.is_none());
    within("closing", server.close())
        .await
        .expect("nothing to send");
    sender.await.expect("no panic");
}

#[tokio::test]
async fn either_end_may_speak_first() {
    let (client, server) = pair(config(), config()).await;
    server.send("from the server").await.expect("open");
    assert_eq!(
        frame(&client).await.as_deref(),
        Some(&b"from the server"[..])
    );
    client.send("from the client").await.expect("open");
    assert_eq!(
        frame(&server).await.as_deref(),
        Some(&b"from the client"[..])
    );
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (client, server) = pair(config(), config()).await;
    client.send("question").await.expect("open");
    client.finish().expect("open");
    assert_eq!(frame(&server).await.as_deref(), Some(&b"question"[..]));
    assert!(frame(&server).await.is_none());
    for _ in 0..100 {
        server
            .send(vec![7; 10_000])
            .await
            .expect("the other direction goes on");
    }
    server.finish().expect("open");
    for _ in 0..100 {
        assert_eq!(frame(&client).await.map(|frame| frame.len()), Some(10_000));
    }
    assert!(frame(&client).await.is_none());
}

#[tokio::test]
async fn an_abort_is_a_loss_at_the_other_end() {
    let (client, server) = pair(config(), config()).await;
    server.send("hello").await.expect("open");
    assert!(frame(&client).await.is_some());
    client.abort();
    let error = loss(&server).await;
    assert!(error.is_connection_lost(), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_lost_and_never_ended() {
    let (stream, mut cut) = stream_and_peer(TcpConfig::default()).await;
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut relay = TcpStream::connect(server.local_addr().expect("bound"))
        .await
        .expect("listens");
    let accepted = SocketStream::new(server.accept().expect("a client").0)
        .await
        .expect("a socket");
    let accepted = rpyc_actors::StreamHandle::from(accepted).with_side(Side::Accepted);
    let client = EncryptedChannel::new(stream, key());
    let server = EncryptedChannel::new(accepted, key());
    client.send("hello").await.expect("open");
    let (scissors, mut cutting) = tokio::sync::oneshot::channel();
    let carry = tokio::spawn(async move {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut cut, &mut relay) => panic!("an end of its own"),
            _ = &mut cutting => {}
        }
        // Both directions end as TCP ends, without a word of the ends themselves.
        cut.shutdown().await.expect("still there");
        relay.shutdown().await.expect("still there");
    });
    assert_eq!(frame(&server).await.as_deref(), Some(&b"hello"[..]));
    scissors.send(()).expect("it carries");
    for channel in [&client, &server] {
        match loss(channel).await {
            StreamError::ConnectionLost(error) => {
                assert!(matches!(error.reason, LossReason::EndOfStream), "{error}");
            }
            other => panic!("{other}"),
        }
    }
    carry.await.expect("no panic");
}

#[tokio::test]
async fn a_client_with_another_key_is_refused() {
    let (client, server) = pair(EncryptConfig::new(Key::new([2; 32])), config()).await;
    // It waits for the handshake, unless that has failed already.
    let _ = client.send("secret").await;
    let error = loss(&server).await;
    assert!(matches!(error, StreamError::Encryption(_)), "{error}");
    assert!(error.to_string().contains("tcp://127.0.0.1"), "{error}");
    let error = loss(&client).await;
    assert!(error.is_connection_lost(), "{error}");
    assert!(within("flushing", client.flush()).await.is_err());
}

#[tokio::test]
async fn ends_that_do_not_go_together_are_both_told() {
    let (client, server) = pair(config(), config().features(0, 1)).await;
    for channel in [&client, &server] {
        let error = loss(channel).await;
        assert!(matches!(error, StreamError::Encryption(_)), "{error}");
    }
}

#[tokio::test]
async fn what_a_plain_peer_says_is_refused() {
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let accept = move |stream| {
        let channel = EncryptedChannel::new(stream, key());
        sender.send(channel).expect("the test takes it");
    };
    let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept).await;
    let listener = listener.expect("a free port");
    let port = listener.port().expect("TCP");
    let mut stranger = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a listener");
    stranger
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    let channel = within("accepting", accepted.recv())
        .await
        .expect("a stranger");
    let error = loss(&channel).await;
    assert!(matches!(error, StreamError::Encryption(_)), "{error}");
    let mut answer = Vec::new();
    // The connection is reset, or ends: either way nothing was said.
    let _ = within("the end", stranger.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_flush_waits_for_the_handshake() {
    let config = config().handshake_timeout(Duration::from_millis(300));
    let (stream, mut mute) = stream_and_peer(TcpConfig::default()).await;
    let channel = EncryptedChannel::with_config(stream, config);
    channel.send("hello").await.expect("it waits");
    let error = within("flushing", channel.flush())
        .await
        .expect_err("nothing left");
    assert!(matches!(error, StreamError::TimedOut { .. }), "{error}");
    let error = loss(&channel).await;
    assert!(error.to_string().contains("handshake"), "{error}");
    let mut hello = Vec::new();
    let _ = within("the end", mute.read_to_end(&mut hello)).await;
    assert_eq!(hello.len(), 64, "the hello and nothing of what was written");
}

#[tokio::test]
async fn a_flush_after_the_handshake_is_done_when_all_has_left() {
    let (client, server) = pair(config(), config()).await;
    for size in [1, 100_000] {
        client.send(vec![1; size]).await.expect("open");
        within("flushing", client.flush()).await.expect("open");
    }
    assert!(frame(&server).await.is_some() && frame(&server).await.is_some());
}

#[tokio::test]
async fn pipes_and_any_transport_know_their_sides() {
    let (left, right) = PipeStream::create_pair().await.expect("pipes");
    assert_eq!((left.side(), right.side()), (Side::Dialled, Side::Accepted));
    let (left, right) = (
        EncryptedChannel::new(left, key()),
        EncryptedChannel::new(right, key()),
    );
    left.send("through a pipe").await.expect("open");
    assert_eq!(frame(&right).await.as_deref(), Some(&b"through a pipe"[..]));
    within("closing", async {
        tokio::join!(left.close(), right.close())
    })
    .await
    .0
    .expect("done");

    let (one, other) = tokio::io::duplex(1000);
    let one = rpyc_actors::StreamHandle::from_io("one", one)
        .await
        .expect("an arbiter");
    let other = rpyc_actors::StreamHandle::from_io("other", other)
        .await
        .expect("an arbiter");
    let one = EncryptedChannel::new(one, key());
    let other = EncryptedChannel::new(other.with_side(Side::Accepted), key());
    one.send(vec![3; 100_000]).await.expect("open");
    assert_eq!(frame(&other).await.map(|frame| frame.len()), Some(100_000));
}

#[tokio::test]
async fn keys_change_under_load_in_both_directions() {
    let config = config().rekey_after(RekeyAfter::default().records(20).bytes(300_000));
    let (client, server) = pair(config.clone(), config).await;
    let run = |channel: Channel, seed: u64| async move {
        let sending = channel.clone();
        let sender = tokio::spawn(async move {
            let mut random = Random(seed);
            for at in 0..3000u32 {
                let frame = vec![at as u8; random.below(9000)];
                sending.send(frame).await.expect("open");
            }
            sending.finish().expect("open");
        });
        let (mut count, mut bytes) = (0u32, 0);
        while let Some(frame) = frame(&channel).await {
            assert!(frame.iter().all(|byte| *byte == count as u8));
            count += 1;
            bytes += frame.len();
        }
        sender.await.expect("no panic");
        (count, bytes)
    };
    let ((left, left_bytes), (right, right_bytes)) = tokio::join!(run(client, 1), run(server, 2));
    assert_eq!((left, right), (3000, 3000));
    assert!(left_bytes > 10_000_000 && right_bytes > 10_000_000);
}

#[tokio::test]
async fn an_idle_connection_lives_and_a_frozen_one_is_lost() {
    let quick = Liveness::new(QUICK);
    let (client, server) = pair(config().liveness(quick), config().liveness(None)).await;
    client.send("hello").await.expect("open");
    assert!(frame(&server).await.is_some());
    // Only signs of life travel meanwhile.
    tokio::time::sleep(QUICK * 2).await;
    assert!(!client.closed() && !server.closed());
    server.send("still here").await.expect("open");
    assert!(frame(&client).await.is_some());

    // A server that knows nothing of time: it is there as long as the test reads and writes for it.
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let (mut relay, accepted) = tokio::io::duplex(1 << 16);
    let accepted = rpyc_actors::StreamHandle::from_io("relay", accepted)
        .await
        .expect("an arbiter");
    let server = EncryptedChannel::new(accepted.with_side(Side::Accepted), key());
    let client = EncryptedChannel::with_config(stream, config().liveness(quick));
    client.send("hello").await.expect("open");
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut peer, &mut relay) => panic!("an end of its own"),
        frame = frame(&server) => assert!(frame.is_some()),
    }
    match loss(&client).await {
        StreamError::ConnectionLost(error) => {
            assert!(matches!(error.reason, LossReason::Silent { .. }), "{error}");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_end_that_does_not_read_still_shows_that_it_lives() {
    let quick = Liveness::new(QUICK);
    let (left, right) = tokio::io::duplex(1 << 16);
    let open = |name: &'static str, io, side| async move {
        let stream = rpyc_actors::StreamHandle::from_io(name, io)
            .await
            .expect("an arbiter");
        EncryptedChannel::with_config(stream.with_side(side), config().liveness(quick))
    };
    let sender = open("sender", left, Side::Dialled).await;
    let sleeper = open("sleeper", right, Side::Accepted).await;
    // More than both gates and the pipe hold: the sleeper's application takes nothing, so it reads nothing.
    let flood = tokio::spawn({
        let sender = sender.clone();
        async move {
            for _ in 0..100 {
                sender.send(vec![1; 100_000]).await?;
            }
            Ok::<(), StreamError>(())
        }
    });
    tokio::time::sleep(QUICK * 2).await;
    assert!(!flood.is_finished(), "it waits for room");
    assert!(
        !sender.closed() && !sleeper.closed(),
        "both are alive, and know it"
    );
    for _ in 0..100 {
        assert!(frame(&sleeper).await.is_some());
    }
    flood.await.expect("no panic").expect("all was sent");
}

/// Gives the events of a channel to a test.
struct Watcher(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Watcher {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        let _ = self.0.send(event);
    }
}

#[tokio::test]
async fn a_watcher_is_told_the_binding() {
    let (left, right) = PipeStream::create_pair().await.expect("pipes");
    let left = EncryptedChannel::with_config(left, config().features(0b11, 0));
    let (sender, mut events) = mpsc::unbounded_channel();
    let (keep, kept) = std::sync::mpsc::channel();
    let head = left.clone();
    let watch = |sender, keep: std::sync::mpsc::Sender<_>| {
        let head = head.clone();
        assert!(left.arbiter().spawn_fn(move || {
            let watcher = Watcher(sender).start();
            let address = head.address().expect("started before, on this arbiter");
            let subscription = Subscribe {
                frames: None,
                events: Some(watcher.downgrade().recipient()),
            };
            address.try_send(subscription).expect("alive");
            keep.send(watcher).expect("the test waits");
        }));
    };
    watch(sender, keep.clone());
    let _watcher = kept.recv_timeout(PATIENCE).expect("an arbiter");
    // Only now, so that nothing is missed.
    let right = EncryptedChannel::with_config(right, config().features(0b110, 0));
    let first = match within("the event", events.recv()).await {
        Some(ConnectionEvent::Established { features, binding }) => {
            assert_eq!(features, 0b10);
            assert_ne!(binding, [0; 32]);
            binding
        }
        other => panic!("{other:?}"),
    };
    // One that comes later is told, too.
    let (sender, mut late) = mpsc::unbounded_channel();
    watch(sender, keep);
    let _late = kept.recv_timeout(PATIENCE).expect("an arbiter");
    match within("the event", late.recv()).await {
        Some(ConnectionEvent::Established { binding, .. }) => assert_eq!(binding, first),
        other => panic!("{other:?}"),
    }
    drop(right);
}
