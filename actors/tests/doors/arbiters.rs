//! Arbiters and systems that stop under a channel.

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::*;

/// A channel to a plain socket, on an arbiter that the test may stop.
async fn on_own_arbiter() -> (ArbiterHandle, Channel, tokio::net::TcpStream) {
    let runtime = Runtime::start(1).expect("a thread");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let chain = rpyc_actors::Chain::to(&format!("tcp://127.0.0.1:{port}"))
        .expect("an endpoint")
        .runtime(runtime.clone());
    let channel = within("connecting", chain.connect()).await.expect("up");
    let (peer, _) = listener.accept().await.expect("a client");
    (runtime.arbiters()[0].clone(), channel, peer)
}

#[tokio::test]
async fn an_arbiter_that_stops_ends_everything_with_an_error() {
    let (arbiter, channel, _peer) = on_own_arbiter().await;
    // Until the kernels are full, too.
    while tokio::time::timeout(Duration::from_millis(300), channel.send(vec![1; 300_000]))
        .await
        .is_ok()
    {}
    let receive = tokio::spawn({
        let channel = channel.clone();
        async move { channel.recv().await.is_err() }
    });
    let poll = tokio::spawn({
        let channel = channel.clone();
        async move { channel.poll(PATIENCE * 2).await }
    });
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                while channel.send(vec![1; 300_000]).await.is_ok() {}
                channel.flush().await.is_err()
            })
        })
        .collect();
    let flush = tokio::spawn({
        let channel = channel.clone();
        async move { channel.flush().await.is_err() }
    });
    let close = tokio::spawn({
        let channel = channel.clone();
        async move { channel.close().await.is_err() }
    });
    // All of them wait by now.
    tokio::task::yield_now().await;
    arbiter.stop();
    assert!(within("receiving", receive).await.expect("no panic"));
    assert!(within("flushing", flush).await.expect("no panic"));
    for sender in senders {
        assert!(within("sending", sender).await.expect("no panic"));
    }
    assert!(within("closing", close).await.expect("no panic"));
    let _ = within("polling", poll).await.expect("no panic");
    assert!(channel.closed());
    assert!(within("sending", channel.send("late")).await.is_err());
    assert!(within("receiving", channel.recv()).await.is_err());
    assert!(within("closing", channel.close()).await.is_err());
}

#[tokio::test]
async fn a_channel_that_is_made_while_its_arbiter_stops_is_closed() {
    let runtime = Runtime::start(1).expect("a thread");
    let arbiter = runtime.arbiters()[0].clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let chain = rpyc_actors::Chain::to(&format!("tcp://127.0.0.1:{port}"))
        .expect("an endpoint")
        .runtime(runtime.clone());
    let stream = within("opening", chain.open()).await.expect("up");
    // The arbiter is busy while its stop and the channel's start come in.
    let (release, blocked) = std_mpsc::channel::<()>();
    let (begun, begins) = std_mpsc::channel();
    arbiter.spawn_fn(move || {
        let _ = begun.send(());
        let _ = blocked.recv();
    });
    begins.recv().expect("it runs");
    arbiter.stop();
    let channel = Channel::new(stream);
    release.send(()).expect("it waits");
    assert!(within("receiving", channel.recv()).await.is_err());
    assert!(within("sending", channel.send("late")).await.is_err());
    assert!(within("flushing", channel.flush()).await.is_err());
    assert!(channel.closed());
}

#[tokio::test]
async fn a_stopped_arbiter_is_named() {
    let runtime = Runtime::start(1).expect("a thread");
    let arbiter = runtime.arbiters()[0].clone();
    arbiter.stop();
    let chain = rpyc_actors::Chain::to("tcp://127.0.0.1:1")
        .expect("an endpoint")
        .runtime(runtime);
    let error = within("connecting", chain.connect())
        .await
        .expect_err("stopped");
    assert!(matches!(error, StreamError::ApiMisuse(_)), "{error}");
}

#[test]
fn a_system_that_ends_takes_its_channels_down() {
    let (sender, receiver) = std_mpsc::channel();
    let collected = Arc::new(Mutex::new(None));
    let thread = std::thread::spawn({
        let collected = collected.clone();
        move || {
            System::new().block_on(async {
                let (stream, peer) = stream_and_peer(Default::default()).await;
                let channel = Channel::new(SocketStream::clone(&stream));
                *collected.lock().expect("no panic") = Some((channel, peer.into_std()));
                sender.send(()).expect("the test waits");
            });
        }
    });
    receiver.recv().expect("it ran");
    thread.join().expect("no panic");
    let (channel, _peer) = collected
        .lock()
        .expect("no panic")
        .take()
        .expect("a channel");
    let tokio = tokio::runtime::Runtime::new().expect("threads");
    tokio.block_on(async {
        assert!(within("receiving", channel.recv()).await.is_err());
        assert!(within("sending", channel.send("late")).await.is_err());
    });
}

/// On the channel's own arbiter a question goes when whoever asked it waits for the answer, and not one turn later; before
/// that, what is sent gathers.
#[tokio::test]
async fn a_question_goes_when_its_sender_waits() {
    let (channel, _peer) = pair().await;
    let asker = channel.clone();
    let (done, is_done) = oneshot::channel();
    channel.arbiter().spawn(async move {
        asker.flush().await.expect("it lives");
        let before = asker.stats().batches_sent;
        asker.send_slice(b"one").await.expect("it lives");
        asker.send_slice(b"two").await.expect("it lives");
        let gathered = asker.stats().batches_sent - before;
        let answer = asker.recv().now_or_never();
        let stats = asker.stats();
        let sent = stats.batches_sent - before;
        let under_way = stats.bytes_under_way;
        let _ = done.send((gathered, answer.is_none(), sent, under_way));
    });
    // One batch of two frames, which the kernel has.
    let asked = within("asking", is_done).await;
    assert_eq!(asked, Ok((0, true, 1, 0)));
}
