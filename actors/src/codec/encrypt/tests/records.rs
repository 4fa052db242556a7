//! Records one by one: sizes, keys, kinds, lengths.

use std::time::{Duration, Instant};

use super::*;
use crate::piece::{HEADROOM, Own, Piece, TAILROOM};

/// Kinds of the records in `wire`, opened one after the other.
fn kinds(opener: &mut Opener, wire: &[u8]) -> Vec<Kind> {
    let open = |unit: Vec<u8>| {
        let opened = opener.open(&mut unit.to_vec(), 2);
        opened.expect("the next record").0
    };
    units(wire).into_iter().map(open).collect()
}

fn line(rekey: RekeyAfter) -> (Sealer, Opener, Instant) {
    let key = [5; 32].into();
    let now = crate::runtime::start_of_virtual_time();
    let sealer = Sealer::new(Backend::default(), &key, 16_384, rekey, now);
    (sealer, Opener::new(Backend::default(), &key, 16_384), now)
}

fn wire(chunk: Chunk) -> Vec<u8> {
    chunk.into_iter().flat_map(|piece| piece.to_vec()).collect()
}

#[test]
fn a_key_is_replaced_after_so_many_records() {
    use Kind::{Data, Rekey};
    let (mut sealer, mut opener, now) = line(RekeyAfter::default().records(2));
    let mut all = Vec::new();
    for _ in 0..6 {
        all.extend(wire(sealer.data(chunk(b"x"), now)));
    }
    let expected = [Data, Data, Rekey, Data, Data, Rekey, Data, Data];
    assert_eq!(kinds(&mut opener, &all), expected);
}

#[test]
fn a_key_is_replaced_after_so_many_bytes() {
    let (mut sealer, mut opener, now) = line(RekeyAfter::default().bytes(10_000));
    let all = wire(sealer.data(chunk(&[0; 30_000]), now));
    let rekeyed = kinds(&mut opener, &all)
        .into_iter()
        .filter(|kind| *kind == Kind::Rekey);
    assert_eq!(rekeyed.count(), 2);
}

#[test]
fn a_key_is_replaced_after_so_much_time() {
    let (mut sealer, mut opener, now) = line(RekeyAfter::default());
    use Kind::{Data, Pong, Rekey};
    let minutes = |count: u64| now + Duration::from_secs(60 * count);
    let mut all = wire(sealer.data(chunk(b"x"), minutes(14)));
    all.extend_from_slice(&sealer.control(Pong, &[], minutes(15)));
    all.extend(wire(sealer.data(chunk(b"x"), minutes(29))));
    all.extend(wire(sealer.data(chunk(b"x"), minutes(30))));
    assert_eq!(
        kinds(&mut opener, &all),
        [Data, Rekey, Pong, Data, Rekey, Data]
    );
}

#[test]
fn behind_a_rekey_the_old_key_opens_nothing() {
    let (mut sealer, _, now) = line(RekeyAfter::default().records(1));
    let mut all = wire(sealer.data(chunk(b"x"), now));
    all.extend(wire(sealer.data(chunk(b"y"), now)));
    let old = Cipher::new(Backend::default(), &[5; 32]);
    let results: Vec<bool> = units(&all)
        .into_iter()
        .enumerate()
        .map(|(at, unit)| old.open(at as u64, &mut unit.to_vec(), 2).is_ok())
        .collect();
    assert_eq!(results, [true, true, false]);
}

#[test]
fn the_first_records_are_small_and_later_ones_full() {
    let mut pair = open_pair(&config(), &config());
    pair.left.write(chunk(&[0; 1 << 20]));
    let sizes: Vec<usize> = units(&sent(&mut pair.left)).iter().map(Vec::len).collect();
    let early = (64usize << 10).div_ceil(1400 - RECORD_OVERHEAD);
    assert!(sizes[..early].iter().all(|size| *size == 1400), "{sizes:?}");
    let full = 16_384 + RECORD_OVERHEAD;
    let last = sizes.len() - 1;
    assert!(
        sizes[early..last].iter().all(|size| *size == full),
        "{sizes:?}"
    );
}

#[test]
fn a_batch_of_many_pieces_is_one_record() {
    let mut pair = open_pair(&config(), &config());
    let mut batch = Chunk::new();
    for at in 0..100u8 {
        batch.push(bytes::Bytes::copy_from_slice(&[at; 3]));
    }
    pair.left.write(batch);
    let wire = sent(&mut pair.left);
    assert_eq!(wire.len(), 300 + RECORD_OVERHEAD);
    pair.right.read(chunk(&wire));
    let expected: Vec<u8> = (0..100).flat_map(|at| [at; 3]).collect();
    assert_eq!(text(&mut pair.right), expected);
}

/// Memory that nobody else sees, as a stream or an outbox gives it.
fn own(text: &[u8]) -> Chunk {
    let mut memory = bytes::BytesMut::zeroed(HEADROOM);
    memory.extend_from_slice(text);
    memory.extend_from_slice(&[0; TAILROOM]);
    Piece::from(Own::new(memory, HEADROOM, TAILROOM)).into()
}

#[test]
fn the_same_records_are_made_in_place_and_elsewhere() {
    // Around the sizes of early records and of full ones, and with a key that changes in the middle.
    let lengths = [
        1, 2, 1380, 1381, 1382, 2762, 2763, 70_000, 1, 16_384, 16_385, 32_768, 100_000,
    ];
    for records in [u64::MAX, 1, 3] {
        let rekey = RekeyAfter::default().records(records);
        let ((mut elsewhere, _, now), (mut in_place, mut opener, _)) = (line(rekey), line(rekey));
        for length in lengths {
            let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let sealed = wire(in_place.data(own(&text), now));
            let expected = wire(elsewhere.data(chunk(&text), now));
            assert!(
                sealed == expected,
                "{length} bytes, a key for {records} records"
            );
            let mut opened = Vec::new();
            for mut unit in units(&sealed) {
                let (kind, _) = opener.open(&mut unit, 2).expect("the next record");
                if kind == Kind::Data {
                    opened.extend_from_slice(&unit[1..unit.len() - RECORD_OVERHEAD + 1]);
                }
            }
            assert!(
                opened == text,
                "{length} bytes, a key for {records} records"
            );
        }
    }
}

#[test]
fn what_nobody_else_sees_is_sealed_where_it_lies() {
    let (mut sealer, _, now) = line(RekeyAfter::default());
    for length in [1, 1000, 1381] {
        let text = own(&vec![7; length]);
        let memory = text.pieces()[0].as_ptr();
        let sealed = sealer.data(text, now);
        assert_eq!(sealed.pieces().len(), 1, "{length} bytes");
        assert_eq!(sealed.pieces()[0].as_ptr(), memory.wrapping_sub(3));
    }
}

#[test]
fn what_nobody_else_sees_is_opened_where_it_lies() {
    let (mut end, mut peer) = dialled();
    for length in [1, 1000, 16_384] {
        let read = own(&peer.record(0, &vec![7; length]));
        let memory = read.pieces()[0].as_ptr();
        end.read(read);
        let units = end.received();
        assert!(units[0].pieces()[0][..] == vec![7; length]);
        assert_eq!(units[0].pieces()[0].as_ptr(), memory.wrapping_add(3));
    }
}

#[test]
fn shared_pieces_and_others_arrive_in_order() {
    let mut pair = open_pair(&config(), &config());
    let mut mixed = Chunk::new();
    let mut expected = Vec::new();
    for (at, length) in [10, 20_000, 3, 1, 5000, 40_000, 2].into_iter().enumerate() {
        let data = vec![at as u8; length];
        expected.extend_from_slice(&data);
        let part = if at % 3 == 1 {
            own(&data)
        } else {
            chunk(&data)
        };
        part.pieces
            .into_iter()
            .for_each(|piece| mixed.push_piece(piece));
    }
    pair.left.write(mixed);
    pair.run_split(777);
    assert!(text(&mut pair.right) == expected);
}

#[test]
fn records_of_one_read_come_up_as_one_piece() {
    let mut pair = open_pair(&config(), &config());
    pair.left.write(chunk(&[9; 100_000]));
    pair.run();
    let units = pair.right.received();
    let pieces: Vec<usize> = units.iter().map(|unit| unit.pieces().len()).collect();
    assert_eq!((pieces, units[0].len()), (vec![1], 100_000));
}

#[test]
fn every_backend_makes_the_same_bytes() {
    let record = |backend| {
        let config = config()
            .backend(backend)
            .rekey_after(RekeyAfter::default().records(5));
        let mut pair = open_pair(&config, &config);
        pair.left.write(chunk(&[3; 200_000]));
        pair.left.finish();
        sent(&mut pair.left)
    };
    let first = record(BACKENDS[0]);
    assert!(BACKENDS.iter().all(|backend| record(*backend) == first));
}

#[test]
fn the_backends_understand_each_other() {
    for left in BACKENDS {
        for right in BACKENDS {
            let rekey = RekeyAfter::default().records(7);
            let config = |backend| config().backend(backend).rekey_after(rekey);
            let mut pair = open_pair(&config(*left), &config(*right));
            let data: Vec<u8> = (0..200_000u32).map(|at| at as u8).collect();
            pair.left.write(chunk(&data));
            pair.right.write(chunk(&data));
            pair.run_split(1000);
            assert_eq!(text(&mut pair.right), data, "{left:?} to {right:?}");
            assert_eq!(text(&mut pair.left), data, "{right:?} to {left:?}");
        }
    }
}

/// An accepting end that a hand-made peer has dialled and proved itself to.
fn dialled() -> (End<Encrypt>, HandMade) {
    let Bench { mut right, .. } = pair(&config(), &config());
    let mut peer = HandMade::dial(&mut right, &terms().encode());
    right.read(chunk(&peer.record(Kind::Pong as u8, b"")));
    assert!(is_established(&right));
    (right, peer)
}

#[test]
fn unknown_kinds_and_bodies_where_none_belong_are_refused() {
    let empty = [1u8, 3, 4, 5].map(|kind| (kind, &b"x"[..]));
    let unknown = [6u8, 7, 0x80, 0xff].map(|kind| (kind, &b""[..]));
    let close = [(2u8, &b""[..]), (2, &b"xy"[..])];
    for (kind, body) in empty.into_iter().chain(unknown).chain(close) {
        let (mut end, mut peer) = dialled();
        let mut wire = peer.record(0, b"before");
        wire.extend(peer.record(kind, body));
        wire.extend(peer.record(0, b"behind"));
        end.read(chunk(&wire));
        assert_encryption_error(&end);
        assert_eq!(text(&mut end), b"before", "kind {kind}");
        assert!(!end.has_ended());
        let told = sent(&mut end);
        assert_eq!(peer.open(&told), [(2, vec![2])], "kind {kind}");
    }
}

#[test]
fn empty_data_is_nothing_and_a_ping_is_answered() {
    let (mut end, mut peer) = dialled();
    end.read(chunk(&peer.record(0, b"")));
    assert_eq!(sent(&mut end), b"");
    end.read(chunk(&peer.record(4, b"")));
    let answer = sent(&mut end);
    assert_eq!(peer.open(&answer), [(5, vec![])]);
    end.read(chunk(&peer.record(5, b"")));
    assert_eq!(sent(&mut end), b"", "a sign of life asks for nothing");
    assert_eq!(end.failure().map(ToString::to_string), None);
}

#[test]
fn nothing_may_follow_the_end() {
    for kind in [0, 1, 3, 4, 5] {
        let (mut end, mut peer) = dialled();
        end.read(chunk(&peer.record(1, b"")));
        assert!(end.has_ended());
        end.read(chunk(&peer.record(kind, b"")));
        assert_encryption_error(&end);
    }
}

#[test]
fn reasons_of_a_close_are_told_apart() {
    for (reason, is_lost) in [(0, true), (1, false), (2, false), (77, true)] {
        let (mut end, mut peer) = dialled();
        let mut wire = peer.record(0, b"before");
        wire.extend(peer.record(2, &[reason]));
        end.read(chunk(&wire));
        assert_eq!(text(&mut end), b"before");
        if is_lost {
            assert_lost(&end);
            let shown = end.failure().expect("lost").to_string();
            assert!(shown.contains(&format!("reason {reason}")), "{shown}");
        } else {
            assert_encryption_error(&end);
        }
        assert!(!end.has_ended());
        assert_eq!(sent(&mut end), b"");
    }
}

#[test]
fn lengths_out_of_range_are_refused_before_anything_is_kept() {
    let largest = 16_384 + SEALED_OVERHEAD;
    for (length, is_good) in [
        (0, false),
        (SEALED_OVERHEAD - 1, false),
        (SEALED_OVERHEAD, true),
        (largest, true),
        (largest + 1, false),
        (0xffff, false),
    ] {
        let (mut end, _) = dialled();
        let head = u16::try_from(length).expect("two bytes").to_be_bytes();
        end.read(chunk(&head[..1]));
        end.read(chunk(&head[1..]));
        assert_eq!(end.failure().is_none(), is_good, "{length}");
    }
    for (length, is_good) in [
        (*MESSAGES.start() - 1, false),
        (*MESSAGES.start(), true),
        (*MESSAGES.end(), true),
        (*MESSAGES.end() + 1, false),
    ] {
        let mut pair = pair(&config(), &config());
        let head = u16::try_from(length).expect("two bytes").to_be_bytes();
        for end in [&mut pair.left, &mut pair.right] {
            end.read(chunk(&head));
            assert_eq!(end.failure().is_none(), is_good, "{length}");
        }
    }
}
