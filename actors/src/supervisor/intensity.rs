//! [`Intensity`]: how often something went wrong lately. Pure: the time comes in.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Counts within a sliding window.
#[derive(Debug)]
pub(super) struct Intensity {
    most: usize,
    window: Duration,
    /// When it went wrong, the oldest first; never more than `most` and one.
    noted: VecDeque<Instant>,
}

impl Intensity {
    pub(super) fn new(most: usize, window: Duration) -> Self {
        Self {
            most,
            window,
            noted: VecDeque::new(),
        }
    }

    /// Notes that something went wrong. True when that was once too often.
    pub(super) fn note(&mut self, now: Instant) -> bool {
        self.noted.push_back(now);
        while self
            .noted
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= self.window)
            || self.noted.len() > self.most.saturating_add(1)
        {
            self.noted.pop_front();
        }
        self.noted.len() > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_in_a_minute_is_once_too_often() {
        let minute = Duration::from_secs(60);
        let mut intensity = Intensity::new(10, minute);
        let start = Instant::now();
        for second in 0..10 {
            assert!(!intensity.note(start + Duration::from_secs(second)));
        }
        assert!(intensity.note(start + Duration::from_secs(59)));
        // The window slides: two of them lie a minute back now.
        assert!(!intensity.note(start + minute + Duration::from_secs(1)));
        assert!(!intensity.note(start + 3 * minute));
    }

    #[test]
    fn what_is_noted_does_not_pile_up() {
        let mut intensity = Intensity::new(3, Duration::from_secs(60));
        let now = Instant::now();
        for number in 0..1000 {
            assert_eq!(intensity.note(now), number >= 3);
            assert!(intensity.noted.len() <= 4);
        }
    }
}
