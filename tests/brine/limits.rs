//! What a decoder and an encoder refuse, and what they may cost.

use super::*;

fn nested(depth: usize) -> Value {
    (1..depth).fold(Value::tuple([]), |inner, _| Value::tuple([inner]))
}

#[test]
fn the_depth_limit_holds_both_ways() {
    let bytes = encoded(&nested(64));
    assert_eq!(decoded(bytes), Ok(nested(64)));

    let refused = BrineError::LimitExceeded {
        what: "depth of nesting",
        limit: 64,
        got: 65,
    };
    let mut out = BytesMut::from("kept");
    assert_eq!(encode(&nested(65), &mut out), Err(refused.clone()));
    assert_eq!(&out[..], b"kept");
    encode_with(&nested(65), &mut out, &Limits::default().depth(65)).unwrap();
    assert_eq!(decoded(out.freeze().slice(4..)), Err(refused.clone()));

    // Whatever nests: tuples, slices, sets, sets right inside sets.
    for unit in [
        &b"\x10"[..],
        b"\x19\x12\0\0",
        b"\x1a\x10",
        b"\x1a",
        b"\x14\x01",
        b"\x15\0\0\0\x01",
    ] {
        let result = decoded([&unit.repeat(100_000)[..], b"\x02"].concat());
        assert_eq!(result, Err(refused.clone()), "{unit:02x?}");
    }
}

#[test]
fn a_reader_counts_its_own_nesting() {
    fn follow(reader: &mut Reader<'_>) -> Result<usize, BrineError> {
        match reader.tuple_len()? {
            0 => Ok(1),
            _ => reader.nested(follow).map(|depth| depth + 1),
        }
    }
    let limits = Limits::default().depth(100);
    let mut out = BytesMut::new();
    encode_with(&nested(65), &mut out, &limits).unwrap();
    let bytes = out.freeze();
    assert_eq!(follow(&mut Reader::new(&bytes, &limits)), Ok(65));
    assert!(follow(&mut Reader::new(&bytes, &Limits::default().depth(63))).is_err());
}

#[test]
fn the_item_limit_holds() {
    let items = |count: u32| [&[0x15][..], &count.to_be_bytes(), &vec![0; count as usize]].concat();
    let limit = Limits::DEFAULT.items;
    assert_eq!(limit, 1_048_576);
    let value = decoded(items(limit as u32)).unwrap();
    assert_eq!(value.as_tuple().unwrap().len(), limit);
    let refused = |got| {
        Err(BrineError::LimitExceeded {
            what: "items in all",
            limit,
            got,
        })
    };
    assert_eq!(decoded(items(limit as u32 + 1)), refused(limit + 1));
    // Items count over all tuples, not for each.
    let half = items(limit as u32 / 2);
    assert_eq!(
        decoded([b"\x11", &half[..], &half].concat()),
        refused(limit + 2)
    );
    // And where Python would iterate over bytes or text.
    let limits = Limits::default().items(3);
    assert!(decode(&Bytes::from_static(b"\x1a\x0cabc"), &limits).is_ok());
    assert!(decode(&Bytes::from_static(b"\x1a\x0dabcd"), &limits).is_err());
    assert!(decode(&Bytes::from_static(b"\x1a\x08\x0dabcd"), &limits).is_err());
}

#[test]
fn the_digit_limit_holds_both_ways() {
    let number = |digits: u32| BigInt::from(10).pow(digits - 1);
    let raw = |digits: usize| {
        let text = "1".repeat(digits);
        [&[0x17][..], &(digits as u32).to_be_bytes(), text.as_bytes()].concat()
    };
    for number in [number(4_300), -number(4_300)] {
        let value = Value::from(number);
        assert_eq!(decoded(encoded(&value)), Ok(value));
    }
    let mut out = BytesMut::new();
    for (digits, number) in [(4_301, number(4_301)), (4_301, -number(4_301))] {
        let error = encode(&number.into(), &mut out).unwrap_err();
        assert_eq!(
            error,
            BrineError::LimitExceeded {
                what: "digits of an integer",
                limit: 4_300,
                got: digits
            }
        );
    }
    assert!(encode(&number(10_000).into(), &mut out).is_err());
    assert!(out.is_empty());
    assert!(decoded(raw(4_300)).is_ok());
    for digits in [4_301, 10_000, 10_000_000] {
        let error = decoded(raw(digits)).unwrap_err();
        assert_eq!(
            error,
            BrineError::LimitExceeded {
                what: "digits of an integer",
                limit: 4_300,
                got: digits
            }
        );
    }
}

#[test]
fn a_tuple_cannot_claim_more_items_than_there_are_bytes() {
    let start = Instant::now();
    for input in [
        &b"\x15\xff\xff\xff\xff"[..],
        b"\x15\xff\xff\xff\xff\x50\x50",
        b"\x1a\x15\xff\xff\xff\xff",
        b"\x19\x15\xff\xff\xff\xff",
        b"\x14\xff",
    ] {
        let error = decoded(input).unwrap_err();
        assert!(matches!(error, BrineError::Truncated { .. }), "{error}");
    }
    // Nor can those inside each other claim the same bytes again and again.
    let claims = b"\x15\0\x0f\0\0".repeat(60);
    let input = [&claims[..], &vec![0x50; 0x0f_0000]].concat();
    let error = decoded(input).unwrap_err();
    let second = claims.len() / 60;
    assert!(
        matches!(error, BrineError::Truncated { offset, .. } if offset == second),
        "{error}"
    );
    assert!(start.elapsed().as_secs() < 5);
}
