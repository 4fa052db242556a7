//! One measurement: traffic for a while, then a check that all of it arrived.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

/// How long a cell may take to come to its end once its time is over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Questions at the start of a latency cell that are not recorded.
const WARM_UP: u64 = 200;

/// What a cell gave.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Frames that arrived, and the time from the first to the last.
    Flow { frames: u64, seconds: f64 },
    /// Times of single questions, in nanoseconds.
    Latency { p50: f64, p99: f64 },
}

/// Tells the sender that the time of its cell is over.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets traffic run for `time`.
    pub(crate) fn after(&self, time: Duration) {
        std::thread::sleep(time);
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts frames as they arrive, each of which must have the right size.
pub(crate) struct Meter {
    size: usize,
    frames: u64,
    began: Option<Instant>,
}

impl Meter {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            frames: 0,
            began: None,
        }
    }

    #[inline]
    pub(crate) fn take(&mut self, frame: &[u8]) {
        assert_eq!(frame.len(), self.size, "a frame arrived with a wrong size");
        if self.frames == 0 {
            self.began = Some(Instant::now());
        }
        self.frames += 1;
    }

    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    pub(crate) fn stop(self) -> Outcome {
        let began = self.began.expect("a cell is long enough for one frame");
        Outcome::Flow {
            frames: self.frames,
            seconds: began.elapsed().as_secs_f64(),
        }
    }
}

/// Records how long each question took, one directly after the other.
pub(crate) struct Stopwatch {
    histogram: Histogram<u64>,
    asked: u64,
    last: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            histogram: Histogram::new(3).expect("three digits are possible"),
            asked: 0,
            last: Instant::now(),
        }
    }

    #[inline]
    pub(crate) fn lap(&mut self) {
        let now = Instant::now();
        self.asked += 1;
        if self.asked > WARM_UP {
            let time = now.duration_since(self.last).as_nanos() as u64;
            self.histogram.record(time).expect("the histogram grows");
        }
        self.last = now;
    }

    pub(crate) fn stop(self) -> Outcome {
        assert!(!self.histogram.is_empty(), "the cell is too short");
        Outcome::Latency {
            p50: self.histogram.value_at_quantile(0.5) as f64,
            p99: self.histogram.value_at_quantile(0.99) as f64,
        }
    }
}

/// Where the two ends of a cell report to.
pub(crate) struct Reports {
    pub(crate) sent: mpsc::Sender<u64>,
    pub(crate) outcome: mpsc::Sender<Outcome>,
}

/// Lets `start` set up traffic, ends it after `time`, and checks that what was sent has arrived.
pub(crate) fn run(time: Duration, start: impl FnOnce(Stop, Reports)) -> Outcome {
    let stop = Stop::default();
    let (sent, sent_receiver) = mpsc::channel();
    let (outcome, outcome_receiver) = mpsc::channel();
    start(stop.clone(), Reports { sent, outcome });
    stop.after(time);
    let sent = sent_receiver
        .recv_timeout(PATIENCE)
        .expect("the sender comes to its end");
    let outcome = outcome_receiver
        .recv_timeout(PATIENCE)
        .expect("the receiver comes to its end");
    if let Outcome::Flow { frames, .. } = outcome {
        assert_eq!(frames, sent, "as many frames arrive as were sent");
    }
    outcome
}
