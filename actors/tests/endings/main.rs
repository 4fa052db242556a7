//! How a channel ends: finish, close, drop, abort and loss, with data under way in both directions.

mod close;
mod cut;
mod frames;
#[path = "../support/mod.rs"]
mod support;

use std::{io, time::Duration};

use bytes::Bytes;
use rpyc_actors::{
    Channel, FramesBuilder, Limits, PipeStream, SocketStream, StreamError, channel::TryRecvError,
    channel::TrySendError, error::LossReason,
};
use support::{
    PATIENCE, channel_and_peer, flagged, frame, pair, pair_with, stream_and_peer, until, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Receives until the end, and gives what came.
async fn drain(channel: &Channel) -> Result<Vec<Bytes>, (Vec<Bytes>, StreamError)> {
    let mut frames = Vec::new();
    loop {
        match within("receiving", channel.recv()).await {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return Ok(frames),
            Err(error) => return Err((frames, error)),
        }
    }
}

fn numbered(number: u32, size: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(size.max(4), number as u8);
    payload.into()
}

fn assert_numbered(frames: &[Bytes], count: u32) {
    assert_eq!(frames.len(), count as usize);
    for (number, frame) in (0..).zip(frames) {
        assert_eq!(frame[..4], u32::to_be_bytes(number), "out of order");
    }
}

// ---- streams that are not channels ----

#[tokio::test]
async fn abort_of_a_stream_resets_while_its_handle_is_held() {
    let (stream, mut peer) = stream_and_peer(Default::default()).await;
    stream.abort();
    let mut byte = [0; 1];
    let error = within("reading", peer.read(&mut byte))
        .await
        .expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(within("reading", stream.read(1)).await.is_err());
    assert!(stream.closed());
}

#[tokio::test]
async fn closing_a_stream_under_a_channel_ends_the_channel() {
    let (stream, _peer) = stream_and_peer(Default::default()).await;
    let below: rpyc_actors::StreamHandle = SocketStream::clone(&stream).into();
    let channel = Channel::new(stream);
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.recv().await }
    });
    let closing = tokio::spawn(async move { below.close().await });
    assert!(
        within("receiving", waiting)
            .await
            .expect("no panic")
            .is_err()
    );
    assert!(within("sending", channel.send("late")).await.is_err());
    closing.abort();
}

#[tokio::test]
async fn a_dropped_stream_flushes_and_ends() {
    let (stream, mut peer) = stream_and_peer(Default::default()).await;
    within("writing", stream.write(vec![7; 3 << 20]))
        .await
        .expect("open");
    drop(stream);
    let mut came = Vec::new();
    within("reading", peer.read_to_end(&mut came))
        .await
        .expect("an orderly end");
    assert!(came.len() == 3 << 20 && came.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn an_address_does_not_keep_the_channel_open() {
    let (client, server) = pair_with(Limits::default()).await;
    until("the actor runs", || client.address().is_some()).await;
    let address = client.address().expect("running");
    drop(client);
    assert_eq!(
        within("receiving", server.recv()).await.expect("an end"),
        None
    );
    drop(server);
    until("the actor is gone", || !address.connected()).await;
}
