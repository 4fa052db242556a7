//! What the tests of this package share: bounded waits, connected pairs, raw peers.
#![allow(dead_code, reason = "each test binary uses its own part of this file")]

pub(crate) mod chaos;
pub(crate) mod measure;
pub(crate) mod recorder;
pub(crate) mod resumed;

use std::{future::Future, time::Duration};

use rpyc_actors::{
    Chain, Channel, Endpoint, Layers, Limits, Listener, ListenerConfig, SocketStream, TcpConfig,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// No test waits longer than this for anything: a hang is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits `future`, and fails with `what` when it hangs.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// Asks again and again until `condition` holds: for what nobody tells, such as another process's state.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A connected pair of channels over loopback TCP, with default limits.
pub(crate) async fn pair() -> (Channel, Channel) {
    pair_with(Limits::default()).await
}

/// A connected pair of channels over loopback TCP.
pub(crate) async fn pair_with(limits: Limits) -> (Channel, Channel) {
    pair_of(limits, &Layers::new()).await
}

/// A connected pair of channels with the same layers over loopback TCP.
pub(crate) async fn pair_of(limits: Limits, layers: &Layers) -> (Channel, Channel) {
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default()).limits(limits);
    let layers_there = layers.clone();
    let accept = move |stream| {
        sender
            .send(layers_there.channel(stream))
            .expect("the test takes what is accepted");
    };
    let listener = within(
        "binding",
        Listener::bind(&endpoint, ListenerConfig::default(), accept),
    )
    .await
    .expect("a free port");
    let port = listener.port().expect("a TCP port");
    let config = TcpConfig::default().limits(limits);
    let client = within(
        "connecting",
        Chain::new(Endpoint::tcp("127.0.0.1", port, config))
            .layers(layers.clone())
            .connect(),
    )
    .await
    .expect("a listener");
    let server = within("accepting", accepted.recv())
        .await
        .expect("an accepted channel");
    (client, server)
}

/// A stream of ours and the plain socket at its other end.
pub(crate) async fn stream_and_peer(config: TcpConfig) -> (SocketStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (stream, peer) = within("connecting", async {
        tokio::join!(
            SocketStream::connect_with("127.0.0.1", port, config),
            listener.accept()
        )
    })
    .await;
    (stream.expect("a listener"), peer.expect("a client").0)
}

/// A channel of ours and the plain socket at its other end.
pub(crate) async fn channel_and_peer(limits: Limits) -> (Channel, TcpStream) {
    let (stream, peer) = stream_and_peer(TcpConfig::default().limits(limits)).await;
    (Channel::new(stream), peer)
}

/// A plain frame as it stands on the wire.
pub(crate) fn frame(payload: &[u8]) -> Vec<u8> {
    flagged(0, payload)
}

/// A frame with any flag as it stands on the wire.
pub(crate) fn flagged(flag: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test frame");
    let mut wire = length.to_be_bytes().to_vec();
    wire.push(flag);
    wire.extend_from_slice(payload);
    wire.push(b'\n');
    wire
}

/// A zlib stream of `data`.
pub(crate) fn deflated(data: &[u8]) -> Vec<u8> {
    let mut compressor = flate2::Compress::new(flate2::Compression::new(6), true);
    let mut output = Vec::with_capacity(data.len() / 2 + 1024);
    loop {
        let consumed = usize::try_from(compressor.total_in()).expect("in memory");
        let status = compressor
            .compress_vec(
                &data[consumed..],
                &mut output,
                flate2::FlushCompress::Finish,
            )
            .expect("zlib compresses anything");
        if status == flate2::Status::StreamEnd {
            return output;
        }
        output.reserve(1 << 16);
    }
}

/// A snappy block of `data`.
#[cfg(feature = "snappy")]
pub(crate) fn snapped(data: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new()
        .compress_vec(data)
        .expect("snappy compresses anything")
}

/// A small generator for repeatable tests (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}
