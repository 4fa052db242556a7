//! Calls against what else answers them: tarpc, and Python's RPyC. `docs/BENCHMARKS.md` tells how to read it.

mod support;

use support::{
    calls::Asking,
    json,
    options::Options,
    ours,
    rounds::{Contender, Metric, Peer, Row},
    table, tarpc,
};

/// Calls under way at once.
const WINDOW: u64 = 64;

fn main() {
    let options = Options::read();
    let rows = rows().into_iter().filter(|row| options.wants(&row.name));
    let rows: Vec<Row> = rows.collect();
    if options.list {
        rows.iter().for_each(|row| println!("{}", row.name));
        return;
    }
    table::head();
    let mut comparisons = Vec::new();
    for row in rows {
        let lines = row.run(options.rounds, options.time);
        lines.iter().for_each(table::line);
        comparisons.extend(lines);
    }
    println!(
        "\nwritten: {}",
        json::write("rpc.json", &options, &comparisons).display()
    );
}

fn rows() -> Vec<Row> {
    let rows = [
        rust_to_rust("sequential", Asking::Sequential, 1.0),
        rust_to_rust("thread", Asking::OtherThread, 0.8),
        rust_to_rust("inflight", Asking::InFlight(WINDOW), 1.5),
    ];
    rows.into()
}

/// A Rust client of a Rust server, against tarpc.
fn rust_to_rust(name: &str, asking: Asking, floor: f64) -> Row {
    Row {
        name: format!("tarpc/{name}"),
        size: 0,
        ours: Contender {
            name: "call(\"add\", (a, b))",
            measure: Box::new(move |time| ours::calls(time, asking)),
        },
        peers: vec![Peer {
            contender: Contender {
                name: "tarpc, bincode",
                measure: Box::new(move |time| tarpc::calls(time, asking)),
            },
            steps: 1,
            metrics: vec![(Metric::Rate, Some(floor))],
        }],
    }
}
