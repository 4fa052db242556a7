//! Calls one after the other, and frames as many as go through, over one connection each.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rpyc::{
    Chain, Channel, Connection, Endpoint, Error, Receiver, Runtime, StreamError, VoidService,
};
use tokio::sync::oneshot;

use super::sink::QUESTION;
use crate::{Failure, output};

/// How long calls are made.
const CALLS_FOR: Duration = Duration::from_millis(600);
/// How long frames of each size are sent.
pub(crate) const FRAMES_FOR: Duration = Duration::from_millis(300);
/// How long either goes on before it counts, so that caches and buffers are as they are later.
const WARM_UP: Duration = Duration::from_millis(30);
/// Longer than any of this takes unless something is broken.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The sizes of the frames, in bytes.
pub(crate) const SIZES: [usize; 4] = [64, 1 << 10, 64 << 10, 1 << 20];

/// What calls took.
#[derive(Debug)]
pub(crate) struct Calls {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// What frames of one size took.
#[derive(Debug)]
pub(crate) struct Frames {
    pub(crate) size: usize,
    pub(crate) per_second: f64,
}

/// Calls `add(1, 2)` again and again, each time waiting for the answer.
pub(crate) async fn calls(service: &Endpoint, near: &Runtime) -> Result<Calls, Failure> {
    let chain = Chain::new(service.clone()).runtime(near.clone());
    let connection = Connection::new(chain.connect().await?, VoidService).with_timeout(GIVE_UP);
    let for_task = connection.clone();
    let times = on_arbiter_of(connection.channel(), async move || {
        call_for(&for_task, WARM_UP).await?;
        call_for(&for_task, CALLS_FOR).await
    })
    .await??;
    connection.close().await;
    let (mut times, elapsed) = times;
    times.sort_unstable();
    Ok(Calls {
        per_second: times.len() as f64 / elapsed.as_secs_f64(),
        p50: output::percentile(&times, 0.5),
        p99: output::percentile(&times, 0.99),
    })
}

async fn call_for(
    connection: &Connection,
    time: Duration,
) -> Result<(Vec<Duration>, Duration), Error> {
    let mut times = Vec::with_capacity(1 << 16);
    let start = Instant::now();
    let mut before = start;
    loop {
        let sum: i64 = connection.call("add", (1, 2)).await?;
        assert_eq!(sum, 3, "the service adds");
        let now = Instant::now();
        times.push(now - before);
        before = now;
        if now - start >= time {
            return Ok((times, now - start));
        }
    }
}

/// Sends frames of each size one by one, as fast as they are taken; the time ends when the other end has counted them.
pub(crate) async fn frames(sink: &Endpoint, near: &Runtime) -> Result<Vec<Frames>, Failure> {
    let channel = Chain::new(sink.clone())
        .runtime(near.clone())
        .connect()
        .await?;
    let for_task = channel.clone();
    let measured = on_arbiter_of(&channel, async move || {
        let mut receiver = for_task.receiver()?;
        let mut measured = Vec::new();
        for size in SIZES {
            let frame = Bytes::from(vec![b'x'; size]);
            measured.push(push(&for_task, &mut receiver, &frame, FRAMES_FOR).await?);
        }
        Ok::<_, StreamError>(measured)
    })
    .await??;
    channel.close().await?;
    Ok(measured)
}

/// Sends a frame again and again for a while, once everything is warm.
pub(crate) async fn push(
    channel: &Channel,
    receiver: &mut Receiver,
    frame: &Bytes,
    time: Duration,
) -> Result<Frames, StreamError> {
    push_for(channel, receiver, frame, WARM_UP).await?;
    Ok(Frames {
        size: frame.len(),
        per_second: push_for(channel, receiver, frame, time).await?,
    })
}

async fn push_for(
    channel: &Channel,
    receiver: &mut Receiver,
    frame: &Bytes,
    time: Duration,
) -> Result<f64, StreamError> {
    let size = frame.len();
    // Looking at the clock takes about as long as sending a small frame.
    let burst = ((64 << 10) / size).max(1);
    let mut sent = 0;
    let start = Instant::now();
    while start.elapsed() < time {
        for _ in 0..burst {
            channel
                .send(frame.clone())
                .await
                .map_err(StreamError::from)?;
        }
        sent += burst;
    }
    channel.send_slice(QUESTION).await?;
    channel.pass_on();
    let answer = receiver.recv().await?;
    let elapsed = start.elapsed();
    let counted = [
        (sent as u64).to_be_bytes(),
        ((sent * size) as u64).to_be_bytes(),
    ]
    .concat();
    if answer.as_deref() != Some(&counted[..]) {
        return Err(StreamError::peer(
            "the sink counted other frames than were sent",
        ));
    }
    Ok(sent as f64 / elapsed.as_secs_f64())
}

/// Runs a task where the channel's own actors live, which spares it the way between threads.
pub(crate) async fn on_arbiter_of<F, R>(
    channel: &Channel,
    task: impl FnOnce() -> F + Send + 'static,
) -> Result<R, StreamError>
where
    F: Future<Output = R> + 'static,
    R: Send + 'static,
{
    let (answer, result) = oneshot::channel();
    let start = move || {
        actix_rt::spawn(async move {
            // Nobody waits any more only when the demo has failed already.
            let _ = answer.send(task().await);
        });
    };
    let gone = || StreamError::misuse("the demo's own thread has stopped");
    if !channel.arbiter().spawn_fn(start) {
        return Err(gone());
    }
    result.await.map_err(|_| gone())
}
