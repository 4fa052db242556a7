//! [`Life`]: one supervised connection from its first attempt to its end.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix::WeakRecipient;
use tokio::time::{Instant, sleep, timeout};

use super::{
    SupervisorConfig,
    board::Board,
    intensity::Intensity,
    line::{Generation, Line},
};
use crate::{
    backoff::{Backoff, SHORTEST},
    chain::Chain,
    channel::{Channel, Subscribe},
    error::{ConnectError, ConnectFailure, ConnectionLostError, LossReason, StreamError},
    event::ConnectionEvent,
    message::Read,
    unit::Frames,
};

/// What the supervisor's actor and the loop share; both live on one arbiter.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) board: Board,
    /// Takes the frames of every generation.
    pub(super) frames: Option<WeakRecipient<Read<Frames>>>,
}

pub(super) struct Life {
    chain: Chain,
    config: SupervisorConfig,
    line: Arc<Line>,
    desk: Rc<RefCell<Desk>>,
    backoff: Backoff,
    intensity: Intensity,
    generation: u64,
    /// When the last connection was lost.
    lost_at: Option<Instant>,
    /// It was taken for broken, and no connection was of use since.
    broken: bool,
    over: bool,
}

/// How a generation ended.
enum Ended {
    Lost(ConnectionLostError),
    CloseWanted,
}

impl Life {
    pub(super) fn new(
        chain: Chain,
        config: SupervisorConfig,
        line: Arc<Line>,
        desk: Rc<RefCell<Desk>>,
    ) -> Self {
        Self {
            backoff: Backoff::new(config.backoff.clone()),
            intensity: Intensity::new(config.restarts, config.window),
            chain,
            config,
            line,
            desk,
            generation: 0,
            lost_at: None,
            broken: false,
            over: false,
        }
    }

    /// Dials, serves, and begins again, until somebody wants it closed.
    pub(super) async fn run(mut self) {
        let line = self.line.clone();
        let result = loop {
            let channel = tokio::select! {
                biased;
                () = line.close_wanted() => break Ok(()),
                channel = self.dial() => channel,
            };
            let generation = self.begin(channel);
            let began = Instant::now();
            match self.serve(&generation).await {
                Ended::CloseWanted => break generation.channel.close().await,
                Ended::Lost(lost) => self.end(&generation, began, lost),
            }
        };
        self.over = true;
        let number = self.generation;
        self.finish(result.map_err(|error| error.of_generation(number)));
    }

    fn tell(&self, event: ConnectionEvent) {
        tracing::debug!(target: crate::event::LIFE, endpoint = %self.line.endpoint(), ?event, "supervised");
        // It is borrowed only while this loop panics in the middle of telling something.
        if let Ok(mut desk) = self.desk.try_borrow_mut() {
            desk.board.tell(event);
        }
    }

    /// Tries until there is a connection.
    async fn dial(&mut self) -> Channel {
        let mut failed = None;
        loop {
            self.pause(failed.take()).await;
            self.line.count(|stats| stats.attempts += 1);
            match self.attempt().await {
                Ok(channel) => return channel,
                Err(error) => {
                    self.line.down(&error);
                    let is_too_much = is_panic(&error) && self.note();
                    if self.broken || is_too_much || is_hopeless(&error) {
                        self.take_for_broken(error.clone());
                    }
                    failed = Some(error);
                }
            }
        }
    }

    /// Waits before the next attempt, and says so.
    async fn pause(&mut self, failed: Option<StreamError>) {
        let mut retry = self.backoff.next_retry(Instant::now().into_std());
        if self.broken {
            retry.after = self.config.probe.max(SHORTEST);
        }
        let is_first_of_all = self.generation == 0 && retry.attempt == 1;
        if !is_first_of_all {
            self.tell(ConnectionEvent::Retrying {
                endpoint: self.line.endpoint().clone(),
                after: retry.after,
                attempt: retry.attempt,
                failed,
            });
        }
        if retry.after > Duration::ZERO {
            sleep(retry.after).await;
        }
    }

    /// One attempt. The endpoint resolves its address anew.
    async fn attempt(&self) -> Result<Channel, StreamError> {
        let limit = self.config.connect_timeout;
        match timeout(limit, self.chain.connect()).await {
            Ok(result) => result,
            Err(_) => {
                let failure = ConnectFailure::TimedOut(limit);
                Err(ConnectError::new(self.line.endpoint().clone(), failure).into())
            }
        }
    }

    /// A new generation is up.
    fn begin(&mut self, channel: Channel) -> Generation {
        self.generation += 1;
        let number = self.generation;
        let generation = Generation { number, channel };
        self.line.up(generation.clone());
        let endpoint = self.line.endpoint().clone();
        self.tell(ConnectionEvent::Connected {
            endpoint: endpoint.clone(),
            generation: number,
        });
        if let Some(lost_at) = self.lost_at.take() {
            self.tell(ConnectionEvent::Restored {
                endpoint,
                generation: number,
                downtime: lost_at.elapsed(),
            });
        }
        // Behind the events, which no frame is to overtake.
        if let Some(frames) = &self.desk.borrow().frames {
            // A channel that is lost already says so in a moment.
            let _ = generation.channel.subscribe(Subscribe {
                frames: Some(frames.clone()),
                events: None,
            });
        }
        generation
    }

    async fn serve(&self, generation: &Generation) -> Ended {
        let ending = tokio::select! {
            biased;
            () = self.line.close_wanted() => return Ended::CloseWanted,
            ending = generation.channel.ending() => ending,
            () = self.line.unwritable(generation.number) => {
                // What the peer still has to say is heard, for a while.
                let patience = generation.channel.limits().close_timeout;
                let ending = tokio::select! {
                    biased;
                    () = self.line.close_wanted() => return Ended::CloseWanted,
                    ending = timeout(patience, generation.channel.ending()) => ending,
                };
                generation.channel.abort();
                ending.unwrap_or(Err(StreamError::TimedOut {
                    what: "waiting for the end of a connection that cannot be written",
                    after: patience,
                }))
            }
        };
        // Where the peer merely ended its direction, what it was sent still leaves.
        let _ = generation.channel.finish();
        Ended::Lost(generation.loss(ending))
    }

    /// The generation is lost; says so, and draws conclusions.
    fn end(&mut self, generation: &Generation, began: Instant, lost: ConnectionLostError) {
        self.lost_at = Some(Instant::now());
        let panicked = lost.reason.is_panic();
        let was_of_use = generation.channel.stats().frames_received > 0
            || began.elapsed() >= self.config.settled_after;
        self.line.lost(&lost);
        self.tell(ConnectionEvent::Lost(lost.clone()));
        if was_of_use {
            self.backoff.reset();
            self.broken = false;
        }
        let is_too_much = (panicked || !was_of_use) && self.note();
        if self.broken || is_too_much {
            self.take_for_broken(lost.into());
        }
    }

    /// Notes that a connection panicked or was of no use. True when that was once too often.
    fn note(&mut self) -> bool {
        self.intensity.note(Instant::now().into_std())
    }

    fn take_for_broken(&mut self, reason: StreamError) {
        self.line.broken(&reason);
        if !std::mem::replace(&mut self.broken, true) {
            self.line.count(|stats| stats.broken += 1);
            self.tell(ConnectionEvent::Broken {
                endpoint: self.line.endpoint().clone(),
                reason,
            });
        }
    }

    fn finish(&self, result: Result<(), StreamError>) {
        self.line.closed(result);
        self.tell(ConnectionEvent::Closed {
            endpoint: self.line.endpoint().clone(),
        });
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if !self.over {
            // The arbiter stopped.
            let lost = ConnectionLostError::new(self.line.endpoint(), LossReason::ActorGone);
            self.finish(Err(StreamError::from(lost).of_generation(self.generation)));
        }
    }
}

/// True when something of this end panicked while it connected.
fn is_panic(error: &StreamError) -> bool {
    matches!(error, StreamError::Connect(error) if matches!(error.reason, ConnectFailure::Panicked(_)))
}

/// True for what no attempt will ever cure.
fn is_hopeless(error: &StreamError) -> bool {
    match error {
        StreamError::ApiMisuse(_) => true,
        StreamError::Connect(error) => matches!(error.reason, ConnectFailure::Endpoint(_)),
        _ => false,
    }
}
