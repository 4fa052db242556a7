//! Pairs of TLS streams with certificates made for the test.
#![allow(dead_code, reason = "each test binary uses its own part of this file")]

use rpyc_actors::{Endpoint, Listener, ListenerConfig, SocketStream, StreamHandle, TlsConfig};
use tokio::sync::mpsc;

use super::within;
use crate::certificates::{Ca, Folder, Pair};

pub(crate) type Accepted = mpsc::UnboundedReceiver<StreamHandle>;

/// A listener on a free port, and the streams that it accepts.
pub(crate) async fn listen(config: TlsConfig) -> (Listener, Accepted) {
    listen_with(config, ListenerConfig::default()).await
}

pub(crate) async fn listen_with(tls: TlsConfig, config: ListenerConfig) -> (Listener, Accepted) {
    let (sender, accepted) = mpsc::unbounded_channel();
    // A test that is over takes no more.
    let accept = move |stream| drop(sender.send(stream));
    let endpoint = Endpoint::tls("127.0.0.1", 0, tls);
    let listener = within("binding", Listener::bind(&endpoint, config, accept))
        .await
        .expect("a free port and good certificates");
    (listener, accepted)
}

pub(crate) fn own(pair: &Pair) -> TlsConfig {
    TlsConfig::default().certificate(pair.certificate.as_path(), pair.key.as_path())
}

pub(crate) fn trusting(ca: &Ca<'_>) -> TlsConfig {
    TlsConfig::default().ca(ca.certificate.as_path())
}

/// A connected pair of streams, near and far.
pub(crate) async fn pair_with(
    client: TlsConfig,
    server: TlsConfig,
) -> (StreamHandle, StreamHandle) {
    let (listener, mut accepted) = listen(server).await;
    let port = listener.port().expect("a TCP port");
    let near = within(
        "connecting",
        SocketStream::ssl_connect("localhost", port, client),
    )
    .await
    .expect("a server");
    let far = within("accepting", accepted.recv())
        .await
        .expect("a client");
    (near.into(), far)
}

/// A connected pair whose client trusts the server's CA.
pub(crate) async fn pair() -> (StreamHandle, StreamHandle) {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    pair_with(trusting(&ca), own(&server)).await
}
