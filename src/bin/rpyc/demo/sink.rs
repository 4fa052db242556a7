//! The far end of the frames: it takes them, says how many there were when it is asked, and gives one back when it is told to.

use bytes::Bytes;
use rpyc::{Chain, Channel, Endpoint, Layers, Listener, ListenerConfig, StreamError};

use crate::Failure;

/// A frame of one byte asks for the count; the frames that are counted are longer.
pub(crate) const QUESTION: &[u8] = b"?";
/// A frame of one byte asks for the next frame, whatever it is.
pub(crate) const GIVE_BACK: &[u8] = b"=";

/// `rpyc sink`, which the demo starts at the other end of a pipe.
pub(crate) async fn run() -> Result<(), Failure> {
    let channel = Chain::new(Endpoint::stdio()).connect().await?;
    Ok(take_frames(channel).await?)
}

/// A sink for everybody who connects, with these layers.
pub(crate) async fn listen(
    endpoint: &Endpoint,
    config: ListenerConfig,
    layers: Layers,
) -> Result<Listener, StreamError> {
    let accept = move |stream| {
        let channel = layers.channel(stream);
        actix_rt::spawn(async move {
            if let Err(error) = take_frames(channel).await {
                tracing::warn!(%error, "a sink ended early");
            }
        });
    };
    Listener::bind(endpoint, config, accept).await
}

/// Takes frames until the peer's end. Each answer is the frames and their bytes since the last one, as two big-endian `u64`, or a
/// frame that was to be given back.
pub(crate) async fn take_frames(channel: Channel) -> Result<(), StreamError> {
    let mut receiver = channel.receiver()?;
    let (mut frames, mut bytes) = (0_u64, 0_u64);
    let mut is_wanted = false;
    while let Some(batch) = receiver.recv_batch().await? {
        let mut answers = Vec::new();
        batch.for_each_slice(|frame| {
            if is_wanted {
                answers.push(Bytes::copy_from_slice(frame));
                is_wanted = false;
            } else if frame == QUESTION {
                answers.push([frames.to_be_bytes(), bytes.to_be_bytes()].concat().into());
                (frames, bytes) = (0, 0);
            } else if frame == GIVE_BACK {
                is_wanted = true;
            } else {
                frames += 1;
                bytes += frame.len() as u64;
            }
        });
        if !answers.is_empty() {
            channel.send_all(answers).await?;
            channel.pass_on();
        }
    }
    drop(receiver);
    channel.close().await
}
