//! The bench itself.

use super::*;

#[test]
fn the_bench_carries_both_ways_and_ends_each_way_by_itself() {
    let mut bench = bench(MAX);
    bench.left.write(Frames::single("right".into()));
    bench.right.write(Frames::single("left".into()));
    bench.left.finish();
    bench.run_split(1);
    assert!(bench.right.has_ended() && !bench.left.has_ended());
    let to_left: Vec<Bytes> = bench.left.received().into_iter().flatten().collect();
    let to_right: Vec<Bytes> = bench.right.received().into_iter().flatten().collect();
    assert_eq!(
        (to_left, to_right),
        (vec!["left".into()], vec!["right".into()])
    );
    bench.right.finish();
    bench.run();
    assert!(bench.left.has_ended());
}

#[test]
fn the_bench_holds_credit_until_a_unit_is_taken() {
    let mut bench = bench(MAX);
    bench.left.write(Frames::single("hello".into()));
    assert_eq!(bench.left.host.down_gate().used(), 0, "the wire took it");
    bench.run();
    let gate = rpyc_actors::codec::Host::up_gate(&bench.right.host).clone();
    assert_eq!(gate.used(), 11);
    assert_eq!(bench.right.received().len(), 1);
    assert_eq!(gate.used(), 0);
}

#[test]
fn the_bench_stops_carrying_to_a_side_that_failed() {
    let mut bench = bench(MAX);
    bench.left.wire().extend(frame(&[0; MAX + 1]));
    bench.left.wire().extend(frame(b"behind"));
    bench.run_split(8);
    assert!(bench.right.failure().is_some());
    assert!(
        !bench.left.wire().is_empty(),
        "what is behind stays on the wire"
    );
    assert!(bench.right.received().is_empty() && !bench.right.has_ended());
}

#[test]
fn the_bench_gives_a_failed_codec_nothing_more() {
    let mut bench = bench(MAX);
    bench
        .right
        .read(Chunk::from(Bytes::from(frame(&[0; MAX + 1]))));
    assert!(bench.right.failure().is_some());
    bench.right.read(Chunk::from(Bytes::from(frame(b"behind"))));
    bench.right.end();
    assert!(bench.right.received().is_empty() && !bench.right.has_ended());
}

#[test]
fn the_bench_chooses_pieces_as_it_is_told() {
    let mut bench = bench(MAX);
    bench.left.write(Frames::single(vec![1; 94].into()));
    let mut seen = Vec::new();
    bench.run_with(|left| {
        seen.push(left);
        60
    });
    assert_eq!(seen, [100, 40]);
    assert_eq!(bench.right.received().len(), 1);
}
