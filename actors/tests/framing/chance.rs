//! Random frames in random pieces.

use super::*;

#[derive(Clone, Debug)]
enum Kind {
    Plain,
    Deflated(u8),
}

fn frames_strategy() -> impl Strategy<Value = Vec<(Kind, Vec<u8>)>> {
    let kind = prop_oneof![3 => Just(Kind::Plain), 1 => (3..=255u8).prop_map(Kind::Deflated)];
    let payload = prop::collection::vec(any::<u8>(), 0..300);
    prop::collection::vec((kind, payload), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_splits_give_the_same_frames(
        frames in frames_strategy(),
        mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        truncate in any::<Option<prop::sample::Index>>(),
    ) {
        let mut wire = Vec::new();
        for (kind, payload) in &frames {
            match kind {
                Kind::Plain => wire.extend(frame(payload)),
                Kind::Deflated(flag) => wire.extend(flagged(*flag, &deflated(payload))),
            }
        }
        if let Some(at) = truncate {
            wire.truncate(at.index(wire.len() + 1));
        }
        let (expected, whole_error) = receive(MAX, &wire);
        let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.sort_unstable();
        let (came, error) = receive_cut(MAX, &wire, &cuts);
        prop_assert_eq!(&came, &expected);
        prop_assert_eq!(format!("{error:?}"), format!("{whole_error:?}"));
        if truncate.is_none() {
            prop_assert!(error.is_none());
            prop_assert!(came.iter().eq(frames.iter().map(|(_, payload)| payload)));
        }
    }
}
