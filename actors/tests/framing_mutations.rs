//! A million damaged inputs for the framing codec: none panics, none makes it hold more than its limit.
//!
//! A test binary of its own, since the allocator counts for the whole process.

mod support;

use std::fmt;

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use rpyc_actors::codec::{Framing, Inflation, testing::Bench};
use support::{Random, deflated, flagged, frame};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MUTATIONS: u64 = 1_000_000;
const MAX_FRAME: usize = 2000;
/// What zlib itself takes to inflate (a window of 32 KiB and its tables), and the bench's queues.
const MACHINERY: usize = 96 << 10;

/// A seed of its own when given as `SEED`, to try others than the one of every run.
fn seed() -> u64 {
    std::env::var("SEED").map_or(0x5eed, |text| text.parse().expect("SEED is a number"))
}

fn corpus() -> Vec<Vec<u8>> {
    let ramp: Vec<u8> = (0..=255).collect();
    vec![
        [frame(b""), frame(b"one"), frame(&ramp)].concat(),
        [frame(b"one"), frame(b"two"), frame(b"three"), frame(b"")].concat(),
        [flagged(1, &deflated(b"hello")), frame(b"plain")].concat(),
        [
            flagged(1, &deflated(&[0; MAX_FRAME])),
            flagged(9, &deflated(&ramp)),
        ]
        .concat(),
        frame(&[3; 700]),
        #[cfg(feature = "snappy")]
        [
            flagged(2, &support::snapped(&ramp)),
            flagged(2, &support::snapped(&[0; MAX_FRAME])),
        ]
        .concat(),
    ]
}

/// Limits of a channel that understands all there is.
fn inflation() -> Inflation {
    #[cfg(feature = "snappy")]
    return rpyc_actors::codec::CompressConfig::snappy().inflation(MAX_FRAME);
    #[cfg(not(feature = "snappy"))]
    Inflation::new(MAX_FRAME)
}

/// Changes a few bytes: bits, whole values, lengths, pieces cut out, doubled or cut off.
fn mutate(wire: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        if wire.is_empty() {
            return;
        }
        let at = random.below(wire.len());
        match random.below(7) {
            0 => wire[at] ^= 1 << random.below(8),
            1 => wire[at] = random.next() as u8,
            2 => wire[at] = [0, 1, 0x7f, 0x80, 0xff, b'\n', 0x78][random.below(7)],
            3 => wire.truncate(at),
            4 => drop(wire.drain(at..(at + random.below(8)).min(wire.len()))),
            5 => wire.insert(at, random.next() as u8),
            _ => {
                let piece: Vec<u8> = wire[at..(at + random.below(40)).min(wire.len())].to_vec();
                wire.splice(at..at, piece);
            }
        }
    }
}

/// Reads two pieces of a wire. Gives how many frames came, and whether it failed.
fn feed(wire: &Bytes, cut: usize, input: fmt::Arguments<'_>) -> (u64, bool) {
    let mut bench = Bench::new(
        Framing::new(MAX_FRAME),
        Framing::with_inflation(inflation()),
    );
    let mut frames = 0;
    for piece in [wire.slice(..cut), wire.slice(cut..)] {
        bench.right.read(piece.into());
        for payload in bench.right.received().into_iter().flatten() {
            frames += 1;
            assert!(payload.len() <= MAX_FRAME, "{input}");
        }
    }
    bench.right.end();
    let failed = bench.right.failure().is_some();
    assert!(
        bench.right.has_ended() != failed,
        "{input} neither ended nor failed"
    );
    (frames, failed)
}

#[test]
fn a_million_mutations_neither_panic_nor_hold_more_than_the_limit() {
    let seed = seed();
    println!("SEED={seed}");
    let mut random = Random(seed);
    let corpus = corpus();
    let (mut frames, mut failures, mut worst) = (0u64, 0u64, 0);
    // The thread keeps what inflates.
    let mut warm = Bench::new(Framing::new(MAX_FRAME), Framing::new(MAX_FRAME));
    warm.right
        .read(Bytes::from(flagged(1, &deflated(b"hello"))).into());
    assert_eq!(warm.right.received().len(), 1);
    drop(warm);
    for round in 0..MUTATIONS {
        let input = format_args!("round {round} of seed {seed}");
        let mut wire = corpus[random.below(corpus.len())].clone();
        mutate(&mut wire, &mut random);
        let wire = Bytes::from(wire);
        let cut = random.below(wire.len() + 1);
        let mut leaks = 0;
        let (came, failed) = loop {
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            let outcome = feed(&wire, cut, input);
            let held = ALLOCATOR.peak_usage().saturating_sub(before);
            worst = worst.max(held);
            assert!(
                held <= 2 * MAX_FRAME + MACHINERY,
                "{input} held {held} bytes"
            );
            let after = ALLOCATOR.current_usage();
            if after == before {
                break outcome;
            }
            // The test harness has a thread of its own, which allocates now and then.
            leaks += 1;
            assert!(leaks < 3, "{input} leaks: {before} bytes, {after} after it");
        };
        frames += came;
        failures += u64::from(failed);
    }
    println!("{MUTATIONS} inputs: {frames} frames, {failures} refused, at most {worst} bytes held");
    assert!(failures > MUTATIONS / 10 && frames > MUTATIONS / 10);
}
