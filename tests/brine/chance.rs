//! Mutations of what was recorded, and any value at all.

use super::*;

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

#[test]
fn a_million_mutations_neither_panic_nor_grow() {
    const SEED: u64 = 0x5eed_b41e;
    let seeds: Vec<Bytes> = recorded()
        .into_iter()
        .map(|(_, _, bytes)| bytes)
        .filter(|bytes| bytes.len() <= 80)
        .collect();
    let mut rng = Rng(SEED);
    let mut buffer = BytesMut::with_capacity(64 << 10);
    let mut accepted = 0_u32;
    for round in 0..1_000_000_u32 {
        buffer.reserve(256);
        buffer.extend_from_slice(&seeds[rng.below(seeds.len())]);
        for _ in 0..=rng.below(3) {
            let at = rng.below(buffer.len());
            match rng.below(4) {
                0 => buffer[at] = rng.next() as u8,
                // Tags are where the interesting paths begin.
                1 => buffer[at] = rng.below(0x20) as u8,
                2 => buffer.truncate(at.max(1)),
                _ => {
                    let other = &seeds[rng.below(seeds.len())];
                    buffer.truncate(at.max(1));
                    buffer.extend_from_slice(&other[..1 + rng.below(other.len())]);
                }
            }
        }
        let input = buffer.split().freeze();
        if let Ok((value, used)) = decode_prefix(&input, &Limits::DEFAULT) {
            accepted += 1;
            assert!(used <= input.len(), "round {round}, seed {SEED:#x}");
            assert!(
                count(&value) <= used,
                "round {round}, seed {SEED:#x}: {input:?}"
            );
        }
    }
    assert!(accepted > 10_000, "only {accepted} mutations were accepted");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        Just(Value::Ellipsis),
        Just(Value::NotImplemented),
        any::<bool>().prop_map(Value::from),
        (-60_i64..170).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i128>().prop_map(Value::from),
        any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
        (any::<f64>(), any::<f64>()).prop_map(|(re, im)| Value::Complex { re, im }),
        prop::collection::vec(any::<char>(), 0..300)
            .prop_map(|text| String::from_iter(text).into()),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Tuple),
            prop::array::uniform3(inner.clone()).prop_map(|parts| Value::Slice(parts.into())),
            prop::collection::vec(inner, 0..8).prop_map(|mut members| {
                let mut seen = std::collections::HashSet::new();
                members.retain(|member| seen.insert(encoded(member)));
                Value::FrozenSet(members)
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_value_survives_a_round_trip(value in any_value()) {
        let bytes = encoded(&value);
        let (back, used) = decode_prefix(&bytes, &Limits::DEFAULT).unwrap();
        prop_assert_eq!(used, bytes.len());
        prop_assert!(back.same_bits(&value), "{} became {}", value, back);
        prop_assert_eq!(encoded(&back), bytes);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decoded(bytes);
    }
}
