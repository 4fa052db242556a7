//! What two encrypted ends must have in common: told inside the handshake, and refused there.
#![cfg(all(feature = "encrypt", feature = "snappy"))]

mod support;

use std::{sync::Arc, time::Duration};

use rpyc_actors::{
    Chain, Channel, Endpoint, Key, Layers, Limits, Listener, StreamError, TcpConfig,
    codec::{CompressConfig, EncryptConfig, ResumeConfig},
};
use support::{listening, within};
use tokio::sync::mpsc;

fn encrypted(above: Layers) -> Layers {
    above.encrypt(EncryptConfig::new(Arc::new(Key::new([1; 32]))))
}

/// The dialling end, and where the accepting one will come as long as it is listened.
async fn ends(near: Layers, far: Layers) -> (Channel, mpsc::UnboundedReceiver<Channel>, Listener) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let accept = move |stream| {
        let sender = sender.clone();
        far.accept(stream, move |channel| {
            // The test may be over.
            let _ = sender.send(channel);
        });
    };
    let (listener, port) = listening(Limits::default(), accept).await;
    let chain = Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default())).layers(near);
    let near = within("connecting", chain.connect()).await;
    (near.expect("a listener"), accepted, listener)
}

fn assert_says(error: &StreamError, word: &str) {
    assert!(
        error.to_string().contains(word) && matches!(error, StreamError::Encryption(_)),
        "{error:?}: {word}"
    );
}

fn snappy() -> Layers {
    Layers::new().compress(CompressConfig::snappy())
}

#[tokio::test]
async fn snappy_at_one_end_is_refused_before_anything_is_sent() {
    let zlib = || Layers::new().compress(CompressConfig::zlib(1));
    for (near, far) in [
        (encrypted(snappy()), encrypted(Layers::new())),
        (encrypted(Layers::new()), encrypted(snappy())),
        (encrypted(snappy()), encrypted(zlib())),
        // In the order in which a builder may be called as well.
        (
            encrypted(Layers::new()).compress(CompressConfig::snappy()),
            encrypted(Layers::new()),
        ),
    ] {
        let (near, mut accepted, _listener) = ends(near, far).await;
        let far = within("accepting", accepted.recv()).await;
        // It waits for the handshake, unless that was refused before.
        if let Err(error) = near.send("a").await {
            assert_says(&error.reason, "snappy");
        }
        for channel in [near, far.expect("a client")] {
            let error = within("the refusal", channel.recv()).await;
            assert_says(&error.expect_err("no frame"), "snappy");
        }
    }
}

#[tokio::test]
async fn snappy_at_both_ends_is_agreed_on() {
    let (near, mut accepted, _listener) = ends(encrypted(snappy()), encrypted(snappy())).await;
    let far = within("accepting", accepted.recv()).await;
    let text = vec![7; 100_000];
    within("sending", near.send(text.clone()))
        .await
        .expect("open");
    let far = far.expect("a client");
    let frame = within("receiving", far.recv()).await.expect("no loss");
    assert_eq!(frame.as_deref(), Some(&text[..]));
}

#[tokio::test]
async fn sessions_at_one_end_are_refused() {
    // Longer than the test: nobody fails by patience alone.
    let long = Duration::from_secs(600);
    let config = || ResumeConfig::default().handshake_timeout(long);
    let resumed = || encrypted(Layers::new().resume(config()));
    for (near, far) in [
        (resumed(), encrypted(Layers::new())),
        (encrypted(Layers::new()), resumed()),
    ] {
        let resumes_here = near.resumes();
        let (near, mut accepted, listener) = ends(near, far).await;
        let error = within("the refusal", near.recv()).await;
        assert_says(&error.expect_err("no frame"), "resume");
        if resumes_here {
            let far = within("accepting", accepted.recv()).await;
            let error = within("the refusal", far.expect("a client").recv()).await;
            assert_says(&error.expect_err("no frame"), "resume");
        }
        // Terms that do not go together now do not the next time either.
        assert_eq!(listener.stats().accepted, 1);
        assert!(accepted.try_recv().is_err());
    }
}
