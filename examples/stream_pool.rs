//! The seed's multi-threaded stream pool: 20 connections, 10 threads of 100 calls each to a Python server, which is killed and started again in the middle.
//!
//!     cargo run --example stream_pool
//!
//! A call that breaks off is made again by the thread that made it: the pool hands out no broken connection, and waits until the server is
//! back. The example starts its own Python server, checks each answer, and ends by itself.

#[path = "../tests/support/python.rs"]
mod python;

use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use python::{Peer, Script};
use rpyc::{ConnectionPool, Error};

const SERVER: &str = r#"
import sys, time
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_work_function(self, thread_id, i):
        time.sleep(0.002)
        return f"{thread_id} did {i}"

server = ThreadedServer(Service(), hostname="127.0.0.1", port=int(sys.argv[1]))
server._listen()
print("READY", server.port, flush=True)
server.start()
"#;

const THREADS: u32 = 10;
const TASKS: u32 = 100;

/// How often a call was made again, and how long the slowest one took with all of its attempts.
#[derive(Default)]
struct Report {
    not_sent: u32,
    may_have_run: u32,
    slowest: Duration,
}

/// A worker of the seed, which takes a connection for each task.
fn worker_thread(
    pool: &ConnectionPool,
    thread_id: u32,
    done: &mpsc::Sender<()>,
) -> Result<Report, Error> {
    let mut report = Report::default();
    for i in 0..TASKS {
        let began = Instant::now();
        loop {
            let conn = pool.get_connection_blocking()?;
            match conn.call_blocking::<String>("work_function", (thread_id, i)) {
                Ok(result) => {
                    assert_eq!(result, format!("{thread_id} did {i}"), "a wrong answer");
                    pool.return_connection(conn);
                    break;
                }
                // It never left, so to make it again is always right.
                Err(error) if error.was_not_sent() => report.not_sent += 1,
                // To make it again is right because this function may run twice.
                Err(Error::MayHaveRun(_)) => report.may_have_run += 1,
                Err(error) => return Err(error),
            }
        }
        report.slowest = report.slowest.max(began.elapsed());
        // The main thread listens until the server is back.
        let _ = done.send(());
    }
    Ok(report)
}

fn main() -> Result<(), Error> {
    let mut server = Peer::start(Script::Text(SERVER), &["0"]);
    let port = server.port();
    println!("python server on port {port}");

    // Use stream pool for efficient connection reuse.
    let pool = ConnectionPool::new("127.0.0.1", port, 20);
    pool.warm_up_blocking()?;
    println!("pool    {}", pool.stats());

    let (done, is_done) = mpsc::channel();
    let reports: Vec<Report> = std::thread::scope(|threads| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread_id| {
                let (pool, done) = (&pool, done.clone());
                threads.spawn(move || worker_thread(pool, thread_id, &done))
            })
            .collect();
        for _ in 0..THREADS * TASKS / 3 {
            is_done.recv().expect("the workers work");
        }
        server.kill();
        server.wait();
        println!("server  killed in the middle");
        server = Peer::start(Script::Text(SERVER), &[&port.to_string()]);
        println!("server  started again");
        // Wait for completion.
        workers
            .into_iter()
            .map(|worker| worker.join().expect("every answer is right"))
            .collect::<Result<_, _>>()
    })?;

    let sum = |of: fn(&Report) -> u32| reports.iter().map(of).sum::<u32>();
    let (not_sent, may_have_run) = (
        sum(|report| report.not_sent),
        sum(|report| report.may_have_run),
    );
    let slowest = reports.iter().map(|report| report.slowest).max();
    println!(
        "calls   {} answered, none wrong; made again: {not_sent} not sent, {may_have_run} that may have run; slowest {:.0?}",
        THREADS * TASKS,
        slowest.unwrap_or_default()
    );
    println!("pool    {}", pool.stats());
    assert!(
        not_sent + may_have_run > 0,
        "the server went in the middle of calls"
    );

    let drained = pool.drain_blocking(Duration::from_secs(10))?;
    println!(
        "pool    drained, {} connections left",
        drained.in_use + drained.closing
    );
    assert!(drained.is_clean(), "{drained:?}");
    Ok(())
}
