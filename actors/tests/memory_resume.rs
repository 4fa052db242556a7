//! Memory of a session is bounded: with nobody to send to, with a peer that takes nothing, and while links are lost in that state.
//!
//! A test binary of its own, since the allocator counts for the whole process; both ends are in it.

mod support;

use peak_alloc::PeakAlloc;
use rpyc_actors::channel::TrySendError;
use support::{
    chaos::{Cut, Weather},
    measure::{alone, kib, settled},
    resumed::{Line, numbered},
    until, within,
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const CREDIT: usize = 1 << 20;
const READ_BUFFER: usize = 256 << 10;
/// What is on its way through a link's layers, beside the session's own.
const LINK: usize = 256 << 10;
/// What both ends, the proxy's two buffers, the test and the runtime take meanwhile.
const SLACK: usize = 256 << 10;
const SIZES: [usize; 4] = [64, 10_000, 1 << 20, 5 << 20];

/// Sends until there is no room, and stays none. Gives the frames sent.
async fn fill(line: &Line, size: usize) -> u64 {
    let mut sent = 0;
    settled("the gate shuts", || {
        loop {
            match line.client.try_send(frame(sent, size)) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full(_)) => return sent,
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    sent
}

fn frame(number: u64, size: usize) -> Vec<u8> {
    let mut frame = vec![number as u8; size];
    frame[..16].copy_from_slice(&numbered(1, number, 1)[..16]);
    frame
}

async fn take_all(line: &Line, sent: u64, size: usize) {
    for number in 0..sent {
        let came = within("a frame", line.server.recv())
            .await
            .expect("no loss");
        assert!(
            came.expect("not the end") == frame(number, size),
            "{number}"
        );
    }
}

/// A session over which something went, and of which nothing is under way.
async fn warm() -> Line {
    let line = Line::plain(Weather::default()).await;
    line.client.send(frame(0, 64)).await.expect("alive");
    take_all(&line, 1, 64).await;
    within("a flush", line.client.flush()).await.expect("alive");
    line
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn a_session_without_a_link_holds_no_more_than_its_credit() {
    let _alone = alone();
    runtime().block_on(async {
        for size in SIZES {
            let line = warm().await;
            line.chaos.weather(Weather {
                stillborn: true,
                ..Weather::default()
            });
            line.chaos.cut(Cut::Reset);
            until("the server notices", || {
                line.layers.sessions().detached == 1
            })
            .await;
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            let sent = fill(&line, size).await;
            let held = ALLOCATOR.current_usage().saturating_sub(before);
            let peak = ALLOCATOR.peak_usage().saturating_sub(before);
            println!(
                "no link, frames of {size:>7}: {:>5} KiB held in {sent} of them, {:>5} at the peak",
                kib(held),
                kib(peak)
            );
            // A frame above the credit passes alone.
            let bound = CREDIT.max(size) + SLACK;
            assert!(held <= bound, "{size}: {held}");
            assert!(peak <= bound + size, "{size}: {peak}");
            line.chaos.weather(Weather::default());
            take_all(&line, sent, size).await;
        }
    });
}

#[test]
fn a_session_whose_peer_takes_nothing_holds_no_more_than_its_credit_over_many_links() {
    let _alone = alone();
    runtime().block_on(async {
        for size in SIZES {
            let line = warm().await;
            let before = ALLOCATOR.current_usage();
            ALLOCATOR.reset_peak_usage();
            let sent = fill(&line, size).await;
            let held = ALLOCATOR.current_usage().saturating_sub(before);
            for _ in 0..10 {
                let connections = line.chaos.connections();
                line.chaos.cut(Cut::Reset);
                until("the next link", || line.chaos.connections() > connections).await;
                // What had not come before comes again, and there is no more room than there was.
                settled("the replay", || line.server.stats().bytes_received).await;
            }
            let peak = ALLOCATOR.peak_usage().saturating_sub(before);
            println!(
                "nobody takes, frames of {size:>7}: {:>5} KiB held at both ends in {sent} of them, {:>5} at the peak of 10 links",
                kib(held),
                kib(peak)
            );
            let bound = 2 * (CREDIT + READ_BUFFER + LINK) + size + size * 7 / 4 + SLACK;
            assert!(held <= bound, "{size}: {held}, {bound}");
            assert!(peak <= bound + size, "{size}: {peak}, {bound}");
            take_all(&line, sent, size).await;
        }
    });
}
