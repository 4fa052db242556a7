//! TCP streams, custom transports, and what all streams do: exact reads, surplus, closing.

mod support;

use std::{io, net::Ipv4Addr, time::Duration};

use rpyc_actors::{
    Channel, DEFAULT_BATCH_SIZE, DEFAULT_BATCH_TIMEOUT, DEFAULT_BUFFER_SIZE,
    DEFAULT_COMPRESSION_LEVEL, Limits, MAX_BUFFER_SIZE, STREAM_CHUNK_SIZE, SocketStream,
    StreamError, StreamHandle, TcpConfig, create_socket_stream,
    error::{ConnectFailure, LossReason},
    limits::DEFAULT_POLL_TIMEOUT,
    stream::{Address, tcp::Keepalive},
};
use socket2::SockRef;
use support::{frame, stream_and_peer, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
};

fn connect_failure(error: StreamError) -> ConnectFailure {
    match error {
        StreamError::Connect(error) => error.reason,
        other => panic!("not a connect error: {other}"),
    }
}

async fn refused_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").port()
}

// ---- connecting ----

#[tokio::test]
async fn hosts_are_reached_by_address_and_by_name() {
    for (host, bind) in [
        ("127.0.0.1", "127.0.0.1:0"),
        ("localhost", "127.0.0.1:0"),
        ("::1", "[::1]:0"),
    ] {
        let Ok(listener) = TcpListener::bind(bind).await else {
            assert_eq!(host, "::1", "only IPv6 may be absent");
            continue;
        };
        let port = listener.local_addr().expect("bound").port();
        let stream = within("connecting", SocketStream::connect(host, port))
            .await
            .expect("a listener");
        let (mut peer, from) = listener.accept().await.expect("a client");
        assert_eq!(stream.local_address(), Some(&Address::Tcp(from)));
        assert_eq!(
            stream.peer_address(),
            Some(&Address::Tcp(listener.local_addr().expect("bound")))
        );
        stream.write("hello").await.expect("open");
        let mut came = [0; 5];
        within("reading", peer.read_exact(&mut came))
            .await
            .expect("sent");
        assert_eq!(&came, b"hello");
    }
}

#[tokio::test]
async fn ipv6_only_means_it() {
    let port = refused_port().await;
    let config = TcpConfig::default().ipv6(true);
    let error = within(
        "connecting",
        create_socket_stream("127.0.0.1", port, config),
    )
    .await
    .expect_err("no such family");
    assert!(matches!(
        connect_failure(error),
        ConnectFailure::Resolve { .. }
    ));
}

#[tokio::test]
async fn a_refused_connection_names_endpoint_and_reason() {
    let port = refused_port().await;
    let error = within("connecting", SocketStream::connect("127.0.0.1", port))
        .await
        .expect_err("nobody listens");
    assert!(
        error
            .to_string()
            .contains(&format!("tcp://127.0.0.1:{port}")),
        "{error}"
    );
    assert!(matches!(
        connect_failure(error),
        ConnectFailure::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused
    ));
}

#[tokio::test]
async fn a_name_that_is_not_resolved_is_named() {
    let error = within(
        "resolving",
        SocketStream::connect("no-such-host.invalid", 1),
    )
    .await
    .expect_err("reserved for this");
    assert!(
        error.to_string().contains("no-such-host.invalid"),
        "{error}"
    );
    match connect_failure(error) {
        ConnectFailure::Resolve { host, .. } => assert_eq!(host, "no-such-host.invalid"),
        other => panic!("not a resolver's error: {other}"),
    }
}

#[tokio::test]
async fn a_listener_that_answers_nothing_is_given_up() {
    // With its queue full, the kernel drops what asks for a connection.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    listener
        .bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .expect("a free port");
    listener.listen(0).expect("bound");
    let address = listener
        .local_addr()
        .expect("bound")
        .as_socket()
        .expect("TCP");
    let mut fillers = Vec::new();
    while let Ok(Ok(filler)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        fillers.push(filler);
        assert!(fillers.len() < 100, "the queue never fills");
    }
    let timeout = Duration::from_millis(200);
    let config = TcpConfig::default().connect_timeout(timeout);
    let error = within(
        "connecting",
        SocketStream::connect_with("127.0.0.1", address.port(), config),
    )
    .await
    .expect_err("no answer");
    assert!(matches!(connect_failure(error), ConnectFailure::TimedOut(after) if after == timeout));
}

#[tokio::test]
async fn socket_options_are_set_as_configured() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    for (keepalive, seconds) in [
        (Keepalive::Off, None),
        (Keepalive::from(false), None),
        (Keepalive::from(0), None),
        (Keepalive::from(true), Some(60)),
        (Keepalive::from(17), Some(17)),
    ] {
        let socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a listener");
        let watched = socket.try_clone().expect("a socket");
        let config = TcpConfig::default()
            .keepalive(match keepalive {
                Keepalive::Off => 0,
                Keepalive::On => 60,
                Keepalive::Seconds(seconds) => seconds,
            })
            .user_timeout(Duration::from_secs(33));
        let _stream = within("starting", SocketStream::with_config(socket, config))
            .await
            .expect("a socket");
        let watched = SockRef::from(&watched);
        assert!(watched.tcp_nodelay().expect("readable"));
        assert_eq!(watched.keepalive().expect("readable"), seconds.is_some());
        if let Some(seconds) = seconds {
            let time = Duration::from_secs(seconds);
            assert_eq!(watched.tcp_keepalive_time().expect("readable"), time);
            assert_eq!(watched.tcp_keepalive_interval().expect("readable"), time);
            assert_eq!(watched.tcp_keepalive_retries().expect("readable"), 5);
        }
        assert_eq!(
            watched.tcp_user_timeout().expect("readable"),
            Some(Duration::from_secs(33))
        );
    }
}

#[tokio::test]
async fn times_above_what_the_system_takes_are_its_longest() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let socket = std::net::TcpStream::connect(address).expect("a listener");
    let watched = socket.try_clone().expect("a socket");
    let config = TcpConfig::default()
        .keepalive(u32::MAX)
        .user_timeout(Duration::MAX);
    let _stream = within("starting", SocketStream::with_config(socket, config))
        .await
        .expect("a socket");
    let watched = SockRef::from(&watched);
    let time = watched.tcp_keepalive_time().expect("readable");
    assert_eq!(time, Duration::from_secs(32_767));
    let time = watched.tcp_user_timeout().expect("readable");
    assert_eq!(time, Some(Duration::from_millis(i32::MAX as u64)));
}

#[tokio::test]
async fn a_connected_socket_becomes_a_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let socket = std::net::TcpStream::connect(address).expect("a listener");
    let stream = within("starting", SocketStream::new(socket))
        .await
        .expect("a socket");
    assert_eq!(stream.endpoint(), format!("tcp://{address}"));
    let (mut peer, _) = listener.accept().await.expect("a client");
    peer.write_all(b"hello").await.expect("open");
    assert_eq!(
        within("reading", stream.read(5)).await.expect("sent"),
        "hello"
    );
}

// ---- reading ----

#[tokio::test]
async fn a_read_gives_exactly_what_it_asks_for() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let all: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    peer.write_all(&all).await.expect("open");
    let mut at = 0;
    for count in [0, 1, 2, 0, 1000, 60_000, 1, 38_996] {
        let came = within("reading", stream.read(count)).await.expect("sent");
        assert_eq!(came, all[at..at + count]);
        at += count;
    }
    assert_eq!(at, all.len());
    // A read that waits is served when the last byte is there, and not before.
    let mut reading = Box::pin(stream.read(4));
    peer.write_all(b"abc").await.expect("open");
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut reading)
            .await
            .is_err()
    );
    peer.write_all(b"d").await.expect("open");
    assert_eq!(within("reading", reading).await.expect("sent"), "abcd");
}

#[tokio::test]
async fn cancelled_reads_keep_their_bytes() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    peer.write_all(b"abc").await.expect("open");
    for _ in 0..50 {
        let reading = tokio::time::timeout(Duration::from_micros(200), stream.read(4));
        assert!(reading.await.is_err(), "only three bytes are there");
    }
    // Also when the bytes were on their way to a reader that went.
    for round in 0..200u32 {
        peer.write_all(b"d123").await.expect("open");
        let patience = Duration::from_micros(u64::from(round % 40) * 5);
        let first = tokio::time::timeout(patience, stream.read(4)).await;
        let came = match first {
            Ok(came) => came,
            Err(_) => within("reading", stream.read(4)).await,
        };
        let expected = if round == 0 { "abcd" } else { "123d" };
        assert_eq!(came.expect("sent"), expected, "round {round}");
    }
    assert_eq!(
        within("reading", stream.read(3)).await.expect("sent"),
        "123"
    );
}

#[tokio::test]
async fn a_read_above_the_buffer_limit_overflows() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    match stream
        .read(MAX_BUFFER_SIZE + 1)
        .await
        .expect_err("too large")
    {
        StreamError::BufferOverflow(error) => {
            assert_eq!(error.limit, MAX_BUFFER_SIZE as u64);
            assert_eq!(error.got, MAX_BUFFER_SIZE as u64 + 1);
        }
        other => panic!("not an overflow: {other}"),
    }
    let writing = tokio::spawn(async move {
        peer.write_all(&vec![5; MAX_BUFFER_SIZE])
            .await
            .expect("open");
        peer
    });
    let came = within("reading", stream.read(MAX_BUFFER_SIZE))
        .await
        .expect("of the limit");
    assert_eq!(came.len(), MAX_BUFFER_SIZE);
    drop(writing.await.expect("no panic"));
    let limits = Limits::default().max_buffer(10);
    let (stream, _peer) = stream_and_peer(TcpConfig::default().limits(limits)).await;
    assert!(matches!(
        stream.read(11).await,
        Err(StreamError::BufferOverflow(_))
    ));
}

#[tokio::test]
async fn a_stream_that_ends_too_early_says_so_and_keeps_what_came() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    peer.write_all(b"abc").await.expect("open");
    drop(peer);
    match within("reading", stream.read(4))
        .await
        .expect_err("too short")
    {
        StreamError::ConnectionLost(lost) => assert!(
            matches!(lost.reason, LossReason::Truncated { got: 3, due: 4, .. }),
            "{lost}"
        ),
        other => panic!("not a loss: {other}"),
    }
    assert_eq!(
        within("reading", stream.read(3)).await.expect("kept"),
        "abc"
    );
    match within("reading", stream.read(1))
        .await
        .expect_err("the end")
    {
        StreamError::ConnectionLost(lost) => {
            assert!(matches!(lost.reason, LossReason::EndOfStream), "{lost}");
            assert_eq!(&*lost.endpoint, stream.endpoint());
        }
        other => panic!("not a loss: {other}"),
    }
}

#[tokio::test]
async fn what_was_read_too_far_belongs_to_the_channel() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let wire = [b"hi".to_vec(), frame(b"one"), frame(b"two")].concat();
    peer.write_all(&wire).await.expect("open");
    assert_eq!(within("reading", stream.read(2)).await.expect("sent"), "hi");
    let kept: StreamHandle = SocketStream::clone(&stream).into();
    let channel = Channel::new(stream);
    peer.write_all(&frame(b"three")).await.expect("open");
    drop(peer);
    for expected in ["one", "two", "three"] {
        let frame = within("receiving", channel.recv()).await.expect("no loss");
        assert_eq!(frame, Some(expected.into()));
    }
    assert_eq!(
        within("receiving", channel.recv()).await.expect("an end"),
        None
    );
    // Who kept a handle cannot steal from the channel.
    assert!(matches!(
        within("reading", kept.read(1)).await,
        Err(StreamError::ApiMisuse(_) | StreamError::Closed)
    ));
}

#[tokio::test]
async fn nothing_is_read_before_it_is_asked_for() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let mut taken = 0;
    let chunk = vec![0; 1 << 20];
    while let Ok(Ok(count)) =
        tokio::time::timeout(Duration::from_millis(300), peer.write(&chunk)).await
    {
        taken += count;
        assert!(taken < 100 << 20, "a paused stream reads");
    }
    assert_eq!(
        within("reading", stream.read(1)).await.expect("sent").len(),
        1
    );
}

// ---- custom transports ----

/// The seed's handshake: a token, answered with `AUTH_OK`.
async fn authenticate(stream: &StreamHandle, token: &str) -> Result<(), StreamError> {
    stream.write(token.to_owned()).await?;
    if stream.read(7).await? != "AUTH_OK" {
        return Err(StreamError::peer("authentication failed"));
    }
    Ok(())
}

/// The other half: reads a token of 12 bytes, and answers.
async fn gatekeeper(stream: &StreamHandle) -> Result<(), StreamError> {
    let token = stream.read(12).await?;
    let answer = if token == "secret_token" {
        "AUTH_OK"
    } else {
        "REFUSED"
    };
    stream.write(answer).await?;
    stream.flush().await
}

async fn custom_pair(
    token: &'static str,
) -> (Result<Channel, StreamError>, Result<Channel, StreamError>) {
    let (ours, theirs) = tokio::io::duplex(64);
    let client = async move {
        // The factory runs on the stream's arbiter, and may be anything that reads and writes.
        let stream = StreamHandle::open_with("custom:client", move || async move {
            Ok::<DuplexStream, _>(ours)
        })
        .await?;
        authenticate(&stream, token).await?;
        let channel = Channel::new(stream);
        channel.send("first frame").await?;
        Ok(channel)
    };
    let server = async move {
        let stream = StreamHandle::from_io("custom:server", theirs).await?;
        gatekeeper(&stream).await?;
        Ok(Channel::new(stream))
    };
    within("the handshake", async { tokio::join!(client, server) }).await
}

#[tokio::test]
async fn a_custom_transport_exchanges_a_token_before_its_channel() {
    let (client, server) = custom_pair("secret_token").await;
    let (client, server) = (client.expect("let in"), server.expect("lets in"));
    assert_eq!(
        within("receiving", server.recv()).await.expect("no loss"),
        Some("first frame".into())
    );
    server.send(vec![1; 100_000]).await.expect("open");
    let frame = within("receiving", client.recv()).await.expect("no loss");
    assert_eq!(frame.expect("not the end").len(), 100_000);
    assert_eq!(client.endpoint(), "custom:client");
    let (closed, also) = within("closing", async {
        tokio::join!(client.close(), server.close())
    })
    .await;
    closed.and(also).expect("taken");
}

#[tokio::test]
async fn a_custom_transport_with_a_wrong_token_is_refused() {
    let (client, _server) = custom_pair("wrong__token").await;
    assert!(matches!(client, Err(StreamError::PeerMisbehaved { .. })));
}

#[tokio::test]
async fn a_factory_that_fails_gives_its_own_error() {
    let result = StreamHandle::open_with("custom:", || async {
        Err::<DuplexStream, _>(StreamError::peer("no"))
    })
    .await;
    assert!(matches!(result, Err(StreamError::PeerMisbehaved { .. })));
}

// ---- the seed's numbers ----

#[tokio::test]
async fn the_constants_of_the_seed_are_the_defaults() {
    assert_eq!(DEFAULT_BUFFER_SIZE, 8192);
    assert_eq!(MAX_BUFFER_SIZE, 1_048_576);
    assert_eq!(DEFAULT_BATCH_SIZE, 10);
    assert_eq!(DEFAULT_BATCH_TIMEOUT, Duration::from_secs_f64(0.1));
    assert_eq!(DEFAULT_COMPRESSION_LEVEL, 6);
    assert_eq!(STREAM_CHUNK_SIZE, 64_000);
    assert_eq!(DEFAULT_POLL_TIMEOUT, Duration::ZERO);
    let limits = Limits::default();
    assert_eq!(limits.max_buffer, MAX_BUFFER_SIZE);
    assert_eq!((limits.max_frame, limits.credit), (64 << 20, 1 << 20));
    assert_eq!(limits.close_timeout, Duration::from_secs(5));
}
