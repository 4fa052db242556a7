//! A server that has no descriptor left: it lives, serves whom it has, costs next to nothing, and accepts again as soon as it can.
#![cfg(feature = "cli")]

#[path = "support/run.rs"]
mod run;
#[path = "support/served.rs"]
mod served;

use std::{
    fs,
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use rpyc::{Connection, connect};
use run::{PATIENCE, PROGRAM};
use served::{Served, processor_time};

const DESCRIPTORS: usize = 64;
const ROUNDS: usize = 7;
/// How long it has none.
const DROUGHT: Duration = Duration::from_secs(10);

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: {what}"),
    }
}

async fn adds(client: &Connection) {
    let sum = within("a call", client.call::<i64>("add", (1, 2))).await;
    assert_eq!(sum.expect("an answer"), 3);
}

/// Those of a server that the limit is about: what it was born with may have larger numbers.
fn descriptors(server: &Served) -> usize {
    let folder = format!("/proc/{}/fd", server.process());
    fs::read_dir(folder)
        .expect("a process")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|number: &usize| *number < DESCRIPTORS)
        .count()
}

async fn until_descriptors(server: &Served, count: usize) {
    within("the server's descriptors", async {
        while descriptors(server) != count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Takes all descriptors that the server has left, of which it needs so many; three more connections wait in its kernel.
async fn fill(server: &Served, needed: usize) -> Vec<TcpStream> {
    until_descriptors(server, needed).await;
    let dial = |_| TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    let crowd = (needed..DESCRIPTORS + 3).map(dial).collect();
    until_descriptors(server, DESCRIPTORS).await;
    crowd
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_lives_without_descriptors_and_accepts_again_when_there_are_some() {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {DESCRIPTORS} && exec \"$0\" serve --listen tcp://127.0.0.1:0");
    command.args(["-c", &script, PROGRAM]);
    let mut server = Served::spawn(command);
    let early = connect("127.0.0.1", server.port())
        .await
        .expect("it listens");
    adds(&early).await;
    let needed = descriptors(&server);

    let crowd = fill(&server, needed).await;
    let (began, before) = (Instant::now(), processor_time(server.process()));
    while began.elapsed() < DROUGHT {
        adds(&early).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let used = processor_time(server.process()) - before;
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    eprintln!(
        "without descriptors for {DROUGHT:?}: {:.2} % of a processor",
        share * 100.0
    );
    assert!(share < 0.05, "{share}");
    drop(crowd);

    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let crowd = fill(&server, needed).await;
        // The kernel takes it, and nobody serves it yet.
        let late = connect("127.0.0.1", server.port())
            .await
            .expect("it listens");
        let mut call = tokio::spawn(async move { adds(&late).await });
        let none = tokio::time::timeout(Duration::from_millis(150), &mut call).await;
        assert!(none.is_err(), "there was a descriptor");
        let began = Instant::now();
        drop(crowd);
        within("the call", call).await.expect("no panic");
        times.push(began.elapsed());
    }
    times.sort();
    eprintln!("from the first free descriptor to an answer: {times:?}");
    assert!(times[ROUNDS / 2] < Duration::from_millis(100), "{times:?}");
    adds(&early).await;
    assert!(server.is_alive());
}

/// Whatever is missing, from hardly enough for the loader to enough for all, it is said in a line.
#[test]
fn a_command_that_cannot_start_says_why() {
    let mut short = 0;
    for descriptors in 8..=48 {
        let script = format!("ulimit -n {descriptors} && exec \"$0\" call tcp://127.0.0.1:1 add");
        let output = Command::new("sh")
            .args(["-c", &script, PROGRAM])
            .output()
            .expect("a shell");
        let err = String::from_utf8_lossy(&output.stderr);
        // Nobody listens there.
        assert_eq!(output.status.code(), Some(69), "{descriptors}: {err}");
        assert_eq!(err.lines().count(), 1, "{descriptors}: {err}");
        if err.contains("Too many open files") {
            short += 1;
        } else {
            assert!(err.contains("refused"), "{descriptors}: {err}");
        }
    }
    assert!(short > 0, "none was short of descriptors");
}
