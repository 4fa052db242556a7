//! The compressing layer and the inflating framing by themselves, beside the raw libraries: one thread, no socket.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use flate2::{Compression, FlushCompress, FlushDecompress};
use rpyc_actors::{
    Frames, Gate,
    codec::{Codec, Compress, CompressConfig, Framing, Host, Output},
    message::{Read, Write},
};

use crate::support::cell::Outcome;

/// What compresses.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    Snappy,
    Zlib(u32),
}

/// Frames that are handed over at once: the same again and again, as many as a busy outbox gives.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) frame: Bytes,
    pub(crate) count: usize,
}

/// The gates of a layer that nobody else uses.
struct Alone {
    down: Arc<Gate>,
    up: Arc<Gate>,
}

impl Alone {
    fn new() -> Self {
        let gate = || Gate::new(1 << 20);
        Self {
            down: gate(),
            up: gate(),
        }
    }
}

impl Host for Alone {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn down_gate(&self) -> &Arc<Gate> {
        &self.down
    }

    fn up_gate(&self) -> &Arc<Gate> {
        &self.up
    }
}

/// Does something with `count` frames again and again.
fn repeat(time: Duration, count: usize, mut step: impl FnMut()) -> Outcome {
    let start = Instant::now();
    let mut frames = 0;
    while start.elapsed() < time {
        step();
        frames += count as u64;
    }
    Outcome::Flow {
        frames,
        seconds: start.elapsed().as_secs_f64(),
    }
}

impl Method {
    fn config(self) -> CompressConfig {
        match self {
            Self::Snappy => CompressConfig::snappy(),
            Self::Zlib(level) => CompressConfig::zlib(level),
        }
    }

    /// Our layer on the way down.
    pub(crate) fn compress(self, time: Duration, batch: &Batch) -> Outcome {
        let (host, mut layer) = (Alone::new(), Compress::new(self.config()));
        let frames: Frames = std::iter::repeat_n(batch.frame.clone(), batch.count).collect();
        repeat(time, batch.count, || {
            // The outbox charges what is on the wire, too.
            let credit = host.down.charge(frames.wire_len());
            let unit = frames.clone();
            layer
                .handle_write(Write { unit, credit }, &host)
                .expect("it is compressed");
            while let Some(output) = layer.poll_output(true, &host).expect("it never fails") {
                black_box(output);
            }
        })
    }

    /// What the layer makes of a batch, as one read of a socket would bring it.
    fn wire(self, batch: &Batch) -> Bytes {
        let host = Alone::new();
        let mut layer = Compress::new(self.config());
        let mut framing = Framing::new(usize::MAX);
        let unit: Frames = std::iter::repeat_n(batch.frame.clone(), batch.count).collect();
        let credit = host.down.charge(unit.wire_len());
        layer
            .handle_write(Write { unit, credit }, &host)
            .expect("it is compressed");
        let mut wire = BytesMut::new();
        while let Some(Output::Down(write)) = layer.poll_output(true, &host).expect("no failure") {
            framing.handle_write(write, &host).expect("it is laid out");
        }
        while let Some(Output::Down(write)) = framing.poll_output(true, &host).expect("no failure")
        {
            write
                .unit
                .pieces()
                .iter()
                .for_each(|piece| wire.extend_from_slice(piece));
        }
        wire.freeze()
    }

    /// Our framing on the way up, which is what inflates.
    pub(crate) fn inflate(self, time: Duration, batch: &Batch) -> Outcome {
        let wire = self.wire(batch);
        assert!(
            wire.len() < batch.frame.len() * batch.count / 2,
            "it shrinks"
        );
        let host = Alone::new();
        let mut framing = Framing::with_inflation(self.config().inflation(1 << 26));
        let mut take = |check: bool| {
            let credit = host.up.charge(wire.len());
            let unit = wire.clone().into();
            framing
                .handle_read(Read { unit, credit }, &host)
                .expect("they are good frames");
            let mut count = 0;
            while let Some(output) = framing.poll_output(true, &host).expect("good frames") {
                let Output::Up(read) = black_box(output) else {
                    continue;
                };
                count += read.unit.len();
                if check {
                    read.unit
                        .for_each_slice(|frame| assert_eq!(frame, &batch.frame[..]));
                }
            }
            assert_eq!(count, batch.count);
        };
        take(true);
        repeat(time, batch.count, || take(false))
    }

    /// The library by itself, into a buffer that is used again and again.
    pub(crate) fn raw_compress(self, time: Duration, batch: &Batch) -> Outcome {
        let mut library = Library::new(self, batch.frame.len());
        repeat(time, batch.count, || {
            for _ in 0..batch.count {
                black_box(library.compress(black_box(&batch.frame)));
            }
        })
    }

    /// The other direction.
    pub(crate) fn raw_inflate(self, time: Duration, batch: &Batch) -> Outcome {
        let mut library = Library::new(self, batch.frame.len());
        let length = library.compress(&batch.frame);
        let compressed = library.buffer[..length].to_vec();
        assert_eq!(library.inflate(&compressed), batch.frame.len());
        assert_eq!(library.buffer[..batch.frame.len()], batch.frame);
        repeat(time, batch.count, || {
            for _ in 0..batch.count {
                black_box(library.inflate(black_box(&compressed)));
            }
        })
    }
}

/// A library's state, and room for what comes out.
struct Library {
    state: State,
    buffer: Vec<u8>,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and it stays where it is"
)]
enum State {
    Snappy(snap::raw::Encoder, snap::raw::Decoder),
    Zlib(flate2::Compress, flate2::Decompress),
}

impl Library {
    fn new(method: Method, size: usize) -> Self {
        let state = match method {
            Method::Snappy => State::Snappy(snap::raw::Encoder::new(), snap::raw::Decoder::new()),
            Method::Zlib(level) => State::Zlib(
                flate2::Compress::new(Compression::new(level), true),
                flate2::Decompress::new(true),
            ),
        };
        Self {
            state,
            buffer: vec![0; 2 * size + 1024],
        }
    }

    fn compress(&mut self, input: &[u8]) -> usize {
        match &mut self.state {
            State::Snappy(encoder, _) => {
                let length = encoder.compress(input, &mut self.buffer);
                length.expect("there is room")
            }
            State::Zlib(state, _) => {
                state.reset();
                state
                    .compress(input, &mut self.buffer, FlushCompress::Finish)
                    .expect("there is room");
                state.total_out() as usize
            }
        }
    }

    fn inflate(&mut self, input: &[u8]) -> usize {
        match &mut self.state {
            State::Snappy(_, decoder) => {
                let length = decoder.decompress(input, &mut self.buffer);
                length.expect("it was compressed just so")
            }
            State::Zlib(_, state) => {
                state.reset(true);
                state
                    .decompress(input, &mut self.buffer, FlushDecompress::Finish)
                    .expect("it was compressed just so");
                state.total_out() as usize
            }
        }
    }
}
