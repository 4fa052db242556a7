//! Compression on the bench: what travels, what comes out, and what is refused.

mod support;

use bytes::Bytes;
use proptest::prelude::*;
use rpyc_actors::{
    Frames, FramesBuilder, StreamError,
    codec::{
        Compress, CompressConfig, Framing, Inflation,
        testing::{Bench, Over},
    },
};
use support::{Random, deflated, flagged, frame};

const MAX: usize = 4 << 20;

type End = Over<Compress, Framing>;

fn end(config: CompressConfig) -> End {
    Over::new(
        Compress::new(config),
        Framing::with_inflation(config.inflation(MAX)),
    )
}

fn bench(config: CompressConfig) -> Bench<End, End> {
    Bench::new(end(config), end(config))
}

/// What a frame is on the wire.
fn wire_of(config: CompressConfig, frames: Frames) -> Vec<u8> {
    let mut bench = bench(config);
    bench.left.write(frames);
    bench.left.wire().drain(..).collect()
}

fn single(payload: &[u8]) -> Frames {
    Frames::single(Bytes::copy_from_slice(payload))
}

fn text(size: usize) -> Vec<u8> {
    b"all work and no play "
        .iter()
        .copied()
        .cycle()
        .take(size)
        .collect()
}

fn noise(size: usize) -> Vec<u8> {
    let mut random = Random(size as u64);
    (0..size).map(|_| random.next() as u8).collect()
}

/// The payloads that came out at the other end, and the error.
fn receive(inflation: Inflation, wire: &[u8]) -> (Vec<Bytes>, Option<StreamError>) {
    let mut bench = Bench::new(Framing::new(MAX), Framing::with_inflation(inflation));
    bench.right.read(Bytes::copy_from_slice(wire).into());
    let frames = bench.right.received().into_iter().flatten().collect();
    (frames, bench.right.failure().cloned())
}

fn configs() -> Vec<CompressConfig> {
    let zlib = (0..=9).map(CompressConfig::zlib);
    #[cfg(feature = "snappy")]
    let zlib = zlib.chain([CompressConfig::snappy()]);
    zlib.collect()
}

#[test]
fn a_frame_is_compressed_above_the_threshold_and_not_at_it() {
    for config in configs().into_iter().skip(1) {
        assert_eq!(wire_of(config, single(&text(3000))), frame(&text(3000)));
        assert_ne!(wire_of(config, single(&text(3001)))[4], 0);
        let eager = config.threshold(10);
        assert_eq!(wire_of(eager, single(&[7; 10])), frame(&[7; 10]));
        assert_ne!(wire_of(eager, single(&[7; 100]))[4], 0);
        // As one of many in a run, where it is copied.
        let many: Frames = [text(5), text(3900), text(7)]
            .into_iter()
            .map(Bytes::from)
            .collect();
        let wire = wire_of(config, many);
        assert!(wire.len() < 500, "{}", wire.len());
        assert!(wire.starts_with(&frame(&text(5))) && wire.ends_with(&frame(&text(7))));
    }
}

#[test]
fn what_travels_is_what_the_flag_says() {
    let data = text(200_000);
    let wire = wire_of(CompressConfig::zlib(6), single(&data));
    let mut inflated = Vec::with_capacity(data.len());
    let mut state = flate2::Decompress::new(true);
    state
        .decompress_vec(
            &wire[5..wire.len() - 1],
            &mut inflated,
            flate2::FlushDecompress::Finish,
        )
        .expect("a zlib stream");
    assert_eq!((wire[4], inflated), (1, data));
    assert_eq!(
        state.total_in() as usize,
        wire.len() - 6,
        "nothing behind it"
    );
    assert_eq!(wire.last(), Some(&b'\n'));
}

#[cfg(feature = "snappy")]
#[test]
fn a_snappy_frame_is_the_block_that_the_library_makes_of_it() {
    for size in [3001, 65_535, 65_536, 65_537, 131_072, 400_000] {
        let mut data = text(size);
        data[size / 2..size / 2 + 500].copy_from_slice(&noise(500));
        let wire = wire_of(CompressConfig::snappy(), single(&data));
        assert!(wire == flagged(2, &support::snapped(&data)), "{size}");
    }
}

/// What `docs/PROTOCOL.md` shows is what travels.
#[cfg(feature = "snappy")]
#[test]
fn the_documented_snappy_frame_is_what_travels() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
    let document = std::fs::read_to_string(path).expect("the document");
    let shown = document
        .lines()
        .find_map(|line| line.strip_prefix("snappy frame = "))
        .expect("the vector");
    let wire = wire_of(
        CompressConfig::snappy().threshold(10),
        single(&b"ab".repeat(40)),
    );
    let made: String = wire.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown, made);
}

#[test]
fn level_zero_never_compresses() {
    for size in [100, 4000, 100_000] {
        assert_eq!(
            wire_of(CompressConfig::zlib(0), single(&text(size))),
            frame(&text(size))
        );
    }
}

#[test]
fn what_does_not_shrink_travels_plain() {
    for config in configs() {
        for size in [3001, 4096, 4097, 70_000, 1_000_000] {
            assert!(
                wire_of(config, single(&noise(size))) == frame(&noise(size)),
                "{config:?} {size}"
            );
        }
    }
}

#[test]
fn a_frame_that_is_marked_travels_plain() {
    for config in configs() {
        let marked = single(&text(100_000)).uncompressed();
        assert_eq!(wire_of(config, marked), frame(&text(100_000)));
        // The mark is the frame's, not the batch's.
        let mut builder = FramesBuilder::new();
        builder.append(Frames::from_iter([Bytes::from(text(3500))]).uncompressed());
        builder.push(text(3500).into());
        builder.append(single(&text(50_000)).uncompressed());
        builder.push(text(50_000).into());
        let wire = wire_of(config, builder.take());
        let (frames, error) = receive(config.inflation(MAX), &wire);
        assert!(error.is_none() && frames.len() == 4);
        let plain = wire
            .windows(1000)
            .filter(|window| **window == text(1000)[..])
            .count();
        assert!(plain > 0, "{config:?}");
        let both = frame(&text(3500)).len() + frame(&text(50_000)).len();
        assert!(
            wire.len() >= both && (config == CompressConfig::zlib(0) || wire.len() < both + 4000)
        );
    }
}

#[test]
fn a_second_compressing_layer_changes_nothing() {
    let config = CompressConfig::zlib(6);
    let twice = || Over::new(Compress::new(config), end(config));
    let mut bench = Bench::new(twice(), twice());
    bench.left.write(single(&text(100_000)));
    let wire: Vec<u8> = bench.left.wire().iter().copied().collect();
    assert_eq!(wire, wire_of(config, single(&text(100_000))));
}

#[test]
fn credit_follows_the_size_and_comes_back() {
    for config in configs() {
        for size in [64, 3001, 100_000, 3_000_000] {
            for data in [text(size), noise(size)] {
                let mut bench = bench(config);
                bench.left.write(single(&data));
                assert_eq!(bench.left.host.down_gate().used(), 0);
                bench.run();
                let came: Vec<_> = bench.right.received().into_iter().flatten().collect();
                assert!(came.len() == 1 && came[0] == data);
            }
        }
    }
}

// ---- what is refused ----

#[test]
fn snappy_is_refused_where_it_was_not_asked_for() {
    for config in (0..=9).map(CompressConfig::zlib) {
        let wire = [frame(b"before"), flagged(2, b"\x05\x10hello")].concat();
        let (frames, error) = receive(config.inflation(MAX), &wire);
        assert_eq!(frames, ["before"]);
        let error = error.expect("not configured");
        assert!(matches!(error, StreamError::Compression(_)), "{error}");
        assert!(error.to_string().contains("not configured"), "{error}");
    }
}

#[cfg(feature = "snappy")]
#[test]
fn a_snappy_block_that_claims_too_much_is_refused_before_anything_is_held() {
    let inflation = CompressConfig::snappy().inflation(MAX);
    // 64 MiB, 4 GiB - 1 and an endless number.
    for claim in [&b"\x80\x80\x80\x20"[..], b"\xff\xff\xff\xff\x0f"] {
        let (_, error) = receive(inflation, &flagged(2, &[claim, &[0; 100]].concat()));
        let error = error.expect("above the limit");
        assert!(
            matches!(error, StreamError::LimitExceeded { limit, .. } if limit == MAX as u64),
            "{error}"
        );
    }
    // 1 MiB from 100 bytes: below the limit, but nothing can yield it.
    let (_, error) = receive(
        inflation,
        &flagged(2, &[&b"\x80\x80\x40"[..], &[0; 100]].concat()),
    );
    let error = error.expect("impossible");
    assert!(matches!(error, StreamError::Compression(_)), "{error}");
    // The best that there is must pass.
    let zeros = vec![0; MAX];
    let (frames, error) = receive(inflation, &flagged(2, &support::snapped(&zeros)));
    assert!(error.is_none() && frames == [zeros], "{error:?}");
}

#[cfg(feature = "snappy")]
#[test]
fn a_damaged_snappy_block_is_an_error() {
    let inflation = CompressConfig::snappy().inflation(MAX);
    let whole = support::snapped(&text(5000));
    let truncated = &whole[..whole.len() - 1];
    for bad in [
        &b""[..],
        b"\xff",
        b"\x05",
        b"\x05\x10hell",
        b"\x05\x10hello!",
        b"\x05\x01\x00",
        truncated,
    ] {
        let (frames, error) = receive(inflation, &[flagged(2, bad), frame(b"late")].concat());
        assert!(frames.is_empty(), "{bad:?}");
        assert!(
            matches!(error, Some(StreamError::Compression(_))),
            "{bad:?}: {error:?}"
        );
    }
}

#[test]
fn a_ratio_is_limited_when_that_is_asked_for() {
    let zeros = vec![0; 1 << 20];
    let bombs = [
        (CompressConfig::zlib(6), flagged(1, &deflated(&zeros))),
        #[cfg(feature = "snappy")]
        (
            CompressConfig::snappy(),
            flagged(2, &support::snapped(&zeros)),
        ),
    ];
    for (config, wire) in bombs {
        assert!(receive(config.inflation(MAX), &wire).1.is_none());
        let (frames, error) = receive(config.max_ratio(20).inflation(MAX), &wire);
        let error = error.expect("above 20 times its size");
        assert!(frames.is_empty());
        let StreamError::LimitExceeded { what, limit, .. } = &error else {
            panic!("{error}")
        };
        assert!(
            what.contains("ratio") && *limit == 20 * (wire.len() as u64 - 6),
            "{error}"
        );
        assert!(
            receive(config.max_ratio(2000).inflation(MAX), &wire)
                .1
                .is_none()
        );
    }
}

#[test]
fn compressed_frames_wait_until_there_is_room_above() {
    let config = CompressConfig::zlib(6);
    let cap = 100_000;
    let mut bench = Bench::with_cap(end(config), end(config), cap);
    for _ in 0..20 {
        bench.left.write(single(&text(90_000)));
    }
    let wire: Vec<u8> = bench.left.wire().drain(..).collect();
    bench.right.read(Bytes::from(wire).into());
    assert!(
        bench.right.waiting() <= 2,
        "{} are inflated",
        bench.right.waiting()
    );
    assert_eq!(bench.right.received().len(), 20);
}

// ---- properties ----

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0..200usize).prop_map(noise),
        (0..9000usize).prop_map(noise),
        (0..9000usize).prop_map(text),
        (2990..3010usize).prop_map(|size| vec![7; size]),
        (60_000..140_000usize).prop_map(text),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_frames_come_out_as_they_went_in_however_the_wire_is_cut(
        which in any::<prop::sample::Index>(),
        threshold in prop_oneof![Just(3000usize), 0..5000usize],
        frames in prop::collection::vec((payload(), any::<bool>()), 0..20),
        in_one_batch in any::<bool>(),
        piece in prop_oneof![Just(usize::MAX), 1..5000usize],
    ) {
        let configs = configs();
        let config = configs[which.index(configs.len())].threshold(threshold);
        let mut bench = bench(config);
        let mut builder = FramesBuilder::new();
        for (frame, marked) in &frames {
            if *marked {
                builder.append(single(frame).uncompressed());
            } else {
                builder.push(frame.clone().into());
            }
            if !in_one_batch {
                bench.left.write(builder.take());
            }
        }
        if in_one_batch {
            bench.left.write(builder.take());
        }
        bench.left.finish();
        let plain: usize = frames.iter().map(|(frame, _)| frame.len() + 6).sum();
        prop_assert!(bench.left.wire().len() <= plain, "nothing grows");
        bench.run_split(piece);
        let came: Vec<Bytes> = bench.right.received().into_iter().flatten().collect();
        prop_assert!(came.iter().eq(frames.iter().map(|(frame, _)| frame)));
        bench.run();
        prop_assert!(bench.right.failure().is_none());
    }
}
