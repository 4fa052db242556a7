//! Clients that connect and say nothing, or half of what they should: they hold up nobody, and are let go in time.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/run.rs"]
mod run;
#[path = "support/served.rs"]
mod served;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use certificates::{Ca, Folder};
use rpyc::{Chain, Connection, Layers, VoidService};
use run::{PATIENCE, printed};
use served::{Served, allow_descriptors};

/// As many as a server lets shake hands at once.
const CROWD: usize = 512;
/// Legal clients before the crowd comes, and beside it.
const CLIENTS: usize = 15;
/// What a server gives each for its handshake.
const DEADLINE: Duration = Duration::from_secs(5);

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// How long a legal client takes from nothing to its first answer: the median of several, one after the other.
async fn first_answer(endpoint: &str, layers: &Layers) -> Duration {
    let chain = Chain::to(endpoint)
        .expect("an endpoint")
        .layers(layers.clone());
    let mut times = Vec::new();
    for _ in 0..CLIENTS {
        let began = Instant::now();
        let channel = within("connecting", chain.connect())
            .await
            .expect("it listens");
        let client = Connection::new(channel, VoidService);
        let sum = within("a call", client.call::<i64>("add", (1, 2))).await;
        assert_eq!(sum.expect("an answer"), 3);
        times.push(began.elapsed());
        client.close().await;
    }
    times.sort();
    times[CLIENTS / 2]
}

/// Until the server ends it: how long that took since `began`.
fn ended(mut stream: TcpStream, began: Instant) -> Duration {
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    began.elapsed()
}

/// Every other one of the crowd says `half` of a first message, and the others nothing. `may_give_way` is how many may be pushed out by
/// others.
async fn crowd(
    name: &str,
    server: Served,
    endpoint: &str,
    layers: Layers,
    half: &[u8],
    may_give_way: usize,
) {
    if !allow_descriptors(2 * CROWD) {
        return;
    }
    first_answer(endpoint, &layers).await;
    let alone = first_answer(endpoint, &layers).await;
    let began = Instant::now();
    let crowd: Vec<TcpStream> = (0..CROWD)
        .map(|number| {
            let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
            if number % 2 == 0 {
                stream.write_all(half).expect("it reads");
            }
            stream
        })
        .collect();
    let all_there = began.elapsed();
    let beside = first_answer(endpoint, &layers).await;
    assert!(began.elapsed() < DEADLINE, "the crowd was gone before");
    let lasted = tokio::task::spawn_blocking(move || {
        let lasted = crowd.into_iter().map(|stream| ended(stream, began));
        lasted.collect::<Vec<_>>()
    });
    let mut lasted = within("the end of the crowd", lasted)
        .await
        .expect("no panic");
    lasted.sort();
    let (first, last) = (lasted[may_give_way], lasted[CROWD - 1]);
    eprintln!(
        "{name}: first answer after {alone:?} alone, {beside:?} beside {CROWD} that are half open; those ended after {first:?} to {last:?}"
    );
    assert!(first >= DEADLINE - Duration::from_millis(100), "{first:?}");
    assert!(
        last < DEADLINE + all_there + Duration::from_secs(2),
        "{last:?}"
    );
    // As fast, but for what a busy machine does.
    assert!(
        beside < alone * 3 + Duration::from_millis(30),
        "{alone:?}, {beside:?}"
    );
    first_answer(endpoint, &layers).await;
}

#[tokio::test]
async fn of_tls() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let pair = ca.issue("server", &["localhost"]);
    let server = Served::start(&format!("tls://127.0.0.1:0?{}", pair.settings()), &[]);
    let endpoint = format!("tls://localhost:{}?{}", server.port(), ca.setting());
    // A record of handshake, and the head of a ClientHello in it (RFC 8446, sections 4 and 5.1).
    let half = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half";
    // Each legal client pushes out one.
    crowd("TLS", server, &endpoint, Layers::new(), half, CLIENTS).await;
}

#[tokio::test]
async fn of_encryption() {
    let folder = Folder::new();
    let path = folder.path("key").display().to_string();
    printed(&["keygen", &path]);
    let layer = format!("encrypt:{path}");
    let server = Served::start("tcp://127.0.0.1:0", &["--layer", &layer]);
    let endpoint = server.endpoint.clone();
    let layers = Layers::parse([&*layer]).expect("a layer");
    // The length of a hello, and some of it.
    let half = b"\x00\x3ehalf";
    // Each legal client pushes out one.
    crowd("encrypted", server, &endpoint, layers, half, CLIENTS).await;
}

#[tokio::test]
async fn of_sessions() {
    let layer = "resume:insecure";
    let server = Served::start("tcp://127.0.0.1:0", &["--layer", layer]);
    let endpoint = server.endpoint.clone();
    let layers = Layers::parse([layer]).expect("a layer");
    // Some of a HELLO.
    let half = b"\x01\0\x0drpy";
    crowd("sessions", server, &endpoint, layers, half, CLIENTS).await;
}
