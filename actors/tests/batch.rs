//! Batching on the bench: what is held, and what lets go of it, on a clock that moves when it is told to.

mod support;

use std::time::Duration;

use proptest::prelude::*;
use rpyc_actors::{
    Frames,
    codec::{
        Batch, BatchConfig, Framing,
        testing::{Bench, Over},
    },
};

type End = Over<Batch, Framing>;

const CAP: usize = 1 << 20;

fn bench(size: usize, timeout: Duration) -> Bench<End, End> {
    let config = BatchConfig::default()
        .batch_size(size)
        .batch_timeout(timeout);
    let end = || Over::new(Batch::new(config), Framing::new(CAP));
    Bench::with_cap(end(), end(), CAP)
}

const MS: Duration = Duration::from_millis(1);

fn frames(count: usize) -> Frames {
    (0..count)
        .map(|number| vec![number as u8; 3].into())
        .collect()
}

/// The sizes of the batches that came.
fn came(bench: &mut Bench<End, End>) -> Vec<usize> {
    bench.run();
    bench.right.received().iter().map(Frames::len).collect()
}

#[test]
fn frames_wait_for_others_until_there_are_enough() {
    let mut bench = bench(10, 100 * MS);
    for _ in 0..9 {
        bench.left.write(frames(1));
        assert!(bench.left.wire().is_empty());
    }
    bench.left.write(frames(1));
    assert_eq!(came(&mut bench), [10]);
    // More at once go at once, together with those that waited.
    bench.left.write(frames(3));
    bench.left.write(frames(25));
    assert_eq!(came(&mut bench), [28]);
}

#[test]
fn the_oldest_frame_waits_no_longer_than_the_timeout() {
    let mut bench = bench(10, 100 * MS);
    bench.left.write(frames(1));
    bench.advance(60 * MS);
    bench.left.write(frames(1));
    bench.advance(39 * MS);
    assert_eq!(came(&mut bench), []);
    bench.advance(MS);
    assert_eq!(came(&mut bench), [2]);
    // The clock starts anew with the next one.
    bench.advance(99 * MS);
    bench.left.write(frames(1));
    bench.advance(99 * MS);
    assert_eq!(came(&mut bench), []);
    bench.advance(MS);
    assert_eq!(came(&mut bench), [1]);
    bench.advance(1000 * MS);
    assert_eq!(came(&mut bench), []);
}

#[test]
fn one_frame_a_batch_holds_none_back() {
    for size in [0, 1] {
        let mut bench = bench(size, Duration::MAX);
        for _ in 0..3 {
            bench.left.write(frames(1));
            assert_eq!(came(&mut bench), [1]);
        }
    }
}

#[test]
fn a_flush_or_somebody_who_waits_for_credit_lets_go() {
    let mut bench = bench(10, Duration::MAX);
    bench.left.flush();
    bench.left.contend();
    assert_eq!(came(&mut bench), []);
    bench.left.write(frames(2));
    bench.left.flush();
    assert_eq!(came(&mut bench), [2]);
    bench.left.write(frames(3));
    bench.left.contend();
    assert_eq!(came(&mut bench), [3]);
}

#[test]
fn a_finish_lets_go_before_it_ends() {
    let mut bench = bench(10, Duration::MAX);
    bench.left.write(frames(4));
    bench.left.finish();
    assert_eq!(came(&mut bench), [4]);
    assert!(bench.right.has_ended());
}

#[test]
fn a_quarter_of_the_credit_is_the_most_that_is_held() {
    let mut bench = bench(usize::MAX, Duration::MAX);
    let mut written = 0;
    while bench.left.wire().is_empty() {
        bench.left.write(Frames::single(vec![1; 5000].into()));
        written += 1;
        assert!(bench.left.host.down_gate().used() < CAP / 4);
    }
    let enough = CAP / 4 / 5006;
    assert!((enough..=enough + 1).contains(&written), "{written}");
    assert_eq!(bench.left.host.down_gate().used(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Wait(u32),
    Flush,
    Contend,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6usize).prop_map(Step::Write),
        3 => (0..40u32).prop_map(Step::Wait),
        1 => Just(Step::Flush),
        1 => Just(Step::Contend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_reordered_or_late(
        size in 1..20usize,
        timeout in 1..60u32,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut bench = bench(size, MS * timeout);
        // When each frame was written, and how many have come.
        let (mut written, mut come, mut now) = (Vec::new(), 0, 0);
        let take = |bench: &mut Bench<End, End>, come: &mut usize| {
            bench.run();
            for frame in bench.right.received().into_iter().flatten() {
                assert_eq!(&frame[..], (*come as u32).to_be_bytes());
                *come += 1;
            }
        };
        for step in steps {
            match step {
                Step::Write(count) => {
                    let first = written.len();
                    written.extend(std::iter::repeat_n(now, count));
                    let number = |number: usize| (number as u32).to_be_bytes().to_vec().into();
                    bench.left.write((first..first + count).map(number).collect());
                    take(&mut bench, &mut come);
                    prop_assert!(written.len() - come < size, "{} are held", written.len() - come);
                }
                // A millisecond at a time, as timers fire.
                Step::Wait(time) => for _ in 0..time {
                    now += 1;
                    bench.advance(MS);
                    take(&mut bench, &mut come);
                    prop_assert!(written.get(come).is_none_or(|since| now - since < timeout));
                },
                Step::Flush | Step::Contend => {
                    match step {
                        Step::Flush => bench.left.flush(),
                        _ => bench.left.contend(),
                    }
                    take(&mut bench, &mut come);
                    prop_assert_eq!(come, written.len());
                }
            }
        }
        bench.left.finish();
        take(&mut bench, &mut come);
        prop_assert_eq!(come, written.len());
        prop_assert!(bench.right.has_ended());
    }
}
