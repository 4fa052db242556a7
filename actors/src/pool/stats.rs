//! What a pool counts: [`PoolStats`] for programs, and the `metrics` facade.
//!
//! | metric | kind | labels |
//! | --- | --- | --- |
//! | `rpyc_pool_connections` | gauge | `state`: `in_use`, `idle`, `opening` or `closing` |
//! | `rpyc_pool_waiting` | gauge | |
//! | `rpyc_pool_acquired_total`, `rpyc_pool_opened_total`, `rpyc_pool_failed_dials_total`, `rpyc_pool_timeouts_total` | counter | |
//! | `rpyc_pool_retired_total` | counter | `cause`: `broken`, `check_failed`, `discarded`, `expired`, `idle`, `resized`, `closed` or `taken` |
//! | `rpyc_pool_wait_seconds` | histogram, with each wait | `for`: `slot`, `dial` or `check` |
//!
//! All but the histogram are told when the pool's actor has something to do, and at least each second. Several pools add up.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{error::WaitedFor, recipe::Retired};

/// How often something was waited for, and how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waits {
    /// How often.
    pub count: u64,
    /// How long in all.
    pub time: Duration,
}

impl Waits {
    /// How long one of them took, on average.
    pub fn mean(&self) -> Duration {
        let nanos = self.time.as_nanos() / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// How many connections left the pool, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetiredCounts([u64; Retired::ALL.len()]);

impl RetiredCounts {
    /// Those that left for this reason.
    pub fn of(&self, why: Retired) -> u64 {
        self.0[why as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, why: Retired) {
        self.0[why as usize] += 1;
    }
}

/// A pool as it is now, and what it counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The most connections there may be.
    pub max_size: usize,
    /// Connections that are out, or being checked for somebody.
    pub in_use: usize,
    /// Connections that wait to be used.
    pub idle: usize,
    /// Connections that are being made.
    pub opening: usize,
    /// Connections that are being closed.
    pub closing: usize,
    /// Callers who wait, for whatever.
    pub waiting: usize,
    /// Connections given out.
    pub acquired: u64,
    /// Callers whose time was over.
    pub timed_out: u64,
    /// Connections made.
    pub opened: u64,
    /// Connections that could not be made.
    pub failed_dials: u64,
    /// Connections that left the pool.
    pub retired: RetiredCounts,
    /// Callers who waited for one that is returned, until they had one or went.
    pub slot_waits: Waits,
    /// Callers who waited for a new one.
    pub dial_waits: Waits,
    /// Callers who waited for a check.
    pub check_waits: Waits,
    /// How long connections took to be made, whoever waited for them.
    pub dials: Waits,
    /// Each endpoint by itself.
    pub endpoints: Vec<EndpointStats>,
}

/// One endpoint of a pool as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// The endpoint as text.
    pub endpoint: Arc<str>,
    /// Connections that are out.
    pub in_use: usize,
    /// Connections that wait to be used.
    pub idle: usize,
    /// Connections that are being made.
    pub opening: usize,
    /// It does not answer.
    pub is_out: bool,
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in use, {} idle of {}; {} waiting; given out {}, made {}, retired {}",
            self.in_use,
            self.idle,
            self.max_size,
            self.waiting,
            self.acquired,
            self.opened,
            self.retired.total()
        )?;
        for (what, waits) in [
            ("a slot", self.slot_waits),
            ("a new one", self.dial_waits),
            ("a check", self.check_waits),
        ] {
            if waits.count > 0 {
                write!(
                    f,
                    "; {} waited for {what}, {:.2?} each",
                    waits.count,
                    waits.mean()
                )?;
            }
        }
        Ok(())
    }
}

/// Counts that are kept without the pool's lock, by whoever waited.
pub(super) struct WaitCounters([WaitCounter; 3]);

struct WaitCounter {
    count: AtomicU64,
    nanos: AtomicU64,
    seconds: metrics::Histogram,
}

impl WaitCounters {
    pub(super) fn new() -> Self {
        Self(WaitedFor::ALL.map(|waited_for| WaitCounter {
            count: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            seconds: metrics::histogram!("rpyc_pool_wait_seconds", "for" => waited_for.label()),
        }))
    }

    pub(super) fn add(&self, waited_for: WaitedFor, time: Duration) {
        let counter = &self.0[waited_for as usize];
        counter.count.fetch_add(1, Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        counter.nanos.fetch_add(nanos, Relaxed);
        counter.seconds.record(time.as_secs_f64());
    }

    pub(super) fn of(&self, waited_for: WaitedFor) -> Waits {
        let counter = &self.0[waited_for as usize];
        Waits {
            count: counter.count.load(Relaxed),
            time: Duration::from_nanos(counter.nanos.load(Relaxed)),
        }
    }
}

/// What a pool tells the `metrics` facade, beside the histogram of waits. Its actor does so when it works, which it does about each second.
pub(super) struct Metrics {
    gauges: [(metrics::Gauge, usize); 5],
    acquired: (metrics::Counter, u64),
    opened: (metrics::Counter, u64),
    failed_dials: (metrics::Counter, u64),
    timed_out: (metrics::Counter, u64),
    retired: [(metrics::Counter, u64); Retired::ALL.len()],
}

impl Metrics {
    pub(super) fn new() -> Self {
        let connections = |state: &'static str| {
            let gauge = metrics::gauge!("rpyc_pool_connections", "state" => state);
            (gauge, 0)
        };
        Self {
            gauges: [
                connections("in_use"),
                connections("idle"),
                connections("opening"),
                connections("closing"),
                (metrics::gauge!("rpyc_pool_waiting"), 0),
            ],
            acquired: (metrics::counter!("rpyc_pool_acquired_total"), 0),
            opened: (metrics::counter!("rpyc_pool_opened_total"), 0),
            failed_dials: (metrics::counter!("rpyc_pool_failed_dials_total"), 0),
            timed_out: (metrics::counter!("rpyc_pool_timeouts_total"), 0),
            retired: Retired::ALL.map(|why| {
                let label = why.label();
                let counter = metrics::counter!("rpyc_pool_retired_total", "cause" => label);
                (counter, 0)
            }),
        }
    }

    /// Several pools add to the same gauges, so each tells what has changed.
    pub(super) fn tell(&mut self, stats: &PoolStats) {
        let now = [
            stats.in_use,
            stats.idle,
            stats.opening,
            stats.closing,
            stats.waiting,
        ];
        for ((gauge, told), now) in self.gauges.iter_mut().zip(now) {
            if *told != now {
                gauge.increment(now as f64 - *told as f64);
                *told = now;
            }
        }
        let counters = [
            (&mut self.acquired, stats.acquired),
            (&mut self.opened, stats.opened),
            (&mut self.failed_dials, stats.failed_dials),
            (&mut self.timed_out, stats.timed_out),
        ];
        let retired = self.retired.iter_mut();
        let retired = retired.zip(Retired::ALL.map(|why| stats.retired.of(why)));
        for ((counter, told), now) in counters.into_iter().chain(retired) {
            // One that is found broken is counted back, and the next one in its place is no news.
            counter.increment(now.saturating_sub(*told));
            *told = now.max(*told);
        }
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        for (gauge, told) in &self.gauges {
            gauge.decrement(*told as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_count_of_its_own() {
        let mut counts = RetiredCounts::default();
        for (times, why) in Retired::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, times);
            (0..=times).for_each(|_| counts.add(why));
        }
        for (times, why) in Retired::ALL.into_iter().enumerate() {
            assert_eq!(counts.of(why), times as u64 + 1);
        }
        assert_eq!(counts.total(), (1..=8).sum::<u64>());
    }

    #[test]
    fn what_was_not_given_out_after_all_is_not_told_twice() {
        let mut metrics = Metrics::new();
        for acquired in [1, 0, 1, 2] {
            metrics.tell(&PoolStats {
                acquired,
                ..PoolStats::default()
            });
        }
        assert_eq!(metrics.acquired.1, 2);
    }
}
