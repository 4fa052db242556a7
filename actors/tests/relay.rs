//! A stream joined with a channel: what passes, how it ends, and what is reset for what is lost.

mod support;

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use rpyc_actors::{
    Channel, Layers, Limits, StreamError, TcpConfig,
    error::LossReason,
    relay::{Leg, MAX_PIECE, Relayed, relay},
};
use support::{Random, channel_and_peer, frame, pair_of, stream_and_peer, until, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

/// Two relays with a channel between, and the programs at both ends.
struct Tunnel {
    near: TcpStream,
    far: TcpStream,
    near_relay: JoinHandle<Relayed>,
    far_relay: JoinHandle<Relayed>,
    /// Handles of the channel's two ends.
    channels: (Channel, Channel),
}

impl Tunnel {
    async fn new() -> Self {
        Self::with(Limits::default(), &Layers::new()).await
    }

    async fn with(limits: Limits, layers: &Layers) -> Self {
        let config = TcpConfig::default().limits(limits);
        let (near_stream, near) = stream_and_peer(config.clone()).await;
        let (far_stream, far) = stream_and_peer(config).await;
        let channels = pair_of(limits, layers).await;
        Self {
            near,
            far,
            near_relay: tokio::spawn(relay(near_stream, channels.0.clone())),
            far_relay: tokio::spawn(relay(far_stream, channels.1.clone())),
            channels,
        }
    }

    async fn relayed(self) -> (Relayed, Relayed) {
        let both = async { tokio::join!(self.near_relay, self.far_relay) };
        let (near, far) = within("the relays' end", both).await;
        (near.expect("no panic"), far.expect("no panic"))
    }
}

async fn read_all(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    within("reading to the end", socket.read_to_end(&mut all))
        .await
        .expect("an orderly end");
    all
}

async fn is_reset(socket: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = within("a reset", socket.read_to_end(&mut rest)).await;
    read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

async fn ends_in_order(relay: JoinHandle<Relayed>) {
    let relayed = within("the end", relay).await.expect("no panic");
    relayed.result.expect("an orderly end");
}

fn failed(relayed: &Relayed) -> (Leg, &StreamError) {
    let error = relayed.result.as_ref().expect_err("a loss");
    (error.leg, &error.reason)
}

fn random_bytes(count: usize) -> Vec<u8> {
    let mut random = Random(7);
    (0..count).map(|_| random.next() as u8).collect()
}

fn every_layer() -> Vec<Layers> {
    let lists: &[&[&str]] = &[
        &[],
        &["zlib:1"],
        &["batch:20,5ms", "buffer:32768"],
        #[cfg(feature = "snappy")]
        &["snappy", "monitor"],
    ];
    let lists = lists
        .iter()
        .map(|texts| Layers::parse(*texts).expect("layers"));
    #[allow(unused_mut, reason = "without encryption there is no more")]
    let mut all: Vec<Layers> = lists.collect();
    #[cfg(feature = "encrypt")]
    {
        use rpyc_actors::{Key, codec::EncryptConfig};
        let key = Key::generate().expect("random bytes");
        all.push(Layers::new().encrypt(EncryptConfig::new(key)));
    }
    all
}

#[tokio::test]
async fn bytes_pass_both_ways_through_every_layer() {
    pass_both_ways(Limits::default()).await;
}

#[tokio::test]
async fn bytes_pass_both_ways_with_less_credit_than_a_piece_takes() {
    pass_both_ways(Limits::default().credit(4096)).await;
}

async fn pass_both_ways(limits: Limits) {
    for layers in every_layer() {
        let mut tunnel = Tunnel::with(limits, &layers).await;
        let data = random_bytes(3_000_000);
        let (mut near_read, mut near_write) = tunnel.near.split();
        let (mut far_read, mut far_write) = tunnel.far.split();
        let send = |count: usize| data[..count].to_vec();
        let (there, back) = (send(3_000_000), send(1_234_567));
        let (mut got_there, mut got_back) = (Vec::new(), Vec::new());
        let all = async {
            tokio::try_join!(
                async {
                    near_write.write_all(&there).await?;
                    near_write.shutdown().await
                },
                async {
                    far_write.write_all(&back).await?;
                    far_write.shutdown().await
                },
                async { near_read.read_to_end(&mut got_back).await.map(drop) },
                async { far_read.read_to_end(&mut got_there).await.map(drop) },
            )
        };
        within("both ways", all).await.expect("no loss");
        assert!(got_there == there && got_back == back);
        let (near, far) = tunnel.relayed().await;
        near.result.expect("an orderly end");
        far.result.expect("an orderly end");
        assert_eq!((near.to_channel, near.to_stream), (3_000_000, 1_234_567));
        assert_eq!((far.to_channel, far.to_stream), (1_234_567, 3_000_000));
    }
}

#[tokio::test]
async fn the_end_of_one_direction_passes_at_once_and_the_other_goes_on() {
    let mut tunnel = Tunnel::new().await;
    tunnel.near.write_all(b"question").await.expect("sent");
    tunnel.near.shutdown().await.expect("ended");
    assert_eq!(read_all(&mut tunnel.far).await, b"question");
    for _ in 0..3 {
        tunnel.far.write_all(b"answer").await.expect("sent");
        let mut answer = [0; 6];
        within("an answer", tunnel.near.read_exact(&mut answer))
            .await
            .expect("it comes");
    }
    tunnel.far.shutdown().await.expect("ended");
    assert_eq!(read_all(&mut tunnel.near).await, b"");
    let (near, far) = tunnel.relayed().await;
    assert!(near.result.is_ok() && far.result.is_ok());
}

#[tokio::test]
async fn nothing_at_all_ends_in_good_order() {
    let mut tunnel = Tunnel::new().await;
    tunnel.near.shutdown().await.expect("ended");
    tunnel.far.shutdown().await.expect("ended");
    assert_eq!(read_all(&mut tunnel.near).await, b"");
    assert_eq!(read_all(&mut tunnel.far).await, b"");
    let (near, far) = tunnel.relayed().await;
    assert!(near.result.is_ok() && far.result.is_ok());
}

#[tokio::test]
async fn a_reset_of_a_program_resets_the_other_one() {
    let mut tunnel = Tunnel::new().await;
    tunnel.near.write_all(b"half of it").await.expect("sent");
    let mut half = [0; 10];
    within("the half", tunnel.far.read_exact(&mut half))
        .await
        .expect("it comes");
    tunnel.near.set_zero_linger().expect("TCP knows it");
    drop(tunnel.near);
    assert!(is_reset(&mut tunnel.far).await);
    let near = within("the end", tunnel.near_relay)
        .await
        .expect("no panic");
    let far = within("the end", tunnel.far_relay).await.expect("no panic");
    assert_eq!(failed(&near).0, Leg::Stream);
    assert_eq!(failed(&far).0, Leg::Channel);
    assert_eq!((near.to_channel, far.to_stream), (10, 10));
}

#[tokio::test]
async fn a_lost_channel_resets_both_programs() {
    let mut tunnel = Tunnel::new().await;
    tunnel.channels.0.abort();
    assert!(is_reset(&mut tunnel.near).await);
    assert!(is_reset(&mut tunnel.far).await);
    let (near, far) = tunnel.relayed().await;
    assert_eq!(failed(&near).0, Leg::Channel);
    assert_eq!(failed(&far).0, Leg::Channel);
}

#[tokio::test]
async fn a_dropped_relay_resets_both_legs() {
    let mut tunnel = Tunnel::new().await;
    tunnel.near_relay.abort();
    assert!(is_reset(&mut tunnel.near).await);
    assert!(is_reset(&mut tunnel.far).await);
}

#[tokio::test]
async fn a_channel_without_its_end_mark_was_cut_off() {
    let (stream, mut program) = stream_and_peer(TcpConfig::default()).await;
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let relay = tokio::spawn(relay(stream, channel));
    peer.write_all(&frame(b"half of it")).await.expect("sent");
    let mut half = [0; 10];
    within("the half", program.read_exact(&mut half))
        .await
        .expect("it comes");
    // In good order for TCP, and for frames.
    peer.shutdown().await.expect("ended");
    assert!(is_reset(&mut program).await);
    let relayed = within("the end", relay).await.expect("no panic");
    let (leg, reason) = failed(&relayed);
    assert_eq!(leg, Leg::Channel);
    let is_end = |error: &StreamError| matches!(error, StreamError::ConnectionLost(lost) if matches!(lost.reason, LossReason::EndOfStream));
    assert!(is_end(reason), "{reason}");
}

#[tokio::test]
async fn bytes_behind_the_end_mark_are_misbehaviour() {
    let (stream, mut program) = stream_and_peer(TcpConfig::default()).await;
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let relay = tokio::spawn(relay(stream, channel));
    let wire = [frame(b"first"), frame(b""), frame(b"second")].concat();
    peer.write_all(&wire).await.expect("sent");
    assert!(is_reset(&mut program).await);
    let relayed = within("the end", relay).await.expect("no panic");
    assert!(matches!(
        failed(&relayed),
        (Leg::Channel, StreamError::PeerMisbehaved { .. })
    ));
}

#[tokio::test]
async fn the_wire_is_pieces_and_an_empty_frame() {
    let (stream, mut program) = stream_and_peer(TcpConfig::default()).await;
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let relay = tokio::spawn(relay(stream, channel));
    let data = random_bytes(3 * MAX_PIECE);
    within("writing", program.write_all(&data))
        .await
        .expect("sent");
    program.shutdown().await.expect("ended");
    let wire = read_all(&mut peer).await;
    let (mut at, mut got, mut sizes) = (0, Vec::new(), Vec::new());
    while at < wire.len() {
        let head: [u8; 4] = wire[at..at + 4].try_into().expect("a head");
        let size = u32::from_be_bytes(head) as usize;
        got.extend_from_slice(&wire[at + 5..at + 5 + size]);
        sizes.push(size);
        at += size + 6;
    }
    assert!(got == data, "{sizes:?}");
    let last = sizes.pop();
    assert_eq!(last, Some(0));
    assert!(sizes.iter().all(|size| (1..=MAX_PIECE).contains(size)));
    peer.write_all(&frame(b"")).await.expect("sent");
    drop(peer);
    ends_in_order(relay).await;
}

#[tokio::test]
async fn pieces_are_no_larger_than_the_channels_frames() {
    let limits = Limits::default().max_frame(1000);
    let mut tunnel = Tunnel::with(limits, &Layers::new()).await;
    let data = random_bytes(100_500);
    within("writing", tunnel.near.write_all(&data))
        .await
        .expect("sent");
    tunnel.near.shutdown().await.expect("ended");
    assert!(read_all(&mut tunnel.far).await == data);
    tunnel.far.shutdown().await.expect("ended");
    let (near, far) = tunnel.relayed().await;
    near.result.expect("an orderly end");
    far.result.expect("an orderly end");
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer_and_only_that_direction() {
    let limits = Limits::default().credit(64 << 10);
    let tunnel = Tunnel::with(limits, &Layers::new()).await;
    let Tunnel { near, mut far, .. } = tunnel;
    let (mut near_read, mut near_write) = near.into_split();
    let written = std::sync::Arc::new(AtomicU64::new(0));
    let counted = written.clone();
    let writer = tokio::spawn(async move {
        let block = vec![1; 64 << 10];
        for _ in 0..2048 {
            near_write
                .write_all(&block)
                .await
                .expect("taken in the end");
            counted.fetch_add(block.len() as u64, Ordering::Relaxed);
        }
        near_write.shutdown().await.expect("ended");
    });
    // It comes to a halt: what the kernel holds of three connections, and the credit of the relays.
    let mut before = u64::MAX;
    within("the halt", async {
        while before != written.load(Ordering::Relaxed) || before == 0 {
            before = written.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    })
    .await;
    assert!(before < 100 << 20, "{before}");
    // The other direction goes on.
    far.write_all(b"still here").await.expect("sent");
    let mut words = [0; 10];
    within("the other way", near_read.read_exact(&mut words))
        .await
        .expect("it comes");
    let mut rest = Vec::new();
    within("the rest", far.read_to_end(&mut rest))
        .await
        .expect("an orderly end");
    assert_eq!(rest.len(), 2048 * (64 << 10));
    writer.await.expect("no panic");
}

#[tokio::test]
async fn a_slow_reader_gets_all_though_both_directions_have_ended() {
    // Longer than a channel of which both directions have ended would wait.
    let limits = Limits::default().close_timeout(Duration::from_millis(200));
    let mut tunnel = Tunnel::with(limits, &Layers::new()).await;
    tunnel.near.shutdown().await.expect("ended");
    assert_eq!(read_all(&mut tunnel.far).await, b"");
    let data = random_bytes(24 << 20);
    let (to_write, mut far) = (data.clone(), tunnel.far);
    let writer = tokio::spawn(async move {
        far.write_all(&to_write).await.expect("taken in the end");
        far.shutdown().await.expect("ended");
        far
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(read_all(&mut tunnel.near).await == data);
    drop(writer.await.expect("no panic"));
    for relay in [tunnel.near_relay, tunnel.far_relay] {
        ends_in_order(relay).await;
    }
}

#[tokio::test]
async fn what_was_read_ahead_comes_first() {
    let (stream, mut program) = stream_and_peer(TcpConfig::default()).await;
    program.write_all(b"HELO and more").await.expect("sent");
    assert_eq!(stream.read(4).await.expect("it comes"), &b"HELO"[..]);
    let (channel, peer) = pair_of(Limits::default(), &Layers::new()).await;
    let relay = tokio::spawn(relay(stream, channel));
    let mut got = Vec::new();
    while got.len() < 9 {
        let frame = within("a frame", peer.recv()).await.expect("no loss");
        got.extend_from_slice(&frame.expect("bytes"));
    }
    assert_eq!(got, b" and more");
    peer.send(Bytes::new()).await.expect("sent");
    assert_eq!(read_all(&mut program).await, b"");
    drop(program);
    ends_in_order(relay).await;
}

#[tokio::test]
async fn frames_that_wait_in_the_channel_come_first() {
    let (stream, mut program) = stream_and_peer(TcpConfig::default()).await;
    let (channel, peer) = pair_of(Limits::default(), &Layers::new()).await;
    for frame in ["one ", "two "] {
        peer.send(frame).await.expect("sent");
    }
    let arrived = channel.poll(Duration::from_secs(10));
    assert!(within("the frames", arrived).await);
    let relay = tokio::spawn(relay(stream, channel));
    for frame in ["three", ""] {
        peer.send(frame).await.expect("sent");
    }
    assert_eq!(read_all(&mut program).await, b"one two three");
    drop(program);
    ends_in_order(relay).await;
}

#[tokio::test]
async fn a_channel_that_another_handle_closes_ends_the_relay() {
    let mut tunnel = Tunnel::new().await;
    // The far end sends nothing, so that it closes only when that end is gone, too.
    let channel = tunnel.channels.0.clone();
    let closing = tokio::spawn(async move { channel.close().await });
    assert!(is_reset(&mut tunnel.near).await);
    assert!(is_reset(&mut tunnel.far).await);
    within("the close", closing)
        .await
        .expect("no panic")
        .expect("nothing was under way");
    let (near, far) = tunnel.relayed().await;
    assert_eq!(failed(&near).0, Leg::Channel);
    assert_eq!(failed(&far).0, Leg::Channel);
}

#[tokio::test]
async fn a_channel_that_somebody_else_reads_is_refused() {
    let (stream, mut program) = stream_and_peer(TcpConfig::default()).await;
    let (channel, _peer) = pair_of(Limits::default(), &Layers::new()).await;
    let _receiver = channel.receiver().expect("the first one");
    let relayed = within("a refusal", relay(stream, channel.clone())).await;
    assert!(matches!(
        failed(&relayed),
        (Leg::Channel, StreamError::ApiMisuse(_))
    ));
    assert!(is_reset(&mut program).await);
    until("the channel is closed", || channel.closed()).await;
}

#[cfg(feature = "encrypt")]
#[tokio::test]
async fn a_peer_is_established_once_it_has_proved_itself() {
    use rpyc_actors::{EncryptedChannel, Key, Side, codec::EncryptConfig};
    let key = std::sync::Arc::new(Key::generate().expect("random bytes"));
    let layers = Layers::new().encrypt(EncryptConfig::new(key.clone()));
    let (near, far) = pair_of(Limits::default(), &layers).await;
    // Nobody sends anything.
    within("the proof", far.established())
        .await
        .expect("the key");
    within("the answer", near.established())
        .await
        .expect("the key");
    within("once more", far.established()).await.expect("still");

    let (stream, silent) = stream_and_peer(TcpConfig::default()).await;
    let stream = rpyc_actors::StreamHandle::from(stream).with_side(Side::Accepted);
    let stranger = EncryptedChannel::new(stream, key);
    let asked = tokio::spawn({
        let stranger = stranger.clone();
        async move { stranger.established().await }
    });
    drop(silent);
    let refused = within("the loss", asked).await.expect("no panic");
    assert!(refused.is_err_and(|error| error.is_connection_lost()));
}
