//! Encrypted channels against a second implementation of Noise: Python's noiseprotocol reads and writes our records.
#![cfg(feature = "encrypt")]

#[path = "../../tests/support/python.rs"]
mod python;
mod support;

use std::time::Duration;

use python::{Peer, Script};
use rpyc_actors::{
    Chain, Channel, EncryptedChannel, Endpoint, Key, Layers, Limits, TcpConfig,
    codec::{
        EncryptConfig,
        encrypt::{Liveness, RekeyAfter},
    },
};
use support::{listening, within};
use tokio::sync::mpsc;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SIZES: [usize; 9] = [0, 1, 64, 1380, 1381, 4096, 4097, 16_384, 300_000];

fn config() -> EncryptConfig {
    EncryptConfig::new(Key::parse(KEY.as_bytes()).expect("64 digits"))
        .label("interop")
        .expect("short")
        .rekey_after(RekeyAfter::default().records(3))
}

/// What the peer counted, once it is through.
fn counts(peer: &mut Peer) -> serde_json::Value {
    let line = peer.line(Duration::from_secs(20));
    let counts = serde_json::from_str(&line).expect("a line of JSON");
    assert!(peer.wait().success(), "{}", peer.stderr());
    counts
}

#[tokio::test]
async fn python_reads_our_records_and_answers() {
    let mut peer = Peer::start(Script::File("noise_peer.py"), &["serve", KEY, "interop"]);
    let channel = within(
        "connecting",
        Chain::new(Endpoint::tcp(
            "127.0.0.1",
            peer.port(),
            TcpConfig::default(),
        ))
        .layers(Layers::new().encrypt(config()))
        .connect(),
    )
    .await
    .expect("a peer");
    for round in 0..3u8 {
        for size in SIZES {
            channel.send(vec![round; size]).await.expect("open");
            let frame = within("the echo", channel.recv()).await.expect("no loss");
            assert!(frame.is_some_and(|frame| frame == vec![round; size]));
        }
    }
    channel.finish().expect("open");
    assert!(
        within("the end", channel.recv())
            .await
            .expect("no loss")
            .is_none()
    );
    within("closing", channel.close())
        .await
        .expect("all is said");
    let counts = counts(&mut peer);
    for seen in ["data", "rekey", "rekeyed", "pong"] {
        assert!(counts[seen].as_u64() > Some(10), "{seen}: {counts}");
    }
    assert_eq!((&counts["fin"], &counts["close"]), (&1.into(), &0.into()));
}

#[tokio::test]
async fn python_dials_us_and_gets_its_records_back() {
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let accept = move |stream| {
        let config = config().liveness(Liveness::new(Duration::from_secs(2)));
        let channel = EncryptedChannel::with_config(stream, config);
        sender
            .send(channel.into_channel())
            .expect("the test takes it");
    };
    let (_listener, port) = listening(Limits::default(), accept).await;
    let port = port.to_string();
    let args = ["dial", KEY, "interop", &port];
    let mut peer = Peer::start(Script::File("noise_peer.py"), &args);
    let channel: Channel = within("accepting", accepted.recv()).await.expect("a peer");
    let mut frames = 0;
    while let Some(frame) = within("a frame", channel.recv()).await.expect("no loss") {
        channel.send(frame).await.expect("open");
        frames += 1;
    }
    assert_eq!(frames, 32);
    within("closing", channel.close())
        .await
        .expect("all is said");
    let counts = counts(&mut peer);
    for seen in ["data", "rekey", "rekeyed"] {
        assert!(counts[seen].as_u64() > Some(10), "{seen}: {counts}");
    }
    assert!(counts["pong"].as_u64() > Some(0), "{counts}");
}

#[tokio::test]
async fn python_with_another_key_is_a_stranger() {
    let other: String = KEY.chars().rev().collect();
    let mut peer = Peer::start(Script::File("noise_peer.py"), &["serve", &other, "interop"]);
    let endpoint = Endpoint::tcp("127.0.0.1", peer.port(), TcpConfig::default());
    let chain = Chain::new(endpoint).layers(Layers::new().encrypt(config()));
    let channel = within("connecting", chain.connect()).await.expect("a peer");
    let error = within("the loss", channel.recv())
        .await
        .expect_err("no answer");
    assert!(error.is_connection_lost(), "{error}");
    assert!(!peer.wait().success());
    assert!(peer.stderr().contains("InvalidTag"), "{}", peer.stderr());
}
