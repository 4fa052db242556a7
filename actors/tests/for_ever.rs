//! Whoever wants no limit to a time may set the longest there is.

#[cfg(feature = "tls")]
#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod support;
#[cfg(feature = "tls")]
#[path = "support/tls.rs"]
mod tls;

use std::time::Duration;

use rpyc_actors::{
    Chain, Channel, Endpoint, Layers, Limits, SocketStream, TcpConfig, codec::BatchConfig,
};
use support::{pair_of, within};

async fn exchange(near: &Channel, far: &Channel) {
    within("an exchange", async {
        for (from, to) in [(near, far), (far, near)] {
            from.send("hello").await.expect("open");
            from.flush().await.expect("open");
            assert_eq!(
                to.recv().await.expect("open").as_deref(),
                Some(&b"hello"[..])
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_close_may_take_for_ever() {
    let limits = Limits::default().close_timeout(Duration::MAX);
    let batch = BatchConfig::default().batch_timeout(Duration::MAX);
    for layers in [Layers::new(), Layers::new().batch(batch)] {
        let (near, far) = pair_of(limits, &layers).await;
        exchange(&near, &far).await;
        let both = async { tokio::join!(near.close(), far.close()) };
        let (one, other) = within("both ends", both).await;
        one.expect("an orderly end");
        other.expect("an orderly end");
    }
}

#[tokio::test]
async fn to_connect_and_to_be_acknowledged_may_take_for_ever() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let config = TcpConfig::default()
        .connect_timeout(Duration::MAX)
        .user_timeout(Duration::MAX);
    let port = listener.local_addr().expect("bound").port();
    let chain = Chain::new(Endpoint::tcp("127.0.0.1", port, config));
    let near = within("connecting", chain.connect()).await.expect("a way");
    let (far, _) = within("accepting", listener.accept()).await.expect("one");
    let far = SocketStream::new(far.into_std().expect("a socket"))
        .await
        .expect("a socket");
    exchange(&near, &Channel::new(far)).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_handshake_of_tls_may_take_for_ever() {
    let folder = certificates::Folder::new();
    let ca = certificates::Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let patient = |config: rpyc_actors::TlsConfig| config.handshake_timeout(Duration::MAX);
    let (near, far) = tls::pair_with(patient(tls::trusting(&ca)), patient(tls::own(&server))).await;
    exchange(&Channel::new(near), &Channel::new(far)).await;
}
