//! The peer: tokio-util's `Framed` with its `LengthDelimitedCodec`, each end on a thread of its own.

use std::{future::Future, net::TcpStream as Socket, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{
    cell::{self, Meter, Outcome, Stopwatch},
    processors::{Processors, Role},
    sockets::sockets,
    thread,
};

/// Settings of a `Framed`.
#[derive(Clone, Copy)]
pub(crate) enum Tuning {
    /// As it comes: a read buffer and a backpressure boundary of 8 KiB.
    Default,
    /// A read buffer of 256 KiB and a backpressure boundary of 128 KiB.
    Tuned,
}

/// What a `Framed` stands on.
pub(crate) trait Carrier: Copy + Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    fn dial(self, socket: TcpStream) -> impl Future<Output = Self::Stream> + Send;
    fn accept(self, socket: TcpStream) -> impl Future<Output = Self::Stream> + Send;
}

/// The socket itself.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Carrier for Plain {
    type Stream = TcpStream;

    async fn dial(self, socket: TcpStream) -> TcpStream {
        socket
    }

    async fn accept(self, socket: TcpStream) -> TcpStream {
        socket
    }
}

type Wire<S = TcpStream> = Framed<S, LengthDelimitedCodec>;

fn socket(socket: Socket) -> TcpStream {
    TcpStream::from_std(socket).expect("a runtime is there")
}

impl Tuning {
    fn wrap<S: AsyncRead + AsyncWrite>(self, stream: S) -> Wire<S> {
        let codec = LengthDelimitedCodec::new();
        match self {
            Self::Default => Framed::new(stream, codec),
            Self::Tuned => {
                let mut framed = Framed::with_capacity(stream, codec, 256 << 10);
                framed.set_backpressure_boundary(128 << 10);
                framed
            }
        }
    }
}

/// One way: `feed` for each frame, which writes when the boundary is reached, and one flush at the end.
pub(crate) fn one_way(
    time: Duration,
    carrier: impl Carrier,
    tuning: Tuning,
    size: usize,
) -> Outcome {
    let (near, far) = sockets();
    let frame = Bytes::from(vec![b'x'; size]);
    cell::run(time, |stop, reports| {
        thread::spawn(move || async move {
            let mut wire = tuning.wrap(carrier.dial(socket(near)).await);
            let mut sent = 0;
            while !stop.is_set() {
                wire.feed(frame.clone()).await.expect("the peer reads");
                sent += 1;
            }
            SinkExt::<Bytes>::close(&mut wire)
                .await
                .expect("the peer reads");
            let _ = reports.sent.send(sent);
        });
        thread::spawn(move || async move {
            let mut wire = tuning.wrap(carrier.accept(socket(far)).await);
            let mut meter = Meter::new(size);
            while let Some(frame) = wire.next().await {
                meter.take(&frame.expect("no loss"));
            }
            let _ = reports.outcome.send(meter.stop());
        });
    })
}

/// When an end that answers, or asks many questions at once, flushes.
#[derive(Clone, Copy)]
pub(crate) enum Flushing {
    /// After each frame: `send`, as most programs do.
    Each,
    /// When no further frame has arrived yet: `feed`, and a flush before it waits.
    WhenIdle,
}

impl Flushing {
    async fn send(self, wire: &mut Wire, frame: Bytes) {
        match self {
            Self::Each => wire.send(frame).await,
            Self::WhenIdle => wire.feed(frame).await,
        }
        .expect("the peer reads");
    }

    async fn next(self, wire: &mut Wire) -> Option<BytesMut> {
        let next = match self {
            Self::Each => wire.next().await,
            Self::WhenIdle => match wire.next().now_or_never() {
                Some(next) => next,
                None => {
                    let flushed = SinkExt::<Bytes>::flush(wire).await;
                    flushed.expect("the peer reads");
                    wire.next().await
                }
            },
        };
        next.map(|frame| frame.expect("no loss"))
    }
}

/// Answers each frame with itself.
fn echo(far: Socket, tuning: Tuning, flushing: Flushing, processors: Option<Processors>) {
    thread::spawn(move || async move {
        let _bound = processors.map(|these| these.bind(Role::Answerer));
        let mut wire = tuning.wrap(socket(far));
        while let Some(frame) = flushing.next(&mut wire).await {
            flushing.send(&mut wire, frame.freeze()).await;
        }
    });
}

/// One question after the other.
pub(crate) fn ping_pong(time: Duration, tuning: Tuning, size: usize) -> Outcome {
    let (near, far) = sockets();
    let question = Bytes::from(vec![b'x'; size]);
    cell::run(time, |stop, reports| {
        echo(far, tuning, Flushing::Each, None);
        thread::spawn(move || async move {
            let mut wire = tuning.wrap(socket(near));
            let mut asked = 0;
            let mut watch = Stopwatch::start();
            while !stop.is_set() {
                wire.send(question.clone()).await.expect("the peer reads");
                let answer = wire.next().await.expect("an answer").expect("no loss");
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
        });
    })
}

/// One question after the other, asked on another thread than that of the `Framed`: what passes between the two
/// goes through tokio's channels, as it does where a task owns the connection.
pub(crate) fn ping_pong_across(
    time: Duration,
    tuning: Tuning,
    processors: Option<Processors>,
    size: usize,
) -> Outcome {
    let (near, far) = sockets();
    let frame = Bytes::from(vec![b'x'; size]);
    let (question, mut questions) = mpsc::unbounded_channel::<Bytes>();
    let (answer, mut answers) = mpsc::unbounded_channel::<BytesMut>();
    cell::run(time, |stop, reports| {
        echo(far, tuning, Flushing::Each, processors);
        thread::spawn(move || async move {
            let _bound = processors.map(|these| these.bind(Role::Connection));
            let mut wire = tuning.wrap(socket(near));
            loop {
                tokio::select! {
                    asked = questions.recv() => match asked {
                        Some(asked) => wire.send(asked).await.expect("the peer reads"),
                        None => return,
                    },
                    answered = wire.next() => {
                        let answered = answered.expect("an answer").expect("no loss");
                        answer.send(answered).expect("somebody waits for it");
                    }
                }
            }
        });
        thread::spawn(move || async move {
            let _bound = processors.map(|these| these.bind(Role::Asker));
            let mut asked = 0;
            let mut watch = Stopwatch::start();
            while !stop.is_set() {
                question.send(frame.clone()).expect("the wire is there");
                let answer = answers.recv().await.expect("an answer");
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
        });
    })
}

/// `window` questions under way at all times, asked by one task.
pub(crate) fn in_flight(time: Duration, flushing: Flushing, window: u64, size: usize) -> Outcome {
    let (near, far) = sockets();
    let question = Bytes::from(vec![b'x'; size]);
    cell::run(time, |stop, reports| {
        echo(far, Tuning::Default, flushing, None);
        thread::spawn(move || async move {
            let mut wire = Tuning::Default.wrap(socket(near));
            let mut meter = Meter::new(size);
            let mut sent = 0;
            while meter.frames() < sent || !stop.is_set() {
                while sent - meter.frames() < window && !stop.is_set() {
                    flushing.send(&mut wire, question.clone()).await;
                    sent += 1;
                }
                meter.take(&flushing.next(&mut wire).await.expect("an answer"));
            }
            let _ = reports.sent.send(sent);
            let _ = reports.outcome.send(meter.stop());
        });
    })
}
