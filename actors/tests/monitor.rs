//! What is counted is what passed, and it is found in all three places: stats, log lines, metrics.

mod support;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use rpyc_actors::{
    BufferedStream, Channel, Layers, Limits, MonitorStats, MonitoredChannel, MonitoredStream,
    Monitors, TcpConfig,
    codec::CompressConfig,
    monitor::{At, MONITOR},
};
use support::{
    channel_and_peer, frame, pair_of, recorder::Registry, stream_and_peer, until, within,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

#[tokio::test]
async fn a_stream_counts_the_bytes_of_both_directions() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let monitors = Monitors::new();
    let stream = MonitoredStream::with_monitors(stream, &monitors);
    assert_eq!(stream.stats().bytes_sent, 0);
    stream.write("hello").await.expect("open");
    stream.write("you").await.expect("open");
    within("flushing", stream.flush()).await.expect("taken");
    peer.write_all(b"answer").await.expect("open");
    within("reading", stream.read(6)).await.expect("sent");
    let stats = stream.stats();
    assert_eq!((stats.bytes_sent, stats.bytes_received), (8, 6));
    assert_eq!((stats.writes, stats.reads), (2, 1));
    assert_eq!(
        (stats.frames_sent, stats.frames_received, stats.open),
        (0, 0, 1)
    );
    assert!(stats.send_rate() > 0.0 && stats.duration > Duration::ZERO);
    assert_eq!(monitors.total().bytes_sent, 8);
    assert_eq!(monitors.open().len(), 1);
    assert_eq!(monitors.open()[0].endpoint(), stream.endpoint());

    drop(peer);
    within("closing", stream.close()).await.expect("taken");
    until("it has ended", || stream.stats().open == 0).await;
    let (ended, total) = (stream.stats(), monitors.total());
    assert!(monitors.open().is_empty());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(stream.stats(), ended, "nothing moves any more");
    assert_eq!(total, ended);
}

#[tokio::test]
async fn a_channel_counts_frames_and_its_stream_the_bytes_that_travel() {
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let monitors = Monitors::new();
    let stream = MonitoredStream::with_monitors(stream, &monitors);
    let channel = MonitoredChannel::with_monitors(stream.clone(), &monitors);
    for _ in 0..10 {
        channel.send("0123456789").await.expect("open");
    }
    within("flushing", channel.flush()).await.expect("taken");
    peer.write_all(&frame(b"abc").repeat(4))
        .await
        .expect("open");
    for _ in 0..4 {
        within("receiving", channel.recv()).await.expect("no loss");
    }
    let (frames, bytes) = (channel.stats(), stream.stats());
    assert_eq!((frames.frames_sent, frames.frames_received), (10, 4));
    assert_eq!((frames.bytes_sent, frames.bytes_received), (160, 36));
    assert_eq!((bytes.bytes_sent, bytes.bytes_received), (160, 36));
    assert_eq!(
        (channel.meter().at(), stream.meter().at()),
        (At::Channel, At::Stream)
    );
    assert_eq!(monitors.total().open, 2);
    let plain: Channel = channel.into();
    assert_eq!(plain.stats().frames_sent, 10);
}

#[tokio::test]
async fn what_is_counted_depends_on_where_it_stands() {
    let monitors = [Monitors::new(), Monitors::new()];
    let layers = Layers::new()
        .monitor_channel(&monitors[0])
        .compress(CompressConfig::default())
        .monitor_stream(&monitors[1]);
    let (left, right) = pair_of(Limits::default(), &layers).await;
    left.send(vec![7; 100_000]).await.expect("open");
    within("receiving", right.recv()).await.expect("no loss");
    let [above, below] = monitors.map(|monitors| monitors.total());
    assert_eq!((above.bytes_sent, above.bytes_received), (100_006, 100_006));
    assert_eq!(below.bytes_sent, below.bytes_received);
    assert!(below.bytes_sent < 1000, "{}", below.bytes_sent);
    assert_eq!((above.open, below.open), (2, 2));
}

#[tokio::test]
async fn a_sender_that_waits_for_credit_is_counted() {
    let monitors = Monitors::new();
    let limits = Limits::default().credit(4096);
    let (stream, mut peer) = stream_and_peer(TcpConfig::default().limits(limits)).await;
    let channel = MonitoredChannel::with_monitors(stream, &monitors);
    let stats = channel.meter().clone();
    const TOTAL: usize = 8 << 20;
    let sending = async {
        for _ in 0..TOTAL / 1024 {
            channel.send(vec![1; 1018]).await.expect("open");
        }
        within("closing", channel.close()).await.expect("taken");
    };
    let reading = async {
        // The kernel's buffers fill meanwhile.
        until("somebody waits", || stats.stats().queued >= 3000).await;
        let mut left = vec![0; TOTAL];
        within("reading", peer.read_exact(&mut left))
            .await
            .expect("sent");
        drop(peer);
    };
    tokio::join!(sending, reading);
    until("it has ended", || stats.stats().open == 0).await;
    let stats = stats.stats();
    assert!(
        stats.credit_waits > 0 && stats.credit_wait_time > Duration::ZERO,
        "{stats:?}"
    );
    assert!(
        (3000..=4096 + 1024).contains(&stats.most_queued),
        "{stats:?}"
    );
    assert_eq!((stats.queued, stats.bytes_sent), (0, TOTAL as u64));
}

#[test]
fn rates_are_those_of_the_time_between() {
    let mut earlier = MonitorStats::default();
    earlier.bytes_sent = 1000;
    earlier.duration = Duration::from_secs(10);
    let mut later = earlier;
    later.bytes_sent = 5000;
    later.duration = Duration::from_secs(12);
    assert_eq!(later.since(&earlier).send_rate(), 2000.0);
    assert_eq!(later.since(&later).send_rate(), 0.0);
}

#[test]
fn a_summary_is_one_line() {
    let mut stats = MonitorStats::default();
    stats.bytes_sent = 1500;
    stats.bytes_received = 300;
    stats.duration = Duration::from_millis(1500);
    assert_eq!(
        stats.to_string(),
        "closed after 1.50s: sent 1500 bytes, received 300 bytes (1.0 and 0.2 kB/s)"
    );
    stats.frames_sent = 3;
    stats.credit_waits = 2;
    stats.credit_wait_time = Duration::from_millis(20);
    assert_eq!(
        stats.to_string(),
        "closed after 1.50s: sent 1500 bytes in 3 frames, received 300 bytes (1.0 and 0.2 kB/s), \
         waited 2 times for credit, 20.00ms in all"
    );
}

// ---- log lines and metrics: one test, since both are the process's ----

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_line_tells_of_the_end_and_metrics_of_everything() {
    let log = Log::default();
    let lines = log.clone();
    tracing_subscriber::registry()
        .with(
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(move || lines.clone()),
        )
        .with(Targets::new().with_target(MONITOR, tracing::Level::TRACE))
        .init();
    let registry = Registry::default();
    // The other tests of this process count, too, but none of them at a thread that has a recorder of its own.
    let (stream, mut peer) = stream_and_peer(TcpConfig::default()).await;
    let (stream, channel) = metrics::with_local_recorder(&registry, || {
        let stream = MonitoredStream::new(stream);
        let buffered = BufferedStream::new(stream.clone(), 100).expect("small");
        (stream, MonitoredChannel::new(buffered))
    });
    let endpoint = stream.endpoint().to_owned();
    let gauge = |at: &str| f64::from_bits(registry.value(&format!("rpyc_open at={at}")));
    assert_eq!((gauge("stream"), gauge("channel")), (1.0, 1.0));
    for _ in 0..3 {
        channel.send("hello").await.expect("open");
    }
    within("flushing", channel.flush()).await.expect("taken");
    peer.write_all(&frame(b"answer")).await.expect("open");
    within("receiving", channel.recv()).await.expect("no loss");
    // A socket that is dropped with something unread resets the connection.
    within("reading", peer.read_exact(&mut [0; 33]))
        .await
        .expect("three frames");
    drop(peer);
    within("closing", channel.close()).await.expect("taken");
    drop((stream, channel));
    until("both have ended", || {
        gauge("stream") == 0.0 && gauge("channel") == 0.0
    })
    .await;

    let value = |name: &str| registry.value(name);
    for at in ["stream", "channel"] {
        assert_eq!(
            value(&format!("rpyc_bytes_total at={at} direction=sent")),
            33
        );
        assert_eq!(
            value(&format!("rpyc_bytes_total at={at} direction=received")),
            12
        );
        assert_eq!(value(&format!("rpyc_duration_seconds at={at}")), 1);
        assert!(value(&format!("rpyc_queued_bytes at={at}")) >= 1);
        assert_eq!(value(&format!("rpyc_credit_waits_total at={at}")), 0);
    }
    assert_eq!(value("rpyc_frames_total at=channel direction=sent"), 3);
    assert_eq!(value("rpyc_frames_total at=channel direction=received"), 1);
    assert_eq!(value("rpyc_frames_total at=stream direction=sent"), 0);

    until("the lines are written", || {
        let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
        log.lines()
            .filter(|line| line.contains(&endpoint) && line.contains("closed after"))
            .count()
            == 2
    })
    .await;
    let log = String::from_utf8(log.0.lock().expect("no panic").clone()).expect("text");
    let mine: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(&endpoint))
        .collect();
    let has = |words: &[&str]| {
        mine.iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    assert!(
        has(&[
            "INFO",
            "channel",
            "closed after",
            "sent 33 bytes in 3 frames, received 12 bytes in 1 frames"
        ]),
        "{log}"
    );
    assert!(
        has(&["INFO", "stream", "sent 33 bytes, received 12 bytes"]),
        "{log}"
    );
    assert!(
        has(&["TRACE", "write", "total=33"]) && has(&["TRACE", "read", "bytes=12"]),
        "{log}"
    );
}

#[tokio::test]
async fn a_channel_that_is_not_monitored_is_not_counted() {
    let (channel, _peer) = channel_and_peer(Limits::default()).await;
    channel.send("hello").await.expect("open");
    within("flushing", channel.flush()).await.expect("taken");
    let monitored = Monitors::shared().open();
    assert!(
        monitored
            .iter()
            .all(|meter| meter.endpoint() != channel.endpoint())
    );
}
