//! A peer that takes next to nothing of what it is sent costs those beside it next to nothing.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rpyc_actors::{Chain, Channel, Endpoint, Listener, ListenerConfig, Runtime, TcpConfig};
use support::within;
use tokio::{sync::mpsc, task::JoinSet};

const OTHERS: usize = 99;
const FRAME: usize = 1024;
/// How long one half of a round takes.
const HALF: Duration = Duration::from_millis(150);
/// The slow one takes a frame, and then nothing for so long.
const NAP: Duration = Duration::from_millis(10);

/// `SLOW_READER_ROUNDS=200 cargo test --release -p rpyc-actors --test slow_reader -- --nocapture` is the long form.
fn rounds() -> usize {
    std::env::var("SLOW_READER_ROUNDS").map_or(9, |text| text.parse().expect("a number"))
}

/// Sends back what comes, on the channel's own arbiter.
fn echo(channel: Channel) {
    let arbiter = channel.arbiter().clone();
    assert!(arbiter.spawn(async move {
        while let Ok(Some(frame)) = channel.recv().await {
            if channel.send(frame).await.is_err() {
                return;
            }
        }
    }));
}

/// Questions that are answered on all channels together, each with one under way.
async fn answers(channels: &[Channel]) -> u64 {
    let end = Instant::now() + HALF;
    let mut tasks = JoinSet::new();
    for channel in channels {
        let channel = channel.clone();
        tasks.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                channel.send(vec![1; FRAME]).await.expect("open");
                channel.recv().await.expect("open").expect("an answer");
                count += 1;
            }
            count
        });
    }
    within("the answers", tasks.join_all()).await.iter().sum()
}

/// The server's end and the client's, of which the client takes little.
struct Slow {
    server: Channel,
    client: Channel,
}

impl Slow {
    /// Sends as much as there is room for while the others work. Gives their answers, and the frames that the slow one took meanwhile.
    async fn beside(&self, others: &[Channel]) -> (u64, u64) {
        let stop = Arc::new(AtomicBool::new(false));
        let (server, stopped) = (self.server.clone(), stop.clone());
        let sender = tokio::spawn(async move {
            let mut sent = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                server.send(vec![2; FRAME]).await.expect("open");
                sent += 1;
            }
            sent
        });
        let (client, stopped) = (self.client.clone(), stop.clone());
        let reader = tokio::spawn(async move {
            let mut taken = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                client.recv().await.expect("open").expect("a frame");
                taken += 1;
                tokio::time::sleep(NAP).await;
            }
            taken
        });
        // Until its kernel and every credit are full.
        let server = &self.server;
        within("the slow one is full", async {
            let mut before = 0;
            loop {
                tokio::time::sleep(NAP * 3).await;
                let sent = server.stats().bytes_sent;
                if sent > 0 && sent - before < 64 << 10 {
                    return;
                }
                before = sent;
            }
        })
        .await;
        let count = answers(others).await;
        stop.store(true, Ordering::Relaxed);
        let taken = within("the reader", reader).await.expect("no panic");
        // The sender may wait for room, which there is as soon as the rest is taken.
        let client = self.client.clone();
        let (all, rest) = (sender, async move {
            let mut rest = 0_u64;
            while let Ok(frame) = tokio::time::timeout(NAP * 10, client.recv()).await {
                frame.expect("open").expect("a frame");
                rest += 1;
            }
            rest
        });
        let (all, rest) = within("the rest", async { tokio::join!(all, rest) }).await;
        assert_eq!(all.expect("no panic"), taken + rest, "nothing is lost");
        assert!(rest > taken, "it was not slow: {taken} and {rest}");
        (count, taken)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_reader_among_a_hundred_costs_the_others_little() {
    let runtime = Runtime::start(2).expect("threads");
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let accept = move |stream| {
        // The test takes all of them.
        let _ = sender.send(Channel::new(stream));
    };
    let loopback = |port| Endpoint::tcp("127.0.0.1", port, TcpConfig::default());
    let config = ListenerConfig::default().runtime(runtime);
    let listener = within("binding", Listener::bind(&loopback(0), config, accept)).await;
    let listener = listener.expect("a free port");
    let chain = Chain::new(loopback(listener.port().expect("TCP")));
    let mut others = Vec::new();
    let mut slow = None;
    for number in 0..=OTHERS {
        let client = within("connecting", chain.connect()).await.expect("a port");
        let server = within("accepting", accepted.recv()).await.expect("alive");
        if number == 0 {
            slow = Some(Slow { server, client });
        } else {
            echo(server);
            others.push(client);
        }
    }
    let slow = slow.expect("the first one");

    // Everything is warm, and the slow one is known to be full once.
    slow.beside(&others).await;
    let mut costs = Vec::new();
    let mut total = 0;
    for round in 0..rounds() {
        let (with, without) = if round % 2 == 0 {
            let without = answers(&others).await;
            (slow.beside(&others).await.0, without)
        } else {
            let with = slow.beside(&others).await.0;
            (with, answers(&others).await)
        };
        total += with + without;
        costs.push(1.0 - with as f64 / without as f64);
    }
    costs.sort_by(f64::total_cmp);
    let at = |share: f64| costs[((costs.len() - 1) as f64 * share) as usize] * 100.0;
    eprintln!(
        "a slow reader costs {OTHERS} others {:.1} % (median of {} rounds, quartiles {:.1} and {:.1}; {total} answers)",
        at(0.5),
        costs.len(),
        at(0.25),
        at(0.75),
    );
    // The promise is a twentieth; a machine with other work beside is noisier than that.
    assert!(at(0.5) < 25.0, "{costs:?}");
}
