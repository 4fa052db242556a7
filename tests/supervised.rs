//! RPyC over supervised connections: real Python servers that are killed, frozen, busy and gone, and clients that are idle.
#![cfg(feature = "rpc")]

#[path = "../actors/tests/support/namespace.rs"]
mod namespace;
#[path = "support/python.rs"]
mod python;
#[path = "../actors/tests/support/waiting.rs"]
mod waiting;

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use python::{Peer, Script};
use rpyc::{
    BackoffConfig, Chain, ConnectionConfig, ConnectionEvent, Endpoint, Error, Netref, Server,
    Service, StreamError, SupervisedConnection, SupervisorConfig, TcpConfig, VoidService,
    codec::Liveness, error::LossReason,
};
use waiting::{event, within};

/// On a port that is given, so that it can come back there.
const SERVER: &str = r#"
import sys, time, rpyc
from rpyc.utils.server import ThreadedServer

class TestService(rpyc.Service):
    def exposed_add(self, a, b):
        return a + b
    def exposed_busy(self, seconds):
        time.sleep(seconds)
        return "done"
    def exposed_list(self):
        return [1, 2, 3]

server = ThreadedServer(TestService, hostname="127.0.0.1", port=int(sys.argv[1]))
print("READY", server.port, flush=True)
server.start()
"#;

const QUICK: Duration = Duration::from_millis(600);

fn start(port: u16) -> Peer {
    Peer::start(Script::Text(SERVER), &[&port.to_string()])
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

fn chain(port: u16) -> Chain {
    Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()))
}

fn seeded() -> SupervisorConfig {
    SupervisorConfig::default().backoff(BackoffConfig::default().seed(5))
}

fn supervised(port: u16) -> SupervisedConnection {
    SupervisedConnection::new(&chain(port), VoidService, seeded())
}

fn impatient(port: u16) -> SupervisedConnection {
    let ours = ConnectionConfig::default().liveness(Liveness::new(QUICK));
    SupervisedConnection::with_config(&chain(port), VoidService, seeded(), ours)
}

async fn adds(client: &SupervisedConnection) {
    let sum: i64 = within("a call", client.call("add", (1, 2)))
        .await
        .expect("an answer");
    assert_eq!(sum, 3);
}

#[tokio::test]
async fn a_python_server_that_is_killed_and_started_again_serves_the_same_handle() {
    let port = free_port();
    let mut server = start(port);
    let client = supervised(port);
    let mut events = client.events();
    adds(&client).await;
    let old = within("the connection", client.connection())
        .await
        .expect("it is up");
    let list: Netref = within("a call", old.call("list", ()))
        .await
        .expect("a list");

    // One that may run twice, and one that may not.
    let busy = |client: SupervisedConnection| {
        tokio::spawn(async move { client.call::<String>("busy", (1,)).await })
    };
    let (once, again) = (busy(client.clone()), busy(client.idempotent()));
    within("both calls", async {
        while old.stats().pending < 2 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    server.kill();
    server.wait();
    let error = within("the call", once)
        .await
        .expect("no panic")
        .expect_err("its server is gone");
    assert!(
        matches!(&error, Error::MayHaveRun(StreamError::ConnectionLost(lost)) if lost.generation == 1),
        "{error}"
    );
    // A reference of the lost connection fails at once, and says why.
    let began = Instant::now();
    let error = within("a reference", list.call_method::<i64>("__len__", ()))
        .await
        .expect_err("its connection is lost");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(
        matches!(&error, Error::NotSent(StreamError::ConnectionLost(lost)) if lost.generation == 1),
        "{error}"
    );
    assert!(error.to_string().contains("generation 1"), "{error}");
    // Whoever dials at once may still get into the queue of a server that is being killed; then there is one loss more.
    event("an attempt in vain", &mut events, |event| {
        matches!(
            event,
            ConnectionEvent::Retrying {
                failed: Some(_),
                ..
            }
        )
    })
    .await;
    // Calls that come now wait for the server.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call::<i64>("add", (20, 22)).await }
    });
    tokio::task::yield_now().await;
    let _server = start(port);
    let sum = within("the call that waited", waiting).await;
    assert_eq!(sum.expect("no panic").expect("an answer"), 42);
    let done = within("the call that may run twice", again).await;
    assert_eq!(done.expect("no panic").expect("an answer"), "done");
    event("the way back", &mut events, |event| {
        matches!(event, ConnectionEvent::Restored { .. })
    })
    .await;
    // A reference of before does not fit into a call of now.
    let error = within("a call", client.call::<i64>("add", (&list, 1)))
        .await
        .expect_err("it is of another connection");
    assert!(matches!(error, Error::Unsendable(_)), "{error}");
    within("closing", client.close()).await;
    event("the end", &mut events, |event| {
        matches!(event, ConnectionEvent::Closed { .. })
    })
    .await;
    let error = within("a call", client.call::<i64>("add", (1, 2)))
        .await
        .expect_err("closed");
    assert!(
        matches!(error, Error::NotSent(StreamError::Closed)),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_without_a_server_keeps_its_deadline_and_says_that_it_was_not_sent() {
    let client = supervised(free_port()).with_timeout(Duration::from_millis(300));
    let began = Instant::now();
    for client in [client.clone(), client.idempotent()] {
        let error = within("the call", client.call::<i64>("add", (1, 2)))
            .await
            .expect_err("nobody is there");
        assert!(
            matches!(error, Error::NotSent(StreamError::TimedOut { .. })),
            "{error}"
        );
    }
    assert!(began.elapsed() >= Duration::from_millis(600));
}

#[tokio::test]
async fn a_busy_python_server_is_left_alone() {
    let port = free_port();
    let _server = start(port);
    let client = impatient(port);
    // Four times the silence that an idle one could afford.
    let done: String = within("a long call", client.call("busy", (2.4,)))
        .await
        .expect("an answer");
    assert_eq!(done, "done");
    // Also when nobody waits for the answer any more.
    let hasty = client.clone().with_timeout(Duration::from_millis(50));
    let late = within("a short call", hasty.call::<String>("busy", (2.4,))).await;
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
    tokio::time::sleep(Duration::from_millis(2600)).await;
    adds(&client).await;
    assert_eq!(client.channel().stats().generation, 1);
    // And one that is idle answers.
    tokio::time::sleep(QUICK * 3).await;
    adds(&client).await;
    assert_eq!(client.channel().stats().generation, 1);
}

#[tokio::test]
async fn a_python_server_that_is_frozen_is_noticed() {
    let port = free_port();
    let server = start(port);
    let client = impatient(port);
    let mut events = client.events();
    adds(&client).await;
    signal(server.id(), "STOP");
    let began = Instant::now();
    let lost = event("the loss", &mut events, |event| {
        matches!(event, ConnectionEvent::Lost(_))
    })
    .await;
    let ConnectionEvent::Lost(lost) = lost else {
        unreachable!("it is one")
    };
    assert!(matches!(lost.reason, LossReason::Silent { .. }), "{lost}");
    let took = began.elapsed();
    assert!(took < QUICK * 4, "{took:?}");
    signal(server.id(), "CONT");
    adds(&client).await;
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status()
        .expect("kill can be run");
    assert!(status.success());
}

#[tokio::test]
async fn an_idle_python_client_is_left_alone() {
    const CLIENT: &str = r#"
import sys, time, rpyc
conn = rpyc.connect("127.0.0.1", int(sys.argv[1]))
assert conn.root.add(1, 2) == 3
# The answers to what it said last, such as that it needs a method no more.
while conn.poll(0.2):
    pass
end = time.monotonic() + 2.5
while time.monotonic() < end:
    time.sleep(0.1)
    assert not conn._channel.poll(0), "something came unasked"
assert conn.root.add(20, 22) == 42
print("DONE")
"#;
    let service = Service::new("Calc").function("add", |a: i64, b: i64| a + b);
    let server = Server::bind("tcp://127.0.0.1:0", service)
        .await
        .expect("a free port");
    let port = server.port().expect("TCP").to_string();
    let output =
        tokio::task::spawn_blocking(move || python::run_script(Script::Text(CLIENT), &[&port]));
    let output = within("the client", output).await.expect("no panic");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_panic_is_the_reason_that_a_server_of_ours_gives_itself() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = Service::new("Panics")
        .function("add", |a: i64, b: i64| a + b)
        .function("panic", || -> i64 { panic!("on purpose, in a function") })
        .blocking_function("panic_elsewhere", || -> i64 {
            panic!("on purpose, on another thread")
        })
        .on_disconnect(move |connection| {
            let _ = tell.send(connection.end_reason());
        });
    let server = Server::bind("tcp://127.0.0.1:0", service)
        .await
        .expect("a free port");
    let client = supervised(server.port().expect("TCP"));
    adds(&client).await;
    for (name, text) in [
        ("panic", "on purpose, in a function"),
        ("panic_elsewhere", "on purpose, on another thread"),
    ] {
        let error = within("the call", client.call::<i64>(name, ()))
            .await
            .expect_err("it panics");
        assert!(matches!(error, Error::MayHaveRun(_)), "{error}");
        let reason = within("the end", told.recv()).await.expect("a service");
        let Some(StreamError::ConnectionLost(lost)) = reason else {
            panic!("{reason:?}");
        };
        assert!(
            matches!(&lost.reason, LossReason::Panicked(what) if &**what == text),
            "{lost}"
        );
        // The server lives, and the supervisor is back at once.
        adds(&client).await;
    }
    assert!(client.channel().stats().generation >= 3);
}

/// A host that is gone without a word: the loopback of a network namespace goes down, with a call under way.
#[test]
fn a_host_that_vanished_is_noticed_through_tcp() {
    if namespace::inside("a_host_that_vanished_is_noticed_through_tcp", "") {
        tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(vanish());
    }
}

async fn vanish() {
    let port = free_port();
    let _server = start(port);
    let config = TcpConfig::default()
        .keepalive(1)
        .user_timeout(Duration::from_secs(2));
    let chain = Chain::new(Endpoint::tcp("127.0.0.1", port, config));
    let client = SupervisedConnection::new(&chain, VoidService, seeded());
    let mut events = client.events();
    adds(&client).await;
    let pending = tokio::spawn({
        let client = client.clone();
        async move { client.call::<String>("busy", (3600,)).await }
    });
    let connection = client.connection().await.expect("it is up");
    within("the call", async {
        while connection.stats().pending == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let down = Command::new("ip")
        .args(["link", "set", "lo", "down"])
        .status();
    assert!(down.expect("ip can be run").success());
    let began = Instant::now();
    let ConnectionEvent::Lost(lost) = event("the loss", &mut events, |event| {
        matches!(event, ConnectionEvent::Lost(_))
    })
    .await
    else {
        unreachable!("it is one")
    };
    let took = began.elapsed();
    assert!(matches!(lost.reason, LossReason::Io(_)), "{lost}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let error = within("the call", pending).await.expect("no panic");
    assert!(matches!(error, Err(Error::MayHaveRun(_))), "{error:?}");
    println!("noticed after {took:?}: {lost}");
}
