//! Random damage to messages: whatever comes, nothing panics and the accounts of references stay right.

use super::super::testing::Random;
use super::*;
use crate::brine::encode;

/// Messages of every kind, with references in both directions.
fn seeds(end: &mut End) -> Vec<Bytes> {
    let things = [Thing::new("builtins.list"), Thing::new("a.A")];
    let ids = things.map(|thing| {
        let (_, id) = end.exports.give(&thing).unwrap();
        id.to_value()
    });
    let [list, other] = &ids;
    let boxed = |label: i64, content: Value| Value::from((label, content));
    let theirs = |n: i64| boxed(4, Value::from(("b.B", 3, n)));
    let mut frames: Vec<(u8, Value)> = Vec::new();
    for handler in Handler::ALL {
        let number = i64::from(handler.number());
        let plain = (0..handler.arity().1).map(|_| Value::from("x"));
        let plain = boxed(1, Value::tuple(plain));
        frames.push((1, Value::from((number, (number, plain)))));
        let mut mixed = vec![boxed(3, list.clone()), boxed(1, Value::from("name"))];
        mixed.push(boxed(
            2,
            Value::from((theirs(number), boxed(1, Value::from(1.5)))),
        ));
        mixed.push(boxed(1, Value::from((("k", 1),))));
        mixed.truncate(handler.arity().1.max(2));
        let mixed = boxed(2, Value::Tuple(mixed));
        frames.push((1, Value::from((number, (number, mixed)))));
    }
    frames.push((
        1,
        Value::from((1, (16, boxed(1, Value::from((other.clone(),)))))),
    ));
    let del = (boxed(3, other.clone()), boxed(1, Value::Int(1)));
    frames.push((1, Value::from((1, (15, boxed(2, Value::from(del)))))));
    for seq in 0..20 {
        frames.push((2, Value::from((seq, theirs(seq)))));
        frames.push((
            2,
            Value::from((seq, boxed(1, Value::from((1, "text", 2.5))))),
        ));
    }
    frames.push((3, Value::from((5, 1))));
    let error = (
        ("builtins", "ValueError"),
        ("bad",),
        (("errno", 3),),
        "Traceback",
    );
    frames.push((3, Value::from((6, error))));
    let write = |(kind, message): (u8, Value)| {
        written(|out| {
            out.put_u8(kind);
            encode(&message, out).unwrap();
        })
    };
    frames.into_iter().map(write).collect()
}

fn damage(payload: &[u8], random: &mut Random) -> Bytes {
    let mut bytes = payload.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len().max(1));
        let byte = match random.below(3) {
            0 => random.below(256) as u8,
            1 => random.below(0x20) as u8,
            _ => 0x4e + random.below(8) as u8,
        };
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let from = random.below(payload.len());
                bytes.extend_from_slice(&payload[from..]);
            }
            _ => {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
        }
    }
    bytes.into()
}

#[test]
fn three_hundred_thousand_damaged_messages() {
    let mut random = Random::new(2026);
    let mut counts = [0_u32; 7];
    let mut out = BytesMut::new();
    for round in 0..300 {
        let mut end = end();
        let frames = seeds(&mut end);
        for n in 0..20 {
            end.request(&Ask::get_root(), n, None, &mut out).unwrap();
        }
        for _ in 0..1_100 {
            out.clear();
            let payload = damage(&frames[random.below(frames.len())], &mut random);
            let kind = match end.handle_frame(payload) {
                Ok(Incoming::Request { seq, request }) => {
                    let items = items_of(request);
                    end.reply(&seq, &items, &mut out).unwrap();
                    items.iter().for_each(|item| end.release_item(item));
                    0
                }
                Ok(Incoming::BadRequest { seq, exception }) => {
                    end.exception(&seq, &exception, &mut out);
                    1
                }
                Ok(Incoming::Answer { result, seq, .. }) => {
                    if let Ok(item) = result {
                        end.release_item(&item);
                    }
                    out.clear();
                    end.request(&Ask::ping(seq), seq, None, &mut out).unwrap();
                    2
                }
                Ok(Incoming::Late) => 3,
                Ok(Incoming::Close) => 4,
                Ok(Incoming::Nothing) => 5,
                // The host would close. Here the next message must find everything in order all the same.
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    6
                }
            };
            counts[kind] += 1;
            assert!(end.received.is_empty() && end.given.is_empty());
        }
        while end.poll_release(&mut out) {}
        assert_eq!(end.stats().imported, 0, "round {round}");
        let (waiters, _) = end.end();
        assert!(waiters.len() <= 1_120);
    }
    assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
}

/// Everything a request brought along.
fn items_of(request: Request<Thing>) -> Vec<Item<Thing>> {
    match request {
        Request::Ping { data: one }
        | Request::GetAttr { object: one, .. }
        | Request::DelAttr { object: one, .. }
        | Request::Repr { object: one }
        | Request::Str { object: one }
        | Request::Hash { object: one }
        | Request::Dir { object: one }
        | Request::BuffIter { object: one, .. }
        | Request::InstanceCheck { class: one, .. } => vec![one],
        Request::SetAttr {
            object: one,
            value: two,
            ..
        }
        | Request::Cmp {
            object: one,
            other: two,
            ..
        }
        | Request::Pickle {
            object: one,
            protocol: two,
        }
        | Request::CtxExit {
            object: one,
            exc: two,
        } => vec![one, two],
        Request::Call {
            object,
            args,
            kwargs,
        }
        | Request::CallAttr {
            object,
            args,
            kwargs,
            ..
        } => {
            let values = kwargs.into_iter().map(|(_, value)| value);
            [object].into_iter().chain(args).chain(values).collect()
        }
        Request::OldSlicing {
            object,
            start,
            stop,
            args,
            ..
        } => [object, start, stop].into_iter().chain(args).collect(),
        Request::Inspect { object } => vec![Item::Ours(object)],
        Request::GetRoot | Request::Del { .. } => Vec::new(),
    }
}

/// Claims without substance: what is announced is not there, so nothing may be allocated for it.
#[test]
fn claimed_lengths_cost_nothing() {
    for payload in [
        &b"\x01\x11\x50\x11\x51\x11\x52\x15\xff\xff\xff\xff"[..],
        b"\x01\x11\x50\x11\x51\x11\x51\x15\xff\xff\xff\xff",
        b"\x02\x11\x50\x11\x52\x15\xff\xff\xff\xff\x11\x51\x50",
        b"\x02\x11\x50\x11\x54\x12\x08\x0f\xff\xff\xff\xff",
    ] {
        let fatal = end().handle_frame(Bytes::from_static(payload));
        assert!(
            matches!(fatal, Err(ProtocolError::Brine { .. })),
            "{fatal:?}"
        );
    }
}
