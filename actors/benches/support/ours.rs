//! Our side: channels over loopback TCP, each end on an arbiter of its own.

use std::{
    future::Future,
    sync::{OnceLock, mpsc},
    time::Duration,
};

use bytes::Bytes;
use rpyc_actors::{Chain, Channel, Endpoint, Layers, Listener, ListenerConfig, Runtime, TcpConfig};

use super::{
    cell::{self, Meter, Outcome, Stopwatch},
    thread,
};

/// Where the user of a channel runs.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// As a task on the arbiter of the channel.
    Arbiter,
    /// As a task of a runtime on another thread.
    OtherThread,
}

impl Place {
    fn spawn<F>(self, channel: &Channel, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Self::Arbiter => assert!(channel.arbiter().spawn(task), "the arbiter runs"),
            Self::OtherThread => drop(thread::spawn(move || task)),
        }
    }
}

/// One arbiter for each end.
fn runtimes() -> &'static [Runtime; 2] {
    static RUNTIMES: OnceLock<[Runtime; 2]> = OnceLock::new();
    RUNTIMES.get_or_init(|| {
        let both = Runtime::start(2).expect("threads can be started");
        [0, 1].map(|at| {
            Runtime::with_arbiters([both.arbiters()[at].clone()]).expect("it is one arbiter")
        })
    })
}

/// A connected pair of channels with the same layers.
fn channels(layers: &Layers) -> (Channel, Channel) {
    let [near, far] = runtimes();
    let (sender, accepted) = mpsc::channel();
    let on_accept = layers.clone();
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let listening = Listener::bind(
        &endpoint,
        ListenerConfig::default().runtime(far.clone()),
        move |stream| drop(sender.send(on_accept.channel(stream))),
    );
    let listener = pollster::block_on(listening).expect("a free port");
    let port = listener.port().expect("a TCP port");
    let near = Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()))
        .layers(layers.clone())
        .runtime(near.clone())
        .connect_blocking()
        .expect("it listens");
    let far = accepted.recv().expect("it was connected to");
    (near, far)
}

/// One way: `send(Bytes)` and `recv()`, frame by frame.
pub(crate) fn one_way(time: Duration, layers: &Layers, place: Place, size: usize) -> Outcome {
    let (near, far) = channels(layers);
    let frame = Bytes::from(vec![b'x'; size]);
    cell::run(time, |stop, reports| {
        place.spawn(&near.clone(), async move {
            let mut sent = 0;
            while !stop.is_set() {
                near.send(frame.clone()).await.expect("the peer reads");
                sent += 1;
            }
            near.finish().expect("it is open");
            let _ = reports.sent.send(sent);
            near.close().await.expect("the peer reads");
        });
        place.spawn(&far.clone(), async move {
            let mut meter = Meter::new(size);
            while let Some(frame) = far.recv().await.expect("no loss") {
                meter.take(&frame);
            }
            let _ = reports.outcome.send(meter.stop());
        });
    })
}

/// Answers each frame with itself.
fn echo(channel: Channel) {
    Place::Arbiter.spawn(&channel.clone(), async move {
        while let Some(frame) = channel.recv().await.expect("no loss") {
            channel.send(frame).await.expect("the peer reads");
        }
    });
}

/// One question after the other.
pub(crate) fn ping_pong(time: Duration, layers: &Layers, place: Place, size: usize) -> Outcome {
    let (near, far) = channels(layers);
    let question = Bytes::from(vec![b'x'; size]);
    cell::run(time, |stop, reports| {
        echo(far);
        place.spawn(&near.clone(), async move {
            let mut asked = 0;
            let mut watch = Stopwatch::start();
            while !stop.is_set() {
                near.send(question.clone()).await.expect("the peer reads");
                let answer = near.recv().await.expect("no loss").expect("an answer");
                assert_eq!(
                    answer.len(),
                    size,
                    "the answer has the size of the question"
                );
                asked += 1;
                watch.lap();
            }
            let _ = reports.sent.send(asked);
            let _ = reports.outcome.send(watch.stop());
            near.close().await.expect("the peer reads");
        });
    })
}
