//! What the modules share: peers, services and patience.

use std::{
    future::Future,
    panic::Location,
    path::PathBuf,
    process::Output,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rpyc::{Connection, Server, Service};

use crate::python::{Peer, Script, run_script_within};

/// Longer than anything here takes. What takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Waits for a future that must not hang.
#[track_caller]
pub(crate) fn soon<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let place = Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: still waiting after {PATIENCE:?}"),
        }
    }
}

/// Waits until something is true that no event tells of.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

/// Python's server.py on a free port.
pub(crate) fn python_server() -> Peer {
    Peer::start(Script::File("server.py"), &[])
}

pub(crate) async fn connect(port: u16) -> Connection {
    soon(rpyc::connect("127.0.0.1", port))
        .await
        .expect("the server listens")
}

/// A Rust server on a free port of the loopback interface.
pub(crate) async fn serve(service: Service) -> (Server, u16) {
    let server = Server::bind("tcp://127.0.0.1:0", service)
        .await
        .expect("there is a free port");
    let port = server.port().expect("it listens on TCP");
    (server, port)
}

/// A path for a unix socket, which has room for about 100 bytes only.
pub(crate) fn socket_path() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("rpyc-interop-{}-{number}.sock", std::process::id()))
}

/// Runs a Python client to its end beside the runtime. It has `rpyc`, `sys`, `time` and `conn`, a connection to this port.
#[track_caller]
pub(crate) fn python_client(port: u16, text: &str) -> impl Future<Output = Output> + use<> {
    let connect = format!("conn = rpyc.connect('127.0.0.1', {port})");
    python_program(&connect, text)
}

/// [`python_client`] with another way to connect.
#[track_caller]
pub(crate) fn python_program(connect: &str, text: &str) -> impl Future<Output = Output> + use<> {
    let place = Location::caller();
    let program = format!("import rpyc, sys, time\n{connect}\n{text}\n");
    async move {
        let run = move || run_script_within(PATIENCE, Script::Text(&program), &[]);
        let output = tokio::task::spawn_blocking(run)
            .await
            .expect("the script ends in time");
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{place}: {}\n{out}{err}",
            output.status
        );
        output
    }
}

/// Runs something that blocks beside the runtime.
pub(crate) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    soon(tokio::task::spawn_blocking(work))
        .await
        .expect("it does not panic")
}

/// The connection under test lives: a call on it is answered.
pub(crate) async fn assert_alive(connection: &Connection) {
    let sum: i64 = soon(connection.call("add", (20, 22)))
        .await
        .expect("an answer");
    assert_eq!(sum, 42);
}

/// The server still takes new connections, and serves them.
pub(crate) async fn assert_serves(port: u16) {
    let other = connect(port).await;
    assert_alive(&other).await;
    soon(other.close()).await;
}

/// How long something took.
pub(crate) async fn timed<F: Future>(work: F) -> (F::Output, Duration) {
    let start = Instant::now();
    let output = work.await;
    (output, start.elapsed())
}
