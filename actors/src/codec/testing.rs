//! A two-ended test bench: two codecs back to back, a virtual clock, and a link that may cut bytes anywhere.
//!
//! No runtime, no socket, no real time. It is public so that a codec written elsewhere can be tested the same way.

mod over;

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

pub use over::Over;

use super::{Codec, Host, Output};
use crate::{
    credit::Gate,
    error::StreamError,
    event::ConnectionEvent,
    message::{Read, Write},
    unit::{Chunk, Unit},
};

/// A clock that moves when it is told to, and the gates of one end.
#[derive(Debug)]
pub struct TestHost {
    now: Cell<Instant>,
    down: Arc<Gate>,
    up: Arc<Gate>,
}

impl TestHost {
    fn new(start: Instant, cap: usize) -> Self {
        Self {
            now: Cell::new(start),
            down: Gate::new(cap),
            up: Gate::new(cap),
        }
    }

    /// The gate of the downward direction.
    pub fn down_gate(&self) -> &Arc<Gate> {
        &self.down
    }
}

impl Host for TestHost {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn down_gate(&self) -> &Arc<Gate> {
        &self.down
    }

    fn up_gate(&self) -> &Arc<Gate> {
        &self.up
    }
}

/// One end of the bench: a codec, what it sent, what it delivered.
pub struct Side<C: Codec<Below = Chunk>> {
    codec: C,
    /// Clock and gates of this end.
    pub host: TestHost,
    /// Bytes on the wire, not taken by the other end yet.
    wire: VecDeque<u8>,
    /// The sizes of the pieces that it went in.
    pieces: Vec<usize>,
    /// Delivered units, each with its credit until somebody takes it.
    delivered: Vec<Read<C::Above>>,
    events: Vec<ConnectionEvent>,
    finished: bool,
    ended: bool,
    failed: Option<StreamError>,
}

impl<C: Codec<Below = Chunk>> Side<C> {
    fn new(codec: C, host: TestHost) -> Self {
        Self {
            codec,
            host,
            wire: VecDeque::new(),
            pieces: Vec::new(),
            delivered: Vec::new(),
            events: Vec::new(),
            finished: false,
            ended: false,
            failed: None,
        }
    }

    /// Gives a unit to the codec, as the neighbour above would.
    pub fn write(&mut self, unit: C::Above) {
        let credit = self.host.down.charge(unit.weight());
        self.input(|codec, host| codec.handle_write(Write { unit, credit }, host));
    }

    /// Gives bytes to the codec, as the neighbour below would.
    pub fn read(&mut self, unit: Chunk) {
        let credit = self.host.up.charge(unit.weight());
        self.input(|codec, host| codec.handle_read(Read { unit, credit }, host));
    }

    /// Ends this end's direction.
    pub fn finish(&mut self) {
        self.input(|codec, host| codec.handle_finish(host));
    }

    /// Tells the codec that nothing more comes up.
    pub fn end(&mut self) {
        self.input(|codec, host| codec.handle_end(host));
    }

    /// Lets go of what the codec holds back.
    pub fn flush(&mut self) {
        self.input(|codec, host| codec.handle_flush(host));
    }

    /// Gives an input to the codec, unless it is finished, and takes its outputs.
    fn input(&mut self, give: impl FnOnce(&mut C, &TestHost) -> Result<(), StreamError>) {
        if self.failed.is_none() {
            let result = give(&mut self.codec, &self.host);
            self.settle(result);
        }
    }

    /// Takes what was delivered; its credit comes back, and the codec goes on.
    pub fn received(&mut self) -> Vec<C::Above> {
        let mut units = Vec::new();
        while !self.delivered.is_empty() {
            units.extend(self.delivered.drain(..).map(|read| read.unit));
            self.settle(Ok(()));
        }
        units
    }

    /// Units that were delivered and that nobody took.
    pub fn waiting(&self) -> usize {
        self.delivered.len()
    }

    /// What went wrong, if anything did.
    pub fn failure(&self) -> Option<&StreamError> {
        self.failed.as_ref()
    }

    /// True when the codec reported the peer's end.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The events so far.
    pub fn events(&self) -> &[ConnectionEvent] {
        &self.events
    }

    /// The sizes of all pieces that went out so far, in bytes.
    pub fn pieces(&self) -> &[usize] {
        &self.pieces
    }

    /// Bytes on the wire that the other end did not take.
    pub fn wire(&mut self) -> &mut VecDeque<u8> {
        &mut self.wire
    }

    fn settle(&mut self, result: Result<(), StreamError>) {
        let mut failed = result.err();
        loop {
            let may_grow =
                self.host.up.used().saturating_sub(self.codec.held()) < self.host.up.cap();
            match self.codec.poll_output(may_grow, &self.host) {
                Ok(Some(Output::Down(write))) => {
                    for piece in write.unit.pieces() {
                        self.wire.extend(piece.iter());
                        self.pieces.push(piece.len());
                    }
                }
                Ok(Some(Output::Up(read))) => self.delivered.push(read),
                Ok(Some(Output::Finish)) => self.finished = true,
                Ok(Some(Output::End)) => self.ended = true,
                Ok(Some(Output::Event(event))) => self.events.push(event),
                Ok(Some(Output::Fail(error))) => {
                    self.finished = true;
                    failed = Some(error);
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if self.failed.is_none() {
            self.failed = failed;
        }
    }

    /// Somebody waits for credit: lets go of what the codec holds back, as a host does.
    pub fn contend(&mut self) {
        if self.codec.holds_back() {
            self.flush();
        }
    }

    fn run_timers(&mut self) {
        while let Some(at) = self.codec.poll_timeout()
            && at <= self.host.now.get()
            && self.failed.is_none()
        {
            let result = self.codec.handle_timeout(self.host.now.get(), &self.host);
            self.settle(result);
        }
    }
}

/// Two codecs joined by a link of bytes.
pub struct Bench<L: Codec<Below = Chunk>, R: Codec<Below = Chunk>> {
    /// One end.
    pub left: Side<L>,
    /// The other end.
    pub right: Side<R>,
}

impl<L: Codec<Below = Chunk>, R: Codec<Below = Chunk>> Bench<L, R> {
    /// Joins two codecs whose gates let 1 MiB be under way.
    pub fn new(left: L, right: R) -> Self {
        Self::with_cap(left, right, 1 << 20)
    }

    /// Joins two codecs whose gates let `cap` bytes be under way.
    pub fn with_cap(left: L, right: R, cap: usize) -> Self {
        let start = crate::runtime::start_of_virtual_time();
        Self {
            left: Side::new(left, TestHost::new(start, cap)),
            right: Side::new(right, TestHost::new(start, cap)),
        }
    }

    /// Carries all bytes both ways, as large as they come.
    pub fn run(&mut self) {
        self.run_split(usize::MAX);
    }

    /// Carries all bytes both ways in pieces of at most `size` bytes.
    pub fn run_split(&mut self, size: usize) {
        self.run_with(|_| size);
    }

    /// Carries all bytes both ways; `next` names the size of each piece, given what is on the wire.
    pub fn run_with(&mut self, mut next: impl FnMut(usize) -> usize) {
        // As a host does, which polls before it has any input: a codec may begin by itself.
        self.left.settle(Ok(()));
        self.right.settle(Ok(()));
        loop {
            let moved = carry(&mut self.left, &mut self.right, &mut next)
                | carry(&mut self.right, &mut self.left, &mut next);
            if !moved {
                return;
            }
        }
    }

    /// Moves the clock of both ends, and lets their timers fire.
    pub fn advance(&mut self, by: Duration) {
        for clock in [&self.left.host.now, &self.right.host.now] {
            clock.set(clock.get() + by);
        }
        self.left.run_timers();
        self.right.run_timers();
    }
}

fn carry<A, B>(from: &mut Side<A>, to: &mut Side<B>, next: &mut impl FnMut(usize) -> usize) -> bool
where
    A: Codec<Below = Chunk>,
    B: Codec<Below = Chunk>,
{
    let mut moved = false;
    while !from.wire.is_empty() && to.failed.is_none() {
        let size = next(from.wire.len()).clamp(1, from.wire.len());
        let piece: Vec<u8> = from.wire.drain(..size).collect();
        to.read(bytes::Bytes::from(piece).into());
        moved = true;
    }
    if from.wire.is_empty() && from.finished && !to.ended && to.failed.is_none() {
        to.end();
        moved = to.ended;
    }
    moved
}
