//! RPyC over sessions that live on: a lost connection loses no call, and calls no function twice.
#![cfg(feature = "rpc")]

#[path = "support/unrest.rs"]
mod unrest;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rpyc::{
    Chain, Connection, ConnectionEvent, Layers, Server, Service, VoidService, server::ServerConfig,
};
use tokio::net::{TcpListener, TcpStream};
use unrest::{
    chaos::{Chaos, Cut, Weather},
    resumed::watch,
    within,
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
    let (_watcher, mut events) = watch(&channel).await;
    assert!(server.drain(Duration::from_secs(10)).await, "in time");
    let first = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
    assert!(
        matches!(first, Ok(Some(ConnectionEvent::GoingAway { .. }))),
        "{first:?}"
    );
}

#[tokio::test]
async fn a_call_whose_connection_is_lost_gets_its_answer_from_a_server_that_drains() {
    let layers = || Layers::parse(["resume:insecure"]).expect("a layer");
    let (asked, mut is_asked) = tokio::sync::mpsc::unbounded_channel();
    let (answer, may_answer) = tokio::sync::watch::channel(false);
    let service = Service::new("Slow").async_function("answer", move || {
        let mut may_answer = may_answer.clone();
        asked.send(()).expect("the test waits");
        async move {
            may_answer
                .wait_for(|may| *may)
                .await
                .expect("the test lives");
            42
        }
    });
    let server = Server::bind_with(
        &["tcp://127.0.0.1:0".parse().expect("an endpoint")],
        service,
        ServerConfig::default().layers(layers()),
    )
    .await
    .expect("a free port");
    let port = server.port().expect("TCP");
    let chaos = Chaos::before(port, 7, Weather::default()).await;
    let chain = Chain::to(&format!("tcp://127.0.0.1:{}", chaos.port()))
        .expect("an endpoint")
        .layers(layers());
    let channel = within("connecting", chain.connect()).await.expect("a way");
    let (_watcher, mut events) = watch(&channel).await;
    let client = Connection::new(channel, VoidService);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.call::<i64>("answer", ()).await }
    });
    within("the call", is_asked.recv()).await;
    chaos.weather(Weather {
        stillborn: true,
        ..Weather::default()
    });
    chaos.cut(Cut::Reset);
    let lost = within("a loss", events.recv()).await;
    assert!(
        matches!(lost, Some(ConnectionEvent::Detached { .. })),
        "{lost:?}"
    );
    let back = async {
        // The drain was asked for before.
        chaos.weather(Weather::default());
        let back = within("a way back", events.recv()).await;
        assert!(
            matches!(back, Some(ConnectionEvent::Resumed { .. })),
            "{back:?}"
        );
        answer.send_replace(true);
        within("an answer", call).await.expect("no panic")
    };
    let (in_time, answered) = tokio::join!(
        biased;
        server.drain(Duration::from_secs(10)), back);
    assert_eq!(answered.expect("an answer"), 42);
    assert!(in_time);
}
