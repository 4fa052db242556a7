//! Bare channels over real sockets, counted by whoever listens.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use rpyc_actors::{
    Chain, Channel, Endpoint, Layers, Runtime, StreamPool, TcpConfig,
    pool::{PoolConfig, PoolError, Retired},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::support::{Random, frame, until, within};

/// A server that sends back all it gets.
#[derive(Default)]
struct Echo {
    accepted: AtomicU64,
    open: AtomicUsize,
    most_open: AtomicUsize,
    /// Resets one connection each time.
    kill: Notify,
    /// Sends a frame that nobody asked for behind each answer.
    says_too_much: AtomicBool,
}

impl Echo {
    async fn start() -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let echo = Arc::new(Self::default());
        let server = echo.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                server.accepted.fetch_add(1, SeqCst);
                let open = server.open.fetch_add(1, SeqCst) + 1;
                server.most_open.fetch_max(open, SeqCst);
                let server = server.clone();
                tokio::spawn(async move {
                    let mut socket = socket;
                    tokio::select! {
                        () = server.serve(&mut socket) => {}
                        () = server.kill.notified() => {}
                    }
                    // Before the client can learn of it.
                    server.open.fetch_sub(1, SeqCst);
                    drop(socket);
                });
            }
        });
        (echo, port)
    }

    async fn serve(&self, socket: &mut TcpStream) {
        let mut buffer = vec![0; 4096];
        loop {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                // A client that is gone is seen by the next read.
                Ok(count) => drop(socket.write_all(&buffer[..count]).await),
            }
            if self.says_too_much.load(SeqCst) {
                drop(socket.write_all(&frame(b"by the way")).await);
            }
        }
    }
}

fn chain(port: u16) -> Chain {
    Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()))
}

/// Asks, and checks the answer; false when the connection breaks.
pub(crate) async fn ask(channel: &Channel, question: u64) -> bool {
    let question = Bytes::from(question.to_string());
    if channel.send(question.clone()).await.is_err() {
        return false;
    }
    match channel.recv().await {
        Ok(Some(answer)) => {
            assert_eq!(answer, question, "it is the answer to another question");
            true
        }
        Ok(None) | Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_tasks_get_right_answers_over_three_connections_that_are_killed() {
    let (echo, port) = Echo::start().await;
    let config = PoolConfig::default()
        .max_size(3)
        .max_lifetime(Duration::from_millis(5));
    let pool = StreamPool::of(chain(port), config);
    let done = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn({
        let (echo, done) = (echo.clone(), done.clone());
        async move {
            let mut random = Random(3);
            while !done.load(SeqCst) {
                tokio::time::sleep(Duration::from_micros(random.next() % 4000)).await;
                echo.kill.notify_one();
            }
        }
    });
    let askers: Vec<_> = (0..10)
        .map(|asker| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut broken = 0;
                for number in 0..300 {
                    loop {
                        let channel = pool.get().await.expect("the server listens");
                        if ask(&channel, asker * 1000 + number).await {
                            break;
                        }
                        broken += 1;
                    }
                }
                broken
            })
        })
        .collect();
    let mut broken = 0;
    for asker in askers {
        broken += within("asking", asker)
            .await
            .expect("all answers are right");
    }
    done.store(true, SeqCst);
    within("killing", killer).await.expect("it does not panic");
    let most = echo.most_open.load(SeqCst);
    assert!(most <= 3, "the server saw {most} connections at once");
    let stats = pool.stats();
    assert!(stats.retired.of(Retired::Expired) > 0, "{stats:?}");
    assert!(stats.retired.of(Retired::Broken) > 0, "{stats:?}");
    println!("{broken} questions broke off; {stats}");
    let drained = within("draining", pool.drain(Duration::from_secs(10))).await;
    assert!(drained.is_clean(), "{drained:?}");
    until("the server sees it", || echo.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_channel_with_a_frame_that_nobody_took_is_not_lent_again() {
    let (echo, port) = Echo::start().await;
    let pool = StreamPool::of(chain(port), PoolConfig::default().max_size(1));
    echo.says_too_much.store(true, SeqCst);
    let channel = within("dialling", pool.get()).await.expect("it listens");
    channel.send("question").await.expect("it is open");
    assert_eq!(
        channel.recv().await.expect("an answer").expect("an answer"),
        "question"
    );
    assert!(
        channel.poll(Duration::from_secs(10)).await,
        "one more comes"
    );
    pool.return_connection(channel);
    let stats = pool.stats();
    assert_eq!((stats.idle, stats.retired.of(Retired::Broken)), (0, 1));
    echo.says_too_much.store(false, SeqCst);
    let channel = within("dialling", pool.get_connection()).await;
    assert!(ask(&channel.expect("another one is made"), 1).await);
    assert_eq!(echo.accepted.load(SeqCst), 2);
}

#[tokio::test]
async fn a_channel_that_ended_while_it_was_idle_is_not_lent() {
    let (echo, port) = Echo::start().await;
    let pool = StreamPool::of(chain(port), PoolConfig::default().max_size(1));
    for round in 1..=20 {
        let channel = within("dialling", pool.get()).await.expect("it listens");
        assert!(ask(&channel, round).await, "what is lent works");
        let idle = channel.clone();
        drop(channel);
        echo.kill.notify_one();
        within("the end", idle.recv()).await.expect_or_end();
        drop(idle);
        assert_eq!(echo.accepted.load(SeqCst), round);
    }
}

/// An end or a loss: both are what was waited for.
trait ExpectOrEnd {
    fn expect_or_end(self);
}

impl<E> ExpectOrEnd for Result<Option<Bytes>, E> {
    fn expect_or_end(self) {
        assert!(!matches!(self, Ok(Some(_))), "nothing was sent");
    }
}

#[tokio::test]
async fn connections_are_spread_over_the_arbiters_that_were_given() {
    let (_echo, port) = Echo::start().await;
    let runtime = Runtime::start(3).expect("threads can be started");
    let config = PoolConfig::default().max_size(6).runtime(runtime);
    let pool = StreamPool::of(chain(port), config);
    let mut leases = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..6 {
        let lease = within("dialling", pool.get()).await.expect("it listens");
        let (sender, thread) = tokio::sync::oneshot::channel();
        lease.arbiter().spawn_fn(move || {
            let _ = sender.send(std::thread::current().id());
        });
        threads.push(within("asking", thread).await.expect("it runs"));
        leases.push(lease);
    }
    assert_eq!(
        threads.iter().collect::<HashSet<_>>().len(),
        3,
        "{threads:?}"
    );
}

#[tokio::test]
async fn any_chain_can_be_pooled() {
    let (_echo, port) = Echo::start().await;
    let layers = Layers::parse(["zlib:6"]).expect("it is a layer");
    let pool = StreamPool::of(chain(port).layers(layers), PoolConfig::default());
    let channel = within("dialling", pool.get()).await.expect("it listens");
    let large = Bytes::from(vec![7; 50_000]);
    channel.send(large.clone()).await.expect("it is open");
    let answer = within("the answer", channel.recv()).await;
    assert_eq!(answer.expect("an answer").expect("an answer"), large);
}

#[tokio::test]
async fn the_seeds_pool_opens_all_of_its_connections_at_once() {
    let (echo, port) = Echo::start().await;
    let pool: StreamPool = StreamPool::new("127.0.0.1", port, 20);
    within("warming up", pool.warm_up())
        .await
        .expect("it listens");
    assert_eq!(pool.stats().idle, 20);
    // The kernel connects before the other end has accepted.
    until("they are accepted", || echo.accepted.load(SeqCst) == 20).await;
    drop(pool);
    until("they close", || echo.open.load(SeqCst) == 0).await;
}

#[tokio::test]
async fn a_refused_connection_is_the_reason() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let pool = StreamPool::of(chain(port), PoolConfig::default());
    let error = pool.get_within(Duration::from_millis(100)).await;
    let Err(PoolError::TimedOut {
        last: Some(last), ..
    }) = error
    else {
        panic!("nobody listens: {error:?}");
    };
    let text = last.to_string();
    assert!(
        text.starts_with(&format!("cannot connect to tcp://127.0.0.1:{port}")),
        "{text}"
    );
}
