//! Supervised channels over real sockets, with the chaos proxy in between, and the door for actors.

mod support;

use std::time::Duration;

use actix::{Actor, Context, Handler};
use bytes::Bytes;
use rpyc_actors::{
    BackoffConfig, Chain, Channel, ConnectionEvent, Endpoint, Frames, Layers, Listener,
    ListenerConfig, Received, SupervisedChannel, SupervisorConfig, TcpConfig,
    channel::Subscribe,
    message::Read,
    supervisor::{Stats, SupervisorStats},
};
use support::{
    chaos::{Chaos, Cut, Weather},
    until,
    waiting::event,
    within,
};
use tokio::sync::mpsc;

struct Server {
    listener: Listener,
    accepted: mpsc::UnboundedReceiver<Channel>,
}

impl Server {
    async fn start() -> Self {
        Self::on(0).await
    }

    async fn on(port: u16) -> Self {
        let (sender, accepted) = mpsc::unbounded_channel();
        let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default());
        let accept = move |stream| {
            // A test that is over takes nothing.
            let _ = sender.send(Layers::new().channel(stream));
        };
        let listener = within(
            "binding",
            Listener::bind(&endpoint, ListenerConfig::default(), accept),
        )
        .await
        .expect("a free port");
        Self { listener, accepted }
    }

    fn port(&self) -> u16 {
        self.listener.port().expect("TCP")
    }

    async fn next(&mut self) -> Channel {
        within("accepting", self.accepted.recv())
            .await
            .expect("a listener")
    }
}

fn supervised(port: u16) -> SupervisedChannel {
    let backoff = BackoffConfig::default().seed(3);
    Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()))
        .supervise(SupervisorConfig::default().backoff(backoff))
}

async fn received(channel: &SupervisedChannel) -> Received {
    within("receiving", channel.recv()).await.expect("open")
}

#[tokio::test]
async fn a_server_that_comes_back_serves_the_same_handle() {
    let mut server = Server::start().await;
    let port = server.port();
    let client = supervised(port);
    let mut events = client.events();
    within("sending", client.send("one")).await.expect("sent");
    let first = server.next().await;
    let came = within("receiving", first.recv()).await.expect("open");
    assert_eq!(came.as_deref(), Some(&b"one"[..]));
    within("answering", first.send("first"))
        .await
        .expect("open");
    let answer = received(&client).await.frame();
    assert_eq!(answer.as_deref(), Some(&b"first"[..]));

    first.abort();
    server.listener.stop();
    within("stopping", server.listener.stopped()).await;
    drop((first, server));
    event("failing attempts", &mut events, |event| {
        matches!(
            event,
            ConnectionEvent::Retrying {
                failed: Some(_),
                ..
            }
        )
    })
    .await;
    // It waits for the server, and so does the frame.
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send("two").await }
    });
    let mut server = Server::on(port).await;
    let second = server.next().await;
    within("sending", sending)
        .await
        .expect("no panic")
        .expect("sent");
    let came = within("receiving", second.recv()).await.expect("open");
    assert_eq!(came.as_deref(), Some(&b"two"[..]));
    within("answering", second.send("second"))
        .await
        .expect("open");
    // Whoever dials at once may still get into the queue of a listener that is being closed, so there may be more than one loss.
    let mut losses = 0;
    let answer = loop {
        match received(&client).await {
            Received::Lost(_) => losses += 1,
            Received::Frame(frame) => break frame,
        }
    };
    assert!(losses >= 1, "no word of the loss");
    assert_eq!(&answer[..], b"second");
    event("the way back", &mut events, |event| {
        matches!(event, ConnectionEvent::Restored { .. })
    })
    .await;
    let closing = tokio::spawn(async move { client.close().await });
    assert_eq!(
        within("the end", second.recv()).await.expect("orderly"),
        None
    );
    second.close().await.expect("closed");
    within("closing", closing)
        .await
        .expect("no panic")
        .expect("closed");
    event("the end", &mut events, |event| {
        matches!(event, ConnectionEvent::Closed { .. })
    })
    .await;
}

/// Sends numbers on every generation; what arrives is in order, and nothing comes from an old generation late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cuts_under_load_keep_order_and_generations_apart() {
    let mut server = Server::start().await;
    let weather = Weather {
        write: 1..=1400,
        cut_after: Some(20_000..=200_000),
        ..Weather::default()
    };
    let chaos = Chaos::before(server.port(), 11, weather).await;
    let client = supervised(chaos.port());
    let echoing = tokio::spawn(async move {
        while let Some(channel) = server.accepted.recv().await {
            tokio::spawn(async move {
                while let Ok(Some(frame)) = channel.recv().await {
                    if channel.send(frame).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let sender = client.clone();
    let sending = tokio::spawn(async move {
        let mut number = 0u64;
        // Until the test closes the connection.
        while sender
            .send(Bytes::copy_from_slice(&number.to_be_bytes()))
            .await
            .is_ok()
        {
            number += 1;
            if number.is_multiple_of(64) {
                tokio::task::yield_now().await;
            }
        }
    });
    let (mut losses, mut last, mut gaps) = (0u64, None::<u64>, 0u64);
    while losses < 40 {
        match received(&client).await {
            Received::Frame(frame) => {
                let number = u64::from_be_bytes(frame[..].try_into().expect("a number"));
                if let Some(last) = last {
                    assert!(number > last, "{number} behind {last}");
                    gaps += u64::from(number != last + 1);
                }
                last = Some(number);
            }
            Received::Lost(lost) => {
                losses += 1;
                assert!(lost.generation >= losses, "{lost}");
            }
        }
        // Frames are missing only where a loss was told.
        assert!(gaps <= losses, "{gaps} gaps, {losses} losses");
    }
    assert!(chaos.cuts() >= 40);
    within("closing", client.close()).await.ok();
    within("the sender", sending).await.expect("no panic");
    echoing.abort();
}

#[tokio::test]
async fn a_connection_that_nobody_can_write_is_given_up() {
    let mut server = Server::start().await;
    let chaos = Chaos::before(server.port(), 5, Weather::default()).await;
    let client = supervised(chaos.port());
    let mut events = client.events();
    within("sending", client.send("one")).await.expect("sent");
    let channel = server.next().await;
    within("receiving", channel.recv()).await.expect("open");
    chaos.cut(Cut::Finish);
    event(
        "the loss",
        &mut events,
        |event| matches!(event, ConnectionEvent::Lost(lost) if lost.generation == 1),
    )
    .await;
    within("sending", client.send("two")).await.expect("sent");
    let channel = server.next().await;
    let came = within("receiving", channel.recv()).await.expect("open");
    assert_eq!(came.as_deref(), Some(&b"two"[..]));
}

#[derive(Debug)]
enum Seen {
    Frames(u64),
    Event(ConnectionEvent),
}

struct Watcher(mpsc::UnboundedSender<Seen>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<Read<Frames>> for Watcher {
    type Result = ();

    fn handle(&mut self, read: Read<Frames>, _: &mut Context<Self>) {
        let _ = self.0.send(Seen::Frames(read.unit.len() as u64));
    }
}

impl Handler<ConnectionEvent> for Watcher {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        let _ = self.0.send(Seen::Event(event));
    }
}

#[test]
fn actors_get_frames_and_facts_of_all_generations_in_order() {
    actix::System::new().block_on(async {
        let mut server = Server::start().await;
        let client = supervised(server.port());
        let (seen, mut sees) = mpsc::unbounded_channel();
        let watcher = Watcher(seen).start();
        let subscription = Subscribe {
            frames: Some(watcher.clone().recipient().downgrade()),
            events: Some(watcher.clone().recipient().downgrade()),
        };
        client.subscribe(subscription).expect("a supervisor");
        for generation in 1..=3u64 {
            let channel = server.next().await;
            for _ in 0..10 {
                within("sending", channel.send("frame"))
                    .await
                    .expect("open");
            }
            within("closing", channel.close()).await.expect("closed");
            let mut frames = 0;
            loop {
                match within("seeing", sees.recv()).await.expect("a watcher") {
                    Seen::Frames(count) => frames += count,
                    Seen::Event(ConnectionEvent::Connected {
                        generation: new, ..
                    }) => {
                        assert_eq!((new, frames), (generation, 0));
                    }
                    Seen::Event(ConnectionEvent::Lost(lost)) => {
                        assert_eq!((lost.generation, frames), (generation, 10));
                        break;
                    }
                    Seen::Event(
                        ConnectionEvent::Retrying { .. } | ConnectionEvent::Restored { .. },
                    ) => {}
                    Seen::Event(other) => panic!("unexpected: {other:?}"),
                }
            }
        }
        let stats: SupervisorStats = within("asking", client.address().send(Stats))
            .await
            .expect("a supervisor");
        assert_eq!(stats.losses, 3);
        within(
            "closing",
            client.address().send(rpyc_actors::channel::Close),
        )
        .await
        .expect("a supervisor");
        until("it is closed", || client.closed()).await;
        // Subscribers are held weakly.
        drop(watcher);
        within("the watcher's end", async {
            while sees.recv().await.is_some() {}
        })
        .await;
    });
}

#[test]
fn plain_threads_use_the_blocking_twins() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut server = runtime.block_on(Server::start());
    let client = supervised(server.port());
    let mut events = client.events();
    client.send_blocking("ping").expect("sent");
    client.flush_blocking().expect("flushed");
    let channel = runtime.block_on(server.next());
    assert_eq!(
        channel.recv_blocking().expect("open").as_deref(),
        Some(&b"ping"[..])
    );
    channel.send_blocking("pong").expect("open");
    assert!(client.poll_blocking(support::PATIENCE).expect("no arbiter"));
    let frame = client.recv_blocking().expect("open").frame();
    assert_eq!(frame.as_deref(), Some(&b"pong"[..]));
    assert!(
        !client
            .poll_blocking(Duration::from_millis(1))
            .expect("no arbiter")
    );
    let first = events.next_blocking().expect("no arbiter");
    assert!(matches!(first, Some(ConnectionEvent::Connected { .. })));
    drop(channel);
    client.close_blocking().expect("closed");
}

#[tokio::test]
async fn a_flush_tells_of_a_loss_behind_which_something_was_sent() {
    let mut server = Server::start().await;
    let client = supervised(server.port());
    let mut events = client.events();
    within("sending", client.send("one")).await.expect("sent");
    server.next().await.abort();
    event("the way back", &mut events, |event| {
        matches!(event, ConnectionEvent::Restored { .. })
    })
    .await;
    let _second = server.next().await;
    within("sending", client.send("two")).await.expect("sent");
    let error = within("flushing", client.flush()).await;
    let error = error.expect_err("the first one may not have arrived");
    assert!(
        matches!(&error, rpyc_actors::StreamError::ConnectionLost(lost) if lost.generation == 1),
        "{error}"
    );
    within("flushing", client.flush()).await.expect("told once");
}

#[tokio::test]
async fn connections_that_are_not_there_yet_cannot_be_given_up() {
    let mut server = Server::start().await;
    let client = supervised(server.port());
    within("a connection", client.connected())
        .await
        .expect("it is there");
    let first = server.next().await;
    client.give_up(u64::MAX);
    drop(first);
    within("sending", client.send("one")).await.expect("sent");
    let came = within("receiving", server.next().await.recv()).await;
    assert_eq!(came.expect("open").as_deref(), Some(&b"one"[..]));
}
