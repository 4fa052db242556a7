//! A peer of ours whose process is stopped is noticed in the time that is set, over each kind of stream; when it goes on, both ends know.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemons.rs"]
mod daemons;
#[path = "support/run.rs"]
mod run;
#[path = "support/served.rs"]
mod served;

use std::{
    fs,
    io::Read,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use certificates::{Ca, Folder};
use daemons::Daemon;
use rpyc::{
    Chain, Connection, Key, Layers, Server, ServerConfig, Service, StreamError, VoidService,
    codec::{EncryptConfig, Liveness, ResumeConfig},
    error::LossReason,
};
use run::{PATIENCE, PROGRAM, command, end_of, printed};
use served::{Served, signal, sockets, stop};
use tokio::sync::Semaphore;

const SILENCE: Duration = Duration::from_millis(600);
const LAYER: [&str; 2] = ["--layer", "liveness:600ms"];

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: {what}"),
    }
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn liveness() -> Layers {
    Layers::new().liveness(Liveness::new(SILENCE))
}

async fn connect(endpoint: &str, layers: &Layers) -> Connection {
    let chain = Chain::to(endpoint).expect("an endpoint");
    let channel = within("connecting", chain.layers(layers.clone()).connect()).await;
    Connection::new(channel.expect("it listens"), VoidService)
}

async fn adds(client: &Connection) {
    let sum = within("a call", client.call::<i64>("add", (1, 2))).await;
    assert_eq!(sum.expect("an answer"), 3);
}

/// Stops the process at the other end, and waits until that is noticed.
async fn freeze(client: &Connection, process: u32) {
    let began = Instant::now();
    stop(process);
    within("the loss", client.ended()).await;
    let took = began.elapsed();
    match client.end_reason() {
        Some(StreamError::ConnectionLost(lost)) => {
            let LossReason::Silent { after } = lost.reason else {
                panic!("{lost}");
            };
            assert_eq!(after, SILENCE);
        }
        other => panic!("{other:?}"),
    }
    // The last sign of life may be a third of the time old; the others are the machine's.
    assert!((SILENCE / 2..SILENCE * 3).contains(&took), "{took:?}");
    eprintln!("noticed after {took:?}");
}

/// A server that is frozen, is noticed, goes on, forgets the connection, and serves the next one.
async fn freezes(mut server: Served, endpoint: &str, layers: &Layers) {
    // The first connection may leave something behind that all others share.
    let first = connect(endpoint, layers).await;
    adds(&first).await;
    let process = server.process();
    let with_one = sockets(process);
    let client = connect(endpoint, layers).await;
    adds(&client).await;
    assert_eq!(sockets(process), with_one + 1);
    freeze(&client, process).await;
    // The other one was as silent.
    within("the loss", first.ended()).await;
    signal(process, "CONT");
    until("the server closes both", || {
        sockets(process) == with_one - 1
    })
    .await;
    assert!(server.is_alive());
    adds(&connect(endpoint, layers).await).await;
}

#[tokio::test]
async fn over_tcp() {
    let server = Served::start("tcp://127.0.0.1:0", &LAYER);
    let endpoint = server.endpoint.clone();
    freezes(server, &endpoint, &liveness()).await;
}

#[tokio::test]
async fn over_a_unix_socket() {
    let folder = Folder::new();
    let listen = format!("unix:{}", folder.path("socket").display());
    let server = Served::start(&listen, &LAYER);
    freezes(server, &listen, &liveness()).await;
}

#[tokio::test]
async fn over_tls() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let pair = ca.issue("server", &["localhost"]);
    let server = Served::start(&format!("tls://127.0.0.1:0?{}", pair.settings()), &LAYER);
    let endpoint = format!("tls://localhost:{}?{}", server.port(), ca.setting());
    freezes(server, &endpoint, &liveness()).await;
}

#[tokio::test]
async fn over_an_encrypted_channel() {
    let folder = Folder::new();
    let path = folder.path("key").display().to_string();
    printed(&["keygen", &path]);
    let server = Served::start(
        "tcp://127.0.0.1:0",
        &["--layer", &format!("encrypt:{path}")],
    );
    let endpoint = server.endpoint.clone();
    // The server is told how long its client bears silence.
    let key = Arc::new(Key::load(&path).expect("a key"));
    let config = EncryptConfig::new(key).liveness(Liveness::new(SILENCE));
    freezes(server, &endpoint, &Layers::new().encrypt(config)).await;
}

#[tokio::test]
async fn through_a_tunnel() {
    let folder = Folder::new();
    let Some(proxy) = Daemon::microsocks(&folder.path(""), None) else {
        return;
    };
    let server = Served::start("tcp://127.0.0.1:0", &LAYER);
    let endpoint = format!("{}?via=socks5://127.0.0.1:{}", server.endpoint, proxy.port);
    freezes(server, &endpoint, &liveness()).await;
}

/// A child is its parent's: one that is taken for dead is killed, and waited for.
#[tokio::test]
async fn over_the_pipes_of_a_child() {
    let folder = Folder::new();
    let file = folder.path("process");
    let endpoint = format!(
        "exec:sh -c 'echo $$ > {} && exec {PROGRAM} serve --listen stdio: --layer liveness:600ms'",
        file.display()
    );
    let client = connect(&endpoint, &liveness()).await;
    adds(&client).await;
    let text = fs::read_to_string(&file).expect("it has started");
    let process: u32 = text.trim().parse().expect("a number");
    freeze(&client, process).await;
    let entry = format!("/proc/{process}");
    until("the child is gone", || !Path::new(&entry).exists()).await;
    adds(&connect(&endpoint, &liveness()).await).await;
}

/// The connection is lost, and the session is not.
#[tokio::test]
async fn a_session_waits_for_a_process_that_goes_on() {
    let server = Served::start("tcp://127.0.0.1:0", &["--layer", "resume:insecure"]);
    let resume = ResumeConfig::default()
        .insecure_resume()
        .liveness(Liveness::new(SILENCE));
    let client = connect(&server.endpoint, &Layers::new().resume(resume)).await;
    adds(&client).await;
    let process = server.process();
    let before = sockets(process);
    stop(process);
    let waiting = tokio::spawn(async move {
        adds(&client).await;
        client
    });
    // The client dials again, and the kernel of the frozen server takes the connection: the old one is given up by then.
    tokio::time::sleep(SILENCE * 2).await;
    assert!(!waiting.is_finished());
    signal(process, "CONT");
    let client = within("the call", waiting).await.expect("no panic");
    adds(&client).await;
    until("one connection is left", || sockets(process) == before).await;
}

/// The other way round: what is frozen is the client, in the middle of a call, and its server notices.
async fn client_freezes(listen: &str) {
    let began = Arc::new(Semaphore::new(0));
    let starts = began.clone();
    let service = Service::new("Slow").async_function("wait", move || {
        starts.add_permits(1);
        std::future::pending::<i64>()
    });
    let config = ServerConfig::default().layers(liveness());
    let endpoint = listen.parse().expect("an endpoint");
    let server = Server::bind_with(&[endpoint], service, config).await;
    let server = server.expect("a free place");
    let endpoint = match server.port() {
        Some(port) => format!("tcp://127.0.0.1:{port}"),
        None => listen.to_owned(),
    };
    let arguments = [&["call", &endpoint, "wait", "--timeout", "5m"], &LAYER[..]].concat();
    let mut client = command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    within("the call", began.acquire())
        .await
        .expect("it stays open")
        .forget();
    // It is no silence that the server has nothing to say.
    tokio::time::sleep(SILENCE * 2).await;
    assert_eq!(server.connections(), 1);
    let since = Instant::now();
    stop(client.id());
    until("the server gives it up", || server.connections() == 0).await;
    let took = since.elapsed();
    assert!((SILENCE / 2..SILENCE * 3).contains(&took), "{took:?}");
    eprintln!("noticed after {took:?}");
    signal(client.id(), "CONT");
    assert_eq!(end_of(&mut client).code(), Some(69));
    let mut said = String::new();
    let mut err = client.stderr.take().expect("stderr is piped");
    err.read_to_string(&mut said).expect("text");
    assert!(said.contains("may have run"), "{said}");
}

#[tokio::test]
async fn a_client_over_tcp() {
    client_freezes("tcp://127.0.0.1:0").await;
}

#[tokio::test]
async fn a_client_over_a_unix_socket() {
    let folder = Folder::new();
    client_freezes(&format!("unix:{}", folder.path("socket").display())).await;
}
