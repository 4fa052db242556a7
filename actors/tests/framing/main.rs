//! The framing codec on the test bench: what it accepts, what it refuses, and that splits make no difference.

mod bench;
mod chance;
mod python;
#[path = "../support/mod.rs"]
mod support;

use bytes::Bytes;
use proptest::prelude::*;
use rpyc_actors::{
    Chunk, CompressionError, Frames, FramesBuilder, StreamError,
    codec::{Framing, testing::Bench},
    error::LossReason,
};
use sha2::{Digest, Sha256};
use support::{deflated, flagged, frame};

const MAX: usize = 1000;

fn bench(max_frame: usize) -> Bench<Framing, Framing> {
    Bench::new(Framing::new(max_frame), Framing::new(max_frame))
}

/// Gives `wire` to a codec in the pieces that `cuts` make, and then the end. Takes what came and what went wrong.
fn receive_cut(max_frame: usize, wire: &[u8], cuts: &[usize]) -> (Vec<Bytes>, Option<StreamError>) {
    let mut bench = bench(max_frame);
    let side = &mut bench.right;
    let mut frames = Vec::new();
    let mut start = 0;
    for cut in cuts.iter().copied().chain([wire.len()]) {
        if side.failure().is_none() && cut > start {
            side.read(Bytes::copy_from_slice(&wire[start..cut]).into());
        }
        frames.extend(side.received().into_iter().flatten());
        start = cut.max(start);
    }
    if side.failure().is_none() {
        side.end();
        frames.extend(side.received().into_iter().flatten());
        assert!(side.failure().is_some() || side.has_ended());
    }
    (frames, side.failure().cloned())
}

fn receive(max_frame: usize, wire: &[u8]) -> (Vec<Bytes>, Option<StreamError>) {
    receive_cut(max_frame, wire, &[])
}

fn assert_compression_error(error: Option<&StreamError>, words: &str) {
    match error {
        Some(StreamError::Compression(CompressionError { what, .. })) => {
            assert!(what.contains(words), "{what:?} does not say {words:?}");
        }
        other => panic!("not a compression error: {other:?}"),
    }
}

fn assert_limit(error: Option<&StreamError>, said: &str, by: usize) {
    match error {
        Some(StreamError::LimitExceeded {
            what, limit, got, ..
        }) => {
            assert_eq!((*what, *limit), (said, MAX as u64));
            assert_eq!(*got, (MAX + by) as u64);
        }
        other => panic!("not a limit: {other:?}"),
    }
}

fn assert_truncated(error: Option<&StreamError>, came: usize, wanted: usize) {
    match error {
        Some(StreamError::ConnectionLost(lost)) => match &lost.reason {
            LossReason::Truncated { what, got, due } => {
                assert_eq!(*what, "a frame");
                assert_eq!((*got, *due), (came as u64, wanted as u64));
            }
            other => panic!("not truncated: {other:?}"),
        },
        other => panic!("not a loss: {other:?}"),
    }
}

/// A bit of everything that is legal: empty, small, compressed and large frames, odd flags and flushers.
fn mixed_wire() -> (Vec<u8>, Vec<Vec<u8>>) {
    let text = b"all work and no play ".repeat(20);
    let mut wire = Vec::new();
    let mut expected: Vec<Vec<u8>> = Vec::new();
    for (flag, payload) in [
        (0, &b""[..]),
        (0, b"one"),
        (1, b"two, deflated"),
        (1, b""),
        (0, b"three"),
        (3, &text),
        (255, &text),
        (0, &text),
        (0, b""),
    ] {
        let body = if flag == 0 {
            payload.to_vec()
        } else {
            deflated(payload)
        };
        wire.extend(flagged(flag, &body));
        expected.push(payload.to_vec());
    }
    *wire.last_mut().expect("not empty") = b'X';
    (wire, expected)
}

#[test]
fn frames_come_out_as_they_went_in() {
    for size in [1, 2, 5, 6, 7, 100, usize::MAX] {
        let mut bench = bench(1 << 20);
        let mut builder = FramesBuilder::new();
        let payloads: Vec<Bytes> = [0, 1, 4095, 4096, 4097, 70_000]
            .iter()
            .map(|len| vec![*len as u8; *len].into())
            .collect();
        payloads.iter().cloned().for_each(|one| builder.push(one));
        bench.left.write(builder.take());
        bench.left.write(Frames::single("alone".into()));
        bench.left.finish();
        bench.run_split(size);
        let mut came: Vec<Bytes> = bench.right.received().into_iter().flatten().collect();
        bench.run_split(size);
        came.extend(bench.right.received().into_iter().flatten());
        assert_eq!(came.pop(), Some(Bytes::from("alone")));
        assert_eq!(came, payloads);
        assert!(bench.right.has_ended() && bench.right.failure().is_none());
        assert_eq!(bench.left.host.down_gate().used(), 0);
    }
}

#[test]
fn separate_frames_are_pieces_of_their_own() {
    let mut separate = Framing::new(MAX);
    separate.separate();
    let mut bench = Bench::new(separate, Framing::new(MAX));
    let sizes = [0, 1, 64, 999];
    let frames: Frames = sizes.iter().map(|size| vec![7; *size].into()).collect();
    bench.left.write(frames);
    let pieces: Vec<usize> = sizes.iter().map(|size| size + 6).collect();
    bench.run();
    assert_eq!(bench.left.pieces(), pieces);
    let came: Vec<usize> = (bench.right.received().into_iter().flatten())
        .map(|frame| frame.len())
        .collect();
    assert_eq!(came, sizes);
}

#[test]
fn every_split_in_two_gives_the_same_frames() {
    let (wire, expected) = mixed_wire();
    for cut in 0..=wire.len() {
        let (frames, error) = receive_cut(MAX, &wire, &[cut]);
        assert!(error.is_none(), "cut at {cut}: {error:?}");
        assert_eq!(frames, expected, "cut at {cut}");
    }
}

#[test]
fn every_truncation_delivers_what_was_whole_and_reports_the_rest() {
    let (wire, expected) = mixed_wire();
    let mut starts = vec![0];
    for payload_at in 0..expected.len() {
        let start = starts[payload_at];
        let length = u32::from_be_bytes(wire[start..start + 4].try_into().expect("a head"));
        starts.push(start + length as usize + 6);
    }
    for cut in 0..wire.len() {
        let (frames, error) = receive(MAX, &wire[..cut]);
        let whole = starts.iter().filter(|start| **start <= cut).count() - 1;
        assert_eq!(frames, expected[..whole], "cut at {cut}");
        let got = cut - starts[whole];
        if got == 0 {
            assert!(error.is_none(), "cut at {cut}: {error:?}");
        } else {
            let due = if got < 5 {
                6
            } else {
                starts[whole + 1] - starts[whole]
            };
            assert_truncated(error.as_ref(), got, due);
        }
    }
}

#[test]
fn a_frame_of_the_limit_passes_and_one_more_byte_does_not() {
    let (frames, error) = receive(MAX, &frame(&[7; MAX]));
    assert!(error.is_none());
    assert_eq!(frames, [&[7; MAX][..]]);
    for cut in 0..6 {
        let (frames, error) = receive_cut(MAX, &frame(&[7; MAX + 1]), &[cut]);
        assert!(frames.is_empty());
        assert_limit(error.as_ref(), "frame", 1);
    }
    // Five bytes are enough to refuse it.
    let head = [&u32::MAX.to_be_bytes()[..], &[0]].concat();
    assert_limit(
        receive(MAX, &head).1.as_ref(),
        "frame",
        u32::MAX as usize - MAX,
    );
}

#[test]
fn a_limit_beyond_what_the_wire_can_say_is_no_limit() {
    let (frames, error) = receive(usize::MAX, &flagged(1, &deflated(b"hello")));
    assert!(error.is_none());
    assert_eq!(frames, ["hello"]);
}

#[test]
fn an_inflated_frame_of_the_limit_passes_and_one_more_byte_does_not() {
    let (frames, error) = receive(MAX, &flagged(1, &deflated(&[7; MAX])));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(frames, [&[7; MAX][..]]);
    let (frames, error) = receive(MAX, &flagged(1, &deflated(&[7; MAX + 1])));
    assert!(frames.is_empty());
    assert_limit(error.as_ref(), "inflated frame", 1);
    // However large it would become, no more than one byte above the limit is ever inflated.
    let (_, error) = receive(MAX, &flagged(1, &deflated(&[0; MAX * 900])));
    assert_limit(error.as_ref(), "inflated frame", 1);
}

#[test]
fn inflating_passes_every_size_around_its_buffers() {
    for size in [16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 3 << 20] {
        let data: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
        let (frames, error) = receive(4 << 20, &flagged(1, &deflated(&data)));
        assert!(error.is_none(), "{size}: {error:?}");
        assert!(frames.len() == 1 && frames[0] == data, "{size}");
    }
}

#[test]
fn what_is_not_zlib_is_refused() {
    for payload in [&b"abc"[..], b"\x4b\x4c\x4a\x06\x00", b"\x1f\x8b\x08\x00"] {
        let (frames, error) = receive(MAX, &flagged(1, payload));
        assert!(frames.is_empty());
        assert_compression_error(error.as_ref(), "not a zlib stream");
    }
    let mut damaged = deflated(b"a checksum protects this");
    *damaged.last_mut().expect("not empty") ^= 1;
    let (_, error) = receive(MAX, &flagged(1, &damaged));
    assert_compression_error(error.as_ref(), "not a zlib stream");
    // A preset dictionary is something that nobody agreed on.
    let (_, error) = receive(MAX, &flagged(1, &[0x78, 0xbb, 0, 0, 0, 1, 3, 0]));
    assert_compression_error(error.as_ref(), "not a zlib stream");
}

#[test]
fn a_zlib_stream_cut_short_anywhere_is_refused() {
    let whole = deflated(b"no byte of this may be missing");
    for length in 0..whole.len() {
        let (frames, error) = receive(MAX, &flagged(1, &whole[..length]));
        assert!(frames.is_empty(), "{length}");
        assert_compression_error(error.as_ref(), "cut short");
    }
}

#[test]
fn bytes_behind_a_zlib_stream_are_ignored() {
    let mut payload = deflated(b"abc");
    payload.extend(b"whatever");
    let (frames, error) = receive(MAX, &flagged(1, &payload));
    assert!(error.is_none());
    assert_eq!(frames, ["abc"]);
}

#[test]
fn every_flag_but_zero_and_snappys_means_zlib() {
    let payload = deflated(b"abc");
    for flag in (1..=255).filter(|flag| *flag != 2) {
        let (frames, error) = receive(MAX, &flagged(flag, &payload));
        assert!(error.is_none(), "{flag}");
        assert_eq!(frames, ["abc"], "{flag}");
    }
    assert_eq!(receive(MAX, &flagged(0, &payload)).0, [payload]);
}

#[test]
fn frames_before_a_bad_one_are_delivered_and_none_behind_it() {
    let good = [
        frame(b"one"),
        flagged(1, &deflated(b"two")),
        frame(b"three"),
    ]
    .concat();
    let behind = [
        frame(b"late"),
        flagged(1, &deflated(b"later")),
        frame(b"last"),
    ]
    .concat();
    for bad in [flagged(1, b"abc"), frame(&[0; MAX + 1])] {
        let wire = [&good[..], &bad, &behind].concat();
        for cut in 0..wire.len() {
            let (frames, error) = receive_cut(MAX, &wire, &[cut]);
            assert_eq!(frames, ["one", "two", "three"], "cut at {cut}");
            assert!(error.is_some(), "cut at {cut}");
        }
    }
}

#[test]
fn compressed_frames_wait_for_room_above_and_keep_their_order() {
    let big = vec![5; 60_000];
    let wire = [
        flagged(1, &deflated(&big)),
        flagged(1, &deflated(&big)),
        frame(b"plain"),
        flagged(1, &deflated(&big)),
    ]
    .concat();
    let mut bench = Bench::with_cap(Framing::new(1 << 20), Framing::new(1 << 20), 50_000);
    bench.right.read(Bytes::from(wire).into());
    bench.right.end();
    // One frame overfills the gate, so the second waits, and all that stands behind it.
    assert!(!bench.right.has_ended());
    let gate = rpyc_actors::codec::Host::up_gate(&bench.right.host).clone();
    assert!((60_000..100_000).contains(&gate.used()), "{}", gate.used());
    let frames: Vec<Bytes> = bench.right.received().into_iter().flatten().collect();
    let sizes: Vec<usize> = frames.iter().map(Bytes::len).collect();
    assert_eq!(sizes, [60_000, 60_000, 5, 60_000]);
    assert!(bench.right.has_ended());
    assert_eq!(gate.used(), 0);
}

#[test]
fn bytes_of_an_unfinished_frame_hold_no_credit() {
    let mut bench = Bench::with_cap(Framing::new(1 << 20), Framing::new(1 << 20), 1000);
    let wire = frame(&[1; 500_000]);
    let gate = rpyc_actors::codec::Host::up_gate(&bench.right.host).clone();
    for piece in wire[..wire.len() - 1].chunks(900) {
        bench.right.read(Bytes::copy_from_slice(piece).into());
        assert_eq!(gate.used(), 0);
    }
    bench.right.read(Bytes::from_static(b"\n").into());
    // A frame above the cap weighs the cap.
    assert_eq!(gate.used(), 1000);
    assert_eq!(bench.right.received().len(), 1);
    assert_eq!(gate.used(), 0);
}
