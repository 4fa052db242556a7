//! The data path against what a Rust developer would use instead. `docs/BENCHMARKS.md` tells how to read it.

mod support;

use bytes::Bytes;
use rpyc_actors::{
    Frames, Layers, Monitors,
    codec::{PassThrough, ResumeConfig},
};

use support::{
    ends::Place,
    framed::{self, Flushing, Plain, Tuning},
    options::Options,
    ours::{self, Style},
    processors::Processors,
    raw, report,
    rounds::{Contender, Metric, Peer, Row},
    zmq::Zmq,
};

/// A size by its name.
type Size = (&'static str, usize);

const B64: Size = ("64", 64);
const K1: Size = ("1K", 1 << 10);
const K64: Size = ("64K", 64 << 10);
const M1: Size = ("1M", 1 << 20);

/// Frames of a prebuilt batch: 35 kB at 64 bytes.
const BATCH: Style = Style::Batches(500);
const BUILT: Style = Style::Built(500);
/// Questions under way at once.
const WINDOW: u64 = 64;
/// Layers in the rows that ask what one layer costs.
const EXTRA: u32 = 4;

fn main() {
    let options = Options::read();
    let rows = rows().into_iter().filter(|row| options.wants(&row.name));
    let rows: Vec<Row> = rows.chain(zmq_rows(&options)).collect();
    report::run(rows, &options, "data_path.json");
}

fn rows() -> Vec<Row> {
    let rows = [
        single(B64, 1.2),
        single(K1, 1.3),
        single(K64, 1.5),
        single(M1, 1.3),
        limit(B64),
        limit(K1),
        tuned("slices", B64, Place::Arbiter, Style::Slices, Some(1.5)),
        tuned("slices", K1, Place::Arbiter, Style::Slices, None),
        tuned("batches", B64, Place::Arbiter, BATCH, Some(2.0)),
        tuned("built", B64, Place::Arbiter, BUILT, Some(2.0)),
        tuned("threads", K64, Place::OtherThread, Style::Single, Some(1.2)),
        tuned("threads", M1, Place::OtherThread, Style::Single, Some(1.2)),
        ping_pong("arbiter", Place::Arbiter, 1.2, Some(1.3)),
        ping_pong("thread", Place::OtherThread, 1.6, None),
        limit_of_threads("limit/thread", None),
        limit_of_threads("limit/thread-beside", Some(Processors::BESIDE)),
        limit_of_threads("limit/thread-asker", Some(Processors::ASKER_APART)),
        limit_of_threads("limit/thread-channel", Some(Processors::CONNECTION_APART)),
        limit_of_threads("limit/thread-one", Some(Processors::ONE)),
        in_flight(2.5),
        layers_one_way("single", Style::Single),
        layers_one_way("batches", BATCH),
        layers_ping_pong(),
        monitor("channel-single", Style::Single, Layers::monitor_channel),
        monitor("channel-batches", BATCH, Layers::monitor_channel),
        monitor("stream-single", Style::Single, Layers::monitor_stream),
        monitor("stream-batches", BATCH, Layers::monitor_stream),
        resume(B64, 0.9),
        resume(K1, 0.9),
        resume(K64, 0.75),
        resume_ping_pong(),
    ];
    rows.into()
}

/// Our side of a row in which frames go one way.
fn flow(layers: Layers, place: Place, style: Style, size: usize) -> Contender {
    let (stack, frame) = (layers.into(), frame(size));
    Contender {
        name: style.name(),
        measure: Box::new(move |time| ours::one_way(time, &stack, place, style, &frame)),
    }
}

/// Our side of a row in which one question follows the other.
fn questions(layers: Layers, place: Place, size: usize) -> Contender {
    let (stack, frame) = (layers.into(), frame(size));
    Contender {
        name: Style::Single.name(),
        measure: Box::new(move |time| ours::ping_pong(time, &stack, place, &frame)),
    }
}

fn frame(size: usize) -> Bytes {
    vec![b'x'; size].into()
}

fn framed_peer(name: &'static str, tuning: Tuning, size: usize, floor: Option<f64>) -> Peer {
    Peer {
        contender: Contender {
            name,
            measure: Box::new(move |time| framed::one_way(time, Plain, tuning, size)),
        },
        steps: 1,
        metrics: vec![(Metric::Rate, floor)],
    }
}

/// Frames one way, against a tuned `Framed`.
fn tuned(name: &str, size: Size, place: Place, style: Style, floor: Option<f64>) -> Row {
    Row {
        name: format!("{name}/{}", size.0),
        size: size.1,
        ours: flow(Layers::new(), place, style, size.1),
        peers: vec![framed_peer("Framed tuned", Tuning::Tuned, size.1, floor)],
    }
}

/// A frame at a time, as most programs send and receive.
fn single(size: Size, floor: f64) -> Row {
    let mut row = tuned("single", size, Place::Arbiter, Style::Single, Some(floor));
    row.peers
        .push(framed_peer("Framed default", Tuning::Default, size.1, None));
    row
}

/// A frame at a time, beside what the machine can do with frames that are copied.
fn limit(size: Size) -> Row {
    Row {
        name: format!("limit/{}", size.0),
        size: size.1,
        ours: flow(Layers::new(), Place::Arbiter, Style::Single, size.1),
        peers: vec![Peer {
            contender: Contender {
                name: "two threads, plain sockets",
                measure: Box::new(move |time| raw::one_way(time, size.1)),
            },
            steps: 1,
            metrics: vec![(Metric::Rate, None)],
        }],
    }
}

/// A question from another thread, beside what it costs where a task owns a `Framed`: the threads are as many, and so are
/// the times that one wakes another.
fn limit_of_threads(name: &str, processors: Option<Processors>) -> Row {
    let (size, frame) = (B64.1, frame(B64.1));
    Row {
        name: name.to_owned(),
        size,
        ours: Contender {
            name: Style::Single.name(),
            measure: Box::new(move |time| {
                let stack = Layers::new().into();
                ours::ping_pong_on(time, &stack, Place::OtherThread, processors, &frame)
            }),
        },
        peers: vec![Peer {
            contender: Contender {
                name: "Framed of another thread",
                measure: Box::new(move |time| {
                    framed::ping_pong_across(time, Tuning::Default, processors, size)
                }),
            },
            steps: 1,
            metrics: vec![(Metric::P50, None), (Metric::P99, None)],
        }],
    }
}

/// One question after the other. The one who asks is on its arbiter or elsewhere, the one who answers on its arbiter.
fn ping_pong(name: &str, place: Place, p50: f64, p99: Option<f64>) -> Row {
    let size = B64.1;
    Row {
        name: format!("ping/{name}"),
        size,
        ours: questions(Layers::new(), place, size),
        peers: vec![Peer {
            contender: Contender {
                name: "Framed default",
                measure: Box::new(move |time| framed::ping_pong(time, Tuning::Default, size)),
            },
            steps: 1,
            metrics: vec![(Metric::P50, Some(p50)), (Metric::P99, p99)],
        }],
    }
}

/// Many questions at once.
fn in_flight(floor: f64) -> Row {
    let size = B64.1;
    let peer = |name, flushing, floor| Peer {
        contender: Contender {
            name,
            measure: Box::new(move |time| framed::in_flight(time, flushing, WINDOW, size)),
        },
        steps: 1,
        metrics: vec![(Metric::Rate, floor)],
    };
    Row {
        name: format!("inflight/{WINDOW}"),
        size,
        ours: Contender {
            name: Style::Single.name(),
            measure: Box::new(move |time| ours::in_flight(time, WINDOW, size)),
        },
        peers: vec![
            peer("Framed send", Flushing::Each, Some(floor)),
            peer("Framed feed, flush if idle", Flushing::WhenIdle, None),
        ],
    }
}

/// A chain with layers that do nothing, at both ends.
fn extra_layers() -> Layers {
    (0..EXTRA).fold(Layers::new(), |layers, _| {
        layers.frames(PassThrough::<Frames>::default)
    })
}

/// The cost of each of `layers` layers.
fn without_layers(
    contender: Contender,
    layers: u32,
    metrics: Vec<(Metric, Option<f64>)>,
) -> Vec<Peer> {
    vec![Peer {
        contender: Contender {
            name: "no extra layer",
            ..contender
        },
        steps: layers,
        metrics,
    }]
}

/// A monitor at both ends.
fn monitor(name: &str, style: Style, put: fn(Layers, &Monitors) -> Layers) -> Row {
    let size = B64.1;
    let layers = put(Layers::new(), &Monitors::new());
    Row {
        name: format!("monitor/{name}"),
        size,
        ours: flow(layers, Place::Arbiter, style, size),
        peers: without_layers(
            flow(Layers::new(), Place::Arbiter, style, size),
            1,
            vec![(Metric::Rate, Some(0.98))],
        ),
    }
}

/// Sessions that live on, where nothing is ever lost.
fn resuming() -> Layers {
    Layers::new().resume(ResumeConfig::default().insecure_resume())
}

/// What numbering, acknowledging and keeping costs.
fn resume(size: Size, floor: f64) -> Row {
    let style = Style::Single;
    Row {
        name: format!("resume/{}", size.0),
        size: size.1,
        ours: flow(resuming(), Place::Arbiter, style, size.1),
        peers: without_layers(
            flow(Layers::new(), Place::Arbiter, style, size.1),
            1,
            vec![(Metric::Rate, Some(floor))],
        ),
    }
}

fn resume_ping_pong() -> Row {
    let size = B64.1;
    Row {
        name: "resume/ping".into(),
        size,
        ours: questions(resuming(), Place::Arbiter, size),
        peers: without_layers(
            questions(Layers::new(), Place::Arbiter, size),
            1,
            vec![(Metric::P50, None), (Metric::P99, None)],
        ),
    }
}

fn layers_one_way(name: &str, style: Style) -> Row {
    let size = B64.1;
    Row {
        name: format!("layers/{name}"),
        size,
        ours: flow(extra_layers(), Place::Arbiter, style, size),
        peers: without_layers(
            flow(Layers::new(), Place::Arbiter, style, size),
            EXTRA,
            vec![(Metric::Rate, Some(0.95))],
        ),
    }
}

fn layers_ping_pong() -> Row {
    let size = B64.1;
    Row {
        name: "layers/ping".into(),
        size,
        ours: questions(extra_layers(), Place::Arbiter, size),
        peers: without_layers(
            questions(Layers::new(), Place::Arbiter, size),
            EXTRA,
            vec![(Metric::P50, Some(1.05)), (Metric::P99, None)],
        ),
    }
}

/// The rows with libzmq, where it can be had.
fn zmq_rows(options: &Options) -> Vec<Row> {
    let flows = [
        // Copied, as libzmq copies what is as short.
        ("64", B64.1, Style::Slices, Some(5.0)),
        ("64-single", B64.1, Style::Single, None),
        ("64-batch", B64.1, BATCH, Some(10.0)),
        ("1K", K1.1, Style::Single, Some(4.0)),
        ("64K", K64.1, Style::Single, Some(2.0)),
    ];
    let names = flows.map(|flow| flow.0).into_iter().chain(["ping"]);
    if !names
        .map(|name| format!("zmq/{name}"))
        .any(|name| options.wants(&name))
    {
        return Vec::new();
    }
    let Some(zmq) = Zmq::build() else {
        eprintln!("no libzmq rows: they need a C compiler and zmq.h (Debian: libzmq3-dev)");
        return Vec::new();
    };
    let ping = zmq.clone();
    let flows = flows.map(|(name, size, style, floor)| {
        let zmq = zmq.clone();
        Row {
            name: format!("zmq/{name}"),
            size,
            ours: flow(Layers::new(), Place::Arbiter, style, size),
            peers: vec![Peer {
                contender: Contender {
                    name: "libzmq PUSH/PULL",
                    measure: Box::new(move |time| zmq.one_way(time, size)),
                },
                steps: 1,
                metrics: vec![(Metric::Rate, floor)],
            }],
        }
    });
    let ping = Row {
        name: "zmq/ping".into(),
        size: B64.1,
        ours: questions(Layers::new(), Place::Arbiter, B64.1),
        peers: vec![Peer {
            contender: Contender {
                name: "libzmq REQ/REP",
                measure: Box::new(move |time| ping.ping_pong(time, B64.1)),
            },
            steps: 1,
            metrics: vec![(Metric::P50, None), (Metric::P99, None)],
        }],
    };
    let rows = flows.into_iter().chain([ping]);
    rows.filter(|row| options.wants(&row.name)).collect()
}
