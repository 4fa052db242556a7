//! What each layer costs, and what else does its work. `docs/BENCHMARKS.md` tells how to read it.

mod codecs;
mod data;
#[path = "../support/mod.rs"]
mod support;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use rpyc_actors::{
    Frames, Key, Layers, Monitors,
    codec::{
        BatchConfig, BufferConfig, CompressConfig, EncryptConfig, PassThrough, encrypt::Backend,
    },
};

use codecs::{Batch, Method};
use support::{
    cell::Outcome,
    ends::{Place, Stack},
    framed::{self, Tuning},
    options::Options,
    ours::{self, Style},
    report,
    rounds::{Contender, Metric, Peer, Row},
};
use tls::Suite;

/// A size by its name.
type Size = (&'static str, usize);

const B64: Size = ("64", 64);
const K1: Size = ("1K", 1 << 10);
const K4: Size = ("4K", 4 << 10);
const K64: Size = ("64K", 64 << 10);

/// Bytes of a batch that is compressed: what a busy outbox hands over at once.
const BATCH: usize = 64 << 10;

fn main() {
    let options = Options::read();
    let rows = ciphers()
        .chain(compressors())
        .chain(costs())
        .filter(|row| options.wants(&row.name));
    report::run(rows.collect(), &options, "layers.json");
}

fn contender(name: &'static str, measure: impl Fn(Duration) -> Outcome + 'static) -> Contender {
    Contender {
        name,
        measure: Box::new(measure),
    }
}

fn peer(contender: Contender, metric: Metric, floor: Option<f64>) -> Peer {
    Peer {
        contender,
        steps: 1,
        metrics: vec![(metric, floor)],
    }
}

/// Frames one way over a stack of ours, from arbiter to arbiter.
fn flow(name: &'static str, stack: Stack, frame: Bytes) -> Contender {
    contender(name, move |time| {
        ours::one_way(time, &stack, Place::Arbiter, Style::Single, &frame)
    })
}

// ---- encryption beside TLS ----

fn encrypted(backend: Backend) -> Stack {
    let key = Key::generate().expect("there is randomness");
    let config = EncryptConfig::new(key).backend(backend);
    Layers::new().encrypt(config).into()
}

fn ciphers() -> impl Iterator<Item = Row> {
    let sizes = [B64, K1, K64].into_iter();
    sizes.flat_map(|(name, size)| {
        let row = |ours: &str, flow, peers: &[(Suite, Option<f64>)]| Row {
            name: format!("{ours}/{name}"),
            size,
            ours: flow,
            peers: peers
                .iter()
                .map(|&(suite, floor)| peer(suite_flow(suite, size), Metric::Rate, floor))
                .collect(),
        };
        let frame = || data::json(size);
        let floor = |floor| (size == K1.1).then_some(floor);
        let (chacha, aes) = (Suite::ChaCha20Poly1305, Suite::Aes256Gcm);
        [
            row(
                "encrypt",
                flow("EncryptedChannel, ring", encrypted(Backend::Ring), frame()),
                &[(chacha, floor(1.1)), (aes, None)],
            ),
            row(
                "portable",
                flow(
                    "EncryptedChannel, crate",
                    encrypted(Backend::Portable),
                    frame(),
                ),
                &[(chacha, floor(0.85))],
            ),
            row(
                "tls",
                flow("Channel over TLS, AES", tls::ours(), frame()),
                &[(aes, None)],
            ),
        ]
    })
}

/// A tuned `Framed` over tokio-rustls.
fn suite_flow(suite: Suite, size: usize) -> Contender {
    let name = match suite {
        Suite::ChaCha20Poly1305 => "Framed, rustls ChaCha20",
        Suite::Aes256Gcm => "Framed, rustls AES-256",
    };
    contender(name, move |time| {
        framed::one_way(time, suite, Tuning::Tuned, size)
    })
}

// ---- compression beside the libraries ----

fn compressors() -> impl Iterator<Item = Row> {
    let methods = [
        ("snappy", Method::Snappy, Some(0.8)),
        ("zlib-1", Method::Zlib(1), None),
        ("zlib-6", Method::Zlib(6), None),
        ("zlib-9", Method::Zlib(9), None),
    ];
    methods.into_iter().flat_map(|(name, method, floor)| {
        [K4, K64].into_iter().flat_map(move |(size_name, size)| {
            let batch = Batch {
                frame: data::json(size),
                count: BATCH / size,
            };
            let row = |way: &str, ours, raw| Row {
                name: format!("{name}/{way}-{size_name}"),
                size,
                ours,
                peers: vec![peer(raw, Metric::Rate, floor)],
            };
            let side = |name, measure: fn(Method, Duration, &Batch) -> Outcome| {
                let batch = batch.clone();
                // No thread and no socket: a part of the time is enough.
                contender(name, move |time| measure(method, time / 4, &batch))
            };
            [
                row(
                    "down",
                    side("Compress", Method::compress),
                    side("the library", Method::raw_compress),
                ),
                row(
                    "up",
                    side("Framing", Method::inflate),
                    side("the library", Method::raw_inflate),
                ),
            ]
        })
    })
}

// ---- what each layer costs ----

/// The layers, each by itself.
fn stacks() -> [(&'static str, Stack); 8] {
    let layers = Layers::new;
    let batch = layers().batch(BatchConfig::default());
    [
        (
            "pass",
            layers().frames(PassThrough::<Frames>::default).into(),
        ),
        ("monitor", layers().monitor_channel(&Monitors::new()).into()),
        ("buffer", layers().buffer(BufferConfig::default()).into()),
        (
            "batch",
            Stack {
                gathers: true,
                ..batch.into()
            },
        ),
        ("snappy", layers().compress(CompressConfig::snappy()).into()),
        ("zlib-1", layers().compress(CompressConfig::zlib(1)).into()),
        ("encrypt", encrypted(Backend::Ring)),
        ("tls", tls::ours()),
    ]
}

fn costs() -> impl Iterator<Item = Row> {
    stacks().into_iter().flat_map(|(layer, stack)| {
        [B64, K1, K64].into_iter().flat_map(move |(name, size)| {
            let frame = data::json(size);
            let flow = |what, stack: Stack| {
                let flow = flow(what, stack, frame.clone());
                contender(what, move |time| (flow.measure)(time / 2))
            };
            let ping = |what, stack: Stack| {
                let frame = frame.clone();
                contender(what, move |time| {
                    // Some hundreds of the slowest questions fit.
                    let time = (time / 3).max(Duration::from_millis(300));
                    ours::ping_pong(time, &stack, Place::Arbiter, &frame)
                })
            };
            let plain = || Layers::new().into();
            [
                Row {
                    name: format!("cost/{layer}/{name}"),
                    size,
                    ours: flow(layer, stack.clone()),
                    peers: vec![peer(flow("a plain channel", plain()), Metric::Rate, None)],
                },
                Row {
                    name: format!("ping/{layer}/{name}"),
                    size,
                    ours: ping(layer, stack.clone()),
                    peers: vec![peer(ping("a plain channel", plain()), Metric::P50, None)],
                },
            ]
        })
    })
}
