//! RPyC over sessions that live on: a lost connection loses no call, and calls no function twice.
#![cfg(feature = "rpc")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, Context, Handler};
use rpyc::{
    Chain, Connection, ConnectionEvent, Layers, Server, Service, VoidService, channel::Subscribe,
    server::ServerConfig,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A way to a port that is cut again and again.
async fn fragile_way(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let own = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = TcpStream::connect(("127.0.0.1", port))
                .await
                .expect("the server listens");
            tokio::spawn(async move {
                let carry = tokio::io::copy_bidirectional(&mut near, &mut far);
                // Both sockets are closed here, whatever is under way.
                let _ = tokio::time::timeout(Duration::from_millis(20), carry).await;
            });
        }
    });
    own
}

#[tokio::test]
async fn calls_outlive_their_connections() {
    let layers = || Layers::parse(["resume:insecure"]).expect("a layer");
    let counter = Arc::new(AtomicI64::new(0));
    let counted = counter.clone();
    let service = Service::new("Counter")
        .function("next", move || counted.fetch_add(1, Ordering::Relaxed) + 1);
    let config = ServerConfig::default().layers(layers());
    let server = Server::bind_with(
        &["tcp://127.0.0.1:0".parse().expect("an endpoint")],
        service,
        config,
    )
    .await
    .expect("a free port");
    let port = fragile_way(server.port().expect("TCP")).await;
    let chain = Chain::to(&format!("tcp://127.0.0.1:{port}"))
        .expect("an endpoint")
        .layers(layers());
    let channel = chain.connect().await.expect("the way is open");
    let client = Connection::new(channel, VoidService);
    let began = std::time::Instant::now();
    let mut calls = 0;
    while began.elapsed() < Duration::from_millis(500) {
        let answer = client.call::<i64>("next", ());
        let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
        calls += 1;
        assert_eq!(answer.expect("an answer").expect("no loss"), calls);
    }
    assert_eq!(
        counter.load(Ordering::Relaxed),
        calls,
        "calls made and served"
    );
    assert_eq!(server.connections(), 1, "one session, many connections");
}

/// Gives the events of a channel to a test.
struct Watcher(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Watcher {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        // A test that is over needs no more.
        let _ = self.0.send(event);
    }
}

#[tokio::test]
async fn a_server_that_drains_tells_its_sessions() {
    let layers = || Layers::parse(["resume:insecure"]).expect("a layer");
    let service = Service::new("Echo").function("echo", |word: String| word);
    let server = Server::bind_with(
        &["tcp://127.0.0.1:0".parse().expect("an endpoint")],
        service,
        ServerConfig::default().layers(layers()),
    )
    .await
    .expect("a free port");
    let port = server.port().expect("TCP");
    let chain = Chain::to(&format!("tcp://127.0.0.1:{port}"))
        .expect("an endpoint")
        .layers(layers());
    let channel = chain.connect().await.expect("it listens");
    let client = Connection::new(channel.clone(), VoidService);
    let answer = client.call::<String>("echo", ("here",)).await;
    assert_eq!(answer.expect("an answer"), "here");
    let (sender, mut events) = mpsc::unbounded_channel();
    let (keep, kept) = tokio::sync::oneshot::channel();
    let head = channel.clone();
    assert!(channel.arbiter().spawn_fn(move || {
        let watcher = Watcher(sender).start();
        let address = head.address().expect("started before, on this arbiter");
        let subscription = Subscribe {
            frames: None,
            events: Some(watcher.downgrade().recipient()),
        };
        address.try_send(subscription).expect("alive");
        keep.send(watcher).expect("the test waits");
    }));
    let _watcher = kept.await.expect("an arbiter");
    assert!(server.drain(Duration::from_secs(10)).await, "in time");
    let first = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
    assert!(
        matches!(first, Ok(Some(ConnectionEvent::GoingAway { .. }))),
        "{first:?}"
    );
}
