//! [`Line`]: the generations of a supervised connection, as the supervisor and all handles see them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::stats::SupervisorStats;
use crate::{
    channel::Channel,
    error::{ConnectionLostError, LossReason, StreamError},
};

/// Lost generations whose frames wait to be received; each holds at most its credit.
const KEPT: usize = 4;
/// Losses that are remembered for receivers who have not been told.
const REMEMBERED: usize = 16;

/// One connection of a supervised chain.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Generation {
    /// Counted from 1.
    pub number: u64,
    /// Its channel. It ends with this generation; closing it is taken for a loss.
    pub channel: Channel,
}

impl Generation {
    /// What the end of the flow of frames means on a supervised connection: any end is a loss.
    pub(super) fn loss(&self, ending: Result<(), StreamError>) -> ConnectionLostError {
        let reason = match ending {
            Ok(()) => LossReason::EndOfStream,
            Err(StreamError::ConnectionLost(error)) => error.reason,
            Err(error) => LossReason::Failed(Arc::new(error)),
        };
        let mut error = ConnectionLostError::new(&Arc::from(self.channel.endpoint()), reason);
        error.generation = self.number;
        error
    }
}

/// Where a supervised connection stands.
#[derive(Clone, Debug)]
enum Phase {
    /// There is none now; the supervisor is at it. The reason is that of the last loss or attempt.
    Down(Option<StreamError>),
    Up(Generation),
    Broken(StreamError),
    /// Somebody closes it; the supervisor has not done so yet.
    Closing,
    Closed(Result<(), StreamError>),
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Generations whose frames are or may be received, the oldest first.
    generations: VecDeque<Generation>,
    /// The last losses, the oldest first.
    losses: VecDeque<ConnectionLostError>,
    /// Writing on the generation of this number fails.
    unwritable: u64,
    /// Nothing new is sent; what is queued still is.
    draining: bool,
    /// Frames and batches that were given and could not be sent at once.
    queued: usize,
    stats: SupervisorStats,
}

/// Something that waits to be sent, until this is dropped.
pub(super) struct Queued<'a>(&'a Line);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let is_last_of_a_drain = {
            let mut state = self.0.state.lock();
            state.queued -= 1;
            state.draining && state.queued == 0
        };
        if is_last_of_a_drain {
            self.0.changed.send_replace(());
        }
    }
}

/// What a receiver finds.
pub(super) enum Reading {
    From(Generation),
    Lost(ConnectionLostError),
}

pub(super) struct Line {
    endpoint: Arc<str>,
    state: Mutex<State>,
    /// Told after each change of the state.
    changed: watch::Sender<()>,
}

impl Line {
    pub(super) fn new(endpoint: Arc<str>) -> Self {
        Self {
            endpoint,
            state: Mutex::new(State {
                phase: Phase::Down(None),
                generations: VecDeque::new(),
                losses: VecDeque::new(),
                unwritable: 0,
                draining: false,
                queued: 0,
                stats: SupervisorStats::default(),
            }),
            changed: watch::Sender::new(()),
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<str> {
        &self.endpoint
    }

    /// Waits until `take` gives something. Nobody is woken under the lock.
    async fn wait<T>(&self, mut take: impl FnMut(&mut State) -> Option<T>) -> T {
        if let Some(item) = take(&mut self.state.lock()) {
            return item;
        }
        let mut changed = self.changed.subscribe();
        loop {
            // Looked at behind the subscription, so that no change is missed.
            if let Some(item) = take(&mut self.state.lock()) {
                return item;
            }
            // The sender lives as long as we do.
            let _ = changed.changed().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.send_replace(());
    }

    // ---- what the supervisor does ----

    pub(super) fn count(&self, count: impl FnOnce(&mut SupervisorStats)) {
        count(&mut self.state.lock().stats);
    }

    /// A new connection is up; what was received on those before is received first.
    pub(super) fn up(&self, generation: Generation) {
        self.change(|state| {
            if !matches!(state.phase, Phase::Closing) {
                state.phase = Phase::Up(generation.clone());
            }
            state.stats.generation = generation.number;
            state.generations.push_back(generation);
        });
    }

    /// The connection is lost.
    pub(super) fn lost(&self, lost: &ConnectionLostError) {
        let mut dropped = Vec::new();
        self.change(|state| {
            state.stats.losses += 1;
            if !matches!(state.phase, Phase::Closing) {
                state.phase = Phase::Down(Some(lost.clone().into()));
            }
            state.losses.push_back(lost.clone());
            if state.losses.len() > REMEMBERED {
                state.losses.pop_front();
            }
            let mut kept = VecDeque::new();
            while let Some(generation) = state.generations.pop_back() {
                if generation.channel.holds_frames() && kept.len() < KEPT {
                    kept.push_front(generation);
                } else {
                    dropped.push(generation);
                }
            }
            state.generations = kept;
        });
        // A channel closes with its last handle, which wakes others.
        drop(dropped);
    }

    /// An attempt failed.
    pub(super) fn down(&self, reason: &StreamError) {
        self.change(|state| {
            if let Phase::Down(why) = &mut state.phase {
                *why = Some(reason.clone());
            }
        });
    }

    pub(super) fn broken(&self, reason: &StreamError) {
        self.change(|state| {
            if matches!(state.phase, Phase::Down(_) | Phase::Broken(_)) {
                state.phase = Phase::Broken(reason.clone());
            }
        });
    }

    pub(super) fn closed(&self, result: Result<(), StreamError>) {
        let mut dropped = VecDeque::new();
        self.change(|state| {
            if !matches!(state.phase, Phase::Closed(_)) {
                state.phase = Phase::Closed(result);
            }
            dropped = std::mem::take(&mut state.generations);
        });
        drop(dropped);
    }

    /// Resolves when somebody wants it closed.
    pub(super) async fn close_wanted(&self) {
        self.wait(|state| matches!(state.phase, Phase::Closing).then_some(()))
            .await;
    }

    /// Resolves when writing on this generation failed.
    pub(super) async fn unwritable(&self, number: u64) {
        self.wait(|state| (state.unwritable >= number).then_some(()))
            .await;
    }

    // ---- what handles do ----

    pub(super) fn close(&self) {
        self.change(|state| {
            if !matches!(state.phase, Phase::Closed(_)) {
                state.phase = Phase::Closing;
            }
        });
    }

    pub(super) async fn wait_closed(&self) -> Result<(), StreamError> {
        self.wait(|state| match &state.phase {
            Phase::Closed(result) => Some(result.clone()),
            _ => None,
        })
        .await
    }

    pub(super) fn is_closed(&self) -> bool {
        let state = self.state.lock();
        state.draining || matches!(state.phase, Phase::Closing | Phase::Closed(_))
    }

    /// Takes nothing new to send from now on.
    pub(super) fn drain(&self) {
        self.change(|state| state.draining = true);
    }

    /// Resolves when nothing waits to be sent.
    pub(super) async fn drained(&self) {
        self.wait(|state| (state.queued == 0).then_some(())).await;
    }

    /// Something waits to be sent.
    pub(super) fn queue(&self) -> Queued<'_> {
        self.state.lock().queued += 1;
        Queued(self)
    }

    pub(super) fn stats(&self) -> SupervisorStats {
        let state = self.state.lock();
        let mut stats = state.stats;
        stats.connected = matches!(state.phase, Phase::Up(_));
        stats
    }

    /// The number of the connection that is up, or comes next.
    pub(super) fn present(&self) -> u64 {
        let state = self.state.lock();
        match &state.phase {
            Phase::Up(generation) => generation.number,
            _ => state.stats.generation + 1,
        }
    }

    /// Writing on this generation failed, though it may still be read.
    pub(super) fn cannot_write(&self, number: u64) {
        self.change(|state| {
            // One that is not there yet may be of use.
            let number = number.min(state.stats.generation);
            state.unwritable = state.unwritable.max(number);
        });
    }

    /// What [`try_up`](Self::try_up) gives, for something new; `Closed` where nothing new is taken.
    pub(super) fn try_begin(&self) -> Result<Result<Generation, Option<StreamError>>, StreamError> {
        let state = self.state.lock();
        if state.draining {
            Err(StreamError::Closed)
        } else {
            Ok(state.up())
        }
    }

    /// The connection that is up, unless writing on it failed; else why there is none.
    pub(super) fn try_up(&self) -> Result<Generation, Option<StreamError>> {
        self.state.lock().up()
    }

    /// Waits for a connection; not for one that is broken.
    pub(super) async fn wait_up(&self) -> Result<Generation, StreamError> {
        self.wait(|state| match (state.up(), &state.phase) {
            (Ok(generation), _) => Some(Ok(generation)),
            (Err(_), Phase::Down(_) | Phase::Up(_)) => None,
            (Err(reason), _) => Some(Err(reason.unwrap_or(StreamError::Closed))),
        })
        .await
    }

    /// Where somebody goes on who has received all of the generations before `cursor`.
    pub(super) async fn reading(&self, cursor: u64) -> Result<Reading, StreamError> {
        self.wait(|state| state.reading(cursor)).await
    }

    /// True when a receive would not wait.
    pub(super) fn is_readable(&self, cursor: u64) -> bool {
        match self.state.lock().reading(cursor) {
            Some(Ok(Reading::From(generation))) => generation.channel.is_ready(),
            Some(_) => true,
            None => false,
        }
    }

    /// Resolves when a receive would not wait.
    pub(super) async fn readable(&self, cursor: u64) {
        while let Ok(Reading::From(generation)) = self.reading(cursor).await {
            generation.channel.readable().await;
            if self.is_readable(cursor) {
                return;
            }
        }
    }

    /// The last loss, if it is not one of before this generation.
    pub(super) fn loss_since(&self, number: u64) -> Option<ConnectionLostError> {
        let state = self.state.lock();
        let last = state.losses.back()?;
        (last.generation >= number).then(|| last.clone())
    }

    /// The connection that is up, also when writing on it failed.
    pub(super) fn current(&self) -> Option<Generation> {
        match &self.state.lock().phase {
            Phase::Up(generation) => Some(generation.clone()),
            _ => None,
        }
    }

    /// Sleeps on whichever arbiter is at hand.
    pub(super) async fn sleep(arbiter: &actix_rt::ArbiterHandle, time: Duration) {
        crate::runtime::Runtime::sleep_on(arbiter, time).await;
    }
}

impl State {
    fn up(&self) -> Result<Generation, Option<StreamError>> {
        match &self.phase {
            Phase::Up(generation) if generation.number > self.unwritable => Ok(generation.clone()),
            Phase::Up(_) => Err(None),
            Phase::Down(reason) => Err(reason.clone()),
            Phase::Broken(reason) => Err(Some(reason.clone())),
            Phase::Closing | Phase::Closed(Ok(())) => Err(Some(StreamError::Closed)),
            Phase::Closed(Err(error)) => Err(Some(error.clone())),
        }
    }

    fn reading(&self, cursor: u64) -> Option<Result<Reading, StreamError>> {
        let next = self
            .generations
            .iter()
            .find(|generation| generation.number >= cursor);
        if let Some(generation) = next
            && generation.number == cursor
        {
            return Some(Ok(Reading::From(generation.clone())));
        }
        // Those between were lost with nothing to receive, so one word is enough, about the last of them.
        let before = next.map_or(u64::MAX, |generation| generation.number);
        let mut lost = self.losses.iter().rev();
        if let Some(lost) = lost.find(|lost| (cursor..before).contains(&lost.generation)) {
            return Some(Ok(Reading::Lost(lost.clone())));
        }
        // One that is not remembered any more is told with the reason of another.
        if let (Some(generation), Some(lost)) = (next, self.losses.front()) {
            let mut lost = lost.clone();
            lost.generation = generation.number - 1;
            return Some(Ok(Reading::Lost(lost)));
        }
        match &self.phase {
            Phase::Broken(error) | Phase::Closed(Err(error)) => Some(Err(error.clone())),
            Phase::Closing | Phase::Closed(Ok(())) => Some(Err(StreamError::Closed)),
            Phase::Down(_) | Phase::Up(_) => None,
        }
    }
}
