//! [`Tap`]: a layer of this program's own, which keeps a copy of the bytes that pass between framing and socket.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rpyc::{
    Chunk, StreamError,
    codec::{Codec, Host, Output},
    message::{Read, Write},
};

/// Bytes that passed together.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    pub(crate) at: Instant,
    pub(crate) is_down: bool,
    pub(crate) bytes: Bytes,
}

/// What a tap heard, shared with whoever reads it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tape(Arc<Mutex<Vec<Passed>>>);

impl Tape {
    /// Takes what was heard since the last time.
    pub(crate) fn take(&self) -> Vec<Passed> {
        std::mem::take(&mut self.0.lock())
    }

    fn keep(&self, is_down: bool, chunk: &Chunk, host: &dyn Host) {
        let mut bytes = BytesMut::new();
        for piece in chunk.pieces() {
            bytes.extend_from_slice(piece);
        }
        self.0.lock().push(Passed {
            at: host.now(),
            is_down,
            bytes: bytes.freeze(),
        });
    }
}

/// Hands everything on, and keeps a copy.
#[derive(Debug)]
pub(crate) struct Tap {
    tape: Tape,
    outputs: VecDeque<Output<Chunk, Chunk>>,
}

impl Tap {
    pub(crate) fn new(tape: Tape) -> Self {
        Self {
            tape,
            outputs: VecDeque::new(),
        }
    }
}

impl Codec for Tap {
    type Above = Chunk;
    type Below = Chunk;

    fn handle_write(&mut self, write: Write<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        self.tape.keep(true, &write.unit, host);
        self.outputs.push_back(Output::Down(write));
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Chunk>, host: &dyn Host) -> Result<(), StreamError> {
        self.tape.keep(false, &read.unit, host);
        self.outputs.push_back(Output::Up(read));
        Ok(())
    }

    fn handle_finish(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.push_back(Output::Finish);
        Ok(())
    }

    fn handle_end(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.push_back(Output::End);
        Ok(())
    }

    fn poll_output(
        &mut self,
        _: bool,
        _: &dyn Host,
    ) -> Result<Option<Output<Chunk, Chunk>>, StreamError> {
        Ok(self.outputs.pop_front())
    }
}
