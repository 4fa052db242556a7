//! [`Buffer`]: joins small pieces of bytes on their way down.
//!
//! It stands among the layers of bytes. What comes in one turn of its actor, until its mailbox is empty, goes on together:
//! pieces smaller than the buffer are copied behind each other into buffers of that size, larger ones go as they are.
//! So nothing waits, and a flush finds nothing held back. What it saves is pieces, of which a vectored write takes 64 at most, and
//! transports have that take only one.
//!
//! # Wire format
//!
//! None of its own: the same bytes.
//!
//! # States
//!
//! Going down, pieces that came since the last turn. Going up there is none: reading ahead is the business of whoever is above.
//!
//! # Limits
//!
//! The size of the buffer is bounded by `MAX_BUFFER_SIZE` unless that is raised ([`BufferConfig::within`]).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Codec, Host, Output, Outputs};
use crate::{
    credit::Credit,
    error::{BufferOverflowError, StreamError},
    limits::{DEFAULT_BUFFER_SIZE, Limits, MAX_BUFFER_SIZE},
    message::{Read, Write},
    unit::Chunk,
};

/// The size of a buffer, checked against its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    buffer_size: usize,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self {
            buffer_size: DEFAULT_BUFFER_SIZE,
        }
    }
}

impl BufferConfig {
    /// A buffer of so many bytes; 8192 by default.
    ///
    /// # Errors
    ///
    /// When that is above [`MAX_BUFFER_SIZE`].
    pub fn new(buffer_size: usize) -> Result<Self, BufferOverflowError> {
        Self::up_to(buffer_size, MAX_BUFFER_SIZE)
    }

    /// A buffer of so many bytes, within limits of your own.
    ///
    /// # Errors
    ///
    /// When that is above [`Limits::max_buffer`].
    pub fn within(buffer_size: usize, limits: &Limits) -> Result<Self, BufferOverflowError> {
        Self::up_to(buffer_size, limits.max_buffer)
    }

    fn up_to(buffer_size: usize, limit: usize) -> Result<Self, BufferOverflowError> {
        if buffer_size > limit {
            return Err(BufferOverflowError::new("a buffer", limit, buffer_size));
        }
        Ok(Self { buffer_size })
    }

    /// The size in bytes.
    pub fn buffer_size(&self) -> usize {
        self.buffer_size
    }
}

/// Joins small pieces on their way down.
///
/// ```
/// use rpyc_actors::{Chunk, codec::{Buffer, BufferConfig, testing::Bench}};
///
/// let end = || Buffer::new(BufferConfig::default());
/// let mut bench = Bench::new(end(), end());
/// let mut chunk = Chunk::new();
/// chunk.push("two ".into());
/// chunk.push("pieces".into());
/// bench.left.write(chunk);
/// bench.run();
/// assert_eq!(bench.right.received()[0].pieces(), ["two pieces"]);
/// ```
#[derive(Debug)]
pub struct Buffer {
    config: BufferConfig,
    /// What came since the last turn, with its credit.
    pieces: Vec<Bytes>,
    credit: Option<Credit>,
    outputs: Outputs<Chunk, Chunk>,
}

impl Buffer {
    /// A codec with a buffer of that size.
    pub fn new(config: BufferConfig) -> Self {
        Self {
            config,
            pieces: Vec::new(),
            credit: None,
            outputs: Outputs::default(),
        }
    }

    fn pass_on(&mut self) {
        let Some(credit) = self.credit.take() else {
            return;
        };
        let size = self.config.buffer_size;
        let mut chunk = Chunk::new();
        let mut start = 0;
        while start < self.pieces.len() {
            // The pieces from here that fit the buffer together.
            let (mut end, mut length) = (start, 0);
            while let Some(piece) = self.pieces.get(end)
                && length + piece.len() <= size
            {
                length += piece.len();
                end += 1;
            }
            if end <= start + 1 {
                // Nothing to join it with.
                chunk.push(std::mem::take(&mut self.pieces[start]));
                start += 1;
                continue;
            }
            let mut buffer = BytesMut::with_capacity(length);
            for piece in &mut self.pieces[start..end] {
                buffer.extend_from_slice(&std::mem::take(piece));
            }
            chunk.push(buffer.freeze());
            start = end;
        }
        self.pieces.clear();
        if self.pieces.capacity() > 256 {
            self.pieces = Vec::new();
        }
        self.outputs.down(chunk, credit);
    }
}

impl Codec for Buffer {
    type Above = Chunk;
    type Below = Chunk;

    fn handle_write(&mut self, write: Write<Chunk>, _: &dyn Host) -> Result<(), StreamError> {
        if self
            .credit
            .as_ref()
            .is_some_and(|credit| !Arc::ptr_eq(credit.gate(), write.credit.gate()))
        {
            // What a codec above sends on its own account has a gate of its own.
            self.pass_on();
        }
        self.pieces.extend(write.unit.into_kept());
        match &mut self.credit {
            Some(credit) => credit.merge(write.credit),
            none => *none = Some(write.credit),
        }
        Ok(())
    }

    fn handle_read(&mut self, read: Read<Chunk>, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.up(read.unit, read.credit);
        Ok(())
    }

    fn handle_finish(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.pass_on();
        self.outputs.finish();
        Ok(())
    }

    fn handle_end(&mut self, _: &dyn Host) -> Result<(), StreamError> {
        self.outputs.end();
        Ok(())
    }

    fn poll_output(
        &mut self,
        _: bool,
        _: &dyn Host,
    ) -> Result<Option<Output<Chunk, Chunk>>, StreamError> {
        self.pass_on();
        Ok(self.outputs.poll())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::Bench;

    /// Encryption below a framing sends signs of life and answers of the handshake that no sender took credit for.
    #[test]
    fn only_what_has_the_same_gate_is_joined() {
        let end = || Buffer::new(BufferConfig::default());
        let bench = Bench::new(end(), end());
        let host = &bench.left.host;
        let gates = [host.down_gate(), host.up_gate()];
        let mut buffer = end();
        for (text, gate) in [("a", 0), ("b", 0), ("c", 1), ("d", 0)] {
            let write = Write {
                unit: Bytes::from(text).into(),
                credit: gates[gate].charge(100),
            };
            buffer.handle_write(write, host).expect("it never fails");
        }
        let mut sent = Vec::new();
        while let Some(output) = buffer.poll_output(true, host).expect("it never fails") {
            let Output::Down(write) = output else {
                panic!("only data goes down: {output:?}")
            };
            let gate = gates
                .iter()
                .position(|gate| Arc::ptr_eq(gate, write.credit.gate()));
            sent.push((write.unit.pieces().concat(), gate, write.credit.amount()));
        }
        let expected = [
            ("ab", Some(0), 200),
            ("c", Some(1), 100),
            ("d", Some(0), 100),
        ];
        assert_eq!(
            sent,
            expected.map(|(bytes, gate, amount)| (bytes.as_bytes().to_vec(), gate, amount))
        );
        assert_eq!(gates.map(|gate| gate.used()), [0, 0], "all came back");
    }
}
