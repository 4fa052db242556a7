//! The far end of the frames: it takes them, and says how many there were when it is asked.

use rpyc::{Chain, Channel, Endpoint, StreamError};

use crate::Failure;

/// A frame of one byte asks for the count; the frames that are counted are longer.
pub(crate) const QUESTION: &[u8] = b"?";

/// `rpyc sink`, which the demo starts at the other end of a pipe.
pub(crate) async fn run() -> Result<(), Failure> {
    let channel = Chain::new(Endpoint::stdio()).connect().await?;
    Ok(take_frames(channel).await?)
}

/// Takes frames until the peer's end. Each answer is the frames and their bytes since the last one, as two big-endian `u64`.
pub(crate) async fn take_frames(channel: Channel) -> Result<(), StreamError> {
    let mut receiver = channel.receiver()?;
    let (mut frames, mut bytes) = (0_u64, 0_u64);
    while let Some(batch) = receiver.recv_batch().await? {
        let mut questions = 0;
        batch.for_each_slice(|frame| {
            if frame == QUESTION {
                questions += 1;
            } else {
                frames += 1;
                bytes += frame.len() as u64;
            }
        });
        for _ in 0..questions {
            let answer = [frames.to_be_bytes(), bytes.to_be_bytes()].concat();
            channel.send(answer).await?;
            (frames, bytes) = (0, 0);
        }
    }
    drop(receiver);
    channel.close().await
}
