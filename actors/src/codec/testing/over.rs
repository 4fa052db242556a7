//! [`Over`]: one codec above another, as if they were one.

use std::{collections::VecDeque, time::Instant};

use crate::{
    codec::{Codec, Host, Output},
    error::StreamError,
    message::{Read, Write},
};

/// The codec `U` above the codec `L`, as one codec: for a bench whose link carries bytes, and for stacks of any height.
///
/// A chain of actors is not built of it: there each codec has its own [`Layer`](crate::layer::Layer).
#[derive(Debug)]
pub struct Over<U: Codec, L: Codec<Above = U::Below>> {
    upper: U,
    lower: L,
    outputs: VecDeque<Output<U::Above, L::Below>>,
}

impl<U: Codec, L: Codec<Above = U::Below>> Over<U, L> {
    /// Puts `upper` above `lower`.
    pub fn new(upper: U, lower: L) -> Self {
        Self {
            upper,
            lower,
            outputs: VecDeque::new(),
        }
    }

    fn take_of_upper(
        &mut self,
        output: Output<U::Above, U::Below>,
        host: &dyn Host,
    ) -> Result<(), StreamError> {
        match output {
            Output::Down(write) => return self.lower.handle_write(write, host),
            Output::Finish => return self.lower.handle_finish(host),
            Output::Up(read) => self.outputs.push_back(Output::Up(read)),
            Output::End => self.outputs.push_back(Output::End),
            Output::Event(event) => self.outputs.push_back(Output::Event(event)),
            Output::Fail(error) => {
                // What it told the peer before still goes out.
                self.lower.handle_finish(host)?;
                while let Some(output) = self.lower.poll_output(false, host)? {
                    if let Output::Down(write) = output {
                        self.outputs.push_back(Output::Down(write));
                    }
                }
                self.outputs.push_back(Output::Fail(error));
            }
        }
        Ok(())
    }

    /// Carries outputs between the two until neither has any.
    fn settle(&mut self, may_grow: bool, host: &dyn Host) -> Result<(), StreamError> {
        // One output at a time: what comes behind it may fail, and what it holds may fill the room.
        while self.outputs.is_empty() {
            if let Some(output) = self.upper.poll_output(may_grow, host)? {
                self.take_of_upper(output, host)?;
            } else if let Some(output) = self.lower.poll_output(may_grow, host)? {
                match output {
                    Output::Up(read) => self.upper.handle_read(read, host)?,
                    Output::End => self.upper.handle_end(host)?,
                    Output::Down(write) => self.outputs.push_back(Output::Down(write)),
                    Output::Finish => self.outputs.push_back(Output::Finish),
                    Output::Event(event) => self.outputs.push_back(Output::Event(event)),
                    Output::Fail(error) => self.outputs.push_back(Output::Fail(error)),
                }
            } else {
                break;
            }
        }
        Ok(())
    }
}

impl<U: Codec, L: Codec<Above = U::Below>> Codec for Over<U, L> {
    type Above = U::Above;
    type Below = L::Below;

    fn handle_write(
        &mut self,
        write: Write<Self::Above>,
        host: &dyn Host,
    ) -> Result<(), StreamError> {
        self.upper.handle_write(write, host)
    }

    fn handle_read(&mut self, read: Read<Self::Below>, host: &dyn Host) -> Result<(), StreamError> {
        self.lower.handle_read(read, host)
    }

    fn handle_finish(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        self.upper.handle_finish(host)
    }

    fn handle_end(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        self.lower.handle_end(host)
    }

    fn handle_flush(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        self.upper.handle_flush(host)?;
        while let Some(output) = self.upper.poll_output(false, host)? {
            self.take_of_upper(output, host)?;
        }
        self.lower.handle_flush(host)
    }

    fn handle_timeout(&mut self, now: Instant, host: &dyn Host) -> Result<(), StreamError> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.upper.poll_timeout()) {
            self.upper.handle_timeout(now, host)?;
        }
        if is_due(self.lower.poll_timeout()) {
            self.lower.handle_timeout(now, host)?;
        }
        Ok(())
    }

    fn poll_output(
        &mut self,
        may_grow: bool,
        host: &dyn Host,
    ) -> Result<Option<Output<Self::Above, Self::Below>>, StreamError> {
        self.settle(may_grow, host)?;
        Ok(self.outputs.pop_front())
    }

    fn held(&self) -> usize {
        self.upper.held() + self.lower.held()
    }

    fn holds_back(&self) -> bool {
        self.upper.holds_back() || self.lower.holds_back()
    }

    fn holds_writes(&self) -> bool {
        self.upper.holds_writes() || self.lower.holds_writes()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let both = [self.upper.poll_timeout(), self.lower.poll_timeout()];
        both.into_iter().flatten().min()
    }

    fn expects_more(&self) -> bool {
        self.upper.expects_more() || self.lower.expects_more()
    }
}
