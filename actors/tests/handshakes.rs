//! Encrypted connections that do not shake hands: so many at once, and no more.
#![cfg(feature = "encrypt")]

mod support;

use rpyc_actors::{
    Chain, Channel, Endpoint, Key, Layers, Listener, ListenerConfig, StreamError, TcpConfig,
    codec::EncryptConfig, error::LossReason,
};
use support::within;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::mpsc};

const AT_ONCE: usize = 2;

fn layers() -> Layers {
    let config = EncryptConfig::new(Key::new([1; 32]));
    Layers::new().encrypt(config).max_handshakes(AT_ONCE)
}

async fn listen(layers: &Layers) -> (Listener, mpsc::UnboundedReceiver<Channel>) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let layers = layers.clone();
    let accept = move |stream| {
        let sender = sender.clone();
        // A test that is over takes nobody any more.
        layers.accept(stream, move |channel| drop(sender.send(channel)));
    };
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept);
    let listener = within("binding", listener).await.expect("a free port");
    (listener, accepted)
}

#[tokio::test]
async fn the_oldest_gives_way_to_a_newcomer_and_who_has_the_key_stays() {
    let layers = layers();
    let (listener, mut accepted) = listen(&layers).await;
    let port = listener.port().expect("TCP");
    let silent = async || {
        let socket = TcpStream::connect(("127.0.0.1", port));
        within("connecting", socket).await.expect("it listens")
    };
    let mut taken = async || within("accepting", accepted.recv()).await.expect("one");
    let pushed_out = async |(mut socket, channel): (TcpStream, Channel)| {
        let Err(StreamError::ConnectionLost(lost)) = within("the loss", channel.recv()).await
        else {
            panic!("it stays");
        };
        assert!(matches!(lost.reason, LossReason::PushedOut), "{lost}");
        // A reset, or an end.
        let read = within("the end", socket.read(&mut [0])).await;
        assert_eq!(read.unwrap_or(0), 0);
    };

    let first = (silent().await, taken().await);
    let second = (silent().await, taken().await);
    assert_eq!(layers.handshakes().under_way, AT_ONCE);
    let _third = (silent().await, taken().await);
    pushed_out(first).await;
    assert_eq!(layers.handshakes().pushed_out, 1);
    assert_eq!(layers.handshakes().under_way, AT_ONCE);

    let chain = Chain::to(&format!("tcp://127.0.0.1:{port}")).expect("an endpoint");
    let chain = chain.layers(layers.clone());
    let near = within("connecting", chain.connect()).await.expect("a way");
    let far = taken().await;
    pushed_out(second).await;
    let exchange = async || {
        near.send("hello").await.expect("open");
        let frame = within("a frame", far.recv()).await.expect("no loss");
        assert_eq!(frame.as_deref(), Some(&b"hello"[..]));
    };
    exchange().await;
    let mut crowd = Vec::new();
    for _ in 0..2 * AT_ONCE {
        crowd.push((silent().await, taken().await));
    }
    assert_eq!(layers.handshakes().under_way, AT_ONCE);
    exchange().await;
}
