//! [`Gate`] and [`Credit`]: the only backpressure there is.
//!
//! Each direction of a channel has one gate of so many bytes. Whoever puts data on the path takes credit for it;
//! the credit rides with the data as a guard, and comes back when the guard is dropped: when the kernel took the
//! bytes on the way down, when the consumer took the frames on the way up, or when a message is dropped anywhere
//! between. Mailboxes bound nothing.
//!
//! The state is one word, `used << 1 | contended`. While nobody waits, taking and giving back are single atomic
//! operations; once somebody waits (or the gate is closed) the bit sends everyone through the lock, where
//! waiters are served strictly in order of arrival.

use std::{
    cmp::Ordering::{Equal, Greater, Less},
    collections::{BTreeMap, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::error::StreamError;

/// What one batch costs besides its bytes: the envelope, the parts, the bookkeeping.
pub(crate) const BATCH_COST: usize = 256;

const CONTENDED: usize = 1;
const UNIT: usize = 2;

/// A fair, closable counter of bytes under way in one direction.
pub struct Gate {
    cap: usize,
    state: AtomicUsize,
    queue: Mutex<Queue>,
    waits: AtomicU64,
    waited_nanos: AtomicU64,
}

#[derive(Default)]
struct Queue {
    next_ticket: u64,
    /// Tickets that wait, in order of arrival.
    waiting: BTreeMap<u64, Waiting>,
    /// Tickets that were served but whose future was not polled since.
    served: VecDeque<(u64, usize)>,
    /// Hosts that wait until the gate is open, without taking anything, each with what it holds itself.
    readers: Vec<(Waker, usize)>,
    /// Hosts that hold credit back, and let go of it when somebody waits.
    holders: Vec<Waker>,
    /// Apart from the rest, as everywhere else: most connections have no errors, and thousands of them may be idle.
    closed: Option<Box<StreamError>>,
}

struct Waiting {
    weight: usize,
    waker: Waker,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("cap", &self.cap)
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// A gate that lets `cap` bytes be under way at once.
    pub fn new(cap: usize) -> Arc<Self> {
        Arc::new(Self {
            cap: cap.max(1),
            state: AtomicUsize::new(0),
            queue: Mutex::default(),
            waits: AtomicU64::new(0),
            waited_nanos: AtomicU64::new(0),
        })
    }

    /// The most that may be under way.
    pub fn cap(&self) -> usize {
        self.cap
    }

    /// What is under way now; above the cap when something grew on its way.
    pub fn used(&self) -> usize {
        self.state.load(Ordering::Acquire) / UNIT
    }

    /// True when somebody waits for credit, so that a layer that gathers should let go.
    pub fn is_contended(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CONTENDED != 0
    }

    /// How often somebody had to wait for credit, and how long all of them together did.
    pub fn waits(&self) -> (u64, Duration) {
        let nanos = self.waited_nanos.load(Ordering::Relaxed);
        (
            self.waits.load(Ordering::Relaxed),
            Duration::from_nanos(nanos),
        )
    }

    /// True while there is credit left.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.used() < self.cap
    }

    /// Takes `bytes` (at most the cap, so that something larger passes alone) if nobody waits and they are there.
    #[inline]
    pub fn try_acquire(self: &Arc<Self>, bytes: usize) -> Option<Credit> {
        self.try_take(bytes).then(|| Credit {
            gate: self.clone(),
            amount: bytes.min(self.cap),
        })
    }

    /// `try_acquire` without the guard: the caller owes `min(bytes, cap)` to the gate.
    #[inline]
    pub(crate) fn try_take(&self, bytes: usize) -> bool {
        let weight = bytes.min(self.cap);
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & CONTENDED != 0 || state / UNIT + weight > self.cap {
                return false;
            }
            match self.state.compare_exchange_weak(
                state,
                state + weight * UNIT,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
    }

    /// Takes `bytes`, waiting in line.
    ///
    /// # Cancellation
    ///
    /// A dropped future leaves the line, and gives back what it was given meanwhile.
    ///
    /// # Errors
    ///
    /// The error with which the gate was closed.
    pub async fn acquire(self: &Arc<Self>, bytes: usize) -> Result<Credit, StreamError> {
        if let Some(credit) = self.try_acquire(bytes) {
            return Ok(credit);
        }
        Acquire {
            gate: self,
            weight: bytes.min(self.cap),
            ticket: None,
            since: Instant::now(),
        }
        .await
    }

    /// Takes `bytes` without asking: for memory that is already in use.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Credit {
        self.state.fetch_add(bytes * UNIT, Ordering::AcqRel);
        Credit {
            gate: self.clone(),
            amount: bytes,
        }
    }

    /// `charge` without the guard: the caller owes `bytes` to the gate.
    pub(crate) fn overdraw(&self, bytes: usize) {
        self.state.fetch_add(bytes * UNIT, Ordering::AcqRel);
    }

    /// Gives the error to everybody who waits and to all who come later.
    ///
    /// The first error stays. Credit that is out may still come back.
    pub fn close(&self, error: StreamError) {
        let mut queue = self.queue.lock();
        if queue.closed.is_some() {
            return;
        }
        queue.closed = Some(Box::new(error));
        self.state.fetch_or(CONTENDED, Ordering::AcqRel);
        let waiting = std::mem::take(&mut queue.waiting);
        let readers = std::mem::take(&mut queue.readers);
        let holders = std::mem::take(&mut queue.holders);
        drop(queue);
        waiting
            .into_values()
            .for_each(|waiting| waiting.waker.wake());
        readers.into_iter().for_each(|(waker, _)| waker.wake());
        holders.into_iter().for_each(Waker::wake);
    }

    /// The error with which the gate was closed, if it was.
    pub fn closed(&self) -> Option<StreamError> {
        if !self.is_contended() {
            return None;
        }
        self.queue.lock().closed.as_deref().cloned()
    }

    /// Ready when there is credit left, not counting `held` bytes that the asker itself holds back.
    ///
    /// Takes nothing; wakes the task once at most half of the cap is used. Without the discount a layer that
    /// holds compressed frames of a whole cap would wait for itself.
    #[inline]
    pub(crate) fn poll_open(&self, held: usize, cx: &Context<'_>) -> Poll<()> {
        self.poll_used(self.cap - 1, held, cx)
    }

    /// Ready when at most half of the cap is used; wakes the task when that happens.
    pub(crate) fn poll_half(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_used(self.cap / 2, 0, cx)
    }

    /// Ready when at most `most` bytes are used, not counting `held` ones.
    #[inline]
    fn poll_used(&self, most: usize, held: usize, cx: &Context<'_>) -> Poll<()> {
        if self.used().saturating_sub(held) <= most {
            return Poll::Ready(());
        }
        let mut queue = self.queue.lock();
        if queue.closed.is_some() {
            return Poll::Ready(());
        }
        let used = self.state.fetch_or(CONTENDED, Ordering::AcqRel) / UNIT;
        if used.saturating_sub(held) <= most {
            let woken = self.serve(&mut queue);
            drop(queue);
            wake_all(woken);
            return Poll::Ready(());
        }
        match queue
            .readers
            .iter_mut()
            .find(|(waker, _)| waker.will_wake(cx.waker()))
        {
            Some(reader) => reader.1 = held,
            None => queue.readers.push((cx.waker().clone(), held)),
        }
        Poll::Pending
    }

    /// Ready when somebody waits for credit, or never will any more; wakes the task when that happens.
    pub(crate) fn poll_wanted(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.queue.lock();
        if !queue.waiting.is_empty() || queue.closed.is_some() {
            return Poll::Ready(());
        }
        if !queue
            .holders
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            queue.holders.push(cx.waker().clone());
        }
        Poll::Pending
    }

    #[inline]
    pub(crate) fn give_back(&self, amount: usize) {
        if amount == 0 {
            return;
        }
        let before = self.state.fetch_sub(amount * UNIT, Ordering::AcqRel);
        debug_assert!(
            before / UNIT >= amount,
            "a gate never gets back more than it gave"
        );
        if before & CONTENDED != 0 {
            let woken = self.serve(&mut self.queue.lock());
            wake_all(woken);
        }
    }

    /// Serves waiters in order while there is credit. The caller wakes them once it let go of the lock.
    fn serve(&self, queue: &mut Queue) -> Woken {
        let Queue {
            waiting,
            served,
            readers,
            closed,
            ..
        } = queue;
        let mut woken = Woken::new();
        if closed.is_some() {
            return woken;
        }
        let used = self.used();
        woken.extend(
            readers
                .extract_if(.., |(_, held)| used.saturating_sub(*held) <= self.cap / 2)
                .map(|(waker, _)| waker),
        );
        while let Some(first) = waiting.first_entry() {
            let weight = first.get().weight;
            // Half empty before anybody is woken, so that a woken sender has room for more than one frame.
            if used > self.cap / 2 && weight <= self.cap / 2 || self.used() + weight > self.cap {
                return woken;
            }
            self.state.fetch_add(weight * UNIT, Ordering::AcqRel);
            let (ticket, Waiting { waker, .. }) = first.remove_entry();
            served.push_back((ticket, weight));
            woken.push(waker);
        }
        if !readers.is_empty() {
            return woken;
        }
        self.state.fetch_and(!CONTENDED, Ordering::AcqRel);
        woken
    }
}

/// Wakers to be called without the lock: what they wake may come back to the gate at once.
type Woken = SmallVec<[Waker; 4]>;

fn wake_all(woken: Woken) {
    woken.into_iter().for_each(Waker::wake);
}

/// The future behind [`Gate::acquire`].
struct Acquire<'a> {
    gate: &'a Arc<Gate>,
    weight: usize,
    ticket: Option<u64>,
    since: Instant,
}

impl Future for Acquire<'_> {
    type Output = Result<Credit, StreamError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let gate = self.gate;
        let mut queue = gate.queue.lock();
        if let Some(ticket) = self.ticket {
            if queue.take_served(ticket).is_some() {
                self.ticket = None;
                gate.waits.fetch_add(1, Ordering::Relaxed);
                let nanos = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
                gate.waited_nanos.fetch_add(nanos, Ordering::Relaxed);
                return Poll::Ready(Ok(Credit {
                    gate: gate.clone(),
                    amount: self.weight,
                }));
            }
            if let Some(error) = queue.closed.as_deref().cloned() {
                self.ticket = None;
                return Poll::Ready(Err(error));
            }
            if let Some(waiting) = queue.waiting.get_mut(&ticket) {
                waiting.waker.clone_from(cx.waker());
            }
            return Poll::Pending;
        }
        if let Some(error) = queue.closed.as_deref() {
            return Poll::Ready(Err(error.clone()));
        }
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.insert(
            ticket,
            Waiting {
                weight: self.weight,
                waker: cx.waker().clone(),
            },
        );
        // Whoever gives back after this sees the bit; whoever did so before is seen here.
        let used = gate.state.fetch_or(CONTENDED, Ordering::AcqRel) / UNIT;
        let mut woken = Woken::new();
        if used <= gate.cap / 2 || used + self.weight <= gate.cap {
            woken = gate.serve(&mut queue);
        }
        let served = queue.take_served(ticket).is_some();
        if !served {
            woken.extend(queue.holders.drain(..));
        }
        drop(queue);
        wake_all(woken);
        if served {
            return Poll::Ready(Ok(Credit {
                gate: gate.clone(),
                amount: self.weight,
            }));
        }
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut queue = self.gate.queue.lock();
        if let Some(weight) = queue.take_served(ticket) {
            drop(queue);
            self.gate.give_back(weight);
        } else if queue.waiting.remove(&ticket).is_some() {
            // The one that left may have been the one too heavy to be served.
            let woken = self.gate.serve(&mut queue);
            drop(queue);
            wake_all(woken);
        }
    }
}

impl Queue {
    fn take_served(&mut self, ticket: u64) -> Option<usize> {
        let at = self
            .served
            .iter()
            .position(|(served, _)| *served == ticket)?;
        self.served.remove(at).map(|(_, weight)| weight)
    }
}

/// Bytes of a gate that are spoken for. Dropping it gives them back.
pub struct Credit {
    gate: Arc<Gate>,
    amount: usize,
}

impl fmt::Debug for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credit").field(&self.amount).finish()
    }
}

impl Credit {
    /// Joins an amount that was taken before to its gate.
    pub(crate) fn taken(gate: &Arc<Gate>, amount: usize) -> Self {
        Self {
            gate: gate.clone(),
            amount,
        }
    }

    /// The bytes it stands for.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// The gate it belongs to.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Re-weighs it: what is more is charged without asking, what is less is given back.
    pub fn set(&mut self, amount: usize) {
        match amount.cmp(&self.amount) {
            Greater => self.gate.overdraw(amount - self.amount),
            Less => self.gate.give_back(self.amount - amount),
            Equal => {}
        }
        self.amount = amount;
    }

    /// Splits off at most `amount` bytes.
    #[must_use]
    pub fn split(&mut self, amount: usize) -> Self {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Self {
            gate: self.gate.clone(),
            amount,
        }
    }

    /// Gives up the guard: the caller owes the amount to the gate.
    pub(crate) fn into_amount(mut self) -> usize {
        std::mem::take(&mut self.amount)
    }

    /// Takes over what `other` stands for; both belong to the same gate.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(
            Arc::ptr_eq(&self.gate, &other.gate),
            "credits of two gates cannot be merged"
        );
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.gate.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests;
