//! Peers that misbehave, and frames above our own limit.

use super::*;

/// Fails when a pair that has nothing to do with it was harmed.
async fn is_unharmed((near, far): &(Channel, Channel)) {
    within("sending", near.send("fine")).await.expect("open");
    let came = within("receiving", far.recv()).await.expect("open");
    assert_eq!(came, Some("fine".into()));
}

#[tokio::test]
async fn a_frame_above_the_limit_names_endpoint_and_limit() {
    let bystander = pair().await;
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let mut wire = frame(b"good");
    wire.extend(((64u32 << 20) + 1).to_be_bytes());
    wire.push(0);
    within("writing", peer.write_all(&wire))
        .await
        .expect("open");
    assert_eq!(
        within("receiving", channel.recv()).await.expect("whole"),
        Some("good".into())
    );
    let error = within("receiving", channel.recv())
        .await
        .expect_err("too large");
    let StreamError::LimitExceeded {
        limit,
        got,
        endpoint,
        ..
    } = &error
    else {
        panic!("not a limit: {error}")
    };
    assert_eq!((*limit, *got), (64 << 20, (64 << 20) + 1));
    assert_eq!(endpoint.as_deref(), Some(channel.endpoint()));
    let refused = within("sending", channel.send("late")).await;
    assert!(refused.is_err());
    // The peer is cut off, and nobody else is harmed.
    let mut rest = [0; 1];
    assert!(
        !within("reading", peer.read(&mut rest))
            .await
            .is_ok_and(|count| count > 0)
    );
    is_unharmed(&bystander).await;
}

#[tokio::test]
async fn a_frame_cut_short_is_a_loss_that_says_where() {
    let bystander = pair().await;
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let mut wire = frame(b"good");
    wire.extend(&frame(&[1; 100])[..50]);
    within("writing", peer.write_all(&wire))
        .await
        .expect("open");
    drop(peer);
    let (frames, error) = drain(&channel).await.expect_err("cut short");
    assert_eq!(frames, ["good"]);
    let StreamError::ConnectionLost(lost) = error else {
        panic!("not a loss: {error}")
    };
    assert_eq!(*lost.endpoint, *channel.endpoint());
    assert!(
        matches!(
            lost.reason,
            LossReason::Truncated {
                got: 50,
                due: 106,
                ..
            }
        ),
        "{lost}"
    );
    is_unharmed(&bystander).await;
}

#[tokio::test]
async fn a_bad_compressed_frame_ends_the_channel_at_once() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let good = flagged(1, &support::deflated(b"good"));
    let wire = [good.clone(), flagged(1, b"bad"), good, frame(b"late")].concat();
    within("writing", peer.write_all(&wire))
        .await
        .expect("open");
    let (frames, error) = drain(&channel).await.expect_err("not zlib");
    assert_eq!(frames, ["good"]);
    let StreamError::Compression(error) = error else {
        panic!("not compression: {error}")
    };
    assert_eq!(error.endpoint.as_deref(), Some(channel.endpoint()));
}

#[tokio::test]
async fn garbage_is_an_error_and_not_a_hang() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    within(
        "writing",
        peer.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"),
    )
    .await
    .expect("open");
    let (frames, error) = drain(&channel).await.expect_err("garbage");
    assert!(frames.is_empty());
    assert!(
        matches!(error, StreamError::LimitExceeded { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn frames_above_our_own_limit_are_not_sent_however_they_come() {
    let (channel, _peer) = channel_and_peer(Limits::default().max_frame(10_000)).await;
    let is_limit = |error: &StreamError| matches!(error, StreamError::LimitExceeded { .. });
    let refused = channel.send(vec![1; 10_001]).await.expect_err("too large");
    assert!(is_limit(&refused.reason) && refused.item.len() == 10_001);
    let error = channel.send_slice(&[1; 10_001]).await;
    assert!(is_limit(&error.expect_err("too large")));
    let refused = channel.try_send(vec![1; 10_001]).expect_err("too large");
    assert!(matches!(refused, TrySendError::Closed(error) if is_limit(&error.reason)));
    let mut builder = FramesBuilder::new();
    builder.push_slice(b"small");
    builder.push_slice(&[1; 10_001]);
    let refused = channel
        .send_batch(builder.take())
        .await
        .expect_err("too large");
    assert!(is_limit(&refused.reason) && refused.item.len() == 2);
    // A refusal is not the end.
    channel.send(vec![1; 10_000]).await.expect("of the limit");
}
