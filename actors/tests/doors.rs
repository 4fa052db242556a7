//! The two doors to a channel, and where it may be used from: actors with messages, handles on any runtime or thread.

mod support;

use std::{
    sync::{Arc, Mutex, mpsc as std_mpsc},
    time::Duration,
};

use actix::prelude::*;
use actix_rt::ArbiterHandle;
use bytes::Bytes;
use rpyc_actors::{
    Channel, ConnectionEvent, Frames, Runtime, SocketStream, StreamError,
    channel::{Close, Subscribe},
    message::{Finish, Flush, Read, Write},
};
use support::{PATIENCE, channel_and_peer, frame, pair, stream_and_peer, until, within};
use tokio::{io::AsyncReadExt, sync::mpsc};

/// What a subscriber saw, in order.
#[derive(Debug)]
enum Seen {
    Frames(Vec<Bytes>),
    Ended,
    Lost(String),
    Closed,
}

/// Keeps what comes until it is told to take it.
struct Subscriber {
    seen: mpsc::UnboundedSender<Seen>,
    held: Vec<Read<Frames>>,
    holds: bool,
}

impl Actor for Subscriber {
    type Context = Context<Self>;
}

impl Handler<Read<Frames>> for Subscriber {
    type Result = ();

    fn handle(&mut self, read: Read<Frames>, _: &mut Context<Self>) {
        // A test that is over takes nothing.
        let _ = self
            .seen
            .send(Seen::Frames(read.unit.clone().into_iter().collect()));
        if self.holds {
            self.held.push(read);
        }
    }
}

impl Handler<ConnectionEvent> for Subscriber {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        let seen = match event {
            ConnectionEvent::Ended { .. } => Seen::Ended,
            ConnectionEvent::Lost(error) => Seen::Lost(error.to_string()),
            ConnectionEvent::Closed { .. } => Seen::Closed,
            other => panic!("unexpected: {other:?}"),
        };
        let _ = self.seen.send(seen);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct LetGo;

impl Handler<LetGo> for Subscriber {
    type Result = ();

    fn handle(&mut self, _: LetGo, _: &mut Context<Self>) {
        self.held.clear();
        self.holds = false;
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Subscriber {
    type Result = ();

    fn handle(&mut self, _: Die, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Starts a subscriber on the channel's arbiter.
async fn subscriber(
    channel: &Channel,
    holds: bool,
) -> (Addr<Subscriber>, mpsc::UnboundedReceiver<Seen>) {
    let (seen, sees) = mpsc::unbounded_channel();
    let (answer, address) = tokio::sync::oneshot::channel();
    channel.arbiter().spawn_fn(move || {
        let subscriber = Subscriber {
            seen,
            held: Vec::new(),
            holds,
        };
        let _ = answer.send(subscriber.start());
    });
    let address = within("starting", address).await.expect("an arbiter");
    until("the channel's actor runs", || channel.address().is_some()).await;
    channel
        .address()
        .expect("running")
        .try_send(Subscribe {
            frames: Some(address.downgrade().recipient()),
            events: Some(address.downgrade().recipient()),
        })
        .expect("running");
    (address, sees)
}

/// The next `count` frames that a subscriber sees.
async fn frames(sees: &mut mpsc::UnboundedReceiver<Seen>, count: usize) -> Vec<Bytes> {
    let mut all = Vec::new();
    while all.len() < count {
        match within("frames", sees.recv()).await.expect("alive") {
            Seen::Frames(frames) => all.extend(frames),
            other => panic!("not frames: {other:?}"),
        }
    }
    all
}

#[tokio::test]
async fn a_subscriber_gets_what_waits_and_what_comes_and_then_the_end() {
    let (client, server) = pair().await;
    client.send("before").await.expect("open");
    assert!(within("polling", server.poll(PATIENCE * 2)).await);
    let (_subscriber, mut sees) = subscriber(&server, false).await;
    assert_eq!(frames(&mut sees, 1).await, ["before"]);
    client.send("after").await.expect("open");
    assert_eq!(frames(&mut sees, 1).await, ["after"]);
    client.finish().expect("open");
    assert!(matches!(
        within("the end", sees.recv()).await,
        Some(Seen::Ended)
    ));
    within("closing", server.close()).await.expect("taken");
    assert!(matches!(
        within("the close", sees.recv()).await,
        Some(Seen::Closed)
    ));
}

#[tokio::test]
async fn a_subscriber_that_comes_late_still_learns_of_the_end() {
    let (client, server) = pair().await;
    client.send("before").await.expect("open");
    client.finish().expect("open");
    assert_eq!(
        within("receiving", server.recv()).await.expect("no loss"),
        Some("before".into())
    );
    assert_eq!(
        within("the end", server.recv()).await.expect("an end"),
        None
    );
    let (_subscriber, mut sees) = subscriber(&server, false).await;
    assert!(matches!(
        within("the end", sees.recv()).await,
        Some(Seen::Ended)
    ));
}

#[tokio::test]
async fn a_subscriber_learns_of_the_loss_with_its_reason() {
    let (channel, peer) = channel_and_peer(Default::default()).await;
    let (_subscriber, mut sees) = subscriber(&channel, false).await;
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(peer);
    match within("the loss", sees.recv()).await {
        Some(Seen::Lost(text)) => {
            assert!(
                text.contains(channel.endpoint()) && text.contains("reset"),
                "{text}"
            );
        }
        other => panic!("not a loss: {other:?}"),
    }
}

#[tokio::test]
async fn credit_returns_as_a_subscriber_consumes() {
    let (client, server) = pair().await;
    let (address, mut sees) = subscriber(&server, true).await;
    let sender = tokio::spawn(async move {
        for _ in 0..100 {
            client.send(vec![1; 500_000]).await.expect("open");
        }
        client
    });
    // It holds what it got, so the flow stops after what the credit and the kernels let through.
    let mut came = frames(&mut sees, 2).await.len();
    while let Ok(seen) = tokio::time::timeout(Duration::from_millis(300), sees.recv()).await {
        match seen {
            Some(Seen::Frames(frames)) => came += frames.len(),
            other => panic!("not frames: {other:?}"),
        }
    }
    assert!(came < 10, "{came} frames of 500 kB passed a gate of 1 MiB");
    address.try_send(LetGo).expect("alive");
    frames(&mut sees, 100 - came).await;
    within("the sender", sender).await.expect("no panic");
}

#[tokio::test]
async fn frames_of_a_subscriber_that_died_go_to_the_inbox() {
    let (client, server) = pair().await;
    let (address, mut sees) = subscriber(&server, false).await;
    client.send("one").await.expect("open");
    assert_eq!(frames(&mut sees, 1).await, ["one"]);
    address.try_send(Die).expect("alive");
    until("it died", || !address.connected()).await;
    client.send("two").await.expect("open");
    assert_eq!(
        within("receiving", server.recv()).await.expect("no loss"),
        Some("two".into())
    );
    // Another one may take over.
    let (_next, mut sees) = subscriber(&server, false).await;
    client.send("three").await.expect("open");
    assert_eq!(frames(&mut sees, 1).await, ["three"]);
}

#[tokio::test]
async fn an_actor_writes_with_reserved_credit() {
    let (client, server) = pair().await;
    until("the actor runs", || client.address().is_some()).await;
    let address = client.address().expect("running");
    for number in 0..100u8 {
        let unit = Frames::single(vec![number; 100_000].into());
        let credit = within("reserving", client.reserve(unit.wire_len()))
            .await
            .expect("open");
        address.try_send(Write { unit, credit }).expect("running");
        if number % 10 == 9 {
            for _ in 0..10 {
                assert!(
                    within("receiving", server.recv())
                        .await
                        .expect("no loss")
                        .is_some()
                );
            }
        }
    }
    let (flush, flushed) = Flush::new();
    address.try_send(flush).expect("running");
    within("flushing", flushed)
        .await
        .expect("answered")
        .expect("taken");
    assert_eq!(client.stats().bytes_under_way, 0);
    assert_eq!(client.stats().frames_sent, 100);
}

#[test]
fn messages_of_control_go_behind_what_handles_sent() {
    // On the channel's own arbiter nothing is drained between a send and a message.
    System::new().block_on(async {
        for round in 0..3 {
            let (channel, mut peer) = channel_and_peer(Default::default()).await;
            until("the actor runs", || channel.address().is_some()).await;
            let address = channel.address().expect("running");
            channel.send("hello").await.expect("open");
            let (flush, flushed) = Flush::new();
            match round {
                0 => {}
                1 => address.try_send(Finish).expect("running"),
                _ => address.try_send(Close).expect("running"),
            }
            address.try_send(flush).expect("running");
            within("flushing", flushed)
                .await
                .expect("answered")
                .expect("taken");
            assert_eq!(channel.stats().bytes_under_way, 0, "round {round}");
            let mut came = vec![0; 11];
            within("reading", peer.read_exact(&mut came))
                .await
                .expect("sent");
            assert_eq!(came, frame(b"hello"), "round {round}");
            if round > 0 {
                assert_eq!(
                    within("the end", peer.read(&mut came))
                        .await
                        .expect("an end"),
                    0
                );
            }
        }
    });
}

// ---- whose runtime ----

async fn ping_pong(client: &Channel, server: &Channel) {
    for size in [1, 5000, 300_000] {
        client.send(vec![1; size]).await.expect("open");
        let frame = within("there", server.recv()).await.expect("no loss");
        server
            .send(frame.expect("not the end"))
            .await
            .expect("open");
        let frame = within("back", client.recv()).await.expect("no loss");
        assert_eq!(frame.expect("not the end").len(), size);
    }
}

#[test]
fn handles_outlive_the_runtime_they_were_made_on() {
    let first = tokio::runtime::Runtime::new().expect("threads");
    let (client, server) = first.block_on(pair());
    drop(first);
    let second = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    second.block_on(ping_pong(&client, &server));
    drop(second);
    // No runtime at all.
    pollster::block_on(async {
        client.send("plain").await.expect("open");
        assert!(server.poll(PATIENCE).await);
        assert_eq!(server.recv().await.expect("no loss"), Some("plain".into()));
    });
}

#[test]
fn threads_share_a_channel_through_blocking_twins() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (client, server) = runtime.block_on(pair());
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..200u8 {
                    client.send_blocking(vec![thread, round]).expect("open");
                }
            });
        }
        let mut next = [0u8; 8];
        for _ in 0..1600 {
            assert!(server.poll_blocking(PATIENCE).expect("no arbiter"));
            let frame = server.recv_blocking().expect("no loss").expect("a frame");
            let (thread, round) = (usize::from(frame[0]), frame[1]);
            assert_eq!(round, next[thread]);
            next[thread] += 1;
        }
    });
    client.flush_blocking().expect("taken");
    server.finish().expect("open");
    client.close_blocking().expect("taken");
}

#[test]
fn inside_a_system_a_channel_stays_on_its_arbiter_and_blocking_is_refused() {
    System::new().block_on(async {
        let (client, server) = pair().await;
        let here = std::thread::current().id();
        let (sender, on) = std_mpsc::channel();
        client.arbiter().spawn_fn(move || {
            let _ = sender.send(std::thread::current().id());
        });
        ping_pong(&client, &server).await;
        assert_eq!(on.recv().expect("it ran"), here);

        let is_misuse = |error: StreamError| matches!(error, StreamError::ApiMisuse(_));
        let refused = client.send_blocking("frame").expect_err("an arbiter");
        assert!(refused.item == "frame" && is_misuse(refused.reason.clone()));
        assert!(is_misuse(client.recv_blocking().expect_err("an arbiter")));
        assert!(is_misuse(client.flush_blocking().expect_err("an arbiter")));
        assert!(is_misuse(client.close_blocking().expect_err("an arbiter")));
        assert!(is_misuse(
            client.poll_blocking(PATIENCE).expect_err("an arbiter")
        ));
        let mut receiver = client.receiver().expect("the only one");
        assert!(is_misuse(receiver.recv_blocking().expect_err("an arbiter")));
        assert!(is_misuse(
            receiver.recv_batch_blocking().expect_err("an arbiter")
        ));
        drop(receiver);
        // None of it did any harm.
        ping_pong(&client, &server).await;
    });
}

#[test]
fn a_runtime_is_used_when_it_is_passed() {
    let runtime = Runtime::start(2).expect("threads");
    assert_eq!(runtime.arbiters().len(), 2);
    assert!(matches!(
        Runtime::with_arbiters([]),
        Err(StreamError::ApiMisuse(_))
    ));
    let tokio = tokio::runtime::Runtime::new().expect("threads");
    tokio.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let chain = rpyc_actors::Chain::to(&format!("tcp://127.0.0.1:{port}"))
            .expect("an endpoint")
            .runtime(runtime.clone());
        let mut threads = Vec::new();
        for _ in 0..4 {
            let channel = within("connecting", chain.connect()).await.expect("up");
            let (sender, on) = std_mpsc::channel();
            channel.arbiter().spawn_fn(move || {
                let _ = sender.send(std::thread::current().id());
            });
            threads.push(on.recv().expect("it ran"));
        }
        assert_eq!(threads[0], threads[2]);
        assert_eq!(threads[1], threads[3]);
        assert_ne!(threads[0], threads[1], "connections are spread in turn");
    });
}

// ---- arbiters that stop ----

/// A channel to a plain socket, on an arbiter that the test may stop.
async fn on_own_arbiter() -> (ArbiterHandle, Channel, tokio::net::TcpStream) {
    let runtime = Runtime::start(1).expect("a thread");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let chain = rpyc_actors::Chain::to(&format!("tcp://127.0.0.1:{port}"))
        .expect("an endpoint")
        .runtime(runtime.clone());
    let channel = within("connecting", chain.connect()).await.expect("up");
    let (peer, _) = listener.accept().await.expect("a client");
    (runtime.arbiters()[0].clone(), channel, peer)
}

#[tokio::test]
async fn an_arbiter_that_stops_ends_everything_with_an_error() {
    let (arbiter, channel, _peer) = on_own_arbiter().await;
    // Until the kernels are full, too.
    while tokio::time::timeout(Duration::from_millis(300), channel.send(vec![1; 300_000]))
        .await
        .is_ok()
    {}
    let receive = tokio::spawn({
        let channel = channel.clone();
        async move { channel.recv().await.is_err() }
    });
    let poll = tokio::spawn({
        let channel = channel.clone();
        async move { channel.poll(PATIENCE * 2).await }
    });
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                while channel.send(vec![1; 300_000]).await.is_ok() {}
                channel.flush().await.is_err()
            })
        })
        .collect();
    let flush = tokio::spawn({
        let channel = channel.clone();
        async move { channel.flush().await.is_err() }
    });
    let close = tokio::spawn({
        let channel = channel.clone();
        async move { channel.close().await.is_err() }
    });
    // All of them wait by now.
    tokio::task::yield_now().await;
    arbiter.stop();
    assert!(within("receiving", receive).await.expect("no panic"));
    assert!(within("flushing", flush).await.expect("no panic"));
    for sender in senders {
        assert!(within("sending", sender).await.expect("no panic"));
    }
    assert!(within("closing", close).await.expect("no panic"));
    let _ = within("polling", poll).await.expect("no panic");
    assert!(channel.closed());
    assert!(within("sending", channel.send("late")).await.is_err());
    assert!(within("receiving", channel.recv()).await.is_err());
    assert!(within("closing", channel.close()).await.is_err());
}

#[tokio::test]
async fn a_channel_that_is_made_while_its_arbiter_stops_is_closed() {
    let runtime = Runtime::start(1).expect("a thread");
    let arbiter = runtime.arbiters()[0].clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let chain = rpyc_actors::Chain::to(&format!("tcp://127.0.0.1:{port}"))
        .expect("an endpoint")
        .runtime(runtime.clone());
    let stream = within("opening", chain.open()).await.expect("up");
    // The arbiter is busy while its stop and the channel's start come in.
    let (release, blocked) = std_mpsc::channel::<()>();
    let (begun, begins) = std_mpsc::channel();
    arbiter.spawn_fn(move || {
        let _ = begun.send(());
        let _ = blocked.recv();
    });
    begins.recv().expect("it runs");
    arbiter.stop();
    let channel = Channel::new(stream);
    release.send(()).expect("it waits");
    assert!(within("receiving", channel.recv()).await.is_err());
    assert!(within("sending", channel.send("late")).await.is_err());
    assert!(within("flushing", channel.flush()).await.is_err());
    assert!(channel.closed());
}

#[tokio::test]
async fn a_stopped_arbiter_is_named() {
    let runtime = Runtime::start(1).expect("a thread");
    let arbiter = runtime.arbiters()[0].clone();
    arbiter.stop();
    let chain = rpyc_actors::Chain::to("tcp://127.0.0.1:1")
        .expect("an endpoint")
        .runtime(runtime);
    let error = within("connecting", chain.connect())
        .await
        .expect_err("stopped");
    assert!(matches!(error, StreamError::ApiMisuse(_)), "{error}");
}

#[test]
fn a_system_that_ends_takes_its_channels_down() {
    let (sender, receiver) = std_mpsc::channel();
    let collected = Arc::new(Mutex::new(None));
    let thread = std::thread::spawn({
        let collected = collected.clone();
        move || {
            System::new().block_on(async {
                let (stream, peer) = stream_and_peer(Default::default()).await;
                let channel = Channel::new(SocketStream::clone(&stream));
                *collected.lock().expect("no panic") = Some((channel, peer.into_std()));
                sender.send(()).expect("the test waits");
            });
        }
    });
    receiver.recv().expect("it ran");
    thread.join().expect("no panic");
    let (channel, _peer) = collected
        .lock()
        .expect("no panic")
        .take()
        .expect("a channel");
    let tokio = tokio::runtime::Runtime::new().expect("threads");
    tokio.block_on(async {
        assert!(within("receiving", channel.recv()).await.is_err());
        assert!(within("sending", channel.send("late")).await.is_err());
    });
}
