//! [`Monitor`]: counts what passes, and changes nothing.
//!
//! It stands where it is put: among the layers of frames it sees frames, among those of bytes what the layers below it
//! carry. What is counted can be read through a [`Meter`](crate::monitor::Meter).
//!
//! # Limits
//!
//! A layer of frames below a compressing one sees compressed frames go down, and inflated ones come up: it is the framing
//! that inflates. Put it above for what the application sees, or among the layers of bytes for what travels.

use super::{Codec, Host, Output, Outputs};
use crate::{
    error::StreamError,
    message::{Read, Write},
    monitor::Tally,
    unit::Unit,
};

/// Counts units on their way.
#[derive(Debug)]
pub struct Monitor<U: Unit> {
    tally: Tally,
    outputs: Outputs<U, U>,
}

impl<U: Unit> Monitor<U> {
    /// A codec that counts with `tally`.
    pub fn new(tally: Tally) -> Self {
        Self {
            tally,
            outputs: Outputs::default(),
        }
    }
}

impl<U: Unit> Codec for Monitor<U> {
    type Above = U;
    type Below = U;

    fn handle_write(&mut self, write: Write<U>, _: &dyn Host) -> Result<(), StreamError> {
        self.tally.sent(write.unit.weight(), write.unit.frames());
        self.outputs.down(write.unit, write.credit);
        Ok(())
    }

    fn handle_read(&mut self, read: Read<U>, _: &dyn Host) -> Result<(), StreamError> {
        self.tally.received(read.unit.weight(), read.unit.frames());
        self.outputs.up(read.unit, read.credit);
        Ok(())
    }

    fn write_through(
        &mut self,
        write: Write<U>,
        _: &dyn Host,
    ) -> Result<Option<Write<U>>, StreamError> {
        self.tally.sent(write.unit.weight(), write.unit.frames());
        Ok(self.outputs.down_through(write))
    }

    fn read_through(
        &mut self,
        read: Read<U>,
        _: &dyn Host,
    ) -> Result<Option<Read<U>>, StreamError> {
        self.tally.received(read.unit.weight(), read.unit.frames());
        Ok(self.outputs.up_through(read))
    }

    fn handle_finish(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.finish();
        Ok(())
    }

    fn handle_end(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.end();
        Ok(())
    }

    fn poll_output(&mut self, _: bool, _: &dyn Host) -> Result<Option<Output<U, U>>, StreamError> {
        Ok(self.outputs.poll())
    }
}
