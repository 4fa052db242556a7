//! Any value at all, and any bytes.

use super::*;

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
