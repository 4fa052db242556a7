//! The calls that wait for an answer: a dense ring indexed by sequence number.
//!
//! Sequence numbers are handed out one by one, so the slot of a call is found by a subtraction, and in the usual case, answers in
//! order, the ring is as short as the number of calls in flight. A call that stays open while thousands of later ones are answered
//! is moved out of the ring into a small ordered map, so that one endless call does not make the ring grow for ever.
//!
//! A call whose caller went away (timed out, cancelled) leaves its slot behind as [`Slot::Unwanted`]: its answer still comes, and
//! must be told apart from an answer to a number that was never used.
//!
//! Deadlines are not kept in a heap. One lower bound of all of them is enough to arm a timer; when it passes, the open calls are
//! looked through once. As long as the deadlines were given in ascending order, which one common timeout guarantees, the search
//! stops at the first that has not passed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// The calls of one connection that are not answered yet.
#[derive(Debug)]
pub(super) struct Pending<W> {
    /// Slot of call `base + i` at index `i`. The front, if there is one, is never `Answered`.
    ring: VecDeque<Slot<W>>,
    /// Sequence number of the ring's front.
    base: u64,
    /// Slots in the ring that are not `Answered`.
    open: usize,
    /// Open calls below `base`.
    stragglers: BTreeMap<u64, Slot<W>>,
    deadlines: Deadlines,
}

/// What is known about the deadlines of all waiting calls.
#[derive(Debug)]
struct Deadlines {
    /// How many waiting calls have one.
    count: usize,
    /// No deadline is earlier than this; `None` exactly when `count` is 0.
    bound: Option<Instant>,
    /// The latest one given since `count` was last 0, and whether they came in ascending order since.
    latest: Option<Instant>,
    ascending: bool,
    /// No call below this number has one.
    searched: u64,
}

#[derive(Debug)]
enum Slot<W> {
    Answered,
    /// Nobody waits for the answer, but it will come.
    Unwanted,
    Waiting {
        waiter: W,
        deadline: Option<Instant>,
    },
}

/// To whom an answer belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<W> {
    Waiter(W),
    Unwanted,
    /// No open call has this number.
    Unknown,
}

/// Below this length the ring is left alone, however few of its calls are open.
const SHORT_RING: usize = 1024;

impl<W> Pending<W> {
    pub(super) fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            base: 0,
            open: 0,
            stragglers: BTreeMap::new(),
            deadlines: Deadlines::new(),
        }
    }

    /// The number the next call will get.
    pub(super) fn next_seq(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    /// How many answers are still to come, wanted or not.
    pub(super) fn open(&self) -> usize {
        self.open + self.stragglers.len()
    }

    /// Registers the next call. Without a waiter its answer is consumed in silence.
    pub(super) fn push(&mut self, waiter: Option<W>, deadline: Option<Instant>) -> u64 {
        while self.ring.len() >= SHORT_RING && self.ring.len() / 4 > self.open {
            self.move_front_aside();
        }
        let seq = self.next_seq();
        let slot = match waiter {
            Some(waiter) => {
                if let Some(deadline) = deadline {
                    self.deadlines.add(deadline, seq);
                }
                Slot::Waiting { waiter, deadline }
            }
            None => Slot::Unwanted,
        };
        self.ring.push_back(slot);
        self.open += 1;
        seq
    }

    /// Closes the slot of an answered call.
    pub(super) fn take(&mut self, seq: u64) -> Taken<W> {
        let slot = match seq.checked_sub(self.base) {
            Some(offset) => {
                let slot = usize::try_from(offset)
                    .ok()
                    .and_then(|index| self.ring.get_mut(index));
                match slot {
                    Some(slot) => std::mem::replace(slot, Slot::Answered),
                    None => Slot::Answered,
                }
            }
            None => self.stragglers.remove(&seq).unwrap_or(Slot::Answered),
        };
        if seq >= self.base && !matches!(slot, Slot::Answered) {
            self.open -= 1;
            self.trim();
        }
        match slot {
            Slot::Answered => Taken::Unknown,
            Slot::Unwanted => Taken::Unwanted,
            Slot::Waiting { waiter, deadline } => {
                if deadline.is_some() {
                    self.deadlines.remove_one();
                }
                Taken::Waiter(waiter)
            }
        }
    }

    /// Gives the waiter back and remembers that its answer is no longer wanted.
    pub(super) fn abandon(&mut self, seq: u64) -> Option<W> {
        let slot = match seq.checked_sub(self.base) {
            Some(offset) => self.ring.get_mut(usize::try_from(offset).ok()?)?,
            None => self.stragglers.get_mut(&seq)?,
        };
        if !matches!(slot, Slot::Waiting { .. }) {
            return None;
        }
        match std::mem::replace(slot, Slot::Unwanted) {
            Slot::Waiting { waiter, deadline } => {
                if deadline.is_some() {
                    self.deadlines.remove_one();
                }
                Some(waiter)
            }
            Slot::Answered | Slot::Unwanted => None,
        }
    }

    /// When [`expire`](Self::expire) should be called next: never later than the earliest deadline, perhaps earlier.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.bound
    }

    /// Abandons every call whose deadline is `now` or earlier and gives their waiters back, oldest call first.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(u64, W)> {
        let mut expired = Vec::new();
        if self.deadlines.bound.is_none_or(|bound| bound > now) {
            return expired;
        }
        let first = self.deadlines.searched;
        let skip = usize::try_from(first.saturating_sub(self.base)).unwrap_or(usize::MAX);
        let old = self.stragglers.range_mut(first..);
        let ring = self.ring.iter_mut().enumerate().skip(skip);
        let base = self.base;
        let slots = old
            .map(|(seq, slot)| (*seq, slot))
            .chain(ring.map(|(index, slot)| (base + index as u64, slot)));

        let mut earliest: Option<Instant> = None;
        let mut first_left = None;
        for (seq, slot) in slots {
            let Slot::Waiting {
                deadline: Some(deadline),
                ..
            } = slot
            else {
                continue;
            };
            if *deadline > now {
                earliest = Some(earliest.map_or(*deadline, |so_far| so_far.min(*deadline)));
                first_left.get_or_insert(seq);
                if self.deadlines.ascending {
                    break;
                }
            } else if let Slot::Waiting { waiter, .. } = std::mem::replace(slot, Slot::Unwanted) {
                expired.push((seq, waiter));
            }
        }
        self.deadlines.searched = first_left.unwrap_or_else(|| self.next_seq());
        self.deadlines.bound = earliest;
        self.deadlines.count -= expired.len();
        self.deadlines.settle();
        expired
    }

    /// Takes every waiter, oldest call first; no call is open afterwards.
    pub(super) fn drain(&mut self) -> Vec<(u64, W)> {
        let next = self.next_seq();
        let old = std::mem::take(&mut self.stragglers).into_iter();
        let ring = std::mem::take(&mut self.ring);
        let ring = (self.base..).zip(ring);
        self.base = next;
        self.open = 0;
        self.deadlines = Deadlines::new();
        old.chain(ring)
            .filter_map(|(seq, slot)| match slot {
                Slot::Waiting { waiter, .. } => Some((seq, waiter)),
                Slot::Answered | Slot::Unwanted => None,
            })
            .collect()
    }

    /// Restores the rule that the front of the ring is open.
    fn trim(&mut self) {
        while matches!(self.ring.front(), Some(Slot::Answered)) {
            self.ring.pop_front();
            self.base += 1;
        }
        if self.ring.is_empty() && self.ring.capacity() > 4 * SHORT_RING {
            self.ring.shrink_to(SHORT_RING);
        }
    }

    fn move_front_aside(&mut self) {
        if let Some(slot) = self.ring.pop_front() {
            self.stragglers.insert(self.base, slot);
            self.base += 1;
            self.open -= 1;
            self.trim();
        }
    }
}

impl Deadlines {
    fn new() -> Self {
        Self {
            count: 0,
            bound: None,
            latest: None,
            ascending: true,
            searched: 0,
        }
    }

    fn add(&mut self, deadline: Instant, seq: u64) {
        if self.count == 0 {
            self.bound = Some(deadline);
            self.searched = seq;
        } else if self.bound.is_some_and(|bound| deadline < bound) {
            self.bound = Some(deadline);
        }
        self.ascending &= self.latest.is_none_or(|latest| latest <= deadline);
        self.latest = Some(deadline);
        self.count += 1;
    }

    fn remove_one(&mut self) {
        self.count -= 1;
        self.settle();
    }

    fn settle(&mut self) {
        if self.count == 0 {
            self.bound = None;
            self.latest = None;
            self.ascending = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(start: Instant, ms: u64) -> Option<Instant> {
        Some(start + Duration::from_millis(ms))
    }

    #[test]
    fn answers_in_any_order_find_their_waiters() {
        let mut pending = Pending::new();
        for name in ["a", "b", "c"] {
            pending.push(Some(name), None);
        }
        assert_eq!(pending.take(1), Taken::Waiter("b"));
        assert_eq!(pending.take(1), Taken::Unknown);
        assert_eq!(pending.take(2), Taken::Waiter("c"));
        assert_eq!(pending.take(0), Taken::Waiter("a"));
        assert_eq!(pending.take(3), Taken::Unknown);
        assert_eq!(pending.take(u64::MAX), Taken::Unknown);
        assert_eq!((pending.open(), pending.next_seq()), (0, 3));
        assert!(pending.ring.is_empty());
    }

    #[test]
    fn an_abandoned_call_still_expects_its_answer() {
        let mut pending = Pending::new();
        pending.push(Some('x'), None);
        pending.push(None, None);
        assert_eq!(pending.abandon(0), Some('x'));
        assert_eq!(pending.abandon(0), None);
        assert_eq!(pending.abandon(7), None);
        assert_eq!(pending.take(0), Taken::Unwanted);
        assert_eq!(pending.take(0), Taken::Unknown);
        assert_eq!(pending.take(1), Taken::Unwanted);
        assert_eq!(pending.open(), 0);
    }

    #[test]
    fn an_endless_call_does_not_make_the_ring_grow() {
        let mut pending = Pending::new();
        let endless = pending.push(Some(0), None);
        for n in 1..100_000 {
            let seq = pending.push(Some(n), None);
            assert_eq!(pending.take(seq), Taken::Waiter(n));
            assert!(pending.ring.len() <= SHORT_RING);
        }
        assert_eq!(pending.stragglers.len(), 1);
        assert_eq!(pending.take(endless), Taken::Waiter(0));
        assert_eq!(pending.open(), 0);
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut pending = Pending::new();
        for n in 0..100_000 {
            pending.push(Some(n), None);
        }
        for n in 0..100_000 {
            assert_eq!(pending.take(n), Taken::Waiter(n));
        }
        assert!(pending.ring.capacity() <= 4 * SHORT_RING);
    }

    #[test]
    fn equal_timeouts_expire_in_order() {
        let start = Instant::now();
        let mut pending = Pending::new();
        for n in 0..10 {
            pending.push(Some(n), at(start, 100 + n));
        }
        assert_eq!(pending.poll_timeout(), at(start, 100));
        assert_eq!(pending.expire(start), []);
        pending.take(0);
        assert_eq!(pending.expire(start + Duration::from_millis(100)), []);
        assert_eq!(pending.poll_timeout(), at(start, 101));
        let expired = pending.expire(start + Duration::from_millis(103));
        assert_eq!(expired, [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(pending.poll_timeout(), at(start, 104));
        assert_eq!(pending.take(2), Taken::Unwanted);
    }

    #[test]
    fn odd_timeouts_are_found_between_the_others() {
        let start = Instant::now();
        let mut pending = Pending::new();
        pending.push(Some("long"), at(start, 500));
        pending.push(Some("none"), None);
        pending.push(Some("short"), at(start, 10));
        pending.push(Some("middle"), at(start, 200));
        assert_eq!(pending.poll_timeout(), at(start, 10));
        assert_eq!(
            pending.expire(start + Duration::from_millis(10)),
            [(2, "short")]
        );
        assert_eq!(pending.poll_timeout(), at(start, 200));
        assert_eq!(
            pending.expire(start + Duration::from_secs(1)),
            [(0, "long"), (3, "middle")]
        );
        assert_eq!(pending.poll_timeout(), None);
        assert_eq!(pending.take(1), Taken::Waiter("none"));
    }

    #[test]
    fn no_timer_runs_while_no_call_waits() {
        let start = Instant::now();
        let mut pending = Pending::new();
        let seq = pending.push(Some(()), at(start, 5));
        pending.take(seq);
        assert_eq!(pending.poll_timeout(), None);
        let seq = pending.push(Some(()), at(start, 9));
        assert_eq!(pending.poll_timeout(), at(start, 9));
        pending.abandon(seq);
        assert_eq!(pending.poll_timeout(), None);
    }

    #[test]
    fn draining_gives_every_waiter_once() {
        let mut pending = Pending::new();
        let endless = pending.push(Some(u64::MAX), None);
        for n in 1..5_000 {
            let seq = pending.push(Some(n), None);
            pending.take(seq);
        }
        let abandoned = pending.push(Some(1), None);
        pending.abandon(abandoned);
        let last = pending.push(Some(2), None);
        assert_eq!(pending.drain(), [(endless, u64::MAX), (last, 2)]);
        assert_eq!(pending.drain(), []);
        assert_eq!(pending.next_seq(), last + 1);
    }

    /// The ring against a plain map, over a random history.
    #[test]
    fn a_random_history_agrees_with_a_map() {
        use std::collections::BTreeMap;
        let start = Instant::now();
        for seed in 1..8_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut draw = |n: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % n
            };
            let mut pending = Pending::new();
            let mut model: BTreeMap<u64, Option<Option<Instant>>> = BTreeMap::new();
            let mut now = start;
            for step in 0..10_000 {
                match draw(10) {
                    0..=3 => {
                        let deadline = match draw(3) {
                            0 => None,
                            1 => Some(now + Duration::from_millis(50)),
                            _ => Some(now + Duration::from_millis(draw(500))),
                        };
                        let seq = pending.next_seq();
                        assert_eq!(pending.push(Some(seq), deadline), seq);
                        model.insert(seq, Some(deadline));
                    }
                    4..=7 => {
                        let seq = pending.next_seq().saturating_sub(draw(3000));
                        let expected = match model.remove(&seq) {
                            None => Taken::Unknown,
                            Some(None) => Taken::Unwanted,
                            Some(Some(_)) => Taken::Waiter(seq),
                        };
                        assert_eq!(pending.take(seq), expected);
                    }
                    8 => {
                        let seq = pending.next_seq().saturating_sub(draw(3000));
                        let waits = model.get_mut(&seq).and_then(Option::take).is_some();
                        assert_eq!(pending.abandon(seq), waits.then_some(seq));
                    }
                    _ => {
                        now += Duration::from_millis(draw(20));
                        let mut expected = Vec::new();
                        for (seq, slot) in &mut model {
                            if slot.flatten().is_some_and(|deadline| deadline <= now) {
                                *slot = None;
                                expected.push((*seq, *seq));
                            }
                        }
                        assert_eq!(pending.expire(now), expected);
                    }
                }
                assert_eq!(pending.open(), model.len());
                if step % 50 != 0 {
                    continue;
                }
                let earliest = model.values().filter_map(|slot| slot.flatten()).min();
                assert_eq!(pending.poll_timeout().is_some(), earliest.is_some());
                assert!(pending.poll_timeout() <= earliest || earliest.is_none());
            }
        }
    }
}
