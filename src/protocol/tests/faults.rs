//! Messages that are wrong in one way: what is fatal, what is answered with an exception, and what the limits refuse.

use super::*;
use crate::brine::encode;

fn frame(kind: u8, message: impl Into<Value>) -> Bytes {
    written(|out| {
        out.put_u8(kind);
        encode(&message.into(), out).unwrap();
    })
}

fn boxed(label: i64, content: impl Into<Value>) -> Value {
    Value::from((label, content.into()))
}

fn empty() -> Value {
    Value::Tuple(Vec::new())
}

fn bad_request(end: &mut End, body: impl Into<Value>) -> Exception {
    match end.handle_frame(frame(1, (7, body.into()))).unwrap() {
        Incoming::BadRequest { seq, exception } => {
            assert_eq!(seq.value(), &Value::Int(7));
            exception
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_cannot_be_understood_is_fatal() {
    let fatal =
        |payload: &'static [u8]| end().handle_frame(Bytes::from_static(payload)).unwrap_err();
    assert_eq!(
        fatal(b"\x04\x11\x50\x50"),
        ProtocolError::UnknownMessageType { byte: 4 }
    );
    assert_eq!(fatal(b"\0"), ProtocolError::UnknownMessageType { byte: 0 });
    for stranger in [
        &b"\x12"[..],
        b"\x12\x50",
        b"\x12\x54\x50\x50",
        b"\x12\x11\x50\x50",
    ] {
        assert_eq!(
            fatal(stranger),
            ProtocolError::UnknownMessageType { byte: 0x12 }
        );
    }
    assert_eq!(
        fatal(b"\x01\x51"),
        ProtocolError::NotAPair { what: "request" }
    );
    assert_eq!(
        fatal(b"\x02\x12\x51\x51\x51"),
        ProtocolError::NotAPair { what: "reply" }
    );
    for broken in [
        &b"\x01"[..],
        b"\x01\x11",
        b"\x02\x11\x50\x11\x51\xff",
        b"\x03\x11\x50\x07",
    ] {
        let broken = end().handle_frame(Bytes::from_static(broken));
        assert!(
            matches!(broken, Err(ProtocolError::Brine { .. })),
            "{broken:?}"
        );
    }
    assert!(matches!(
        end().handle_frame(Bytes::new()),
        Ok(Incoming::Nothing)
    ));
}

/// The classes are those that the real rpyc raised (`tests/vectors/verified_claims.json`).
#[test]
fn a_request_that_makes_no_sense_is_answered() {
    let mut end = end();
    let mut raised = |body: Value| bad_request(&mut end, body).to_string();
    let no_arguments = || boxed(1, empty());
    let no_such = Value::from(("x", 1, 2));
    for (body, expected) in [
        (
            Value::Int(5),
            "TypeError: a request is a pair of handler and arguments",
        ),
        (Value::from((99, no_arguments())), "KeyError: 99"),
        (Value::from(("x", no_arguments())), "KeyError: 'x'"),
        (
            Value::from((3, 5)),
            "TypeError: a box is not a pair of label and value",
        ),
        (
            Value::from((3, boxed(9, empty()))),
            "ValueError: invalid label 9",
        ),
        (
            Value::from((3, boxed(1, 5))),
            "TypeError: arguments must be a tuple, not int",
        ),
        (
            Value::from((3, boxed(1, (1,)))),
            "TypeError: GETROOT takes 0 arguments, not 1",
        ),
        (
            Value::from((7, boxed(1, (1,)))),
            "TypeError: CALL takes 2 to 3 arguments, not 1",
        ),
        (
            Value::from((4, boxed(1, ("abc", 5)))),
            "TypeError: name must be a string",
        ),
        (
            Value::from((7, boxed(1, (1, 2)))),
            "TypeError: args must be a tuple, not int",
        ),
        (
            Value::from((
                7,
                boxed(
                    1,
                    (1, empty(), ((Value::Bytes(Bytes::from_static(b"f")), 1),)),
                ),
            )),
            "TypeError: keywords must be pairs of string and value",
        ),
        (
            Value::from((17, boxed(1, (1, -1)))),
            "ValueError: a count must be None or an integer from 0 to sys.maxsize",
        ),
        (
            Value::from((16, boxed(1, (no_such.clone(),)))),
            "KeyError: ('x', 1, 2)",
        ),
        (
            Value::from((9, boxed(2, (boxed(3, no_such.clone()),)))),
            "KeyError: ('x', 1, 2)",
        ),
        (Value::from((9, boxed(3, no_such))), "KeyError: ('x', 1, 2)"),
        (
            Value::from((15, boxed(1, (5, 1)))),
            "TypeError: only references can be given back",
        ),
    ] {
        assert_eq!(raised(body.clone()), expected, "{body}");
    }
}

#[test]
fn odd_requests_that_python_serves_are_served() {
    let mut end = end();
    let mut served = |body: Value| match end.handle_frame(frame(1, ("any", body))).unwrap() {
        Incoming::Request { seq, request } => {
            assert_eq!(seq.value().as_str(), Some("any"));
            request
        }
        other => panic!("{other:?}"),
    };
    let object = || Item::Value(Value::from("abc"));
    let name = Value::Bytes(Bytes::from_static(b"__len__"));
    assert_eq!(
        served(Value::from((4, boxed(1, ("abc", name))))),
        Request::GetAttr {
            object: object(),
            name: "__len__".into()
        }
    );
    assert_eq!(
        served(Value::from((11, boxed(1, ("abc", "abc"))))),
        Request::Cmp {
            object: object(),
            other: object(),
            op: "__cmp__".into()
        }
    );
}

#[test]
fn a_seq_of_any_kind_is_echoed() {
    let mut end = end();
    for seq in [
        Value::None,
        Value::from("abc"),
        Value::Int(-5),
        Value::from((1, 2.5)),
    ] {
        let request = frame(1, (seq.clone(), (1, boxed(1, ("x",)))));
        let Ok(Incoming::Request { seq: echoed, .. }) = end.handle_frame(request) else {
            panic!("a request")
        };
        let reply = written(|out| end.reply(&echoed, "x", out).unwrap());
        assert_eq!(reply, frame(2, (seq.clone(), (1, "x"))));
        // As the number of an answer it belongs to nobody.
        assert!(matches!(end.handle_frame(reply), Ok(Incoming::Late)));
    }
}

#[test]
fn a_refused_message_gives_its_references_back() {
    let mut end = end();
    let reference = |n: i64| boxed(4, ("a.A", 1, n));
    // Wrong arity, a wrong name, an unknown handler, a bad label behind a good reference.
    let exceptions = [
        bad_request(&mut end, (3, boxed(2, (reference(1), reference(2))))),
        bad_request(
            &mut end,
            (6, boxed(2, (reference(1), boxed(1, 5), reference(3)))),
        ),
        bad_request(&mut end, (99, boxed(2, (reference(1),)))),
        bad_request(
            &mut end,
            (1, boxed(2, (boxed(2, (reference(4), boxed(9, 1))),))),
        ),
        bad_request(&mut end, (7, boxed(2, (reference(5), reference(6))))),
        bad_request(&mut end, (7, reference(7))),
    ];
    assert_eq!(
        exceptions[4].to_string(),
        "TypeError: args must be a tuple, not a.A"
    );
    let mut dels = 0;
    while end.poll_release(&mut BytesMut::new()) {
        dels += 1;
    }
    assert_eq!((dels, end.stats().imported), (7, 0));
}

#[test]
fn a_bad_answer_fails_its_call_only() {
    let mut end = end();
    let mut out = BytesMut::new();
    for n in 0..4 {
        end.request(&Ask::get_root(), n, None, &mut out).unwrap();
    }
    let mut result = |payload| match end.handle_frame(payload).unwrap() {
        Incoming::Answer { result, .. } => result.unwrap_err().to_string(),
        other => panic!("{other:?}"),
    };
    let deep = (0..100).fold(Value::None, |inner, _| Value::from((inner,)));
    let mut deep_frame = BytesMut::from(&b"\x02\x11\x52\x11\x51"[..]);
    brine::encode_with(&deep, &mut deep_frame, &brine::Limits::DEFAULT.depth(200)).unwrap();
    assert_eq!(
        result(frame(2, (0, 5))),
        "bad answer: a box is not a pair of label and value"
    );
    assert_eq!(
        result(frame(2, (1, boxed(3, ("x", 1, 2))))),
        "bad answer: unknown reference ('x', 1, 2)"
    );
    assert_eq!(
        result(deep_frame.freeze()),
        "bad answer: depth of nesting: 65 exceeds the limit of 64"
    );
    assert_eq!(
        result(frame(3, (3, 5))),
        "bad answer: an exception is neither a tuple nor 1"
    );
}

#[test]
fn a_count_cannot_free_what_was_not_given() {
    let mut end = end();
    let thing = Thing::new("a.A");
    for _ in 0..2 {
        let _ = written(|out| {
            end.request(&Ask::ping(Ours(&thing)), 0, None, out).unwrap();
        });
    }
    let id = boxed(3, ("a.A", 7, 1));
    let del = |count: i64| (15, boxed(2, (id.clone(), boxed(1, count))));
    for count in [3, 0, -1, i64::MAX, i64::MIN] {
        assert_eq!(bad_request(&mut end, del(count)).class(), "ValueError");
    }
    assert_eq!(
        bad_request(&mut end, (15, boxed(2, (id.clone(), boxed(1, "x"))))).class(),
        "TypeError"
    );
    assert_eq!(end.stats().exported, 1);
    let taken = end.handle_frame(frame(1, (1, del(2)))).unwrap();
    assert!(matches!(
        taken,
        Incoming::Request { request: Request::Del { freed: Some(freed) }, .. } if freed == thing
    ));
    assert_eq!(
        bad_request(&mut end, del(1)).to_string(),
        "KeyError: ('a.A', 7, 1)"
    );
}

#[test]
fn one_reference_too_many_is_refused_in_both_directions() {
    let mut end = end();
    let mut out = BytesMut::new();
    let things: Vec<Thing> = (0..=100_000).map(|_| Thing::new("a.A")).collect();
    let ours: Vec<_> = things.iter().map(Ours).collect();
    let limit = Refusal::TooManyReferences { limit: 100_000 };

    let refused = end.request(&Ask::ping(&ours[..]), 0, None, &mut out);
    assert_eq!(refused, Err(SendError::Refused(limit.clone())));
    assert_eq!((out.len(), end.stats()), (0, Stats::default()));
    assert_eq!(
        end.request(&Ask::ping(&ours[1..]), 0, None, &mut out),
        Ok(0)
    );
    out.clear();
    let refused = end.request(&Ask::ping(&ours[0]), 1, None, &mut out);
    assert_eq!(refused, Err(SendError::Refused(limit)));
    assert_eq!((out.len(), end.stats().exported), (0, 100_000));

    for n in 0..100_000_i64 {
        let request = frame(1, (n, (1, boxed(2, (boxed(4, ("a.A", 1, n)),)))));
        assert!(matches!(
            end.handle_frame(request),
            Ok(Incoming::Request { .. })
        ));
    }
    let error = bad_request(&mut end, (1, boxed(2, (boxed(4, ("a.A", 1, -1)),))));
    assert_eq!(
        error.to_string(),
        "MemoryError: more than 100000 references on one connection"
    );
    let again = frame(1, (0, (1, boxed(2, (boxed(4, ("a.A", 1, 5)),)))));
    assert!(matches!(
        end.handle_frame(again),
        Ok(Incoming::Request { .. })
    ));
}

#[test]
fn what_is_not_sent_leaves_no_trace() {
    let mut end: End = Protocol::new(Limits::default().message_bytes(1000).pending(2));
    let mut out = BytesMut::from("before");
    let thing = Thing::new("a.A");
    let long = "x".repeat(1000);
    let too_large = end.request(&Ask::ping((Ours(&thing), &*long)), 0, None, &mut out);
    assert!(matches!(
        too_large,
        Err(SendError::TooLarge { limit: 1000, .. })
    ));
    let deep = (0..70).fold(Item::Ours(thing.clone()), |inner, _| {
        Item::Tuple(vec![inner])
    });
    let too_deep = end.request(&Ask::ping(&deep), 0, None, &mut out);
    assert!(matches!(
        too_deep,
        Err(SendError::Refused(Refusal::Limit(_)))
    ));
    assert_eq!((&out[..], end.stats()), (&b"before"[..], Stats::default()));

    assert_eq!(end.request(&Ask::get_root(), 0, None, &mut out), Ok(0));
    assert_eq!(end.request(&Ask::get_root(), 0, None, &mut out), Ok(1));
    let refused = end.request(&Ask::get_root(), 0, None, &mut out);
    assert_eq!(refused, Err(SendError::TooManyPending { limit: 2 }));

    let seq = Seq(Value::Int(0));
    let error = Exception::value_error(long);
    let payload = written(|out| end.exception(&seq, &error, out));
    assert!(payload.len() < 500 && payload[0] == 3);
}

#[test]
fn close_is_sent_once_and_ends_requests() {
    let mut one = end();
    let payload = written(|out| {
        one.close(out);
        one.close(out);
    });
    assert_eq!(payload, frame(1, (0, (2, boxed(1, empty())))));
    assert!(matches!(end().handle_frame(payload), Ok(Incoming::Close)));
    let refused = one.request(&Ask::get_root(), 0, None, &mut BytesMut::new());
    assert_eq!(refused, Err(SendError::Closed));
}
