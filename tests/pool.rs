//! Pools of RPyC connections to Python servers, which are stopped and killed.
//!
//! `kills_under_load_cost_no_call` is the short form of a longer run, see `docs/BENCHMARKS.md`.
#![cfg(feature = "rpc")]

#[path = "support/python.rs"]
mod python;

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use python::{Peer, Script};
use rpyc::{
    Chain, ConnectionPool, Connections, Error, Key, Layers, PoolConfig, PoolError, Server, Service,
    codec::EncryptConfig,
    pool::{Check, Retired, WaitedFor},
    server::ServerConfig,
};

/// Counts the connections it serves. The port comes as an argument, so that it can be started again where it was.
const SERVER: &str = r#"
import sys, threading, time
import rpyc
from rpyc.utils.server import ThreadedServer

lock = threading.Lock()
now = most = 0

class Service(rpyc.Service):
    def on_connect(self, conn):
        global now, most
        with lock:
            now += 1
            most = max(most, now)

    def on_disconnect(self, conn):
        global now
        with lock:
            now -= 1

    def exposed_most(self):
        return most

    def exposed_add(self, a, b):
        return a + b

    def exposed_slow_echo(self, value):
        time.sleep(0.2)
        return value

server = ThreadedServer(Service(), hostname="127.0.0.1", port=int(sys.argv[1]))
server._listen()
print("READY", server.port, flush=True)
server.start()
"#;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);

fn start(port: u16) -> Peer {
    Peer::start(Script::Text(SERVER), &[&port.to_string()])
}

fn pool_of(port: u16, config: PoolConfig) -> ConnectionPool {
    let chain = Chain::to(&format!("tcp://127.0.0.1:{port}")).expect("it is an endpoint");
    ConnectionPool::of(Connections::new(chain), config)
}

fn signal(peer: &Peer, name: &str) {
    let status = Command::new("kill")
        .args([name, &peer.id().to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "it is ours");
}

#[test]
fn ten_threads_share_three_connections_of_a_python_server() {
    let peer = start(0);
    // They grow old all the time, so that many are made and closed.
    let config = PoolConfig::default()
        .max_size(3)
        .max_lifetime(Duration::from_millis(80));
    let pool = pool_of(peer.port(), config);
    std::thread::scope(|threads| {
        for thread in 0..10_i64 {
            let pool = &pool;
            threads.spawn(move || {
                for number in 0..100_i64 {
                    let conn = pool.get_connection_blocking().expect("one comes in time");
                    let sum: i64 = conn
                        .call_blocking("add", (thread * 1000, number))
                        .expect("what is lent works");
                    assert_eq!(sum, thread * 1000 + number);
                    pool.return_connection(conn);
                }
            });
        }
    });
    let conn = pool.get_blocking().expect("all are back");
    let most: i64 = conn.call_blocking("most", ()).expect("it lives");
    assert!((1..=3).contains(&most), "the server saw {most} at once");
    drop(conn);
    let stats = pool.stats();
    assert_eq!((stats.acquired, stats.in_use), (1001, 0));
    assert!(stats.retired.of(Retired::Expired) > 0, "{stats:?}");
    assert_eq!(stats.retired.of(Retired::Broken), 0, "{stats:?}");
    let drained = pool.drain_blocking(PATIENCE).expect("this is no arbiter");
    assert!(drained.is_clean(), "{drained:?}");
}

#[test]
fn an_answer_that_comes_late_is_not_taken_for_the_next_one() {
    let peer = start(0);
    let pool = pool_of(peer.port(), PoolConfig::default().max_size(1));
    for number in 0..3_i64 {
        let conn = pool.get_blocking().expect("there is one");
        let hurried = (*conn).clone().with_timeout(Duration::from_millis(20));
        let error = hurried.call_blocking::<i64>("slow_echo", (number,));
        assert!(matches!(error, Err(Error::TimedOut(_))), "{error:?}");
        drop(conn);
        let conn = pool.get_blocking().expect("there is one");
        let sum: i64 = conn.call_blocking("add", (number, 1)).expect("an answer");
        assert_eq!(sum, number + 1);
    }
    assert_eq!(pool.stats().opened, 1, "it was good all the time");
}

#[test]
fn a_server_that_hangs_is_found_by_the_check() {
    let peer = start(0);
    let config = PoolConfig::default()
        .max_size(1)
        .check(Check::Always)
        .check_timeout(Duration::from_millis(300));
    let pool = pool_of(peer.port(), config);
    drop(pool.get_blocking().expect("it listens"));
    drop(pool.get_blocking().expect("it answers the ping"));
    assert_eq!(pool.stats().check_waits.count, 1);
    signal(&peer, "-STOP");
    let hung = pool.get_within_blocking(Duration::from_secs(1));
    let Err(PoolError::TimedOut {
        waited_for, last, ..
    }) = hung
    else {
        panic!("a server that hangs was lent");
    };
    assert_eq!(waited_for, WaitedFor::Dial);
    assert!(last.is_some(), "there is a reason");
    assert_eq!(pool.stats().retired.of(Retired::CheckFailed), 1);
    signal(&peer, "-CONT");
    let conn = pool.get_within_blocking(PATIENCE).expect("it goes on");
    let sum: i64 = conn.call_blocking("add", (1, 2)).expect("an answer");
    assert_eq!(sum, 3);
}

/// What all callers of the test with kills have in common.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicU64,
    again: AtomicU64,
    slowest: Mutex<Duration>,
    /// Since when the server is back, until the first answer; then how long that took.
    back: Mutex<Option<Instant>>,
    delays: Mutex<Vec<Duration>>,
}

impl Load {
    /// Calls without a pause, and makes again what breaks off.
    async fn call(self: Arc<Self>, pool: ConnectionPool, first: i64) {
        let mut number = first;
        while !self.stop.load(SeqCst) {
            let began = Instant::now();
            loop {
                let conn = pool.get().await.expect("the server comes back in time");
                let lent = Instant::now();
                match conn.call::<i64>("add", (number, 1)).await {
                    Ok(sum) => {
                        assert_eq!(sum, number + 1, "a wrong answer");
                        self.note_answer(lent);
                        break;
                    }
                    Err(Error::NotSent(_) | Error::MayHaveRun(_)) => {
                        self.again.fetch_add(1, SeqCst);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            let mut slowest = self.slowest.lock();
            *slowest = slowest.max(began.elapsed());
            drop(slowest);
            self.answered.fetch_add(1, SeqCst);
            number += 1;
        }
    }

    /// The first answer to a question that was asked of the new server ends the outage.
    fn note_answer(&self, asked: Instant) {
        let mut back = self.back.lock();
        if let Some(since) = *back
            && asked >= since
        {
            self.delays.lock().push(since.elapsed());
            *back = None;
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("it is a number"))
}

/// `RPYC_POOL_KILLS` times, down for up to `RPYC_POOL_DOWN_MS`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_cost_no_call() {
    let kills = setting("RPYC_POOL_KILLS", 5);
    let down = setting("RPYC_POOL_DOWN_MS", 500);
    let mut peer = start(0);
    let port = peer.port();
    let pool = pool_of(port, PoolConfig::default().max_size(8));
    let load = Arc::<Load>::default();
    let callers: Vec<_> = (0..10)
        .map(|caller| tokio::spawn(load.clone().call(pool.clone(), caller << 32)))
        .collect();
    for kill in 0..kills {
        let answered = load.answered.load(SeqCst) + 200;
        let until = Instant::now() + PATIENCE;
        while load.answered.load(SeqCst) < answered {
            assert!(Instant::now() < until, "calls hang after {kill} kills");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        peer.kill();
        // Spread evenly from none to the most.
        let pause = Duration::from_millis(down * kill / kills.max(2).saturating_sub(1));
        peer = tokio::task::spawn_blocking(move || {
            peer.wait();
            std::thread::sleep(pause);
            start(port)
        })
        .await
        .expect("it starts again");
        *load.back.lock() = Some(Instant::now());
        let until = Instant::now() + PATIENCE;
        while load.back.lock().is_some() {
            assert!(Instant::now() < until, "no answer after {kill} kills");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    load.stop.store(true, SeqCst);
    for caller in callers {
        let ended = tokio::time::timeout(PATIENCE, caller).await;
        ended.expect("no call hangs").expect("no answer is wrong");
    }
    let mut delays = load.delays.lock().clone();
    delays.sort();
    let at = |share: f64| {
        delays[((delays.len() as f64 * share).ceil() as usize).clamp(1, delays.len()) - 1]
    };
    let slowest = *load.slowest.lock();
    println!(
        "{kills} kills, down for up to {down} ms: first answer after the port listens p50 {:.1?}, p99 {:.1?}, max {:.1?}; {} calls answered, {} made again, slowest {slowest:.1?}; {}",
        at(0.5),
        at(0.99),
        at(1.0),
        load.answered.load(SeqCst),
        load.again.load(SeqCst),
        pool.stats(),
    );
    assert_eq!(delays.len() as u64, kills);
    assert!(at(0.99) <= Duration::from_millis(250), "{delays:?}");
    // The pause, Python's start, and some.
    assert!(slowest < Duration::from_millis(down) + Duration::from_secs(10));
}

#[cfg(feature = "encrypt")]
#[tokio::test]
async fn connections_over_encryption_are_pooled() {
    let layers = || {
        let config = EncryptConfig::new(Arc::new(Key::new([7; 32])));
        Layers::new().encrypt(config)
    };
    let service = Service::new("Adder").function("add", |left: i64, right: i64| left + right);
    let server = Server::bind_with(
        &["tcp://127.0.0.1:0".parse().expect("an endpoint")],
        service,
        ServerConfig::default().layers(layers()),
    )
    .await
    .expect("a free port");
    let endpoint = format!("tcp://127.0.0.1:{}", server.port().expect("TCP"));
    let chain = Chain::to(&endpoint).expect("an endpoint").layers(layers());
    let config = PoolConfig::default().max_size(3).check(Check::Always);
    let pool = ConnectionPool::of(Connections::new(chain), config);
    let tasks: Vec<_> = (0..8_i64)
        .map(|task| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for number in 0..20_i64 {
                    let conn = pool.get().await.expect("one comes in time");
                    let sum: i64 = conn.call("add", (task, number)).await.expect("an answer");
                    assert_eq!(sum, task + number);
                }
            })
        })
        .collect();
    for task in tasks {
        let asked = tokio::time::timeout(PATIENCE, task).await;
        asked.expect("an end").expect("right answers");
    }
    let stats = pool.stats();
    assert!(
        stats.opened <= 3 && stats.check_waits.count > 0,
        "{stats:?}"
    );
    assert!(pool.drain(PATIENCE).await.is_clean());
}
