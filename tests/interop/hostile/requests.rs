//! Frames that are good, with requests and answers in them that are not.

use super::*;

#[tokio::test]
async fn requests_that_make_no_sense() {
    let victim = Victim::new().await;
    let request = |body: Value| message(1, 5.into(), body);
    let empty = || Value::from((1, nothing()));
    victim
        .refuses(&request((99, empty()).into()), &["KeyError", "99"])
        .await;
    victim
        .refuses(&request(("x", empty()).into()), &["KeyError", "'x'"])
        .await;
    victim.refuses(&request(7.into()), &["TypeError"]).await;
    victim
        .refuses(&request((1, 2, 3).into()), &["TypeError"])
        .await;
    victim
        .refuses(&request((1, empty()).into()), &["TypeError", "arguments"])
        .await;
    victim
        .refuses(
            &request((1, (9, 0)).into()),
            &["ValueError", "invalid label 9"],
        )
        .await;
    victim
        .refuses(
            &request((1, (3, ("no.Such", 1, 2))).into()),
            &["KeyError", "no.Such"],
        )
        .await;
    let unknown = (2, ((3, ("no.Such", 1, 2)), (1, "name")));
    victim
        .refuses(
            &request((raw::GETATTR, unknown).into()),
            &["KeyError", "no.Such"],
        )
        .await;
    victim
        .refuses(
            &request((raw::GETATTR, (1, (5, "real"))).into()),
            &["AttributeError", "real"],
        )
        .await;
    victim
        .refuses(
            &request((raw::GETATTR, (1, ("x", 7))).into()),
            &["TypeError", "name must be a string"],
        )
        .await;
    victim
        .refuses(
            &request((raw::CALL, (1, (7, nothing()))).into()),
            &["TypeError", "not callable"],
        )
        .await;
    // The bytes of pickle are never looked at.
    victim
        .refuses(
            &request((14, (1, (7, 2))).into()),
            &["ValueError", "pickling is disabled"],
        )
        .await;
}

/// An answer repeats whatever stood for a number, as Python's does.
#[tokio::test]
async fn any_value_numbers_a_request() {
    let victim = Victim::new().await;
    let mut peer = Raw::connect(victim.port).await;
    for seq in [
        Value::from("text"),
        Value::None,
        (-7).into(),
        Value::from(num_bigint::BigInt::from(2).pow(100)),
        (1, ("a", 2.5)).into(),
    ] {
        peer.request(seq.clone(), 1, Value::from(("data",))).await;
        assert_eq!(
            soon(peer.next()).await.expect("an answer"),
            (2, seq, (1, "data").into())
        );
    }
}

/// Answers to what was never asked are of no interest.
#[tokio::test]
async fn answers_that_nobody_asked_for() {
    let victim = Victim::new().await;
    let mut peer = Raw::connect(victim.port).await;
    let root = soon(peer.root()).await;
    for seq in [Value::from(0), 77.into(), (-1).into(), "x".into()] {
        peer.reply(seq.clone(), (1, 5).into()).await;
        peer.reply(seq.clone(), (4, ("a.Thing", 1, 2)).into()).await;
        let exception = Value::from((("builtins", "ValueError"), nothing(), nothing(), "far away"));
        peer.frame(&message(3, seq, exception)).await;
    }
    // The references in them are given back: four times the same one.
    let mut given_back = 0;
    while given_back < 4 {
        let (kind, _, body) = soon(peer.next()).await.expect("a DEL");
        let Some([handler, args]) = body
            .as_tuple()
            .and_then(|body| <&[Value; 2]>::try_from(body).ok())
        else {
            panic!("{body} is no request")
        };
        assert_eq!((kind, handler), (1, &raw::DEL.into()));
        let count = args
            .as_tuple()
            .and_then(|args| args[1].as_tuple())
            .and_then(|args| args[1].as_tuple())
            .and_then(|args| args[1].as_int());
        given_back += count.expect("a count");
    }
    assert_eq!(given_back, 4);
    peer.call(9, &root, "add", (1, 2).into()).await;
    assert_eq!(
        soon(peer.next()).await.expect("an answer"),
        (2, 9.into(), (1, 3).into())
    );
    assert_alive(&victim.good).await;
}

#[tokio::test]
async fn counts_of_references_that_were_not_given() {
    let victim = Victim::new().await;
    let mut peer = Raw::connect(victim.port).await;
    let root = soon(peer.root()).await;
    let del = |count: Value| {
        let boxes = Value::tuple([(3, root.clone()).into(), (1, count).into()]);
        message(1, 1.into(), (raw::DEL, Value::from((2, boxes))).into())
    };
    let huge = Value::from(num_bigint::BigInt::from(10).pow(300));
    for count in [
        2.into(),
        0.into(),
        (-1).into(),
        i64::MAX.into(),
        i64::MIN.into(),
        huge,
        "1".into(),
        Value::None,
    ] {
        peer.frame(&del(count.clone())).await;
        let (kind, _, body) = soon(peer.next()).await.expect("an answer");
        assert_eq!(kind, 3, "{count} was accepted: {body}");
    }
    // The root is still there, until the one reference that was given comes back.
    peer.call(2, &root, "add", (1, 2).into()).await;
    assert_eq!(soon(peer.next()).await.expect("an answer").0, 2);
    peer.frame(&del(1.into())).await;
    assert_eq!(soon(peer.next()).await.expect("an answer").0, 2);
    peer.call(3, &root, "add", (1, 2).into()).await;
    let (kind, _, body) = soon(peer.next()).await.expect("an answer");
    assert!(kind == 3 && body.to_string().contains("KeyError"), "{body}");
    assert_alive(&victim.good).await;
}

#[tokio::test]
async fn too_many_references() {
    let victim = Victim::new().await;
    let mut peer = Raw::connect(victim.port).await;
    let root = soon(peer.root()).await;
    let references = |count: i64| {
        let boxes = (0..count).map(|number| Value::from((4, ("a.Thing", 1, number + 1))));
        let args = Value::from((2, Value::tuple([Value::from((2, Value::tuple(boxes)))])));
        let boxes = Value::tuple([
            (3, root.clone()).into(),
            (1, "echo").into(),
            args,
            (1, nothing()).into(),
        ]);
        message(1, 1.into(), (raw::CALLATTR, Value::from((2, boxes))).into())
    };
    peer.frame(&references(100_001)).await;
    // All that were counted before the limit come back, and the answer says why.
    let mut given_back = 0;
    let mut answer = None;
    while answer.is_none() || given_back < 100_000 {
        match soon(peer.next()).await.expect("an answer") {
            (1, _, body) => {
                assert_eq!(body.as_tuple().map(|body| &body[0]), Some(&raw::DEL.into()));
                given_back += 1;
            }
            (_, _, body) => answer = Some(body.to_string()),
        }
    }
    let answer = answer.expect("it was seen");
    assert!(
        answer.contains("100000") && answer.contains("references"),
        "{answer}"
    );
    peer.call(2, &root, "add", (1, 2).into()).await;
    assert_eq!(
        soon(peer.next()).await.expect("an answer"),
        (2, 2.into(), (1, 3).into())
    );
    assert_alive(&victim.good).await;
}
