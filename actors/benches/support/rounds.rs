//! Interleaved rounds, and the ratios that come out of them.

use std::time::Duration;

use super::{cell::Outcome, noise::Watch};

/// Measures one contender for a while.
pub(crate) type Measure = Box<dyn Fn(Duration) -> Outcome>;

/// One contender of a row.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) measure: Measure,
}

/// The number of a cell that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Frames or calls per second; more is better.
    Rate,
    /// Nanoseconds at this percentile; less is better.
    P50,
    P99,
}

impl Metric {
    pub(crate) fn of(self, outcome: &Outcome) -> f64 {
        match (self, outcome) {
            (Self::Rate, Outcome::Flow { frames, seconds }) => *frames as f64 / seconds,
            (Self::P50, Outcome::Latency { p50, .. }) => *p50,
            (Self::P99, Outcome::Latency { p99, .. }) => *p99,
            _ => unreachable!("a row's metric fits its cells"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "per second",
            Self::P50 => "p50 in nanoseconds",
            Self::P99 => "p99 in nanoseconds",
        }
    }

    /// True when `ratio` is as good as `floor`.
    pub(crate) fn meets(self, ratio: f64, floor: f64) -> bool {
        match self {
            Self::Rate => ratio >= floor,
            Self::P50 | Self::P99 => ratio <= floor,
        }
    }
}

/// What is compared with what.
pub(crate) struct Row {
    pub(crate) name: String,
    /// Bytes of a frame.
    pub(crate) size: usize,
    /// Ours.
    pub(crate) ours: Contender,
    pub(crate) peers: Vec<Peer>,
}

/// A peer, and what is compared with it.
pub(crate) struct Peer {
    pub(crate) contender: Contender,
    /// How many times the difference between the two is applied: the ratio is given for one of them.
    pub(crate) steps: u32,
    /// Each with the ratio that must be reached, if there is one.
    pub(crate) metrics: Vec<(Metric, Option<f64>)>,
}

/// A median with the extremes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Self {
            median,
            min: values[0],
            max: values[values.len() - 1],
        }
    }
}

/// One line of the result.
pub(crate) struct Comparison {
    pub(crate) row: String,
    pub(crate) size: usize,
    pub(crate) metric: Metric,
    pub(crate) ours_name: &'static str,
    pub(crate) peer_name: &'static str,
    pub(crate) ours: Spread,
    pub(crate) peer: Spread,
    /// Ours divided by the peer's, round by round, for one step.
    pub(crate) ratio: Spread,
    pub(crate) floor: Option<f64>,
    /// The largest share of all processors that other processes took in a round.
    pub(crate) others: f64,
}

/// One cell of each contender.
struct Round {
    ours: Outcome,
    peers: Vec<Outcome>,
    others: f64,
}

/// The share of all processors that other processes may take in a round.
const CALM: f64 = 0.03;
/// How many times as many rounds are done when they are disturbed.
const PATIENCE: usize = 4;

impl Comparison {
    /// False when a ratio was required and is not reached.
    pub(crate) fn is_met(&self) -> bool {
        self.floor
            .is_none_or(|floor| self.metric.meets(self.ratio.median, floor))
    }
}

impl Row {
    /// Ours, then each peer, in every round.
    ///
    /// Rounds that other processes disturb are done again; those that were disturbed least are used.
    pub(crate) fn run(&self, rounds: usize, time: Duration) -> Vec<Comparison> {
        let mut done: Vec<Round> = Vec::new();
        let is_calm = |round: &&Round| round.others <= CALM;
        while done.iter().filter(is_calm).count() < rounds && done.len() < rounds * PATIENCE {
            done.push(self.round(time));
        }
        done.sort_by(|one, other| one.others.total_cmp(&other.others));
        done.truncate(rounds);
        self.compare(&done)
    }

    fn round(&self, time: Duration) -> Round {
        let watch = Watch::start();
        let ours = (self.ours.measure)(time);
        let peers = self.peers.iter();
        let peers = peers.map(|peer| (peer.contender.measure)(time)).collect();
        Round {
            ours,
            peers,
            others: watch.others(),
        }
    }

    fn compare(&self, rounds: &[Round]) -> Vec<Comparison> {
        let mut comparisons = Vec::new();
        for (at, peer) in self.peers.iter().enumerate() {
            for &(metric, floor) in &peer.metrics {
                let ours: Vec<f64> = rounds.iter().map(|round| metric.of(&round.ours)).collect();
                let theirs: Vec<f64> = rounds
                    .iter()
                    .map(|round| metric.of(&round.peers[at]))
                    .collect();
                let step = f64::from(peer.steps).recip();
                let ratios = ours
                    .iter()
                    .zip(&theirs)
                    .map(|(ours, theirs)| (ours / theirs).powf(step))
                    .collect();
                comparisons.push(Comparison {
                    row: self.name.clone(),
                    size: self.size,
                    metric,
                    ours_name: self.ours.name,
                    peer_name: peer.contender.name,
                    ours: Spread::of(ours),
                    peer: Spread::of(theirs),
                    ratio: Spread::of(ratios),
                    floor,
                    others: rounds
                        .iter()
                        .fold(0.0, |most, round| most.max(round.others)),
                });
            }
        }
        comparisons
    }
}
