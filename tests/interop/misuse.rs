//! A Rust client, and what it meets: nobody there, nobody answering, nonsense; and callers who ask for what cannot be.

use std::time::{Duration, Instant};

use rpyc::{
    Connection, Error, Netref, Server, StreamError, TcpConfig, brine::Value, error::ConnectFailure,
};
use tokio::net::TcpListener;

use crate::{
    clients::calculator,
    raw::{Raw, framed, message},
    support::{assert_alive, connect, python_server, serve, soon, timed},
};

fn connect_failure(result: Result<Connection, Error>) -> (String, ConnectFailure) {
    match result {
        Err(Error::Stream(StreamError::Connect(error))) => (error.to_string(), error.reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_that_is_not_resolved() {
    let (text, reason) = connect_failure(soon(rpyc::connect("no-such-host.invalid", 18861)).await);
    assert!(
        matches!(reason, ConnectFailure::Resolve { .. }),
        "{reason:?}"
    );
    assert!(text.contains("tcp://no-such-host.invalid:18861"), "{text}");
}

#[tokio::test]
async fn a_connection_that_is_refused() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("it is bound").port()
    };
    let (text, reason) = connect_failure(soon(rpyc::connect("127.0.0.1", port)).await);
    assert!(
        matches!(&reason, ConnectFailure::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused),
        "{reason:?}"
    );
    assert!(text.contains(&format!("tcp://127.0.0.1:{port}")), "{text}");
    let (text, _) = connect_failure(soon(rpyc::connect_endpoint("unix:/no/such/socket")).await);
    assert!(text.contains("unix:/no/such/socket"), "{text}");
    let (text, reason) =
        connect_failure(soon(rpyc::connect_endpoint("exec:/no/such/program x")).await);
    assert!(matches!(reason, ConnectFailure::Spawn { .. }), "{reason:?}");
    assert!(text.contains("/no/such/program"), "{text}");
}

/// A listener whose queue is full answers nothing more, as a host does that is not there.
#[tokio::test]
async fn a_connection_that_nobody_answers() {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind("127.0.0.1:0".parse().expect("an address"))
        .expect("a free port");
    let listener = socket.listen(0).expect("it is bound");
    let port = listener.local_addr().expect("it is bound").port();
    let config = TcpConfig::default().connect_timeout(Duration::from_millis(200));
    let mut filling = Vec::new();
    let (result, took) = loop {
        let chain = rpyc::Chain::new(rpyc::Endpoint::tcp("127.0.0.1", port, config.clone()));
        match soon(timed(async move { chain.connect().await })).await {
            (Ok(channel), _) => filling.push(channel),
            (Err(error), took) => break (error, took),
        }
        assert!(filling.len() < 100, "the queue is never full");
    };
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(5),
        "{took:?}"
    );
    let StreamError::Connect(error) = result else {
        panic!("{result:?}")
    };
    assert!(
        matches!(error.reason, ConnectFailure::TimedOut(_)),
        "{error:?}"
    );
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[tokio::test]
async fn calls_after_close() {
    let server = python_server();
    let client = connect(server.port()).await;
    let counter: Netref = soon(client.call("counter", ())).await.expect("a reference");
    soon(client.close()).await;
    assert!(client.closed());
    for result in [
        soon(client.call::<Value>("add", (1, 2))).await,
        soon(counter.call_method::<Value>("get", ())).await,
        soon(client.getattr::<Value>("version")).await,
        soon(client.ping()).await.map(|_| Value::None),
        soon(client.root()).await.map(|_| Value::None),
    ] {
        // The root was asked for before, so that is known.
        assert!(
            matches!(result, Err(Error::NotSent(_)) | Ok(Value::None)),
            "{result:?}"
        );
    }
    let result = soon(client.call::<Value>("add", (1, 2)))
        .await
        .expect_err("it is closed");
    assert!(result.was_not_sent());
    soon(client.close()).await;
    drop(counter);
}

#[tokio::test]
async fn an_answer_of_another_type() {
    let server = python_server();
    let client = connect(server.port()).await;
    assert!(matches!(
        soon(client.call::<String>("add", (1, 2))).await,
        Err(Error::Convert(_))
    ));
    assert!(matches!(
        soon(client.call::<u8>("add", (-1, 0))).await,
        Err(Error::Convert(_))
    ));
    assert!(matches!(
        soon(client.call::<Netref>("add", (1, 2))).await,
        Err(Error::Convert(_))
    ));
    assert!(matches!(
        soon(client.call::<(i64, i64)>("add", ((1,), (2, 3)))).await,
        Err(Error::Convert(_))
    ));
    let error = soon(client.call::<i64>("get_list", ()))
        .await
        .expect_err("a list is a reference");
    assert!(matches!(error, Error::Convert(_)), "{error:?}");
    // What was not wanted was given back all the same.
    crate::support::until(|| client.stats().imported == 1 && client.stats().pending == 0).await;
    assert_alive(&client).await;
    soon(client.close()).await;
}

#[tokio::test]
async fn arguments_that_cannot_be_sent() {
    let server = python_server();
    let client = connect(server.port()).await;
    let mut deep = Value::Tuple(Vec::new());
    for _ in 0..100 {
        deep = Value::tuple([deep]);
    }
    let result = soon(client.call::<Value>("echo", (deep,))).await;
    assert!(matches!(result, Err(Error::Unsendable(_))), "{result:?}");
    let digits = num_bigint::BigInt::from(10).pow(4_300);
    let result = soon(client.call::<Value>("echo", (Value::from(digits),))).await;
    assert!(matches!(result, Err(Error::Unsendable(_))), "{result:?}");
    let large = bytes::Bytes::from(vec![0; (64 << 20) + 1]);
    let result = soon(client.call::<Value>("echo", (large,))).await;
    assert!(matches!(result, Err(Error::Unsendable(_))), "{result:?}");
    assert!(result.expect_err("it was not sent").was_not_sent());
    assert_alive(&client).await;
    soon(client.close()).await;
}

#[tokio::test]
async fn results_that_cannot_be_sent() {
    let service = calculator()
        .function("deep", || {
            let mut deep = Value::Tuple(Vec::new());
            for _ in 0..100 {
                deep = Value::tuple([deep]);
            }
            deep
        })
        .function("large", || bytes::Bytes::from(vec![0; (64 << 20) + 1]));
    let (_server, port) = serve(service).await;
    let client = connect(port).await;
    for name in ["deep", "large"] {
        let error = soon(client.call::<Value>(name, ()))
            .await
            .expect_err("it cannot be sent");
        assert!(
            error
                .remote()
                .is_some_and(|error| error.is_builtin("TypeError")),
            "{error:?}"
        );
    }
    assert_alive(&client).await;
}

/// The frames of a channel may be smaller than the messages of a protocol: what fits no frame is refused and not lost.
#[tokio::test]
async fn a_result_that_fits_no_frame() {
    let endpoint: rpyc::Endpoint = "tcp://127.0.0.1:0".parse().expect("an endpoint");
    let endpoint = endpoint.limits(rpyc::Limits::default().max_frame(10_000));
    let server = Server::bind_with(&[endpoint], calculator(), Default::default())
        .await
        .expect("a free port");
    let client = connect(server.port().expect("TCP")).await;
    let error = soon(client.call::<Value>("blob", (20_000,)))
        .await
        .expect_err("it cannot be sent");
    assert!(
        error
            .remote()
            .is_some_and(|error| error.to_string().contains("10000")),
        "{error:?}"
    );
    assert_alive(&client).await;
}

/// A server of our making that answers GETROOT and then this.
async fn answered_with(bytes: Vec<u8>) -> (Result<Value, Error>, Connection, Raw) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let client = connect(listener.local_addr().expect("it is bound").port()).await;
    let mut peer = Raw::accept(&listener).await;
    let calling = client.clone();
    let call = tokio::spawn(async move { calling.call::<Value>("add", (1, 2)).await });
    let (_, seq, _) = soon(peer.next()).await.expect("GETROOT");
    peer.reply(seq, (4, ("a.Root", 1, 1)).into()).await;
    soon(peer.next()).await.expect("the call");
    peer.bytes(&bytes).await;
    let result = soon(call).await.expect("no panic");
    (result, client, peer)
}

#[tokio::test]
async fn servers_that_answer_nonsense() {
    for (bytes, words) in [
        (framed(0, b"garbage"), "unknown message type 103"),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "limit of 67108864",
        ),
        (framed(1, b"no zlib"), "not a zlib stream"),
        (framed(0, b"\x12\x52\x51\x11\x51\x53"), "rpyc 5"),
        (framed(0, b"\x02\x11\x51\xff"), "cannot be decoded"),
    ] {
        let start = Instant::now();
        let (result, client, _peer) = answered_with(bytes).await;
        let text = result
            .as_ref()
            .expect_err("nonsense is no answer")
            .to_string();
        assert!(matches!(result, Err(Error::MayHaveRun(_))), "{result:?}");
        assert!(
            text.contains(words) && text.contains("tcp://127.0.0.1:"),
            "{text}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(4),
            "it took {:?}",
            start.elapsed()
        );
        drop(client);
    }
    // An answer that only that call is the worse for.
    for boxed in [
        Value::from((9, 1)),
        (3, ("no.Such", 1, 2)).into(),
        7.into(),
        (4, "x").into(),
    ] {
        let (result, client, _peer) = answered_with(framed(0, &message(2, 1.into(), boxed))).await;
        assert!(matches!(result, Err(Error::BadAnswer(_))), "{result:?}");
        assert!(!client.closed());
    }
    let (result, _client, _peer) =
        answered_with(framed(0, &message(3, 1.into(), "text".into()))).await;
    assert!(
        matches!(result, Err(Error::BadAnswer(_) | Error::Remote(_))),
        "{result:?}"
    );
}

#[tokio::test]
async fn blocking_twins_refuse_to_wait_for_themselves() {
    let (_server, port) = serve(calculator()).await;
    let client = connect(port).await;
    let (sender, answer) = tokio::sync::oneshot::channel();
    let on_arbiter = client.clone();
    client.channel().arbiter().spawn_fn(move || {
        let _ = sender.send((
            on_arbiter.call_blocking::<i64>("add", (1, 2)),
            on_arbiter.close_blocking(),
        ));
    });
    let (call, close) = soon(answer).await.expect("the arbiter runs");
    assert!(
        matches!(call, Err(Error::Stream(StreamError::ApiMisuse(_)))),
        "{call:?}"
    );
    assert!(
        matches!(close, Err(Error::Stream(StreamError::ApiMisuse(_)))),
        "{close:?}"
    );
    assert_alive(&client).await;
}

#[tokio::test]
async fn a_ping_that_comes_back_as_something_else() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let peer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("the client connects");
        let mut head = [0; 5];
        socket.read_exact(&mut head).expect("a request");
        // A reply to request 0: the value "pong".
        let payload = b"\x02\x11\x50\x11\x51\x08\x0dpong";
        let mut frame = vec![0, 0, 0, payload.len() as u8, 0];
        frame.extend_from_slice(payload);
        frame.push(b'\n');
        socket.write_all(&frame).expect("the client reads");
        // Until the client is gone; it may reset the connection.
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let client = connect(port).await;
    let error = soon(client.ping()).await.expect_err("other data came back");
    assert!(
        matches!(error, Error::Stream(StreamError::PeerMisbehaved { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    soon(client.close()).await;
    peer.join().expect("no panic");
}
