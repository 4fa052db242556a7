//! The handshake's limit and signs of life, on the virtual clock.

use std::{
    task::{Context, Waker},
    time::Duration,
};

use super::*;
use crate::codec::Host;

const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass in steps, carrying what is sent.
fn pass(pair: &mut Pair, time: Duration, step: Duration) {
    let mut left = time;
    while !left.is_zero() {
        let step = step.min(left);
        pair.advance(step);
        pair.run();
        left -= step;
    }
}

fn silent_after(end: &End<Encrypt>) -> Option<Duration> {
    match end.failure()? {
        StreamError::ConnectionLost(error) => match error.reason {
            LossReason::Silent { after } => Some(after),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up() {
    let mut pair = pair(&config(), &config());
    sent(&mut pair.left);
    sent(&mut pair.right);
    pair.advance(SECOND * 5 - Duration::from_millis(1));
    assert!(pair.left.failure().is_none() && pair.right.failure().is_none());
    pair.advance(Duration::from_millis(1));
    for end in [&pair.left, &pair.right] {
        let failure = end.failure();
        let is_right = matches!(
            failure,
            Some(StreamError::TimedOut { what: "the handshake", after }) if *after == SECOND * 5
        );
        assert!(is_right, "{failure:?}");
    }
}

#[test]
fn a_hello_without_a_proof_has_the_same_limit() {
    let timeout = Duration::from_millis(300);
    let mut pair = pair(&config(), &config().handshake_timeout(timeout));
    let hello = sent(&mut pair.left);
    sent(&mut pair.right);
    pair.advance(timeout / 2);
    pair.right.read(chunk(&hello));
    assert_eq!(units(&sent(&mut pair.right)).len(), 1);
    pair.advance(timeout / 2);
    assert!(matches!(
        pair.right.failure(),
        Some(StreamError::TimedOut { .. })
    ));
}

#[test]
fn an_open_channel_has_no_deadline() {
    let mut pair = open_pair(&config(), &config());
    pass(&mut pair, SECOND * 3600, SECOND * 60);
    pair.left.write(chunk(b"still here"));
    pair.run();
    assert_eq!(text(&mut pair.right), b"still here");
}

#[test]
fn an_idle_channel_lives_on() {
    let default = EncryptConfig::new(key(1));
    let quick = default
        .clone()
        .liveness(Liveness::new(Duration::from_millis(200)));
    let off = default.clone().liveness(None);
    for left in [&default, &quick, &off] {
        for right in [&default, &quick, &off] {
            let mut pair = open_pair(left, right);
            pass(&mut pair, SECOND * 60, Duration::from_millis(10));
            assert!(pair.left.failure().is_none(), "{left:?} {right:?}");
            assert!(pair.right.failure().is_none(), "{left:?} {right:?}");
        }
    }
}

#[test]
fn a_silent_peer_is_dead_after_the_time_that_was_set() {
    for (liveness, after) in [
        (Liveness::default(), SECOND * 15),
        (
            Liveness::new(Duration::from_millis(200)),
            Duration::from_millis(200),
        ),
        (Liveness::new(Duration::ZERO), MIN_SILENCE),
    ] {
        let config = EncryptConfig::new(key(1)).liveness(liveness);
        let mut pair = open_pair(&config, &config);
        // Nothing is carried any more. What an end writes itself says nothing about the other one.
        let step = Duration::from_millis(1);
        let mut passed = Duration::ZERO;
        while pair.left.failure().is_none() && passed < SECOND * 20 {
            pair.left.write(chunk(b"anybody there?"));
            pair.advance(step);
            passed += step;
        }
        assert_eq!(silent_after(&pair.left), Some(after));
        assert!(passed >= after && passed <= after + step * 2, "{passed:?}");
        assert_eq!(silent_after(&pair.right), Some(after));
    }
}

#[test]
fn a_silent_peer_is_asked_before_it_is_given_up() {
    let config = EncryptConfig::new(key(1));
    let Bench { left: _, mut right } = pair(&config, &config);
    let mut terms = terms();
    terms.silence = None;
    let mut peer = HandMade::dial(&mut right, &terms.encode());
    right.read(chunk(&peer.record(5, b"")));
    let mut bench = Bench {
        left: dialler_end(),
        right,
    };
    let mut asked = Vec::new();
    for second in 1..15 {
        bench.advance(SECOND);
        let wire = sent(&mut bench.right);
        asked.extend(peer.open(&wire).into_iter().map(|(kind, _)| (second, kind)));
    }
    let (ping, pong) = (Kind::Ping as u8, Kind::Pong as u8);
    assert_eq!(asked, [(5, pong), (10, ping)]);
    assert!(bench.right.failure().is_none());
    bench.right.read(chunk(&peer.record(5, b"")));
    bench.advance(SECOND * 14);
    assert!(bench.right.failure().is_none(), "the answer counts");
}

/// Somebody for the other place of a bench, whose time does not matter.
fn dialler_end() -> End<Encrypt> {
    pair(&config(), &config()).left
}

#[test]
fn signs_of_life_are_sent_only_when_nothing_else_is() {
    let config = EncryptConfig::new(key(1));
    let mut pair = open_pair(&config, &config);
    for _ in 0..60 {
        pair.left.write(chunk(b"busy"));
        let wire = sent(&mut pair.left);
        assert_eq!(units(&wire).len(), 1);
        pair.right.read(chunk(&wire));
        let wire = sent(&mut pair.right);
        pair.left.read(chunk(&wire));
        pair.advance(SECOND);
    }
    assert!(pair.left.failure().is_none() && pair.right.failure().is_none());
}

#[test]
fn silence_does_not_count_while_this_end_does_not_read() {
    let config = EncryptConfig::new(key(1));
    let mut pair = open_pair(&config, &config);
    // The consumer keeps what it got, and so the host does not read.
    let full = pair.left.host.up_gate().charge(1 << 20);
    for _ in 0..60 {
        pair.advance(SECOND);
        let signs = sent(&mut pair.left);
        pair.right.read(chunk(&signs));
    }
    assert!(pair.left.failure().is_none());
    assert_eq!(silent_after(&pair.right), None, "it got signs of life");
    drop(full);
    for _ in 0..16 {
        pair.advance(SECOND);
    }
    assert_eq!(silent_after(&pair.left), Some(SECOND * 15));
}

#[test]
fn silence_does_not_count_while_the_reader_waits_for_half_of_its_credit() {
    let config = EncryptConfig::new(key(1));
    let mut pair = open_pair(&config, &config);
    let gate = pair.left.host.up_gate().clone();
    let mut kept = gate.charge(gate.cap());
    let cx = Context::from_waker(Waker::noop());
    assert!(gate.poll_open(0, &cx).is_pending());
    // There is credit again, but too little to wake the reader for.
    kept.set(gate.cap() * 3 / 4);
    assert!(gate.is_open());
    for _ in 0..60 {
        pair.advance(SECOND);
    }
    assert!(pair.left.failure().is_none());
    drop(kept);
    for _ in 0..16 {
        pair.advance(SECOND);
    }
    assert_eq!(silent_after(&pair.left), Some(SECOND * 15));
}

#[test]
fn ended_directions_have_no_pulse() {
    let config = EncryptConfig::new(key(1));
    let mut pair = open_pair(&config, &config);
    pair.left.finish();
    pair.run();
    assert!(pair.right.has_ended());
    // The left end sends nothing more, and the right one knows; the other way there are signs of life.
    pass(&mut pair, SECOND * 60, SECOND);
    assert!(pair.left.failure().is_none() && pair.right.failure().is_none());
    assert_eq!(sent(&mut pair.left), b"");
    pair.right.write(chunk(b"still talking"));
    pair.run();
    assert_eq!(text(&mut pair.left), b"still talking");
}
