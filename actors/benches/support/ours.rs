//! Our side: what is sent over a pair of channels.

use std::time::Duration;

use bytes::Bytes;
use rpyc_actors::{Channel, Frames, FramesBuilder, Layers};
use tokio::sync::oneshot;

use super::{
    cell::{self, Meter, Outcome, Stop, Stopwatch},
    ends::{Place, Stack, channels},
    processors::{Processors, Role},
};

/// How frames are handed over.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    /// `send(Bytes)` and `recv()`.
    Single,
    /// `send_slice` and `Receiver::recv`.
    Slices,
    /// `send_batch` of one prebuilt batch of so many frames, and `Receiver::recv_batch`; each frame is looked at.
    Batches(usize),
    /// The same, with each batch laid out frame by frame before it is sent.
    Built(usize),
}

impl Style {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "send(Bytes), recv()",
            Self::Slices => "send_slice, Receiver::recv",
            Self::Batches(_) => "send_batch, recv_batch",
            Self::Built(_) => "build, send_batch, recv_batch",
        }
    }

    /// Sends this frame again and again until it is time to stop. Gives how often.
    async fn send(self, channel: &Channel, frame: Bytes, stop: &Stop) -> u64 {
        let mut sent = 0;
        match self {
            Self::Single => {
                while !stop.is_set() {
                    channel.send(frame.clone()).await.expect("the peer reads");
                    sent += 1;
                }
            }
            Self::Slices => {
                while !stop.is_set() {
                    channel.send_slice(&frame).await.expect("the peer reads");
                    sent += 1;
                }
            }
            Self::Batches(count) => {
                let batch: Frames = std::iter::repeat_n(frame, count).collect();
                while !stop.is_set() {
                    let batch = batch.clone();
                    channel.send_batch(batch).await.expect("the peer reads");
                    sent += count as u64;
                }
            }
            Self::Built(count) => {
                let mut builder = FramesBuilder::new();
                while !stop.is_set() {
                    (0..count).for_each(|_| builder.push_slice(&frame));
                    let batch = builder.take();
                    channel.send_batch(batch).await.expect("the peer reads");
                    sent += count as u64;
                }
            }
        }
        sent
    }

    /// Receives frames until the peer's end.
    async fn receive(self, channel: &Channel, meter: &mut Meter) {
        match self {
            Self::Single => {
                while let Some(frame) = channel.recv().await.expect("no loss") {
                    meter.take(&frame);
                }
            }
            Self::Slices => {
                let mut receiver = channel.receiver().expect("it is the first");
                while let Some(frame) = receiver.recv().await.expect("no loss") {
                    meter.take(&frame);
                }
            }
            Self::Batches(_) | Self::Built(_) => {
                let mut receiver = channel.receiver().expect("it is the first");
                while let Some(batch) = receiver.recv_batch().await.expect("no loss") {
                    batch.for_each_slice(|frame| meter.take(frame));
                }
            }
        }
    }
}

/// Frames one way, as fast as they go.
pub(crate) fn one_way(
    time: Duration,
    stack: &Stack,
    place: Place,
    style: Style,
    frame: &Bytes,
) -> Outcome {
    let (near, far) = channels(stack);
    let (frame, size) = (frame.clone(), frame.len());
    cell::run(time, |stop, reports| {
        place.spawn(&near.clone(), async move {
            let sent = style.send(&near, frame, &stop).await;
            let _ = reports.sent.send(sent);
            near.close().await.expect("the peer reads");
        });
        place.spawn(&far.clone(), async move {
            let mut meter = Meter::new(size);
            style.receive(&far, &mut meter).await;
            let _ = reports.outcome.send(meter.stop());
        });
    })
}

/// Answers each frame with itself.
fn echo(channel: Channel, gathers: bool, processors: Option<Processors>) {
    Place::Arbiter.spawn(&channel.clone(), async move {
        let _bound = processors.map(|these| these.bind(Role::Answerer));
        while let Some(frame) = channel.recv().await.expect("no loss") {
            channel.send(frame).await.expect("the peer reads");
            if gathers {
                channel.pass_on();
            }
        }
    });
}

/// One question after the other.
pub(crate) fn ping_pong(time: Duration, stack: &Stack, place: Place, question: &Bytes) -> Outcome {
    ping_pong_on(time, stack, place, None, question)
}

/// One question after the other, with the threads on these processors. The asker's must not be the channel's, then.
pub(crate) fn ping_pong_on(
    time: Duration,
    stack: &Stack,
    place: Place,
    processors: Option<Processors>,
    question: &Bytes,
) -> Outcome {
    let (near, far) = channels(stack);
    let (question, gathers) = (question.clone(), stack.gathers);
    cell::run(time, |stop, reports| {
        echo(far, gathers, processors);
        let (done, is_done) = oneshot::channel::<()>();
        if let Some(processors) = processors {
            Place::Arbiter.spawn(&near, async move {
                let _bound = processors.bind(Role::Connection);
                let _ = is_done.await;
            });
        }
        place.spawn(&near.clone(), async move {
            let _bound = processors.map(|these| these.bind(Role::Asker));
            let mut asked = 0;
            let mut watch = Stopwatch::start();
            while !stop.is_set() {
                near.send(question.clone()).await.expect("the peer reads");
                if gathers {
                    near.pass_on();
                }
                let answer = near.recv().await.expect("no loss").expect("an answer");
                assert_eq!(
                    answer.len(),
                    question.len(),
                    "the answer has the size of the question"
                );
                asked += 1;
                watch.lap();
            }
            let _ = reports.sent.send(asked);
            let _ = reports.outcome.send(watch.stop());
            near.close().await.expect("the peer reads");
            drop(done);
        });
    })
}

/// `window` questions under way at all times, asked by one task.
pub(crate) fn in_flight(time: Duration, window: u64, size: usize) -> Outcome {
    let (near, far) = channels(&Layers::new().into());
    let question = Bytes::from(vec![b'x'; size]);
    cell::run(time, |stop, reports| {
        echo(far, false, None);
        Place::Arbiter.spawn(&near.clone(), async move {
            let mut meter = Meter::new(size);
            let mut sent = 0;
            while meter.frames() < sent || !stop.is_set() {
                while sent - meter.frames() < window && !stop.is_set() {
                    near.send(question.clone()).await.expect("the peer reads");
                    sent += 1;
                }
                meter.take(&near.recv().await.expect("no loss").expect("an answer"));
            }
            let _ = reports.sent.send(sent);
            let _ = reports.outcome.send(meter.stop());
            near.close().await.expect("the peer reads");
        });
    })
}
