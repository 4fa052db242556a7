//! A million damaged inputs for brine: none panics, none makes the decoder hold more than its input accounts for.
//!
//! A test binary of its own, since the allocator counts for the whole process.
#![cfg(feature = "rpc")]

use bytes::{Bytes, BytesMut};
use peak_alloc::PeakAlloc;
use rpyc::brine::{Limits, Value, decode_prefix};
use serde_json::Value as Json;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MUTATIONS: u32 = 1_000_000;
/// What each byte of the input may cost: a value, twice where a list of them grows, and what it holds by itself, such as a large integer.
const FOR_EACH_BYTE: usize = 3 * size_of::<Value>();
/// The words of an error, and the set in which members are told apart.
const MACHINERY: usize = 1 << 10;

/// Deterministic and cheap (xorshift64*), so that a failure repeats.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize * bound) >> 32
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect()
}

/// What Python recorded, where it is short.
fn corpus() -> Vec<Vec<u8>> {
    let vectors: Json = serde_json::from_str(include_str!("vectors/brine.json")).expect("JSON");
    let recorded = vectors["encode"].as_array().expect("a list").iter();
    recorded
        .filter_map(|vector| vector["hex"].as_str())
        .map(unhex)
        .filter(|bytes| bytes.len() <= 80)
        .collect()
}

/// How many items a value holds, at all levels.
fn count(value: &Value) -> usize {
    match value {
        Value::Tuple(items) | Value::FrozenSet(items) => {
            items.len() + items.iter().map(count).sum::<usize>()
        }
        Value::Slice(parts) => 3 + parts.iter().map(count).sum::<usize>(),
        _ => 0,
    }
}

fn mutate(buffer: &mut BytesMut, corpus: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..=rng.below(3) {
        let at = rng.below(buffer.len());
        match rng.below(4) {
            0 => buffer[at] = rng.next() as u8,
            // Tags are where the interesting paths begin.
            1 => buffer[at] = rng.below(0x20) as u8,
            2 => buffer.truncate(at.max(1)),
            _ => {
                let other = &corpus[rng.below(corpus.len())];
                buffer.truncate(at.max(1));
                buffer.extend_from_slice(&other[..1 + rng.below(other.len())]);
            }
        }
    }
}

#[test]
fn a_million_mutations_neither_panic_nor_hold_more_than_their_input_accounts_for() {
    const SEED: u64 = 0x5eed_b41e;
    let corpus = corpus();
    assert!(corpus.len() > 50);
    let mut rng = Rng(SEED);
    let (mut accepted, mut worst) = (0_u32, 0);
    for round in 0..MUTATIONS {
        let mut buffer = BytesMut::with_capacity(512);
        buffer.extend_from_slice(&corpus[rng.below(corpus.len())]);
        mutate(&mut buffer, &corpus, &mut rng);
        // Its first clone makes the input shared, which costs an allocation of its own.
        let input = Bytes::from(buffer);
        let kept = input.clone();

        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let result = decode_prefix(&input, &Limits::DEFAULT);
        let held = ALLOCATOR.peak_usage().saturating_sub(before);
        worst = worst.max(held);
        assert!(
            held <= input.len() * FOR_EACH_BYTE + MACHINERY,
            "round {round}, seed {SEED:#x}: {held} bytes for {input:?}"
        );
        if let Ok((value, used)) = &result {
            accepted += 1;
            assert!(*used <= input.len(), "round {round}, seed {SEED:#x}");
            assert!(
                count(value) <= *used,
                "round {round}, seed {SEED:#x}: {input:?}"
            );
        }
        drop(result);
        assert_eq!(
            ALLOCATOR.current_usage(),
            before,
            "round {round}, seed {SEED:#x} leaks: {input:?}"
        );
        drop(kept);
    }
    println!("{MUTATIONS} inputs: {accepted} accepted, at most {worst} bytes held");
    assert!(accepted > MUTATIONS / 100 && accepted < MUTATIONS);
}
