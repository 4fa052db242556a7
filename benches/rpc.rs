//! Calls against what else answers them: tarpc, and Python's RPyC. `docs/BENCHMARKS.md` tells how to read it.

mod support;

use std::{rc::Rc, time::Duration};

use support::{
    calls::Asking,
    cell::Outcome,
    options::Options,
    ours,
    pooled::Way,
    python::{Callee, Python},
    report,
    rounds::{Contender, Metric, Peer, Row},
    tarpc,
};

/// Calls under way at once.
const WINDOW: u64 = 64;

fn main() {
    let options = Options::read();
    let rows = rows().into_iter().filter(|row| options.wants(&row.name));
    let rows: Vec<Row> = rows.chain(python_rows(&options)).collect();
    report::run(rows, &options, "rpc.json");
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

/// The rows with Python, where that can be had.
fn python_rows(options: &Options) -> Vec<Row> {
    let names = [
        "python/client",
        "python/server",
        "python/async",
        "python/window",
        "pool/rust",
        "pool/python",
    ];
    if !names.iter().any(|name| options.wants(name)) {
        return Vec::new();
    }
    let Some(python) = Python::start().map(Rc::new) else {
        return Vec::new();
    };
    let measure = |measure: fn(&Python, Duration) -> Outcome| {
        let python = python.clone();
        Box::new(move |time| measure(&python, time))
    };
    let peer = |name, measure, floor| Peer {
        contender: Contender { name, measure },
        steps: 1,
        metrics: vec![(Metric::Rate, floor)],
    };
    let row = |name: &str, ours, peers| Row {
        name: name.into(),
        size: 0,
        ours,
        peers,
    };
    let rows = [
        // A Rust client against a Python one, both of a Python server.
        row(
            "python/client",
            Contender {
                name: "Rust: call(\"add\", (a, b))",
                measure: measure(|python, time| python.serve_ours(time)),
            },
            vec![
                peer(
                    "Python: root.add(a, b)",
                    measure(|python, time| python.calls(time, Callee::Python, "attribute")),
                    Some(3.0),
                ),
                peer(
                    "Python: CALLATTR",
                    measure(|python, time| python.calls(time, Callee::Python, "callattr")),
                    Some(1.5),
                ),
            ],
        ),
        // A Rust server against a Python one, both with a Python client.
        row(
            "python/server",
            Contender {
                name: "Rust: root.add(a, b)",
                measure: measure(|python, time| python.calls(time, Callee::Rust, "attribute")),
            },
            vec![peer(
                "Python: root.add(a, b)",
                measure(|python, time| python.calls(time, Callee::Python, "attribute")),
                Some(1.3),
            )],
        ),
        row(
            "python/async",
            Contender {
                name: "Rust: async_, waves of 64",
                measure: measure(|python, time| python.calls(time, Callee::Rust, "waves")),
            },
            vec![peer(
                "Python: async_",
                measure(|python, time| python.calls(time, Callee::Python, "waves")),
                Some(5.0),
            )],
        ),
        row(
            "python/window",
            Contender {
                name: "Rust: async_, always 64",
                measure: measure(|python, time| python.calls(time, Callee::Rust, "window")),
            },
            vec![peer(
                "Python: async_",
                measure(|python, time| python.calls(time, Callee::Python, "window")),
                None,
            )],
        ),
    ];
    let pools = [("pool/rust", Callee::Rust), ("pool/python", Callee::Python)];
    let pools = pools.map(|(name, callee)| pool(name, &python, callee));
    let rows = rows.into_iter().chain(pools);
    rows.filter(|row| options.wants(&row.name)).collect()
}

/// A pool of 16 connections against one that all share, for 64 tasks on two threads.
fn pool(name: &str, python: &Rc<Python>, callee: Callee) -> Row {
    let port = python.port(callee);
    let contender = |name, way: Way| {
        let python = python.clone();
        Contender {
            name,
            measure: Box::new(move |time| python.serve_pooled(time, &way)),
        }
    };
    Row {
        name: name.into(),
        size: 0,
        ours: contender("a pool of 16", Way::pool(port)),
        peers: vec![Peer {
            contender: contender("one shared connection", Way::shared(port)),
            steps: 1,
            metrics: vec![(Metric::Rate, None)],
        }],
    }
}
