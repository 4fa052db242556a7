//! The data path against what a Rust developer would use instead. `docs/BENCHMARKS.md` tells how to read it.

mod support;

use rpyc_actors::Layers;

use support::{
    framed::{self, Tuning},
    options::Options,
    ours::{self, Place},
    rounds::{Contender, Metric, Peer, Row},
    table,
};

/// Frame sizes, with the ratio to a tuned `Framed` that must be reached.
const SINGLE: [(&str, usize, f64); 4] = [
    ("64", 64, 1.2),
    ("1K", 1 << 10, 1.3),
    ("64K", 64 << 10, 1.5),
    ("1M", 1 << 20, 1.3),
];

fn main() {
    let options = Options::read();
    let rows: Vec<Row> = rows()
        .into_iter()
        .filter(|row| options.wants(&row.name))
        .collect();
    if options.list {
        rows.iter().for_each(|row| println!("{}", row.name));
        return;
    }
    table::head();
    for row in rows {
        for comparison in row.run(options.rounds, options.time) {
            table::line(&comparison);
        }
    }
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    rows.extend(SINGLE.map(|(label, size, floor)| single(label, size, floor)));
    rows.push(ping_pong("arbiter", Place::Arbiter, 1.2, Some(1.3)));
    rows.push(ping_pong("thread", Place::OtherThread, 1.6, None));
    rows
}

/// A frame at a time, as most programs send and receive.
fn single(label: &str, size: usize, floor: f64) -> Row {
    let measure = move |time| ours::one_way(time, &Layers::new(), Place::Arbiter, size);
    Row {
        name: format!("single/{label}"),
        size,
        ours: Contender {
            name: "send(Bytes), recv()",
            measure: Box::new(measure),
        },
        peers: vec![
            flow_peer("Framed tuned", Tuning::Tuned, size, Some(floor)),
            flow_peer("Framed default", Tuning::Default, size, None),
        ],
    }
}

fn flow_peer(name: &'static str, tuning: Tuning, size: usize, floor: Option<f64>) -> Peer {
    Peer {
        contender: Contender {
            name,
            measure: Box::new(move |time| framed::one_way(time, tuning, size)),
        },
        metrics: vec![(Metric::Rate, floor)],
    }
}

/// One question after the other.
fn ping_pong(label: &str, place: Place, p50: f64, p99: Option<f64>) -> Row {
    const SIZE: usize = 64;
    Row {
        name: format!("ping/{label}"),
        size: SIZE,
        ours: Contender {
            name: "send(Bytes), recv()",
            measure: Box::new(move |time| ours::ping_pong(time, &Layers::new(), place, SIZE)),
        },
        peers: vec![Peer {
            contender: Contender {
                name: "Framed default",
                measure: Box::new(|time| framed::ping_pong(time, Tuning::Default, SIZE)),
            },
            metrics: vec![(Metric::P50, Some(p50)), (Metric::P99, p99)],
        }],
    }
}
