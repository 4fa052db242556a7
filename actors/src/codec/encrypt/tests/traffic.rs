//! Ordinary traffic: order, ends, credit, and that no split of the input changes anything.

use proptest::prelude::*;

use super::*;
use crate::codec::Host;

#[test]
fn what_is_written_before_the_handshake_waits_with_its_credit() {
    let mut pair = pair(&config(), &config());
    pair.left.write(chunk(b"first "));
    pair.left.write(chunk(b"second"));
    pair.right.write(chunk(b"server"));
    assert_eq!(pair.left.host.down_gate().used(), 12);
    assert_eq!(units(&sent_and_kept(&mut pair.left)).len(), 1, "the hello");
    pair.run();
    assert_eq!(text(&mut pair.right), b"first second");
    assert_eq!(text(&mut pair.left), b"server");
    assert_eq!(pair.left.host.down_gate().used(), 0);
    assert_eq!(pair.right.host.down_gate().used(), 0);
}

fn sent_and_kept(end: &mut End<Encrypt>) -> Vec<u8> {
    end.flush();
    end.wire().iter().copied().collect()
}

#[test]
fn a_finish_before_the_handshake_comes_behind_what_was_written() {
    let mut pair = pair(&config(), &config());
    pair.left.write(chunk(b"all I have"));
    pair.left.finish();
    pair.run();
    assert_eq!(text(&mut pair.right), b"all I have");
    assert!(pair.right.has_ended());
    pair.right.write(chunk(b"thanks"));
    pair.right.finish();
    pair.run();
    assert_eq!(text(&mut pair.left), b"thanks");
    assert!(pair.left.has_ended());
    assert!(pair.left.failure().is_none() && pair.right.failure().is_none());
}

#[test]
fn an_end_without_a_word_is_a_finish_too() {
    let mut pair = pair(&config(), &config());
    pair.left.finish();
    pair.right.finish();
    pair.run();
    for end in [&pair.left, &pair.right] {
        assert!(end.has_ended() && end.failure().is_none());
    }
}

#[test]
fn each_direction_ends_by_itself() {
    let mut pair = open_pair(&config(), &config());
    pair.left.finish();
    pair.run();
    assert!(pair.right.has_ended() && !pair.left.has_ended());
    for _ in 0..3 {
        pair.right.write(chunk(&[1; 1000]));
        pair.run();
    }
    assert_eq!(text(&mut pair.left).len(), 3000);
    pair.right.finish();
    pair.run();
    assert!(pair.left.has_ended());
    assert!(pair.left.failure().is_none() && pair.right.failure().is_none());
}

#[test]
fn opened_text_holds_credit_until_it_is_taken() {
    let mut pair = open_pair(&config(), &config());
    pair.left.write(chunk(&[1; 50_000]));
    let wire = sent(&mut pair.left);
    pair.right.read(chunk(&wire));
    let used = pair.right.host.up_gate().used();
    assert!((50_000..60_000).contains(&used), "{used}");
    assert_eq!(text(&mut pair.right).len(), 50_000);
    assert_eq!(pair.right.host.up_gate().used(), 0);
}

#[test]
fn keys_change_under_load_in_both_directions() {
    let rekey = RekeyAfter::default().records(3).bytes(20_000);
    let config = config().rekey_after(rekey);
    let mut pair = open_pair(&config, &config);
    let (mut from_left, mut from_right) = (Vec::new(), Vec::new());
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    for _ in 0..300 {
        for _ in 0..random() % 4 {
            let data = vec![random() as u8; random() as usize % 5000];
            pair.left.write(chunk(&data));
            from_left.extend(data);
        }
        for _ in 0..random() % 4 {
            let data = vec![random() as u8; random() as usize % 5000];
            pair.right.write(chunk(&data));
            from_right.extend(data);
        }
        pair.run_with(|_| random() as usize % 3000 + 1);
    }
    assert!(from_left.len() > 500_000 && from_right.len() > 500_000);
    assert!(text(&mut pair.right) == from_left);
    assert!(text(&mut pair.left) == from_right);
    assert!(pair.left.failure().is_none() && pair.right.failure().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_split_changes_what_arrives(
        writes in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..4000)), 0..12),
        cuts in prop::collection::vec(1usize..5000, 1..20),
        early in 0usize..12,
        records in 1u64..9,
    ) {
        let config = config().max_record(MIN_RECORD).rekey_after(RekeyAfter::default().records(records));
        let mut pair = pair(&config, &config);
        let mut expected = [Vec::new(), Vec::new()];
        let mut cuts = cuts.iter().cycle();
        for (at, (is_left, data)) in writes.iter().enumerate() {
            expected[usize::from(*is_left)].extend_from_slice(data);
            let end = if *is_left { &mut pair.left } else { &mut pair.right };
            end.write(chunk(data));
            if at >= early {
                pair.run_with(|_| *cuts.next().expect("a cycle"));
            }
        }
        pair.left.finish();
        pair.right.finish();
        pair.run_with(|_| *cuts.next().expect("a cycle"));
        prop_assert!(pair.left.failure().is_none(), "{:?}", pair.left.failure());
        prop_assert!(pair.right.failure().is_none(), "{:?}", pair.right.failure());
        prop_assert!(text(&mut pair.right) == expected[1]);
        prop_assert!(text(&mut pair.left) == expected[0]);
        prop_assert!(pair.left.has_ended() && pair.right.has_ended());
    }

    #[test]
    fn garbage_is_refused_and_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 1..3000),
        when in 0usize..3,
        cut in 1usize..500,
    ) {
        let config = config();
        let mut pair = if when == 2 { open_pair(&config, &config) } else { pair(&config, &config) };
        if when == 1 {
            let hello = sent(&mut pair.left);
            pair.right.read(chunk(&hello));
        }
        for end in [&mut pair.left, &mut pair.right] {
            for piece in garbage.chunks(cut) {
                end.read(chunk(piece));
            }
            end.end();
            prop_assert!(end.failure().is_some());
            prop_assert!(!end.has_ended());
            prop_assert_eq!(text(end), b"");
        }
    }
}
