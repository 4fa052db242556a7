//! Pairs of channels that resume, with a proxy between them that breaks connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, Addr, Context, Handler};
use bytes::Bytes;
use rpyc_actors::{
    Chain, Channel, ConnectionEvent, Endpoint, Layers, Listener, ListenerConfig, Runtime,
    StreamError,
    channel::Subscribe,
    codec::ResumeConfig,
    error::{LossReason, SessionLost},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Random,
    chaos::{Chaos, Cut, Weather},
    until, within,
};

/// Which stream a frame belongs to, its number, and noise that follows from both.
pub(crate) fn numbered(stream: u64, number: u64, largest: usize) -> Bytes {
    let mut random = Random(stream ^ number.wrapping_mul(0x1_0000_0001));
    let size = 16 + random.below(largest);
    let mut frame = Vec::with_capacity(size + 8);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&number.to_be_bytes());
    while frame.len() < size {
        frame.extend_from_slice(&random.next().to_be_bytes());
    }
    frame.into()
}

/// Plain TCP, allowed on purpose.
pub(crate) fn plain() -> ResumeConfig {
    ResumeConfig::default().insecure_resume()
}

/// A client, a server that accepts sessions, and the proxy between them.
pub(crate) struct Line {
    pub(crate) client: Channel,
    pub(crate) server: Channel,
    pub(crate) chaos: Chaos,
    /// The layers of the server, which know its sessions.
    pub(crate) layers: Layers,
    pub(crate) listener: Listener,
    pub(crate) accepted: mpsc::UnboundedReceiver<Channel>,
}

impl Line {
    pub(crate) async fn new(weather: Weather, client: Layers, server: Layers) -> Self {
        let (listener, mut accepted) = listen("tcp://127.0.0.1:0", &server).await;
        let port = listener.port().expect("TCP");
        let chaos = Chaos::before(port, 7, weather).await;
        let client = dial(&format!("tcp://127.0.0.1:{}", chaos.port()), client)
            .await
            .expect("the proxy listens");
        let server_channel = within("a session", accepted.recv())
            .await
            .expect("it listens");
        Self {
            client,
            server: server_channel,
            chaos,
            layers: server,
            listener,
            accepted,
        }
    }

    /// A line over plain TCP.
    pub(crate) async fn plain(weather: Weather) -> Self {
        let layers = || Layers::new().resume(plain());
        Self::new(weather, layers(), layers()).await
    }
}

/// Accepts sessions.
pub(crate) async fn listen(
    endpoint: &str,
    layers: &Layers,
) -> (Listener, mpsc::UnboundedReceiver<Channel>) {
    listen_on(endpoint, layers, Runtime::shared()).await
}

/// Accepts sessions on the arbiters of a runtime.
pub(crate) async fn listen_on(
    endpoint: &str,
    layers: &Layers,
    runtime: Runtime,
) -> (Listener, mpsc::UnboundedReceiver<Channel>) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let layers = layers.clone();
    let accept = move |stream| {
        let sender = sender.clone();
        // A test that is over takes nobody any more.
        layers.accept(stream, move |channel| drop(sender.send(channel)));
    };
    let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
    let config = ListenerConfig::default().runtime(runtime);
    let listener = within("binding", Listener::bind(&endpoint, config, accept))
        .await
        .expect("a free place");
    (listener, accepted)
}

pub(crate) async fn dial(endpoint: &str, layers: Layers) -> Result<Channel, StreamError> {
    let chain = Chain::to(endpoint)?.layers(layers);
    within("connecting", chain.connect()).await
}

/// Why the session of a channel was lost.
pub(crate) async fn session_lost(channel: &Channel) -> SessionLost {
    loop {
        match within("the loss", channel.recv()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("an orderly end"),
            Err(StreamError::ConnectionLost(lost)) => match lost.reason {
                LossReason::SessionLost(why) => return why,
                other => panic!("not the session: {other}"),
            },
            Err(other) => panic!("no loss: {other}"),
        }
    }
}

/// Asks and is answered, whichever link there is.
pub(crate) async fn exchange(client: &Channel, server: &Channel) {
    client.send("question").await.expect("the session lives");
    let asked = within("a question", server.recv()).await.expect("no loss");
    assert_eq!(asked.as_deref(), Some(&b"question"[..]));
    server.send("answer").await.expect("the session lives");
    let answer = within("an answer", client.recv()).await.expect("no loss");
    assert_eq!(answer.as_deref(), Some(&b"answer"[..]));
}

/// Gives the events of a channel to a test.
pub(crate) struct Watcher(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Watcher {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Watcher {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        // A test that is over needs no more.
        let _ = self.0.send(event);
    }
}

/// Watches a channel for as long as the address is kept.
pub(crate) async fn watch(
    channel: &Channel,
) -> (Addr<Watcher>, mpsc::UnboundedReceiver<ConnectionEvent>) {
    let (sender, events) = mpsc::unbounded_channel();
    let (keep, kept) = oneshot::channel();
    let head = channel.clone();
    assert!(channel.arbiter().spawn_fn(move || {
        let watcher = Watcher(sender).start();
        let address = head.address().expect("started before, on this arbiter");
        let subscription = Subscribe {
            frames: None,
            events: Some(watcher.downgrade().recipient()),
        };
        address.try_send(subscription).expect("alive");
        keep.send(watcher).expect("the test waits");
    }));
    (within("watching", kept).await.expect("an arbiter"), events)
}

/// Frames of one direction until told to stop; gives their count.
pub(crate) async fn send_until(
    channel: Channel,
    stream: u64,
    largest: usize,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        channel
            .send(numbered(stream, count, largest))
            .await
            .expect("the session lives");
        count += 1;
        if count.is_multiple_of(16) {
            tokio::task::yield_now().await;
        }
    }
    channel.finish().expect("the session lives");
    count
}

/// Takes frames until the end, and counts them; each must be the next one.
pub(crate) async fn receive_all(
    channel: Channel,
    stream: u64,
    largest: usize,
    passed: Arc<AtomicU64>,
) -> u64 {
    let mut count = 0;
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(30), channel.recv())
            .await
            .unwrap_or_else(|_| panic!("stream {stream} stands still after {count} frames"));
        let Some(frame) = frame.expect("the session lives") else {
            return count;
        };
        assert!(
            frame == numbered(stream, count, largest),
            "stream {stream}: frame {count} is not what was sent"
        );
        count += 1;
        passed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Both directions loaded while links are cut; each frame arrives once, in order. `name` is for the report.
pub(crate) async fn storm(name: &str, line: &Line, cuts: u64, cut: Cut) {
    const LARGEST: usize = 3000;
    let stop = Arc::new(AtomicBool::new(false));
    let passed = Arc::new(AtomicU64::new(0));
    let send = |channel: &Channel, stream| {
        tokio::spawn(send_until(channel.clone(), stream, LARGEST, stop.clone()))
    };
    let receive = |channel: &Channel, stream| {
        tokio::spawn(receive_all(
            channel.clone(),
            stream,
            LARGEST,
            passed.clone(),
        ))
    };
    let senders = [send(&line.client, 1), send(&line.server, 2)];
    let receivers = [receive(&line.server, 1), receive(&line.client, 2)];
    let before = line.chaos.cuts();
    for _ in 0..cuts {
        let seen = passed.load(Ordering::Relaxed);
        until("frames arrive", || {
            passed.load(Ordering::Relaxed) >= seen + 20
        })
        .await;
        let done = line.chaos.cuts();
        // What arrived may have come over a link that is gone already: then there is none to be cut yet.
        until("the cut", || {
            line.chaos.cut(cut);
            line.chaos.cuts() > done
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for task in senders.into_iter().chain(receivers) {
        counts.push(
            within("the end of the storm", task)
                .await
                .expect("no panic"),
        );
    }
    assert_eq!(counts[..2], counts[2..], "frames sent and received");
    let cuts_done = line.chaos.cuts() - before;
    assert!(cuts_done >= cuts);
    let frames = counts[0] + counts[1];
    eprintln!("{name}: {cuts_done} cuts, {frames} frames, each once and in order");
}

/// `RESUME_STORM=1000 cargo test --release -p rpyc-actors --test resume --test resume_sealed -- --nocapture` is the long form.
pub(crate) fn storms() -> u64 {
    std::env::var("RESUME_STORM").map_or(25, |text| text.parse().expect("a number"))
}

/// How long it takes from a cut to the arrival of the first frame that was sent behind it.
pub(crate) async fn gaps(name: &str, line: &Line, cuts: u64) {
    let mut gaps = Vec::new();
    for number in 0..cuts {
        line.client.send("before").await.expect("the session lives");
        within("a frame", line.server.recv())
            .await
            .expect("no loss");
        let done = line.chaos.cuts();
        let cut = Instant::now();
        line.chaos.cut(if number % 2 == 0 {
            Cut::Reset
        } else {
            Cut::Finish
        });
        // Else the frame might still slip through.
        while line.chaos.cuts() == done {
            tokio::task::yield_now().await;
        }
        line.client.send("behind").await.expect("the session lives");
        within("the frame behind the cut", line.server.recv())
            .await
            .expect("no loss");
        gaps.push(cut.elapsed());
    }
    gaps.sort();
    let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share) as usize];
    let (half, most) = (at(0.5), at(0.99));
    eprintln!("{name}: {cuts} cuts, to the first new frame p50 {half:?}, p99 {most:?}");
    // A loaded machine takes longer than the promise, which the long form holds; a wait for some timer longer than that.
    let promise = if cfg!(debug_assertions) { 200 } else { 10 };
    assert!(half < Duration::from_millis(promise), "{half:?}");
    assert!(most < 10 * Duration::from_millis(promise), "{most:?}");
}
