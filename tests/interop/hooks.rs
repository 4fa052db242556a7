//! What happens around the calls: authentication, hooks, names, draining.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rpyc::{
    Channel, Connection, Error, Exception, Server, ServerConfig, Service, SocketStream,
    StreamError, VoidService, brine::Value, protocol::Limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::{
    clients::calculator,
    raw::Raw,
    support::{assert_alive, connect, python_client, python_program, serve, soon, until},
};

const TOKEN: &[u8] = b"correct horse battery staple";

/// The server's half of the token handshake: a length, the token, and an answer of two bytes.
async fn authenticated(config: ServerConfig) -> (Server, u16) {
    let config = config.authenticator(|stream| async move {
        let length = stream.read(4).await?;
        let length = u32::from_be_bytes(length[..].try_into().expect("four bytes")) as usize;
        if length > 1_024 {
            return Err(StreamError::peer("a token of more than 1024 bytes"));
        }
        let token = stream.read(length).await?;
        if token[..] == *TOKEN {
            stream.write(&b"OK"[..]).await?;
            return Ok(());
        }
        stream.write(&b"NO"[..]).await?;
        Err(StreamError::peer("a wrong token"))
    });
    let endpoint = "tcp://127.0.0.1:0".parse().expect("an endpoint");
    let server = Server::bind_with(&[endpoint], calculator(), config)
        .await
        .expect("a free port");
    let port = server.port().expect("TCP");
    (server, port)
}

fn greeting(token: &[u8]) -> Vec<u8> {
    let mut greeting = u32::try_from(token.len())
        .expect("it is short")
        .to_be_bytes()
        .to_vec();
    greeting.extend_from_slice(token);
    greeting
}

#[tokio::test]
async fn a_token_opens_the_channel() {
    let (_server, port) = authenticated(ServerConfig::default()).await;
    let stream = soon(SocketStream::connect("127.0.0.1", port))
        .await
        .expect("the server listens");
    soon(stream.write(greeting(TOKEN)))
        .await
        .expect("it is connected");
    assert_eq!(soon(stream.read(2)).await.expect("an answer")[..], *b"OK");
    let client = Connection::new(Channel::new(stream), VoidService);
    assert_alive(&client).await;
    soon(client.close()).await;

    // The first request may come together with the token.
    let mut raw = Raw::connect(port).await;
    raw.bytes(&greeting(TOKEN)).await;
    raw.request(0, crate::raw::GETROOT, Value::Tuple(Vec::new()))
        .await;
    let mut answer = [0; 2];
    soon(raw.socket.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(&answer, b"OK");
    assert_eq!(soon(raw.next()).await.expect("the root").0, 2);
}

#[tokio::test]
async fn a_python_client_opens_the_channel_with_a_token() {
    let (_server, port) = authenticated(ServerConfig::default()).await;
    let connect = format!(
        r#"
import socket, struct
from rpyc.core.stream import SocketStream
sock = socket.create_connection(("127.0.0.1", {port}))
token = b"correct horse battery staple"
sock.sendall(struct.pack("!I", len(token)) + token)
assert sock.recv(2) == b"OK"
conn = rpyc.connect_stream(SocketStream(sock))
"#
    );
    python_program(&connect, "assert conn.root.add(1, 2) == 3\nconn.close()").await;
}

#[tokio::test]
async fn a_wrong_token_is_refused() {
    let (server, port) = authenticated(ServerConfig::default()).await;
    let stream = soon(SocketStream::connect("127.0.0.1", port))
        .await
        .expect("the server listens");
    soon(stream.write(greeting(b"wrong")))
        .await
        .expect("it is connected");
    assert_eq!(soon(stream.read(2)).await.expect("an answer")[..], *b"NO");
    let client = Connection::new(Channel::new(stream), VoidService);
    let result = soon(client.call::<i64>("add", (1, 2))).await;
    assert!(
        matches!(result, Err(Error::NotSent(_) | Error::MayHaveRun(_))),
        "{result:?}"
    );
    assert_eq!(server.connections(), 0);

    // One that claims to be long is not waited for.
    let mut socket = soon(TcpStream::connect(("127.0.0.1", port)))
        .await
        .expect("the server listens");
    soon(socket.write_all(&[0xff; 4]))
        .await
        .expect("it is connected");
    let mut rest = Vec::new();
    let _ = soon(socket.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_peer_that_does_not_authenticate_is_cut_off() {
    let config = ServerConfig::default().handshake_timeout(Duration::from_millis(200));
    let (server, port) = authenticated(config).await;
    let start = Instant::now();
    let mut silent = soon(TcpStream::connect(("127.0.0.1", port)))
        .await
        .expect("the server listens");
    let mut slow = soon(TcpStream::connect(("127.0.0.1", port)))
        .await
        .expect("the server listens");
    soon(slow.write_all(&[0, 0]))
        .await
        .expect("it is connected");
    for socket in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        let _ = soon(socket.read_to_end(&mut rest)).await;
        assert!(rest.is_empty());
    }
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert_eq!(server.connections(), 0);
}

/// What the hooks saw.
#[derive(Default)]
struct Seen {
    connected: AtomicUsize,
    disconnected: AtomicUsize,
    reasons: Mutex<Vec<String>>,
}

fn hooked(seen: &Arc<Seen>) -> Service {
    let (on, off) = (seen.clone(), seen.clone());
    calculator()
        .on_connect(move |connection| {
            assert!(!connection.closed());
            on.connected.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .on_disconnect(move |connection| {
            assert!(connection.closed());
            off.disconnected.fetch_add(1, Ordering::Relaxed);
            let reason = connection.end_reason().expect("it is over");
            off.reasons
                .lock()
                .expect("no panic")
                .push(reason.to_string());
        })
}

#[tokio::test]
async fn hooks_run_once_for_each_connection() {
    let seen = Arc::new(Seen::default());
    let (server, port) = serve(hooked(&seen)).await;
    let counts = || {
        (
            seen.connected.load(Ordering::Relaxed),
            seen.disconnected.load(Ordering::Relaxed),
        )
    };
    for number in 1..=3 {
        let client = connect(port).await;
        assert_alive(&client).await;
        assert_eq!(counts(), (number, number - 1));
        soon(client.close()).await;
        until(|| counts() == (number, number)).await;
    }
    python_client(port, "assert conn.root.add(1, 2) == 3\nconn.close()").await;
    until(|| counts() == (4, 4)).await;
    // Without a CLOSE, and in the middle of a frame.
    drop(Raw::connect(port).await);
    until(|| counts() == (5, 5)).await;
    let mut raw = Raw::connect(port).await;
    raw.bytes(&[0, 0]).await;
    drop(raw);
    until(|| counts() == (6, 6)).await;
    assert!(
        seen.reasons.lock().expect("no panic")[5].contains("2 of"),
        "{:?}",
        seen.reasons
    );
    let client = connect(port).await;
    assert_alive(&client).await;
    assert!(soon(server.drain(Duration::from_secs(20))).await);
    assert_eq!(counts(), (7, 7));
}

#[tokio::test]
async fn a_connection_that_the_hook_refuses_ends() {
    let service = calculator().on_connect(|_| Err(Exception::value_error("not today")));
    let (server, port) = serve(service).await;
    let client = connect(port).await;
    let result = soon(client.call::<i64>("add", (1, 2))).await;
    assert!(
        matches!(result, Err(Error::NotSent(_) | Error::MayHaveRun(_))),
        "{result:?}"
    );
    let checks = "
try:
    conn.root.add(1, 2)
except (EOFError, ConnectionError):
    pass
else:
    raise AssertionError
";
    python_client(port, checks).await;
    until(|| server.connections() == 0).await;
}

/// A hook may call the peer, which serves while it waits itself.
#[tokio::test]
async fn a_service_calls_a_client_that_has_one_too() {
    let service = calculator()
        .async_function("ask_back", || async { Ok::<_, Exception>(1) })
        .expose(rpyc::Function::with_call("their_name", |call| async move {
            let name: String = call
                .connection
                .call("get_service_name", ())
                .await
                .map_err(|error| Exception::runtime_error(error.to_string()))?;
            Ok(Value::from(name))
        }));
    let (_server, port) = serve(service).await;
    let client = soon(rpyc::connect_service(
        "127.0.0.1",
        port,
        Service::new("ShopService"),
    ))
    .await
    .expect("it listens");
    assert_eq!(
        soon(client.call::<String>("their_name", ()))
            .await
            .expect("an answer"),
        "SHOP"
    );
    let connect = format!(
        "
class ShopService(rpyc.Service):
    pass
conn = rpyc.connect('127.0.0.1', {port}, service=ShopService)
"
    );
    python_program(
        &connect,
        "assert conn.root.their_name() == 'SHOP'\nconn.close()",
    )
    .await;
}

#[tokio::test]
async fn names_and_aliases() {
    let service = Service::new("OrderBookService")
        .alias("orders")
        .function("exposed_to", || 1)
        .constant("limit", 7);
    let (_server, port) = serve(service).await;
    let checks = r#"
root = conn.root
assert root.get_service_name() == "ORDERBOOK", root.get_service_name()
assert root.get_service_aliases() == ("ORDERBOOK", "ORDERS"), root.get_service_aliases()
assert root.limit == root.exposed_limit == 7
assert root.exposed_get_service_name() == "ORDERBOOK"
assert "limit" in dir(root)
assert not hasattr(root, "nothing") and not hasattr(root, "__dict__")
try:
    root.limit = 8
except AttributeError:
    pass
else:
    raise AssertionError
assert root.limit == 7
# One function is one object, whichever way it was asked for.
assert root.get_service_name != 1
conn.close()
"#;
    python_client(port, checks).await;
}

#[tokio::test]
async fn draining_finishes_the_calls_that_run() {
    let gate = Arc::new(Semaphore::new(0));
    let open = gate.clone();
    let service = calculator().async_function("wait", move |number: i64| {
        let gate = open.clone();
        async move {
            gate.acquire().await.expect("it stays open").forget();
            number
        }
    });
    // One runs, and two wait.
    let config = ServerConfig::default().limits(Limits::default().queued_requests(2));
    let endpoint = "tcp://127.0.0.1:0".parse().expect("an endpoint");
    let server = Server::bind_with(&[endpoint], service, config)
        .await
        .expect("a free port");
    let port = server.port().expect("TCP");
    let client = connect(port).await;
    let idle = connect(port).await;
    assert_alive(&idle).await;
    let calls: Vec<_> = (0..3)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<i64>("wait", (number,)).await })
        })
        .collect();
    until(|| client.stats().pending == 3).await;
    // A fourth one is refused as soon as it comes, so the others came before.
    let refused = soon(client.call::<i64>("wait", (3,))).await;
    let refused = refused.expect_err("too many wait").to_string();
    assert!(refused.contains("too many requests"), "{refused}");
    until(|| server.connections() == 2).await;
    let draining = tokio::spawn(server.drain(Duration::from_secs(30)));
    soon(idle.ended()).await;
    assert!(
        soon(rpyc::connect("127.0.0.1", port)).await.is_err(),
        "it accepts no more"
    );
    gate.add_permits(3);
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(
            soon(call).await.expect("no panic").expect("an answer"),
            number as i64
        );
    }
    assert!(soon(draining).await.expect("no panic"));
    soon(client.ended()).await;
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let service = calculator().async_function("wait", std::future::pending::<()>);
    let (server, port) = serve(service).await;
    let client = connect(port).await;
    assert_alive(&client).await;
    let waiting = client.clone();
    let call = tokio::spawn(async move { waiting.call::<()>("wait", ()).await });
    until(|| client.stats().pending == 1).await;
    let start = Instant::now();
    assert!(!soon(server.drain(Duration::from_millis(200))).await);
    assert!(start.elapsed() < Duration::from_secs(10));
    let result = soon(call).await.expect("no panic");
    assert!(matches!(result, Err(Error::MayHaveRun(_))), "{result:?}");
}

/// A client that never stops asking does not keep a server from draining.
#[tokio::test]
async fn draining_does_not_wait_for_a_client_that_goes_on() {
    let (server, port) = serve(calculator()).await;
    let client = connect(port).await;
    assert_alive(&client).await;
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(
                async move { while client.call::<f64>("sleep", (0.001,)).await.is_ok() {} },
            )
        })
        .collect();
    until(|| client.stats().pending > 8).await;
    assert!(soon(server.drain(Duration::from_secs(20))).await);
    for task in tasks {
        soon(task).await.expect("no panic");
    }
}
