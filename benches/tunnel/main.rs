//! `rpyc tunnel` against spiped and stunnel, side by side over loopback. `docs/BENCHMARKS.md` tells how to read it.

#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod contenders;
#[path = "../../tests/support/daemons.rs"]
mod daemons;
mod support;
mod traffic;

use std::rc::Rc;

use self::{
    contenders::{Route, Routes},
    support::{
        options::Options,
        report,
        rounds::{Contender, Metric, Peer, Row},
    },
};

/// Bytes of a block of one-way traffic, and of a question.
const BLOCK: usize = 64 << 10;
const QUESTION: usize = 64;

fn main() {
    let options = Options::read();
    let routes = Routes::new();
    let rows: Vec<Row> = rows(&routes)
        .into_iter()
        .filter(|row| options.wants(&row.name))
        .collect();
    report::run(rows, &options, "tunnel.json");
}

fn rows(routes: &Routes) -> Vec<Row> {
    let direct = || Peer {
        contender: flow("no tunnel", &routes.direct),
        steps: 1,
        metrics: vec![(Metric::Rate, None)],
    };
    let against = |peer: Option<&Rc<Route>>, name, floor| {
        peer.map(|route| Peer {
            contender: flow(name, route),
            steps: 1,
            metrics: vec![(Metric::Rate, Some(floor))],
        })
    };
    let echo_against = |peer: Option<&Rc<Route>>, name| {
        peer.map(|route| Peer {
            contender: echo(name, route),
            steps: 1,
            metrics: vec![(Metric::P50, Some(1.0)), (Metric::P99, Some(1.0))],
        })
    };
    let row = |name: &str, size, ours, peers: Vec<Peer>| Row {
        name: name.into(),
        size,
        ours,
        peers,
    };
    let (spiped, stunnel) = (routes.spiped.as_ref(), routes.stunnel.as_ref());
    let mut rows = vec![
        row(
            "flow/encrypt",
            BLOCK,
            flow("--layer encrypt:KEY", &routes.encrypt),
            against(spiped, "spiped", 3.0).into_iter().collect(),
        ),
        row(
            "flow/tls",
            BLOCK,
            flow("tls://", &routes.tls),
            against(stunnel, "stunnel", 1.3).into_iter().collect(),
        ),
        row(
            "echo/encrypt",
            QUESTION,
            echo("--layer encrypt:KEY", &routes.encrypt),
            echo_against(spiped, "spiped").into_iter().collect(),
        ),
        row(
            "echo/tls",
            QUESTION,
            echo("tls://", &routes.tls),
            echo_against(stunnel, "stunnel").into_iter().collect(),
        ),
        row(
            "flow/plain",
            BLOCK,
            flow("without layers", &routes.plain),
            vec![direct()],
        ),
        row(
            "flow/snappy",
            BLOCK,
            flow("snappy and encrypt:KEY", &routes.snappy),
            vec![direct()],
        ),
    ];
    // A peer that is not installed was told of.
    rows.retain(|row| !row.peers.is_empty());
    rows
}

fn flow(name: &'static str, route: &Rc<Route>) -> Contender {
    let route = route.clone();
    Contender {
        name,
        measure: Box::new(move |time| traffic::flow(route.port(), BLOCK, time)),
    }
}

fn echo(name: &'static str, route: &Rc<Route>) -> Contender {
    let route = route.clone();
    Contender {
        name,
        measure: Box::new(move |time| traffic::echo(route.port(), QUESTION, time)),
    }
}
