//! Memory of compressing channels is bounded: bombs of both codecs, and large frames on their way out.
//!
//! A test binary of its own, since the allocator counts for the whole process; the peers are plain threads that allocate
//! nothing while it is measured.

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use peak_alloc::PeakAlloc;
use rpyc_actors::{
    Channel, CompressedChannel, StreamError, StreamHandle, TcpConfig, codec::CompressConfig,
};
use support::{
    Random, deflated, flagged,
    measure::{alone, blocking, kib, settled},
    stream_and_peer, until, within,
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const CREDIT: usize = 1 << 20;
const READ_BUFFER: usize = 256 << 10;
const MAX_FRAME: usize = 64 << 20;
/// What the runtime takes meanwhile: tasks, wakers, queues.
const SLACK: usize = 64 << 10;
/// What a thread keeps for each codec: tables, windows, a block of output.
const MACHINERY: usize = 1 << 20;

/// The configuration, the flag it writes, and a frame's payload as a peer would compress it.
type Method = (CompressConfig, u8, fn(&[u8]) -> Vec<u8>);

fn methods() -> Vec<Method> {
    vec![
        (CompressConfig::zlib(6), 1, deflated),
        #[cfg(feature = "snappy")]
        (CompressConfig::snappy(), 2, support::snapped),
    ]
}

async fn connected(config: CompressConfig) -> (Channel, TcpStream) {
    let (stream, peer) = stream_and_peer(TcpConfig::default()).await;
    let peer = blocking(peer);
    let channel = CompressedChannel::with_config(StreamHandle::from(stream), config);
    (channel.into(), peer)
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let _alone = alone();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    for (config, flag, compressed) in methods() {
        let wire = flagged(flag, &compressed(&vec![0; MAX_FRAME + 1]));
        runtime.block_on(async {
            let (channel, mut peer) = connected(config).await;
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            peer.write_all(&wire).expect("somebody reads");
            let error = within("receiving", channel.recv())
                .await
                .expect_err("a bomb");
            let StreamError::LimitExceeded { limit, .. } = &error else {
                panic!("not a limit: {error}")
            };
            assert_eq!(*limit, MAX_FRAME as u64);
            let peak = ALLOCATOR.peak_usage().saturating_sub(before);
            println!(
                "{config:?}: a bomb of {} KiB: {} KiB at the peak",
                kib(wire.len()),
                kib(peak)
            );
            let bound = MAX_FRAME * 7 / 4 + wire.len() * 7 / 4 + READ_BUFFER + CREDIT;
            assert!(peak <= bound + MACHINERY + SLACK, "{peak}");
        });
    }
}

#[test]
fn many_bombs_are_inflated_one_by_one() {
    let _alone = alone();
    const SIZE: usize = 60 << 20;
    const COUNT: usize = 8;
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    for (config, flag, compressed) in methods() {
        let one = flagged(flag, &compressed(&vec![0; SIZE]));
        runtime.block_on(async {
            let (channel, mut peer) = connected(config).await;
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            let writer = std::thread::spawn(move || {
                for _ in 0..COUNT {
                    peer.write_all(&one).expect("somebody reads in the end");
                }
                (peer, one)
            });
            until("one is inflated", || channel.stats().frames_received > 0).await;
            settled("the gate shuts", || channel.stats().frames_received).await;
            assert_eq!(channel.stats().frames_received, 1, "one fills the gate");
            let held = ALLOCATOR.current_usage().saturating_sub(before);
            for _ in 0..COUNT {
                let frame = within("receiving", channel.recv()).await.expect("no loss");
                assert_eq!(frame.expect("not the end").len(), SIZE);
            }
            let kept = writer.join().expect("no panic");
            let peak = ALLOCATOR.peak_usage().saturating_sub(before);
            let wire = kept.1.len();
            println!(
                "{config:?}: {COUNT} frames of {} KiB that inflate to {}: {} KiB held, {} at the peak",
                kib(wire), kib(SIZE), kib(held), kib(peak)
            );
            // One is inflated, and what the credit let in behind it waits as it came.
            let bound = SIZE * 7 / 4 + wire * 7 / 4 + CREDIT + READ_BUFFER + MACHINERY + SLACK;
            assert!(held <= bound, "{held}");
            assert!(peak <= bound + SIZE, "{peak}");
            drop(kept);
        });
    }
}

#[test]
fn a_frame_on_its_way_out_holds_no_more_than_twice_its_size() {
    let _alone = alone();
    const SIZE: usize = 20 << 20;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut random = Random(1);
    let noise: Vec<u8> = (0..SIZE).map(|_| random.next() as u8).collect();
    // Half of it shrinks to nothing, so what it becomes is as large as it can be and still be sent.
    let half: Vec<u8> = [&noise[..SIZE / 2], &vec![0; SIZE / 2]].concat();
    for (config, _, _) in methods() {
        for (name, data) in [
            ("noise", &noise),
            ("half of it noise", &half),
            ("zeros", &vec![0; SIZE]),
        ] {
            runtime.block_on(async {
                let (channel, mut peer) = connected(config).await;
                let reader = std::thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 16];
                    let mut total = 0;
                    loop {
                        match peer.read(&mut buffer).expect("orderly") {
                            0 => return total,
                            count => total += count,
                        }
                    }
                });
                let before = ALLOCATOR.current_usage();
                ALLOCATOR.reset_peak_usage();
                channel.send(data.clone()).await.expect("open");
                within("flushing", channel.flush()).await.expect("taken");
                let peak = ALLOCATOR.peak_usage().saturating_sub(before);
                within("closing", channel.close()).await.expect("taken");
                let travelled = reader.join().expect("no panic");
                println!(
                    "{config:?}: {} KiB of {name} went as {} KiB: {} KiB at the peak",
                    kib(SIZE),
                    kib(travelled),
                    kib(peak)
                );
                assert!(peak <= 2 * SIZE + MACHINERY + SLACK, "{peak}");
            });
        }
    }
}
