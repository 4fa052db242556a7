//! [`Pulse`]: when a sign of life is due, and when the peer counts as dead.
//!
//! Each end sends something in time *by itself*, and not only when asked: an end whose application takes nothing does
//! not read, and so cannot answer. For the same reason silence does not count while this end does not read.
//!
//! Instants move only when a timer fires, not with each record, so that a busy connection sets no timers.

use std::time::{Duration, Instant};

use crate::limits::FOR_EVER;

/// Shortest time of silence after which an end may be taken for dead.
pub const MIN_SILENCE: Duration = Duration::from_millis(200);

/// How an end notices that the other one is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    every: Duration,
    silence: Duration,
}

impl Default for Liveness {
    /// Something is sent at least every 5 s, and 15 s of silence mean that the peer is dead.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            silence: Duration::from_secs(15),
        }
    }
}

impl Liveness {
    /// Sends something at least every third of `silence`, and takes the peer for dead after `silence`, which is at
    /// least [`MIN_SILENCE`]. The peer is told, and sends something in time whatever its own settings are.
    pub fn new(silence: Duration) -> Self {
        let silence = silence.clamp(MIN_SILENCE, FOR_EVER);
        Self {
            every: silence / 3,
            silence,
        }
    }

    /// Sets how often something is sent; at most every tenth of [`MIN_SILENCE`].
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every.clamp(MIN_SILENCE / 10, FOR_EVER);
        self
    }

    /// How often something is sent.
    pub fn interval(&self) -> Duration {
        self.every
    }

    /// The silence that is borne.
    pub fn silence(&self) -> Duration {
        self.silence
    }
}

/// Parts of the time of silence at whose ends this end looks whether something came.
const LOOKS: u32 = 3;

/// One connection's signs of life.
#[derive(Debug)]
pub(super) struct Pulse {
    sending: Option<Beat>,
    hearing: Option<Watch>,
}

/// What this end owes the peer.
#[derive(Debug)]
struct Beat {
    every: Duration,
    sent: Instant,
    due: Instant,
}

/// What this end expects of the peer.
#[derive(Debug)]
struct Watch {
    silence: Duration,
    heard: Instant,
    look: Instant,
    asked: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Send a sign of life.
    Pong,
    /// Ask for one.
    Ping,
    /// Nothing came for this long.
    Dead(Duration),
}

impl Pulse {
    /// `asked` is how long the peer bears silence.
    pub(super) fn new(own: Option<Liveness>, asked: Option<Duration>, now: Instant) -> Self {
        let own_interval = own.map(|own| own.interval());
        let asked_interval = asked.map(|silence| silence / LOOKS);
        let every = own_interval.into_iter().chain(asked_interval).min();
        Self {
            sending: every.map(|every| Beat {
                every,
                sent: now,
                due: now + every,
            }),
            hearing: own.map(|own| Watch {
                silence: own.silence(),
                heard: now,
                look: now + own.silence() / LOOKS,
                asked: false,
            }),
        }
    }

    /// Something was sent.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Some(beat) = &mut self.sending {
            beat.sent = now;
        }
    }

    /// Something came.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(watch) = &mut self.hearing {
            watch.heard = now;
            watch.asked = false;
        }
    }

    /// This end sends nothing more.
    pub(super) fn stop_sending(&mut self) {
        self.sending = None;
    }

    /// Nothing more comes from the peer.
    pub(super) fn stop_hearing(&mut self) {
        self.hearing = None;
    }

    /// When [`tick`](Self::tick) is wanted.
    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.sending.as_ref().map(|beat| beat.due);
        let look = self.hearing.as_ref().map(|watch| watch.look);
        due.into_iter().chain(look).min()
    }

    /// What is due at `now`; `is_reading` is whether what the peer sends would be read.
    pub(super) fn tick(&mut self, now: Instant, is_reading: bool) -> Due {
        let mut due = Due::Nothing;
        if let Some(watch) = &mut self.hearing
            && watch.look <= now
        {
            if !is_reading {
                watch.heard = now;
            }
            let quiet = now.saturating_duration_since(watch.heard);
            if quiet >= watch.silence {
                return Due::Dead(watch.silence);
            }
            // Signs of life are due after each third at the latest, so after two of them something is wrong.
            if quiet >= watch.silence / LOOKS * (LOOKS - 1) && !watch.asked {
                watch.asked = true;
                due = Due::Ping;
            }
            watch.look = (now + watch.silence / LOOKS).min(watch.heard + watch.silence);
        }
        if let Some(beat) = &mut self.sending
            && beat.due <= now
        {
            if beat.sent + beat.every <= now {
                beat.due = now + beat.every;
                if due == Due::Nothing {
                    due = Due::Pong;
                }
            } else {
                beat.due = beat.sent + beat.every;
            }
        }
        due
    }
}
