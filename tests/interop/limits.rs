//! Every limit of a connection is a setting: a small value is kept.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rpyc::{
    Connection, Exception, Netref, Server, ServerConfig, Service, StreamError,
    brine::Value,
    protocol::{Limits, Stats},
};
use tokio::sync::Semaphore;

use crate::{
    raw::Raw,
    support::{python_client, soon, until},
};

/// A server with these limits, and what happens on it.
struct Limited {
    _server: Server,
    port: u16,
    gate: Arc<Semaphore>,
    started: Arc<AtomicUsize>,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Limited {
    async fn start(limits: Limits, adjust: fn(Service) -> Service) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let started = Arc::new(AtomicUsize::new(0));
        let connection: Arc<Mutex<Option<Connection>>> = Arc::default();
        let (waits, counter, seen) = (gate.clone(), started.clone(), connection.clone());
        let service = Service::new("Limited")
            .function("length", |text: String| text.len())
            .function("blob", |size: usize| bytes::Bytes::from(vec![7; size]))
            .async_function("wait", move || {
                counter.fetch_add(1, Ordering::Relaxed);
                let gate = waits.clone();
                async move {
                    gate.acquire().await.expect("it stays open").forget();
                    Ok::<_, Exception>(0)
                }
            })
            .async_function("apply", |function: Netref, value: Value| async move {
                let applied = function.call::<Value>((value,)).await;
                applied.map_err(|error| match error {
                    rpyc::Error::Remote(error) => error.into_exception(),
                    other => Exception::runtime_error(other.to_string()),
                })
            })
            .on_connect(move |connection| {
                *seen.lock().expect("no panic") = Some(connection.clone());
                Ok(())
            });
        let endpoint = "tcp://127.0.0.1:0".parse().expect("an endpoint");
        let config = ServerConfig::default().limits(limits);
        let server = Server::bind_with(&[endpoint], adjust(service), config)
            .await
            .expect("a free port");
        let port = server.port().expect("TCP");
        Self {
            _server: server,
            port,
            gate,
            started,
            connection,
        }
    }

    fn connection(&self) -> Connection {
        let connection = self.connection.lock().expect("no panic");
        connection.clone().expect("somebody is connected")
    }

    fn stats(&self) -> Stats {
        self.connection().stats()
    }
}

/// The kind of the next answer, its number, and its text.
async fn next(raw: &mut Raw) -> (u8, Value, String) {
    let (kind, seq, body) = soon(raw.next()).await.expect("an answer");
    (kind, seq, body.to_string())
}

#[tokio::test]
async fn of_requests_that_wait() {
    let limited = Limited::start(Limits::default().queued_requests(3), |service| service).await;
    let mut raw = Raw::connect(limited.port).await;
    let root = raw.root().await;
    for seq in 1..=6 {
        raw.call(seq, &root, "wait", Value::tuple([])).await;
    }
    for seq in 5..=6 {
        let (kind, number, text) = next(&mut raw).await;
        assert_eq!((kind, number), (3, seq.into()));
        assert!(
            text.contains("RuntimeError") && text.contains("3 of 3"),
            "{text}"
        );
    }
    assert_eq!(limited.stats().refused, 2);
    limited.gate.add_permits(4);
    for seq in 1..=4 {
        assert_eq!(next(&mut raw).await, (2, seq.into(), "(1, 0)".into()));
    }
}

#[tokio::test]
async fn of_bytes_that_wait() {
    let limited = Limited::start(Limits::default().queued_bytes(10_000), |service| service).await;
    let mut raw = Raw::connect(limited.port).await;
    let root = raw.root().await;
    raw.call(1, &root, "wait", Value::tuple([])).await;
    for seq in 2..=4 {
        raw.call(seq, &root, "length", ("x".repeat(4_000),).into())
            .await;
    }
    let (kind, number, text) = next(&mut raw).await;
    assert_eq!((kind, number), (3, 4.into()));
    assert!(text.contains("of 10000 bytes"), "{text}");
    assert_eq!(limited.stats().refused, 1);
    limited.gate.add_permits(1);
    for _ in 1..=3 {
        assert_eq!(next(&mut raw).await.0, 2);
    }
}

#[tokio::test]
async fn of_requests_side_by_side() {
    let limits = Limits::default().concurrent_requests(2);
    let limited = Limited::start(limits, Service::concurrent).await;
    let mut raw = Raw::connect(limited.port).await;
    let root = raw.root().await;
    for seq in 1..=3 {
        raw.call(seq, &root, "wait", Value::tuple([])).await;
    }
    // Its answer shows that the three before it were looked at.
    raw.request(4, 1, ("x",).into()).await;
    until(|| limited.started.load(Ordering::Relaxed) == 2).await;
    limited.gate.add_permits(1);
    assert_eq!(next(&mut raw).await.0, 2);
    until(|| limited.started.load(Ordering::Relaxed) == 3).await;
    limited.gate.add_permits(2);
    for _ in 0..3 {
        assert_eq!(next(&mut raw).await.0, 2);
    }
}

#[tokio::test]
async fn of_nested_calls() {
    let limited = Limited::start(Limits::default().nested_calls(4), |service| service).await;
    let checks = r#"
deepest = 0
def descend(depth):
    global deepest
    deepest = max(deepest, depth)
    return conn.root.apply(descend, depth + 1)
try:
    conn.root.apply(descend, 1)
except RecursionError as error:
    assert "more than 4 calls are nested" in str(error), error
else:
    raise AssertionError
assert deepest == 4, deepest
assert conn.root.length("four") == 4
conn.close()
"#;
    python_client(limited.port, checks).await;
    assert!(limited.stats().refused > 0);
}

#[tokio::test]
async fn of_answers_that_are_not_read() {
    // More than the buffers of the two sockets take. It counts as much as the channel's credit, which is 1 MiB.
    const BLOB: i64 = 32 << 20;
    const LIMIT: usize = 256 << 10;
    let limited = Limited::start(Limits::default().unread_bytes(LIMIT), |service| service).await;
    let mut raw = Raw::connect(limited.port).await;
    let root = raw.root().await;
    raw.call(1, &root, "blob", (BLOB,).into()).await;
    let connection = limited.connection();
    until(|| connection.channel().stats().bytes_under_way > LIMIT as u64).await;
    // What is left unread is looked at when something comes.
    raw.request(2, 1, ("x",).into()).await;
    until(|| connection.end_reason().is_some()).await;
    let reason = connection.end_reason();
    assert!(
        matches!(reason, Some(StreamError::LimitExceeded { limit, .. }) if limit == LIMIT as u64),
        "{reason:?}"
    );
}
