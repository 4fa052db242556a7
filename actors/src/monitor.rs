//! What passes through streams and channels, counted: each by itself, and all together.
//!
//! [`codec::Monitor`](crate::codec::Monitor) is the layer that counts. A [`Meter`] is what it counts with, and reads the same
//! for everybody who has a clone; [`Monitors`] sums up. Three ways lead out: [`MonitorStats`] for programs, events of
//! `tracing` with the target [`MONITOR`] (one line when a stream ends; at the level trace each read and write), and
//! the `metrics` facade:
//!
//! | metric | kind | labels |
//! | --- | --- | --- |
//! | `rpyc_bytes_total`, `rpyc_frames_total` | counter | `at`: `stream` or `channel`; `direction`: `sent` or `received` |
//! | `rpyc_credit_waits_total`, `rpyc_credit_wait_microseconds_total` | counter | `at` |
//! | `rpyc_queued_bytes` | histogram, with each write | `at` |
//! | `rpyc_open` | gauge | `at` |
//! | `rpyc_duration_seconds` | histogram, at the end | `at` |
//!
//! Endpoints are no label, since there may be any number of them.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{credit::Gate, stream::StreamHandle};

/// Target of the log lines about what passes through.
pub const MONITOR: &str = "rpyc_actors::monitor";

/// Where something is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Among the layers of bytes: what the neighbour below carries.
    Stream,
    /// Among the layers of frames: frames, with their bytes as plain frames.
    Channel,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Channel => "channel",
        })
    }
}

/// What passed through one stream or channel since it was monitored, or through many.
///
/// Printed, it is one line, as at the end of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MonitorStats {
    /// Bytes on their way down.
    pub bytes_sent: u64,
    /// Bytes that came up.
    pub bytes_received: u64,
    /// Frames on their way down; none are seen in a stream.
    pub frames_sent: u64,
    /// Frames that came up; none are seen in a stream.
    pub frames_received: u64,
    /// Units that bytes and frames went down in: batches of frames, or chunks.
    pub writes: u64,
    /// Units that they came up in.
    pub reads: u64,
    /// Bytes under way down, from the sender's hand to the kernel.
    pub queued: u64,
    /// The most of them that any write met.
    pub most_queued: u64,
    /// How often a sender waited for credit.
    pub credit_waits: u64,
    /// How long all senders together waited for credit.
    pub credit_wait_time: Duration,
    /// How long it was open, or is; of many, the sum.
    pub duration: Duration,
    /// How many of them are open.
    pub open: u64,
}

impl MonitorStats {
    /// Bytes sent a second.
    pub fn send_rate(&self) -> f64 {
        rate(self.bytes_sent, self.duration)
    }

    /// Bytes received a second.
    pub fn receive_rate(&self) -> f64 {
        rate(self.bytes_received, self.duration)
    }

    /// What came since `earlier`, of which the rates are those of the time between.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            bytes_sent: self.bytes_sent.saturating_sub(earlier.bytes_sent),
            bytes_received: self.bytes_received.saturating_sub(earlier.bytes_received),
            frames_sent: self.frames_sent.saturating_sub(earlier.frames_sent),
            frames_received: self.frames_received.saturating_sub(earlier.frames_received),
            writes: self.writes.saturating_sub(earlier.writes),
            reads: self.reads.saturating_sub(earlier.reads),
            credit_waits: self.credit_waits.saturating_sub(earlier.credit_waits),
            credit_wait_time: self
                .credit_wait_time
                .saturating_sub(earlier.credit_wait_time),
            duration: self.duration.saturating_sub(earlier.duration),
            ..*self
        }
    }

    fn add(&mut self, other: &Self) {
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.frames_sent += other.frames_sent;
        self.frames_received += other.frames_received;
        self.writes += other.writes;
        self.reads += other.reads;
        self.queued += other.queued;
        self.most_queued = self.most_queued.max(other.most_queued);
        self.credit_waits += other.credit_waits;
        self.credit_wait_time += other.credit_wait_time;
        self.duration += other.duration;
        self.open += other.open;
    }
}

fn rate(bytes: u64, duration: Duration) -> f64 {
    if duration.is_zero() {
        return 0.0;
    }
    bytes as f64 / duration.as_secs_f64()
}

impl fmt::Display for MonitorStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.open == 0 {
            "closed after"
        } else {
            "open for"
        };
        write!(
            f,
            "{state} {:.2}s: sent {} bytes",
            self.duration.as_secs_f64(),
            self.bytes_sent
        )?;
        if self.frames_sent > 0 {
            write!(f, " in {} frames", self.frames_sent)?;
        }
        write!(f, ", received {} bytes", self.bytes_received)?;
        if self.frames_received > 0 {
            write!(f, " in {} frames", self.frames_received)?;
        }
        let (sent, received) = (self.send_rate() / 1000.0, self.receive_rate() / 1000.0);
        write!(f, " ({sent:.1} and {received:.1} kB/s)")?;
        if self.credit_waits > 0 {
            write!(
                f,
                ", waited {} times for credit, {:.2?} in all",
                self.credit_waits, self.credit_wait_time
            )?;
        }
        Ok(())
    }
}

/// Reads what is counted of one stream or channel, also when that is over. Clones read the same.
#[derive(Clone)]
pub struct Meter(Arc<Record>);

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("endpoint", &self.0.endpoint)
            .field("at", &self.0.at)
            .field("stats", &self.stats())
            .finish()
    }
}

impl Meter {
    /// The endpoint in the form in which it was given.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// Where it counts.
    pub fn at(&self) -> At {
        self.0.at
    }

    /// What passed so far.
    pub fn stats(&self) -> MonitorStats {
        self.0.stats()
    }
}

struct Record {
    endpoint: Arc<str>,
    at: At,
    start: Instant,
    end: OnceLock<End>,
    down_gate: Arc<Gate>,
    /// Those who waited before it was monitored.
    waits_before: (u64, Duration),
    sent: Direction,
    received: Direction,
    most_queued: AtomicU64,
}

/// What is known when it is over. The gate may serve on.
struct End {
    duration: Duration,
    waits: (u64, Duration),
}

/// Written by one actor, read by anybody.
#[derive(Default)]
struct Direction {
    bytes: AtomicU64,
    frames: AtomicU64,
    units: AtomicU64,
}

/// An addition by the only writer. Gives the sum.
fn add(counter: &AtomicU64, count: usize) -> u64 {
    let sum = counter.load(Relaxed).wrapping_add(count as u64);
    counter.store(sum, Relaxed);
    sum
}

impl Record {
    /// Waits since it is monitored.
    fn waits(&self) -> (u64, Duration) {
        let (count, time) = self.down_gate.waits();
        (count - self.waits_before.0, time - self.waits_before.1)
    }

    fn stats(&self) -> MonitorStats {
        let end = self.end.get();
        let (credit_waits, credit_wait_time) = end.map_or_else(|| self.waits(), |end| end.waits);
        MonitorStats {
            bytes_sent: self.sent.bytes.load(Relaxed),
            bytes_received: self.received.bytes.load(Relaxed),
            frames_sent: self.sent.frames.load(Relaxed),
            frames_received: self.received.frames.load(Relaxed),
            writes: self.sent.units.load(Relaxed),
            reads: self.received.units.load(Relaxed),
            queued: if end.is_some() {
                0
            } else {
                self.down_gate.used() as u64
            },
            most_queued: self.most_queued.load(Relaxed),
            credit_waits,
            credit_wait_time,
            duration: end.map_or_else(|| self.start.elapsed(), |end| end.duration),
            open: u64::from(end.is_none()),
        }
    }
}

/// The writing end of a [`Meter`]. Its drop is the end of the stream.
pub struct Tally {
    record: Arc<Record>,
    monitors: Monitors,
    metrics: Metrics,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally")
            .field(&Meter(self.record.clone()))
            .finish()
    }
}

impl Tally {
    /// Counts what goes down.
    pub(crate) fn sent(&mut self, bytes: usize, frames: usize) {
        let record = &*self.record;
        let total = count(&record.sent, &self.metrics.sent, bytes, frames);
        let queued = record.down_gate.used() as u64;
        if queued > record.most_queued.load(Relaxed) {
            record.most_queued.store(queued, Relaxed);
        }
        self.metrics.queued.record(queued as f64);
        self.metrics.waits(record.waits());
        tracing::trace!(target: MONITOR, endpoint = %record.endpoint, at = %record.at, bytes, frames, total, queued, "write");
    }

    /// Counts what came up.
    pub(crate) fn received(&mut self, bytes: usize, frames: usize) {
        let record = &*self.record;
        let total = count(&record.received, &self.metrics.received, bytes, frames);
        tracing::trace!(target: MONITOR, endpoint = %record.endpoint, at = %record.at, bytes, frames, total, "read");
    }

    /// The reading end.
    pub fn meter(&self) -> Meter {
        Meter(self.record.clone())
    }
}

fn count(direction: &Direction, metrics: &Flow, bytes: usize, frames: usize) -> u64 {
    add(&direction.frames, frames);
    add(&direction.units, 1);
    metrics.bytes.increment(bytes as u64);
    metrics.frames.increment(frames as u64);
    add(&direction.bytes, bytes)
}

impl Drop for Tally {
    fn drop(&mut self) {
        let record = &self.record;
        let waits = record.waits();
        let duration = record.start.elapsed();
        // There is one tally of a record, and it is dropped once.
        let _ = record.end.set(End { duration, waits });
        let stats = record.stats();
        self.metrics.waits(waits);
        self.metrics.open.decrement(1);
        self.metrics.duration.record(duration.as_secs_f64());
        self.monitors.ended(record, &stats);
        tracing::info!(target: MONITOR, "{} {} {stats}", record.at, record.endpoint);
    }
}

/// Handles of the facade, which cost a branch while no recorder is installed.
struct Metrics {
    sent: Flow,
    received: Flow,
    queued: metrics::Histogram,
    waits: metrics::Counter,
    wait_micros: metrics::Counter,
    open: metrics::Gauge,
    duration: metrics::Histogram,
    /// Waits that were reported.
    reported: (u64, Duration),
}

struct Flow {
    bytes: metrics::Counter,
    frames: metrics::Counter,
}

impl Flow {
    fn new(at: &str, direction: &'static str) -> Self {
        let at = at.to_owned();
        Self {
            bytes: metrics::counter!("rpyc_bytes_total", "at" => at.clone(), "direction" => direction),
            frames: metrics::counter!("rpyc_frames_total", "at" => at, "direction" => direction),
        }
    }
}

impl Metrics {
    fn new(at: At) -> Self {
        let at = at.to_string();
        Self {
            sent: Flow::new(&at, "sent"),
            received: Flow::new(&at, "received"),
            queued: metrics::histogram!("rpyc_queued_bytes", "at" => at.clone()),
            waits: metrics::counter!("rpyc_credit_waits_total", "at" => at.clone()),
            wait_micros: metrics::counter!("rpyc_credit_wait_microseconds_total", "at" => at.clone()),
            open: metrics::gauge!("rpyc_open", "at" => at.clone()),
            duration: metrics::histogram!("rpyc_duration_seconds", "at" => at),
            reported: (0, Duration::ZERO),
        }
    }

    fn waits(&mut self, now: (u64, Duration)) {
        if now.0 != self.reported.0 {
            self.waits.increment(now.0 - self.reported.0);
            let micros = (now.1.saturating_sub(self.reported.1)).as_micros();
            self.wait_micros
                .increment(u64::try_from(micros).unwrap_or(u64::MAX));
            self.reported = now;
        }
    }
}

/// All that is monitored together. Clones share it.
#[derive(Clone, Default)]
pub struct Monitors(Arc<Mutex<Sum>>);

#[derive(Default)]
struct Sum {
    open: Vec<Weak<Record>>,
    /// What passed through those that ended.
    ended: MonitorStats,
}

impl fmt::Debug for Monitors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Monitors").field(&self.total()).finish()
    }
}

impl Monitors {
    /// A sum of your own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sum of this process, to which all belongs that is not given another one.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Monitors> = OnceLock::new();
        SHARED.get_or_init(Self::new).clone()
    }

    /// What passed through all of them, open or ended. Something that is counted in a stream and in the channel on it
    /// is counted twice.
    pub fn total(&self) -> MonitorStats {
        let sum = self.0.lock();
        let mut total = sum.ended;
        for record in sum.open.iter().filter_map(Weak::upgrade) {
            total.add(&record.stats());
        }
        total
    }

    /// Those that are open.
    pub fn open(&self) -> Vec<Meter> {
        self.0
            .lock()
            .open
            .iter()
            .filter_map(Weak::upgrade)
            .map(Meter)
            .collect()
    }

    /// Begins to count at a place over `stream`.
    pub(crate) fn tally(&self, stream: &StreamHandle, at: At) -> Tally {
        let down_gate = stream.gates().0.clone();
        let metrics = Metrics::new(at);
        let record = Arc::new(Record {
            endpoint: stream.endpoint().into(),
            at,
            start: Instant::now(),
            end: OnceLock::new(),
            waits_before: down_gate.waits(),
            down_gate,
            sent: Direction::default(),
            received: Direction::default(),
            most_queued: AtomicU64::new(0),
        });
        metrics.open.increment(1);
        self.0.lock().open.push(Arc::downgrade(&record));
        Tally {
            record,
            monitors: self.clone(),
            metrics,
        }
    }

    fn ended(&self, record: &Arc<Record>, stats: &MonitorStats) {
        let mut sum = self.0.lock();
        sum.open
            .retain(|open| !std::ptr::eq(open.as_ptr(), Arc::as_ptr(record)));
        sum.ended.add(stats);
    }
}
