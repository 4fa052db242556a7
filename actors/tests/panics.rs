//! A panic ends the connection whose code it was, with its text; the process and the neighbours on the same arbiter live.

mod support;

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::prelude::*;
use bytes::Bytes;
use rpyc_actors::{
    Chain, Channel, Chunk, ConnectionEvent, Endpoint, Frames, Head, Layers, Limits, Listener,
    ListenerConfig, Received, Runtime, StreamError, SupervisorConfig, TcpConfig,
    codec::{Codec, Host, Output, PassThrough},
    error::{ConnectFailure, LossReason},
    message::{Read, Write},
    unit::Unit,
};
use support::within;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
};

/// Where a codec panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Made,
    Write,
    Read,
    Output,
    Timeout,
}

/// Passes on what comes, until it is armed.
struct Mine<U: Unit> {
    when: When,
    armed: Arc<AtomicBool>,
    rest: PassThrough<U>,
    due: Option<std::time::Instant>,
}

impl<U: Unit + Sync + Unpin> Mine<U> {
    fn new(when: When, armed: Arc<AtomicBool>) -> Self {
        let mine = Self {
            when,
            armed,
            rest: PassThrough::default(),
            due: None,
        };
        mine.step(When::Made);
        mine
    }

    fn step(&self, at: When) {
        assert!(
            at != self.when || !self.armed.load(Ordering::Relaxed),
            "stepped on at {at:?}"
        );
    }
}

impl<U: Unit + Sync + Unpin> Codec for Mine<U> {
    type Above = U;
    type Below = U;

    fn handle_write(&mut self, write: Write<U>, host: &dyn Host) -> Result<(), StreamError> {
        self.step(When::Write);
        self.due = (self.when == When::Timeout).then(|| host.now());
        self.rest.handle_write(write, host)
    }

    fn handle_read(&mut self, read: Read<U>, host: &dyn Host) -> Result<(), StreamError> {
        self.step(When::Read);
        self.rest.handle_read(read, host)
    }

    fn handle_finish(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        self.rest.handle_finish(host)
    }

    fn handle_end(&mut self, host: &dyn Host) -> Result<(), StreamError> {
        self.rest.handle_end(host)
    }

    fn handle_timeout(&mut self, _: std::time::Instant, _: &dyn Host) -> Result<(), StreamError> {
        self.due = None;
        self.step(When::Timeout);
        Ok(())
    }

    fn poll_output(
        &mut self,
        may_grow: bool,
        host: &dyn Host,
    ) -> Result<Option<Output<U, U>>, StreamError> {
        self.step(When::Output);
        self.rest.poll_output(may_grow, host)
    }

    fn poll_timeout(&self) -> Option<std::time::Instant> {
        self.due
    }
}

/// A server on loopback that sends back what it gets.
async fn echo() -> Listener {
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let accept = |stream| {
        let channel = Layers::new().channel(stream);
        actix_rt::spawn(async move {
            while let Ok(Some(frame)) = channel.recv().await {
                if channel.send(frame).await.is_err() {
                    break;
                }
            }
        });
    };
    within(
        "binding",
        Listener::bind(&endpoint, ListenerConfig::default(), accept),
    )
    .await
    .expect("a free port")
}

fn chain(server: &Listener, layers: Layers, runtime: &Runtime) -> Chain {
    let port = server.port().expect("TCP");
    Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()))
        .layers(layers)
        .runtime(runtime.clone())
}

async fn echoes(channel: &Channel) {
    within("sending", channel.send("frame"))
        .await
        .expect("open");
    let back = within("an echo", channel.recv()).await.expect("open");
    assert_eq!(back.as_deref(), Some(&b"frame"[..]));
}

fn assert_panicked(error: &StreamError, text: &str) {
    let StreamError::ConnectionLost(lost) = error else {
        panic!("{error}");
    };
    assert!(
        matches!(&lost.reason, LossReason::Panicked(what) if what.contains(text)),
        "{lost}"
    );
}

/// Layers with one that panics, alone or between others.
fn mined(place: usize, when: When, armed: &Arc<AtomicBool>) -> Layers {
    let (upper, lower) = (armed.clone(), armed.clone());
    let frames = PassThrough::<Frames>::default;
    let bytes = PassThrough::<Chunk>::default;
    match place {
        0 => Layers::new().frames(move || Mine::new(when, upper.clone())),
        1 => Layers::new().bytes(move || Mine::new(when, lower.clone())),
        2 => Layers::new()
            .frames(frames)
            .frames(move || Mine::new(when, upper.clone()))
            .bytes(bytes),
        _ => Layers::new()
            .frames(frames)
            .bytes(bytes)
            .bytes(move || Mine::new(when, lower.clone()))
            .bytes(bytes),
    }
}

#[tokio::test]
async fn a_codec_that_panics_loses_its_connection_and_nothing_else() {
    let runtime = Runtime::start(1).expect("a thread");
    let server = echo().await;
    let neighbour = within(
        "connecting",
        chain(&server, Layers::new(), &runtime).connect(),
    )
    .await
    .expect("a server");
    for place in 0..4 {
        for when in [When::Write, When::Read, When::Output, When::Timeout] {
            let armed = Arc::<AtomicBool>::default();
            let chain = chain(&server, mined(place, when, &armed), &runtime);
            let channel = within("connecting", chain.connect())
                .await
                .expect("a server");
            echoes(&channel).await;
            armed.store(true, Ordering::Relaxed);
            // It may be lost before the call.
            let _ = within("sending", channel.send("boom")).await;
            let text = format!("stepped on at {when:?}");
            let waiters = async {
                // A timer may go off behind the echo.
                let error = loop {
                    if let Err(error) = channel.recv().await {
                        break error;
                    }
                };
                assert_panicked(&error, &text);
                let error = channel.flush().await.expect_err("lost");
                assert!(error.is_connection_lost(), "{error}");
                // However much there is room for: it ends with the error.
                let refused = loop {
                    if let Err(error) = channel.send(Bytes::from(vec![0; 100_000])).await {
                        break error;
                    }
                };
                assert!(refused.reason.is_connection_lost(), "{}", refused.reason);
                let _ = channel.close().await;
            };
            within(&format!("the loss in place {place}, {when:?}"), waiters).await;
            echoes(&neighbour).await;
        }
    }
}

#[tokio::test]
async fn a_codec_that_cannot_be_made_is_a_loss_like_any_other() {
    let runtime = Runtime::start(1).expect("a thread");
    let server = echo().await;
    let armed = Arc::new(AtomicBool::new(true));
    for place in 0..4 {
        let chain = chain(&server, mined(place, When::Made, &armed), &runtime);
        let channel = within("connecting", chain.connect())
            .await
            .expect("a server");
        let error = within("the loss", channel.recv()).await.expect_err("lost");
        assert_panicked(&error, "stepped on at Made");
    }
    // The server sees them go: nobody is left below who would keep them.
    support::until("the connections are gone", || server.stats().alive == 0).await;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Panic;

impl Handler<Panic> for Head {
    type Result = ();

    fn handle(&mut self, _: Panic, _: &mut <Self as Actor>::Context) {
        panic!("a handler of a user's own");
    }
}

#[tokio::test]
async fn a_handler_of_a_users_own_panics_in_a_channels_context() {
    let (client, server) = support::pair().await;
    echo_once(&client, &server).await;
    let address = client.address().expect("it runs");
    assert!(within("asking", address.send(Panic)).await.is_err());
    let error = within("the loss", client.recv()).await.expect_err("lost");
    assert_panicked(&error, "a handler of a user's own");
    let error = within("the peer's loss", server.recv())
        .await
        .expect_err("not an orderly end");
    assert!(error.is_connection_lost(), "{error}");
}

async fn echo_once(client: &Channel, server: &Channel) {
    within("sending", client.send("frame")).await.expect("open");
    let came = within("receiving", server.recv()).await.expect("open");
    assert_eq!(came.as_deref(), Some(&b"frame"[..]));
}

/// A transport that panics when it is read.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("a transport of a user's own");
    }
}

impl AsyncWrite for Broken {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_transport_that_panics_is_a_loss() {
    let chain = Chain::new(Endpoint::custom("mine:", || async { Ok(Broken) }));
    let channel = within("connecting", chain.connect()).await.expect("made");
    let error = within("the loss", channel.recv()).await.expect_err("lost");
    assert_panicked(&error, "a transport of a user's own");
}

#[tokio::test]
async fn a_factory_that_panics_fails_the_attempt() {
    async fn dial() -> Result<Broken, StreamError> {
        panic!("a factory of a user's own")
    }
    for chain in [
        Chain::new(Endpoint::custom("mine:", dial)),
        Chain::new(Endpoint::custom("mine:", || {
            assert!(std::hint::black_box(false), "a factory of a user's own");
            dial()
        })),
    ] {
        let error = within("connecting", chain.connect())
            .await
            .expect_err("it panics");
        let StreamError::Connect(error) = error else {
            panic!("{error}");
        };
        assert!(
            matches!(&error.reason, ConnectFailure::Panicked(LossReason::Panicked(what))
                if &**what == "a factory of a user's own"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_supervisor_restarts_what_panicked_until_it_is_too_much() {
    let runtime = Runtime::start(1).expect("a thread");
    let server = echo().await;
    let armed = Arc::<AtomicBool>::default();
    let layers = mined(0, When::Read, &armed);
    let config = SupervisorConfig::default()
        .intensity(2, Duration::from_secs(60))
        .probe(Duration::from_millis(50));
    let client = chain(&server, layers, &runtime).supervise(config);
    let mut events = client.events();
    let (mut panics, mut was_broken) = (0, false);
    while !was_broken {
        armed.store(false, Ordering::Relaxed);
        within("sending", client.send("fine")).await.expect("sent");
        // Of use, every time; panics count all the same.
        let came = within("receiving", client.recv()).await.expect("open");
        assert_eq!(came.frame().as_deref(), Some(&b"fine"[..]));
        armed.store(true, Ordering::Relaxed);
        within("sending", client.send("boom")).await.expect("sent");
        let Received::Lost(lost) = within("receiving", client.recv()).await.expect("open") else {
            panic!("a frame");
        };
        assert!(lost.reason.is_panic(), "{lost}");
        panics += 1;
        assert_eq!(lost.generation, panics);
        loop {
            match within("events", events.next()).await.expect("a supervisor") {
                ConnectionEvent::Lost(lost) => {
                    assert!(lost.reason.is_panic(), "{lost}");
                }
                ConnectionEvent::Broken { .. } => {
                    was_broken = true;
                    break;
                }
                ConnectionEvent::Restored { generation, .. } if generation > panics => break,
                _ => {}
            }
        }
    }
    assert_eq!(panics, 3);
    // A probe finds it well.
    armed.store(false, Ordering::Relaxed);
    loop {
        if let ConnectionEvent::Restored { .. } = within("the probe", events.next())
            .await
            .expect("a supervisor")
        {
            break;
        }
    }
    within("sending", client.send("fine")).await.expect("sent");
    let came = within("receiving", client.recv()).await.expect("open");
    assert_eq!(came.frame().as_deref(), Some(&b"fine"[..]));
}

/// An actor that takes frames, and panics over the first.
struct Taker(mpsc::UnboundedSender<()>);

impl Actor for Taker {
    type Context = Context<Self>;
}

impl Handler<Read<Frames>> for Taker {
    type Result = ();

    fn handle(&mut self, _: Read<Frames>, _: &mut Context<Self>) {
        let _ = self.0.send(());
        panic!("an actor of a user's own");
    }
}

#[tokio::test]
async fn an_actor_that_panics_over_frames_loses_only_those_it_took() {
    let (client, server) = support::pair_with(Limits::default()).await;
    let (took, mut takes) = mpsc::unbounded_channel();
    let subscriber = client.clone();
    client.arbiter().spawn_fn(move || {
        let taker = Taker(took).start();
        let subscription = rpyc_actors::channel::Subscribe {
            frames: Some(taker.clone().recipient().downgrade()),
            events: None,
        };
        subscriber.subscribe(subscription).expect("open");
        // Held until the panic takes its place away.
        actix_rt::spawn(async move {
            while taker.connected() {
                actix_rt::time::sleep(Duration::from_millis(1)).await;
            }
        });
    });
    within("sending", server.send("first")).await.expect("open");
    within("the panic", takes.recv()).await.expect("a taker");
    assert!(within("its end", takes.recv()).await.is_none());
    within("sending", server.send("second"))
        .await
        .expect("open");
    let came = within("receiving", client.recv()).await.expect("open");
    assert_eq!(came.as_deref(), Some(&b"second"[..]));
}
