//! Memory is bounded: peers that never read, consumers that never take, and frames that inflate without end.
//!
//! The bound of each direction is the credit, one read buffer, and 1.75 times the largest frame. A test binary of its
//! own, since the allocator counts for the whole process; the peers are plain threads that allocate nothing while it
//! is measured.

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
};

use peak_alloc::PeakAlloc;
use rpyc_actors::{Channel, Limits, StreamError, TcpConfig, channel::TrySendError};
use support::{
    channel_and_peer, deflated, flagged,
    measure::{alone, blocking, kib, settled},
    within,
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const CREDIT: usize = 1 << 20;
const READ_BUFFER: usize = 256 << 10;
const SIZES: [usize; 5] = [64, 64 << 10, 1 << 20, 5 << 20, 20 << 20];
/// Bytes that cross in each measurement: more than the kernel's buffers and every bound together.
const TOTAL: usize = 100 << 20;
/// What the test itself and the runtime take meanwhile: tasks, wakers, queues.
const SLACK: usize = 64 << 10;

fn bound(frame: usize) -> usize {
    CREDIT + READ_BUFFER + frame * 7 / 4
}

async fn connected() -> (Channel, TcpStream) {
    let (channel, peer) = channel_and_peer(Limits::default()).await;
    let peer = blocking(peer);
    (channel, peer)
}

#[test]
fn a_peer_that_never_reads_holds_no_more_than_the_bound() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for size in SIZES {
        runtime.block_on(never_reads(size));
    }
}

async fn never_reads(size: usize) {
    let (channel, mut peer) = connected().await;
    let frames = TOTAL / (size + 6);
    // The reader's.
    let mut buffer = vec![0; size + 6];
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let mut sent = 0;
    // Sends until the gate is shut and stays shut: what waits is not held by a caller, but all of it by the channel.
    let push = |sent: &mut usize| {
        while *sent < frames {
            match channel.try_send(vec![*sent as u8; size]) {
                Ok(()) => *sent += 1,
                Err(TrySendError::Full(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
    };
    settled("the gate shuts", || {
        push(&mut sent);
        sent as u64
    })
    .await;
    assert!(
        sent < frames,
        "the peer reads nothing, but {sent} frames of {size} left"
    );
    let held = ALLOCATOR.current_usage().saturating_sub(before);

    // It goes on, and nothing is lost.
    let (done, is_done) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for number in 0..frames {
            peer.read_exact(&mut buffer).expect("a whole frame");
            assert!(buffer[5..size + 5].iter().all(|byte| *byte == number as u8));
        }
        done.send(()).expect("the test waits");
    });
    within("sending", async {
        while sent < frames {
            channel
                .send(vec![sent as u8; size])
                .await
                .expect("the peer reads");
            sent += 1;
        }
    })
    .await;
    within("flushing", channel.flush()).await.expect("taken");
    is_done.recv_timeout(support::PATIENCE).expect("all came");
    reader.join().expect("no panic");
    // A frame that waits in a caller's hand is the caller's.
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    println!(
        "down, frames of {size:>7}: {:>5} KiB held while the peer does not read, {:>5} at the peak, bound {}",
        kib(held),
        kib(peak),
        kib(bound(size))
    );
    assert!(held <= bound(size) + SLACK, "{size}: {held}");
    assert!(peak <= bound(size) + size + SLACK, "{size}: {peak}");
}

#[test]
fn a_consumer_that_never_takes_holds_no_more_than_the_bound() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for size in SIZES {
        runtime.block_on(never_takes(size));
    }
}

async fn never_takes(size: usize) {
    let (channel, mut peer) = connected().await;
    let frames = TOTAL / (size + 6);
    let wire = support::frame(&vec![7; size]);
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let writer = std::thread::spawn(move || {
        for _ in 0..frames {
            peer.write_all(&wire).expect("somebody reads in the end");
        }
        (peer, wire)
    });
    settled("the gate shuts", || channel.stats().bytes_received).await;
    assert!(channel.stats().frames_received < frames as u64);
    let held = ALLOCATOR.current_usage().saturating_sub(before);
    let peak_before = ALLOCATOR.peak_usage().saturating_sub(before);

    // It goes on, and nothing is lost.
    let mut receiver = channel.receiver().expect("the only one");
    for _ in 0..frames {
        let frame = within("receiving", receiver.recv())
            .await
            .expect("no loss")
            .expect("not the end");
        assert!(frame.len() == size && frame.iter().all(|byte| *byte == 7));
    }
    let kept = writer.join().expect("no panic");
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    println!(
        "up,   frames of {size:>7}: {:>5} KiB held while nobody takes, {:>5} at the peak of that, {:>5} in all, bound {}",
        kib(held),
        kib(peak_before),
        kib(peak),
        kib(bound(size))
    );
    assert!(held <= bound(size) + SLACK, "{size}: {held}");
    assert!(peak_before <= bound(size) + SLACK, "{size}: {peak_before}");
    // The frame in the consumer's hand is the consumer's, and with a small one the read buffer that it is a slice of.
    let in_hand = size.max(READ_BUFFER);
    assert!(peak <= bound(size) + in_hand + SLACK, "{size}: {peak}");
    drop(kept);
}

#[test]
fn a_claimed_length_holds_nothing_and_bytes_hold_what_came() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for came in [0, 1000, 100_000, (2 << 20) + 100, 9 << 20] {
            let (channel, mut peer) = connected().await;
            // The ring's first buffer belongs to the arbiter.
            peer.write_all(&support::frame(b"first")).expect("open");
            assert!(
                within("receiving", channel.recv())
                    .await
                    .expect("open")
                    .is_some()
            );
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            peer.write_all(&[&(64u32 << 20).to_be_bytes()[..], &[0]].concat())
                .expect("open");
            static PIECE: [u8; 4096] = [1; 4096];
            let mut left = came;
            while left > 0 {
                let now = left.min(PIECE.len());
                peer.write_all(&PIECE[..now]).expect("open");
                left -= now;
            }
            // An answered ping tells that all of it was read: the stream works both ways.
            within("sending", channel.send("ping")).await.expect("open");
            let mut ping = [0; 10];
            peer.read_exact(&mut ping).expect("sent");
            settled("reading", || ALLOCATOR.current_usage() as u64).await;
            let held = ALLOCATOR.current_usage().saturating_sub(before);
            let peak = ALLOCATOR.peak_usage().saturating_sub(before);
            println!(
                "claimed 64 MiB, came {:>5} KiB: {:>5} KiB held, {:>5} at the peak",
                kib(came),
                kib(held),
                kib(peak)
            );
            // Small buffers quadruple, large ones grow by half; both for a moment beside the one they replace.
            let grown = if came <= 8 << 20 {
                came * 4
            } else {
                came * 3 / 2
            };
            assert!(held <= grown + READ_BUFFER + SLACK, "{came}: {held}");
            assert!(peak <= grown + came + READ_BUFFER + SLACK, "{came}: {peak}");
        }
    });
}

#[test]
fn an_inflating_bomb_is_refused_at_the_limit() {
    let _alone = alone();
    const MAX: usize = 64 << 20;
    let wire = flagged(1, &deflated(&vec![0; MAX + 1]));
    assert!(wire.len() < 100_000);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let (bystander, bystander_peer) = support::pair().await;
        let (channel, mut peer) = connected().await;
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        peer.write_all(&wire).expect("open");
        let error = within("receiving", channel.recv())
            .await
            .expect_err("a bomb");
        let StreamError::LimitExceeded {
            limit, endpoint, ..
        } = &error
        else {
            panic!("not a limit: {error}")
        };
        assert_eq!(
            (*limit, endpoint.as_deref()),
            (MAX as u64, Some(channel.endpoint()))
        );
        let peak = ALLOCATOR.peak_usage().saturating_sub(before);
        println!(
            "a bomb of {} bytes: {} KiB at the peak",
            wire.len(),
            kib(peak)
        );
        assert!(peak <= MAX * 7 / 4 + READ_BUFFER + CREDIT + SLACK, "{peak}");
        bystander.send("fine").await.expect("open");
        let frame = within("receiving", bystander_peer.recv())
            .await
            .expect("open");
        assert_eq!(frame, Some("fine".into()));
    });
}

#[test]
fn many_frames_that_inflate_are_inflated_one_by_one() {
    let _alone = alone();
    const SIZE: usize = 60 << 20;
    const COUNT: usize = 12;
    let one = flagged(1, &deflated(&vec![0; SIZE]));
    let wire = one.repeat(COUNT);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let (channel, mut peer) = connected().await;
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let writer = std::thread::spawn(move || {
            peer.write_all(&wire).expect("somebody reads in the end");
            (peer, wire)
        });
        support::until("one is inflated", || channel.stats().frames_received > 0).await;
        settled("the gate shuts", || channel.stats().frames_received).await;
        assert_eq!(channel.stats().frames_received, 1, "one fills the gate");
        let held = ALLOCATOR.current_usage().saturating_sub(before);
        for _ in 0..COUNT {
            let frame = within("receiving", channel.recv()).await.expect("no loss");
            let frame = frame.expect("not the end");
            assert_eq!(frame.len(), SIZE);
            drop(frame);
        }
        let kept = writer.join().expect("no panic");
        let peak = ALLOCATOR.peak_usage().saturating_sub(before);
        println!(
            "{COUNT} frames that inflate to {} KiB: {} KiB held, {} at the peak",
            kib(SIZE),
            kib(held),
            kib(peak)
        );
        assert!(held <= bound(SIZE) + SLACK, "{held}");
        // One in the consumer's hand while the next one is inflated.
        assert!(peak <= bound(SIZE) + SIZE + SLACK, "{peak}");
        drop(kept);
    });
}

#[test]
fn an_idle_channel_holds_next_to_nothing() {
    let _alone = alone();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        // The first one makes the arbiters and their buffers.
        let (warm, peer) = support::stream_and_peer(TcpConfig::default()).await;
        let before = ALLOCATOR.current_usage();
        const COUNT: usize = 100;
        let mut channels = Vec::with_capacity(COUNT);
        for _ in 0..COUNT {
            let (channel, mut peer) = connected().await;
            channel.send("hello").await.expect("open");
            peer.write_all(&support::frame(b"hello")).expect("open");
            assert!(
                within("receiving", channel.recv())
                    .await
                    .expect("open")
                    .is_some()
            );
            within("flushing", channel.flush()).await.expect("open");
            channels.push((channel, peer));
        }
        let held = ALLOCATOR.current_usage().saturating_sub(before) / COUNT;
        println!("an idle channel: {held} bytes");
        // The read buffers of the arbiters are shared by all of them, and not warm before.
        let rings = 4 * READ_BUFFER * std::thread::available_parallelism().map_or(2, usize::from);
        assert!(held <= 16 << 10, "{held}");
        assert!(held * COUNT <= rings + COUNT * (8 << 10), "{held}");
        drop((warm, peer));
    });
}
