//! What the tests of this package share: bounded waits, connected pairs, raw peers.
#![allow(dead_code, reason = "each test binary uses its own part of this file")]

pub(crate) mod absence;
pub(crate) mod chaos;
pub(crate) mod measure;
mod random;
pub(crate) mod recorder;
pub(crate) mod resumed;
pub(crate) mod waiting;

use rpyc_actors::{
    Chain, Channel, Endpoint, Layers, Limits, Listener, ListenerConfig, SocketStream, StreamHandle,
    TcpConfig,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

pub(crate) use self::{
    random::Random,
    waiting::{PATIENCE, until, within},
};

/// A connected pair of channels over loopback TCP, with default limits.
pub(crate) async fn pair() -> (Channel, Channel) {
    pair_with(Limits::default()).await
}

/// A connected pair of channels over loopback TCP.
pub(crate) async fn pair_with(limits: Limits) -> (Channel, Channel) {
    pair_of(limits, &Layers::new()).await
}

/// Gives what comes to a port of loopback TCP to `accept`, until the listener is dropped.
pub(crate) async fn listening(
    limits: Limits,
    accept: impl Fn(StreamHandle) + Send + Sync + 'static,
) -> (Listener, u16) {
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default()).limits(limits);
    let listener = within(
        "binding",
        Listener::bind(&endpoint, ListenerConfig::default(), accept),
    )
    .await
    .expect("a free port");
    let port = listener.port().expect("a TCP port");
    (listener, port)
}

/// A connected pair of channels with the same layers over loopback TCP.
pub(crate) async fn pair_of(limits: Limits, layers: &Layers) -> (Channel, Channel) {
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let layers_there = layers.clone();
    let accept = move |stream| {
        sender
            .send(layers_there.channel(stream))
            .expect("the test takes what is accepted");
    };
    let (_listener, port) = listening(limits, accept).await;
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
