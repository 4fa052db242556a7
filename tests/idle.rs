//! What a connection that does nothing costs the process that serves it: thousands of them, from another process.
#![cfg(feature = "cli")]

#[path = "support/run.rs"]
mod run;
#[path = "support/served.rs"]
mod served;

use std::{process::Command, sync::Mutex, time::Duration};

use rpyc::{Chain, Channel, Connection, Endpoint, Listener, ListenerConfig, VoidService};
use run::PATIENCE;
use served::{Served, allow_descriptors, resident};

/// Connections before memory is measured first: what all share is there then.
const WARM: usize = 50;
/// Set in the process that holds bare channels.
const INNER: &str = "RPYC_TEST_HOLDS_CHANNELS";
/// Longest time for all connections together.
const IN_ALL: Duration = Duration::from_secs(120);

/// `RPYC_IDLE=10000 cargo test --release --features cli --test idle -- --nocapture` is the long form; a listener takes no more than
/// 10,000 by default.
fn count() -> usize {
    std::env::var("RPYC_IDLE").map_or(1000, |text| text.parse().expect("a number"))
}

/// Resident memory of a process that has nothing to do any more.
async fn settled(process: u32) -> u64 {
    let mut before = 0;
    loop {
        let now = resident(process);
        if now == before {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Asks until all of `connections` were answered once.
async fn all_answer<C>(connections: &[C], ask: impl AsyncFn(&C)) {
    for connection in connections {
        tokio::time::timeout(PATIENCE, ask(connection))
            .await
            .expect("an answer");
    }
}

/// Two measurements at once would share the machine's patience, and the limit.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes for each connection beyond the first few.
fn measure<C>(
    name: &str,
    server: Served,
    connect: impl AsyncFn(&str) -> C,
    ask: impl AsyncFn(&C),
) -> u64 {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = count();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let all = async {
            let mut connections = Vec::with_capacity(count);
            let mut before = 0;
            while connections.len() < count {
                if connections.len() == WARM {
                    all_answer(&connections, &ask).await;
                    before = settled(server.process()).await;
                }
                connections.push(connect(&server.endpoint).await);
            }
            all_answer(&connections, &ask).await;
            let held = settled(server.process()).await - before;
            // All of them live.
            all_answer(&connections, &ask).await;
            let each = held / (count - WARM) as u64;
            eprintln!(
                "{count} idle {name}: {each} bytes each, {} KiB in all",
                held >> 10
            );
            each
        };
        tokio::time::timeout(IN_ALL, all).await.expect("in time")
    })
}

/// What an idle connection may hold, of either kind.
const PROMISED: u64 = 8 << 10;
/// The same for a build that is not optimised: its futures are larger.
const UNOPTIMISED: u64 = 10 << 10;

fn assert_little(each: u64) {
    let bound = if cfg!(debug_assertions) {
        UNOPTIMISED
    } else {
        PROMISED
    };
    assert!(each <= bound, "{each} bytes, and not {bound}");
}

#[test]
fn idle_connections_of_rpyc_hold_little() {
    if !allow_descriptors(count()) {
        return;
    }
    let server = Served::start("tcp://127.0.0.1:0", &[]);
    let connect = async |endpoint: &str| {
        let chain = Chain::to(endpoint).expect("an endpoint");
        Connection::new(chain.connect().await.expect("it listens"), VoidService)
    };
    let ask = async |client: &Connection| {
        assert_eq!(
            client.call::<i64>("add", (1, 2)).await.expect("an answer"),
            3
        );
    };
    let each = measure("RPyC connections", server, connect, ask);
    assert_little(each);
}

#[test]
fn idle_channels_hold_little() {
    if std::env::var_os(INNER).is_some() {
        return hold_channels();
    }
    if !allow_descriptors(count()) {
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "--nocapture", "idle_channels_hold_little"]);
    let server = Served::spawn({
        command.env(INNER, "1");
        command
    });
    let connect = async |endpoint: &str| {
        let chain = Chain::to(endpoint).expect("an endpoint");
        chain.connect().await.expect("it listens")
    };
    let ask = async |client: &Channel| {
        client.send("question").await.expect("open");
        assert_eq!(
            client.recv().await.expect("open").as_deref(),
            Some(&b"question"[..])
        );
    };
    let each = measure("channels", server, connect, ask);
    assert_little(each);
}

/// Sends back what comes, until it is killed.
fn hold_channels() {
    let accept = |stream| {
        let channel = Channel::new(stream);
        let arbiter = channel.arbiter().clone();
        assert!(arbiter.spawn(async move {
            while let Ok(Some(frame)) = channel.recv().await {
                // Whoever asked may be gone.
                let _ = channel.send(frame).await;
            }
        }));
    };
    let endpoint: Endpoint = "tcp://127.0.0.1:0".parse().expect("an endpoint");
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept);
        let listener = listener.await.expect("a free port");
        let port = listener.port().expect("TCP");
        println!("\nlistening on tcp://127.0.0.1:{port}");
        std::future::pending::<()>().await;
    });
}
