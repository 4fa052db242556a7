//! [`PassThrough`]: a layer that changes nothing.
//!
//! It measures what a layer costs before it does anything, and is the smallest example of a codec.

use super::{Codec, Host, Output, Outputs};
use crate::{
    error::StreamError,
    message::{Read, Write},
    unit::Unit,
};

/// Hands everything on.
#[derive(Debug)]
pub struct PassThrough<U: Unit> {
    outputs: Outputs<U, U>,
}

impl<U: Unit> Default for PassThrough<U> {
    fn default() -> Self {
        Self {
            outputs: Outputs::default(),
        }
    }
}

impl<U: Unit + Sync + Unpin> Codec for PassThrough<U> {
    type Above = U;
    type Below = U;

    fn handle_write(&mut self, write: Write<U>, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.down(write.unit, write.credit);
        Ok(())
    }

    fn handle_read(&mut self, read: Read<U>, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.up(read.unit, read.credit);
        Ok(())
    }

    fn write_through(
        &mut self,
        write: Write<U>,
        _: &dyn Host,
    ) -> Result<Option<Write<U>>, StreamError> {
        Ok(self.outputs.down_through(write))
    }

    fn read_through(
        &mut self,
        read: Read<U>,
        _: &dyn Host,
    ) -> Result<Option<Read<U>>, StreamError> {
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
