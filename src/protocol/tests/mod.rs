//! Tests of the whole state machine: recorded messages, two ends back to back, and hostile input.

mod dialects;
mod faults;
mod hostile;
mod simulation;
mod vectors;

use bytes::{Bytes, BytesMut};

use super::testing::Thing;
use super::*;

type End = Protocol<u64, Thing>;

fn end() -> End {
    Protocol::new(Limits::default())
}

/// What one call of the protocol wrote.
fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}
