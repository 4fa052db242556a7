//! [`Backoff`]: how long to wait before a lost connection is dialled again.
//!
//! Pure: the time comes in as an argument, and with a seed every run gives the same delays. Whoever dials asks
//! [`next_retry`](Backoff::next_retry) before each attempt, and tells [`reset`](Backoff::reset) of a connection that was of use.

use std::time::{Duration, Instant};

/// Settings of a [`Backoff`].
///
/// An outage has two phases. At first a peer that is merely restarted is dialled eagerly, so that it serves again at once; after
/// [`eager_for`](Self::eager_for) delays double up to [`longest`](Self::longest), which costs neither end anything worth
/// mentioning. Each delay is drawn from the upper half of its range, so that many clients of one server spread out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackoffConfig {
    /// Longest delay in the eager phase, from the second attempt on. 100 ms by default; at least 1 ms.
    pub eager: Duration,
    /// How long an outage is dialled eagerly. 10 s by default.
    pub eager_for: Duration,
    /// Longest delay of all. 5 s by default; a larger value finds a peer that came back that much later.
    pub longest: Duration,
    /// Where the jitter starts, to repeat a run. At random by default.
    pub seed: Option<u64>,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            eager: Duration::from_millis(100),
            eager_for: Duration::from_secs(10),
            longest: Duration::from_secs(5),
            seed: None,
        }
    }
}

impl BackoffConfig {
    /// Sets [`eager`](Self::eager).
    #[must_use]
    pub fn eager(mut self, delay: Duration) -> Self {
        self.eager = delay;
        self
    }

    /// Sets [`eager_for`](Self::eager_for).
    #[must_use]
    pub fn eager_for(mut self, time: Duration) -> Self {
        self.eager_for = time;
        self
    }

    /// Sets [`longest`](Self::longest).
    #[must_use]
    pub fn longest(mut self, delay: Duration) -> Self {
        self.longest = delay;
        self
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

/// The next attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// How long to wait before it.
    pub after: Duration,
    /// Which one of this outage it is, counted from 1.
    pub attempt: u64,
}

/// The delays of one outage after the other.
///
/// ```
/// use std::time::{Duration, Instant};
/// use rpyc_actors::backoff::{Backoff, BackoffConfig};
///
/// let mut backoff = Backoff::new(BackoffConfig::default());
/// let lost = Instant::now();
/// assert_eq!(backoff.next_retry(lost).after, Duration::ZERO);
/// let second = backoff.next_retry(lost).after;
/// assert!((Duration::from_millis(50)..=Duration::from_millis(100)).contains(&second));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    random: fastrand::Rng,
    /// When the first attempt of this outage was asked for.
    began: Option<Instant>,
    attempt: u64,
    /// Upper end of the next delay.
    ceiling: Duration,
}

/// Shortest range of delays: attempts without one would keep a processor busy.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

impl Backoff {
    /// At the start of an outage.
    pub fn new(config: BackoffConfig) -> Self {
        let random = config
            .seed
            .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let ceiling = config.eager.max(SHORTEST);
        Self {
            config,
            random,
            began: None,
            attempt: 0,
            ceiling,
        }
    }

    /// The next attempt of this outage: the first one at once.
    pub fn next_retry(&mut self, now: Instant) -> Retry {
        let began = *self.began.get_or_insert(now);
        self.attempt += 1;
        let after = if self.attempt == 1 {
            Duration::ZERO
        } else {
            if now.saturating_duration_since(began) >= self.config.eager_for {
                let longest = self.config.longest.max(self.config.eager).max(SHORTEST);
                self.ceiling = self.ceiling.saturating_mul(2).min(longest);
            }
            let half = self.ceiling / 2;
            half.saturating_add(half.mul_f64(self.random.f64()))
        };
        Retry {
            after,
            attempt: self.attempt,
        }
    }

    /// When the outage began, if an attempt was asked for since the last [`reset`](Self::reset).
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// A connection was of use: what is lost next is a new outage.
    pub fn reset(&mut self) {
        self.began = None;
        self.attempt = 0;
        self.ceiling = self.config.eager.max(SHORTEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The delays of an outage of that length, each attempt failing at once.
    fn delays(config: BackoffConfig, outage: Duration) -> Vec<Duration> {
        let mut backoff = Backoff::new(config);
        let began = Instant::now();
        let mut elapsed = Duration::ZERO;
        let mut delays = Vec::new();
        while elapsed <= outage {
            let retry = backoff.next_retry(began + elapsed);
            assert_eq!(retry.attempt, delays.len() as u64 + 1);
            delays.push(retry.after);
            elapsed += retry.after;
        }
        delays
    }

    #[test]
    fn an_outage_is_dialled_eagerly_at_first_and_then_ever_more_seldom() {
        for seed in 0..200 {
            let delays = delays(
                BackoffConfig::default().seed(seed),
                Duration::from_secs(600),
            );
            assert_eq!(delays[0], Duration::ZERO, "the first attempt waits");
            let mut elapsed = Duration::ZERO;
            let mut ceiling = Duration::from_millis(100);
            for delay in &delays[1..] {
                if elapsed >= Duration::from_secs(10) {
                    ceiling = (ceiling * 2).min(Duration::from_secs(5));
                }
                assert!(
                    (ceiling / 2..=ceiling).contains(delay),
                    "seed {seed}: {delay:?} after {elapsed:?}, where {ceiling:?} is the most"
                );
                elapsed += *delay;
            }
            assert_eq!(ceiling, Duration::from_secs(5));
        }
    }

    #[test]
    fn delays_repeat_with_a_seed_and_differ_without() {
        let minute = Duration::from_secs(60);
        let seeded = || delays(BackoffConfig::default().seed(7), minute);
        assert_eq!(seeded(), seeded());
        let free = || delays(BackoffConfig::default(), minute);
        assert_ne!(free(), free());
    }

    #[test]
    fn clients_of_one_server_spread_out() {
        let firsts: Vec<Duration> = (0..1000)
            .map(|seed| delays(BackoffConfig::default().seed(seed), Duration::ZERO)[1])
            .collect();
        for tenth in 0..10 {
            let from = Duration::from_millis(50 + 5 * tenth);
            let here = firsts
                .iter()
                .filter(|delay| (from..from + Duration::from_millis(5)).contains(*delay))
                .count();
            assert!((50..200).contains(&here), "{here} of 1000 from {from:?} on");
        }
    }

    #[test]
    fn a_reset_begins_a_new_outage() {
        let mut backoff = Backoff::new(BackoffConfig::default());
        let began = Instant::now();
        for second in 0..60 {
            backoff.next_retry(began + Duration::from_secs(second));
        }
        assert_eq!(backoff.began(), Some(began));
        backoff.reset();
        assert_eq!(backoff.began(), None);
        let later = began + Duration::from_secs(61);
        let first = backoff.next_retry(later);
        assert_eq!((first.after, first.attempt), (Duration::ZERO, 1));
        let second = backoff.next_retry(later).after;
        assert!(second <= Duration::from_millis(100), "{second:?}");
        assert_eq!(backoff.began(), Some(later));
    }

    #[test]
    fn no_setting_lets_attempts_follow_without_a_pause() {
        let config = BackoffConfig::default()
            .eager(Duration::ZERO)
            .longest(Duration::ZERO);
        let delays = delays(config, Duration::from_millis(20));
        assert!(delays[1..].iter().all(|delay| *delay >= SHORTEST / 2));
    }

    #[test]
    fn no_setting_overflows() {
        let mut backoff = Backoff::new(
            BackoffConfig::default()
                .eager(Duration::MAX)
                .eager_for(Duration::ZERO)
                .longest(Duration::MAX),
        );
        let now = Instant::now();
        for _ in 0..100 {
            let retry = backoff.next_retry(now);
            assert!(retry.attempt == 1 || retry.after >= Duration::MAX / 4);
        }
    }
}
