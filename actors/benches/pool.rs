//! A pool against deadpool: what it costs to get a connection and to return it. `docs/BENCHMARKS.md` tells how to read it.

#[path = "pool_support/mod.rs"]
mod support;

use support::{
    options::Options,
    pools::{self, Load, Pooled},
    report,
    rounds::{Contender, Metric, Peer, Row},
};

fn main() {
    let options = Options::read();
    let rows = [
        // Time at most 0.7 of deadpool's, as a rate.
        row("pool/one", Load::ONE, Some(1.43)),
        row("pool/ten", Load::TEN, Some(1.43)),
        row("pool/line", Load::LINE, None),
    ];
    let rows = rows.into_iter().filter(|row| options.wants(&row.name));
    report::run(rows.collect(), &options, "pool.json");
}

fn row(name: &str, load: Load, floor: Option<f64>) -> Row {
    let (ours, theirs) = (pools::ours(load), pools::deadpool(load));
    Row {
        name: name.into(),
        size: 0,
        ours: contender("StreamPool", ours, load),
        peers: vec![Peer {
            contender: contender("deadpool", theirs, load),
            steps: 1,
            metrics: vec![(Metric::Rate, floor)],
        }],
    }
}

fn contender<P: Pooled>(name: &'static str, pool: P, load: Load) -> Contender {
    Contender {
        name,
        measure: Box::new(move |time| pools::measure(time, &pool, load)),
    }
}
