//! RPyC 5, whose envelope differs: rpyc 5.3.1 as server and as client, and beside one of 6.

use rpyc::{
    Chain, Connection, ConnectionConfig, Error, Function, Netref, StreamError, VoidService,
    protocol::Dialect,
};

use crate::{
    clients::client_finds_no_difference,
    python::{Peer, RPYC, RPYC_5, Script, Version, run_within},
    support::{PATIENCE, blocking, connect, serve, soon},
    values::{checks, exchange_with_python, sampler},
};

async fn server(version: Version) -> Peer {
    blocking(move || Peer::spawn(Script::File("server.py").command_of(version, &[]))).await
}

async fn connect_speaking(peer: &Peer, dialect: Dialect) -> Connection {
    let chain = Chain::to(&format!("tcp://127.0.0.1:{}", peer.port())).expect("an endpoint");
    let channel = soon(chain.connect()).await.expect("the server listens");
    let config = ConnectionConfig::default().dialect(dialect);
    Connection::with_config(channel, VoidService, config)
}

#[tokio::test]
async fn rust_calls_rpyc_5() {
    let peer = server(RPYC_5).await;
    let client = connect_speaking(&peer, Dialect::Rpyc5).await;
    exchange_with_python(&client).await;
    // References, callbacks, iterators, exceptions.
    let counter: Netref = soon(client.call("counter", (40,)))
        .await
        .expect("a reference");
    let sum: i64 = soon(counter.call_method("increment", (2,)))
        .await
        .expect("an answer");
    assert_eq!(sum, 42);
    drop(counter);
    let double = Function::new("double", |value: i64| value * 2);
    let many: Vec<i64> = soon(client.call("callback_many", (double, 50)))
        .await
        .expect("an answer");
    assert_eq!(many, (0..50).map(|value| value * 2).collect::<Vec<_>>());
    let squares: Netref = soon(client.call("generator", (10,)))
        .await
        .expect("a generator");
    let items: Vec<i64> = soon(squares.next_items(100)).await.expect("items");
    assert_eq!(items.iter().sum::<i64>(), 285);
    let error = soon(client.call::<()>("fail", ("on purpose",)))
        .await
        .expect_err("it raises");
    let remote = error.remote().expect("an exception");
    assert!(remote.is_builtin("ValueError"));
    assert!(
        remote
            .traceback()
            .is_some_and(|text| text.contains("exposed_fail"))
    );
    soon(client.ping()).await.expect("an answer");
    // A frame above the 64,000 bytes that Python writes at once.
    let blob: bytes::Bytes = soon(client.call("noise", (300_000,)))
        .await
        .expect("an answer");
    assert_eq!(blob.len(), 300_000);
    soon(client.close()).await;
}

#[tokio::test]
async fn a_client_of_rpyc_5_finds_no_difference() {
    client_finds_no_difference(RPYC_5).await;
}

/// One server, and clients of both.
#[tokio::test]
async fn a_rust_server_answers_each_client_as_it_speaks() {
    let (_server, port) = serve(sampler()).await;
    let program = format!(
        "import rpyc\nconn = rpyc.connect('127.0.0.1', {port})\n{}",
        checks()
    );
    let run = move |version| {
        let program = program.clone();
        blocking(move || run_within(PATIENCE, Script::Text(&program).command_of(version, &[])))
    };
    let (six, five) = tokio::join!(run(RPYC), run(RPYC_5));
    for output in [six, five] {
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test]
async fn the_wrong_dialect_is_said_in_words() {
    let (old, new) = (server(RPYC_5).await, server(RPYC).await);
    for (peer, spoken, advice) in [
        (&old, Dialect::Rpyc6, "connect with Dialect::Rpyc5"),
        // RPyC 6 takes the tag of a tuple for a kind, and closes in its own words.
        (&new, Dialect::Rpyc5, "connect with Dialect::Rpyc6"),
    ] {
        let client = connect_speaking(peer, spoken).await;
        let error = soon(client.call::<i64>("add", (1, 2)))
            .await
            .expect_err("it cannot work");
        assert!(
            matches!(&error, Error::MayHaveRun(StreamError::PeerMisbehaved { what, .. }) if what.contains(advice)),
            "{error:?}"
        );
    }
}

/// Nothing was configured, and nobody has spoken yet: the server's own request decides.
#[tokio::test]
async fn who_is_called_first_need_not_know() {
    let script = r#"
import rpyc
from rpyc.utils.server import OneShotServer
class Caller(rpyc.Service):
    def on_connect(self, conn):
        assert conn.root.get_service_name() == "VOID"
    def exposed_now(self):
        return 7
server = OneShotServer(Caller, port=0)
server._listen()
print("READY", server.port, flush=True)
server.start()
"#;
    let peer = blocking(move || Peer::spawn(Script::Text(script).command_of(RPYC_5, &[]))).await;
    let client = connect(peer.port()).await;
    // Before the peer has asked, a call would speak as RPyC 6 does.
    crate::support::until(|| client.stats().exported > 0).await;
    let seven: i64 = soon(client.call("now", ())).await.expect("an answer");
    assert_eq!(seven, 7);
    soon(client.close()).await;
}
