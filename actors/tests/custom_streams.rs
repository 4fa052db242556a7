//! Endpoints of the caller's own: a factory that is run for each connection, and an exchange before the first byte.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rpyc_actors::{
    Chain, Channel, ConnectError, Endpoint, Limits, Runtime, StreamError, StreamHandle, TcpConfig,
    error::ConnectFailure,
};
use support::{frame, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A peer that takes each connection through `exchange`, and then sends back what it gets.
async fn peer(token: &'static [u8], answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut got = vec![0; token.len()];
                // A client that was refused may be gone at any time.
                if socket.read_exact(&mut got).await.is_ok() && got == token {
                    let _ = socket.write_all(answer).await;
                    let (mut from, mut to) = socket.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                }
            });
        }
    });
    port
}

async fn exchange(stream: StreamHandle) -> Result<(), StreamError> {
    stream.write("token").await?;
    match &stream.read(2).await?[..] {
        b"OK" => Ok(()),
        _ => Err(StreamError::peer("it refused the token")),
    }
}

async fn echoes(channel: &Channel) {
    channel.send("frame").await.expect("sent");
    let back = within("an echo", channel.recv()).await.expect("read");
    assert_eq!(&back.expect("a frame")[..], b"frame");
}

#[tokio::test]
async fn a_factory_is_run_on_the_arbiter_for_each_connection() {
    let port = peer(b"", b"").await;
    let runs = Arc::new(AtomicUsize::new(0));
    let here = thread::current().id();
    let counted = runs.clone();
    let endpoint = Endpoint::custom("mine:", move || {
        counted.fetch_add(1, Ordering::Relaxed);
        assert_ne!(thread::current().id(), here, "on the arbiter");
        async move {
            let failed = |error: std::io::Error| ConnectError::new("mine:", error.into());
            Ok(TcpStream::connect(("127.0.0.1", port))
                .await
                .map_err(failed)?)
        }
    });
    assert_eq!((endpoint.scheme(), endpoint.is_local()), ("custom", false));
    let limits = Limits::default().max_frame(1000);
    let chain = Chain::new(endpoint.limits(limits)).runtime(Runtime::shared());
    for count in 1..=3 {
        let channel = within("connecting", chain.connect()).await.expect("a peer");
        assert_eq!(runs.load(Ordering::Relaxed), count);
        assert_eq!(
            (channel.endpoint(), channel.limits().max_frame),
            ("mine:", 1000)
        );
        echoes(&channel).await;
        channel.close().await.expect("closed");
    }
}

#[tokio::test]
async fn what_a_factory_raises_is_what_the_caller_gets() {
    let raise = || async { Err::<TcpStream, _>(StreamError::misuse("not today")) };
    let chain = Chain::new(Endpoint::custom("mine:", raise));
    let error = within("connecting", chain.connect())
        .await
        .expect_err("an error");
    assert!(matches!(error, StreamError::ApiMisuse(_)), "{error}");
}

#[tokio::test]
async fn an_exchange_comes_before_the_first_frame_each_time() {
    let port = peer(b"token", b"OK").await;
    let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default()).opening(exchange);
    let chain = Chain::new(endpoint);
    for _ in 0..2 {
        let channel = within("connecting", chain.connect()).await.expect("let in");
        echoes(&channel).await;
    }
}

#[tokio::test]
async fn what_came_behind_the_exchange_is_the_channels() {
    let early = Box::leak([&b"OK"[..], &frame(b"early")].concat().into_boxed_slice());
    let port = peer(b"token", early).await;
    let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default()).opening(exchange);
    let channel = within("connecting", Chain::new(endpoint).connect())
        .await
        .expect("let in");
    let first = within("a frame", channel.recv()).await.expect("read");
    assert_eq!(&first.expect("a frame")[..], b"early");
    echoes(&channel).await;
}

async fn refused(endpoint: Endpoint) -> StreamError {
    let text = endpoint.to_string();
    match within("connecting", Chain::new(endpoint).connect()).await {
        Err(StreamError::Connect(error)) => {
            assert_eq!(*error.endpoint, *text);
            match error.reason {
                ConnectFailure::Refused(reason) => (*reason).clone(),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_and_silence_are_reasons_why_there_is_no_connection() {
    let port = peer(b"token", b"NO").await;
    let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default()).opening(exchange);
    let error = refused(endpoint).await;
    assert!(
        matches!(error, StreamError::PeerMisbehaved { .. }),
        "{error}"
    );

    // It waits for more of the token.
    let port = peer(b"token and more", b"OK").await;
    let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default())
        .opening_within(Duration::from_millis(200), exchange);
    let error = refused(endpoint).await;
    assert!(matches!(error, StreamError::TimedOut { .. }), "{error}");

    // It ends instead of answering.
    let port = peer(b"other", b"OK").await;
    let endpoint = Endpoint::tcp("127.0.0.1", port, TcpConfig::default()).opening(exchange);
    let error = refused(endpoint).await;
    assert!(error.is_connection_lost(), "{error}");
}
