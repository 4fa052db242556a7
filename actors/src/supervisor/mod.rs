//! [`ConnectionSupervisor`]: keeps a connection up, by building a new one whenever one is lost.
//!
//! A chain's recipe goes in, *generations* of channels come out, numbered from 1, and everybody who wants to know is told
//! what happens. It is not an `actix::Supervisor`: that one restarts the same actor in place, knows neither cause nor pause nor limit, and
//! does not survive a panic. Here nothing is restarted: each generation is a new chain with new codecs, and what is
//! late of an old one has no way into the new one.
//!
//! ```text
//!            ┌──────── attempt fails: pause ───────┐
//!            ▼                                     │
//! start ─▶ pause ─▶ dial (resolve, connect, build) ┴▶ Connected ─▶ Lost ─┐
//!            ▲                                                           │
//!            └───────────────────────────────────────────────────────────┘
//! ```
//!
//! The pauses are those of [`Backoff`](crate::Backoff). A connection on which something came was of use, and the next loss begins a new
//! outage. One that panics, or is lost before anything came, counts: more than ten of those in a minute, and the connection is taken for
//! [`Broken`](crate::ConnectionEvent::Broken), until a probe every 30 s finds it of use.
//!
//! What a supervisor does not do: it sends nothing twice. What a lost generation had accepted may have arrived or not.

mod board;
mod config;
mod handle;
mod intensity;
mod life;
mod line;
mod receive;
mod send;
mod stats;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture,
};

pub use self::{
    board::Events,
    config::{Meanwhile, SupervisorConfig},
    handle::SupervisedChannel,
    line::Generation,
    receive::{Received, SupervisedReceiver},
    stats::SupervisorStats,
};
use self::{
    board::Newcomer,
    life::{Desk, Life},
    line::Line,
};
use crate::{
    chain::Chain,
    channel::{Close, Subscribe},
    event::{log_started, log_stopped},
};

/// The actor that keeps one connection up. [`Chain::supervise`] starts it, and gives the handle.
///
/// It takes [`Subscribe`] (events and frames of all generations), [`Stats`], [`Close`] and [`Drain`]. Subscribers are held weakly. Frames that a
/// subscriber gets of a new generation come behind the events of the change, if it takes both.
pub struct ConnectionSupervisor {
    line: Arc<Line>,
    desk: Rc<RefCell<Desk>>,
    life: Option<Life>,
}

/// Asks for a supervisor's counts.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "SupervisorStats")]
pub struct Stats;

/// Sends what is given already, the frames that wait for a connection among it, takes nothing new, and then closes; the event
/// [`Closed`](crate::ConnectionEvent::Closed) says when.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Drain {
    /// How long that may take. What still waits then is refused.
    pub within: Duration,
}

/// Asks for events as a stream.
#[derive(Message)]
#[rtype(result = "()")]
struct Watch {
    newcomer: Option<Newcomer>,
    line: Arc<Line>,
}

impl Watch {
    fn new(newcomer: Newcomer, line: &Arc<Line>) -> Self {
        Self {
            newcomer: Some(newcomer),
            line: line.clone(),
        }
    }
}

/// A supervisor that is gone handles no message.
impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(newcomer) = self.newcomer.take() {
            newcomer.too_late(self.line.endpoint());
        }
    }
}

impl ConnectionSupervisor {
    fn new(chain: Chain, config: SupervisorConfig, line: Arc<Line>) -> Self {
        let desk = Rc::<RefCell<Desk>>::default();
        let life = Life::new(chain, config, line.clone(), desk.clone());
        Self {
            line,
            desk,
            life: Some(life),
        }
    }
}

impl Actor for ConnectionSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        log_started::<Self>(self.line.endpoint());
        if let Some(life) = self.life.take() {
            let life = life.run().into_actor(self);
            ctx.spawn(life.map(|(), _, ctx| ctx.stop()));
        }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        log_stopped::<Self>(self.line.endpoint());
    }
}

impl Handler<Subscribe> for ConnectionSupervisor {
    type Result = ();

    fn handle(&mut self, message: Subscribe, _: &mut Context<Self>) {
        let Subscribe { frames, events } = message;
        let mut desk = self.desk.borrow_mut();
        if let Some(events) = events {
            desk.board.subscribe(Newcomer::actor(events));
        }
        if let Some(frames) = frames {
            desk.frames = Some(frames.clone());
            if let Some(generation) = self.line.current() {
                // One that is lost in this moment is followed by the next.
                let _ = generation.channel.subscribe(Subscribe {
                    frames: Some(frames),
                    events: None,
                });
            }
        }
    }
}

impl Handler<Watch> for ConnectionSupervisor {
    type Result = ();

    fn handle(&mut self, mut message: Watch, _: &mut Context<Self>) {
        if let Some(newcomer) = message.newcomer.take() {
            self.desk.borrow_mut().board.subscribe(newcomer);
        }
    }
}

impl Handler<Stats> for ConnectionSupervisor {
    type Result = SupervisorStats;

    fn handle(&mut self, _: Stats, _: &mut Context<Self>) -> SupervisorStats {
        self.line.stats()
    }
}

impl Handler<Close> for ConnectionSupervisor {
    type Result = ();

    fn handle(&mut self, _: Close, _: &mut Context<Self>) {
        self.line.close();
    }
}

impl Handler<Drain> for ConnectionSupervisor {
    type Result = ();

    fn handle(&mut self, message: Drain, ctx: &mut Context<Self>) {
        let line = self.line.clone();
        line.drain();
        let draining = async move {
            // Whether it is over or too late, the rest is closed.
            let _ = tokio::time::timeout(message.within, line.drained()).await;
            line.close();
        };
        ctx.spawn(draining.into_actor(self));
    }
}
