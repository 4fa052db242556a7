//! Actors that subscribe to a channel, write to it and command it.

use super::*;

/// What a subscriber saw, in order.
#[derive(Debug)]
enum Seen {
    Frames(Vec<Bytes>),
    Ended,
    Lost(String),
    Closed,
}

/// Keeps what comes until it is told to take it.
struct Subscriber {
    seen: mpsc::UnboundedSender<Seen>,
    held: Vec<Read<Frames>>,
    holds: bool,
}

impl Actor for Subscriber {
    type Context = Context<Self>;
}

impl Handler<Read<Frames>> for Subscriber {
    type Result = ();

    fn handle(&mut self, read: Read<Frames>, _: &mut Context<Self>) {
        // A test that is over takes nothing.
        let _ = self
            .seen
            .send(Seen::Frames(read.unit.clone().into_iter().collect()));
        if self.holds {
            self.held.push(read);
        }
    }
}

impl Handler<ConnectionEvent> for Subscriber {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        let seen = match event {
            ConnectionEvent::Ended { .. } => Seen::Ended,
            ConnectionEvent::Lost(error) => Seen::Lost(error.to_string()),
            ConnectionEvent::Closed { .. } => Seen::Closed,
            other => panic!("unexpected: {other:?}"),
        };
        let _ = self.seen.send(seen);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct LetGo;

impl Handler<LetGo> for Subscriber {
    type Result = ();

    fn handle(&mut self, _: LetGo, _: &mut Context<Self>) {
        self.held.clear();
        self.holds = false;
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for Subscriber {
    type Result = ();

    fn handle(&mut self, _: Die, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Starts a subscriber on the channel's arbiter.
async fn subscriber(
    channel: &Channel,
    holds: bool,
) -> (Addr<Subscriber>, mpsc::UnboundedReceiver<Seen>) {
    let (seen, sees) = mpsc::unbounded_channel();
    let (answer, address) = tokio::sync::oneshot::channel();
    channel.arbiter().spawn_fn(move || {
        let subscriber = Subscriber {
            seen,
            held: Vec::new(),
            holds,
        };
        let _ = answer.send(subscriber.start());
    });
    let address = within("starting", address).await.expect("an arbiter");
    until("the channel's actor runs", || channel.address().is_some()).await;
    channel
        .address()
        .expect("running")
        .try_send(Subscribe {
            frames: Some(address.downgrade().recipient()),
            events: Some(address.downgrade().recipient()),
        })
        .expect("running");
    (address, sees)
}

/// The next `count` frames that a subscriber sees.
async fn frames(sees: &mut mpsc::UnboundedReceiver<Seen>, count: usize) -> Vec<Bytes> {
    let mut all = Vec::new();
    while all.len() < count {
        match within("frames", sees.recv()).await.expect("alive") {
            Seen::Frames(frames) => all.extend(frames),
            other => panic!("not frames: {other:?}"),
        }
    }
    all
}

#[tokio::test]
async fn a_subscriber_gets_what_waits_and_what_comes_and_then_the_end() {
    let (client, server) = pair().await;
    client.send("before").await.expect("open");
    assert!(within("polling", server.poll(PATIENCE * 2)).await);
    let (_subscriber, mut sees) = subscriber(&server, false).await;
    assert_eq!(frames(&mut sees, 1).await, ["before"]);
    client.send("after").await.expect("open");
    assert_eq!(frames(&mut sees, 1).await, ["after"]);
    client.finish().expect("open");
    assert!(matches!(
        within("the end", sees.recv()).await,
        Some(Seen::Ended)
    ));
    within("closing", server.close()).await.expect("taken");
    assert!(matches!(
        within("the close", sees.recv()).await,
        Some(Seen::Closed)
    ));
}

#[tokio::test]
async fn a_subscriber_that_comes_late_still_learns_of_the_end() {
    let (client, server) = pair().await;
    client.send("before").await.expect("open");
    client.finish().expect("open");
    assert_eq!(
        within("receiving", server.recv()).await.expect("no loss"),
        Some("before".into())
    );
    assert_eq!(
        within("the end", server.recv()).await.expect("an end"),
        None
    );
    let (_subscriber, mut sees) = subscriber(&server, false).await;
    assert!(matches!(
        within("the end", sees.recv()).await,
        Some(Seen::Ended)
    ));
}

#[tokio::test]
async fn a_subscriber_learns_of_the_loss_with_its_reason() {
    let (channel, peer) = channel_and_peer(Default::default()).await;
    let (_subscriber, mut sees) = subscriber(&channel, false).await;
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(peer);
    match within("the loss", sees.recv()).await {
        Some(Seen::Lost(text)) => {
            assert!(
                text.contains(channel.endpoint()) && text.contains("reset"),
                "{text}"
            );
        }
        other => panic!("not a loss: {other:?}"),
    }
}

#[tokio::test]
async fn credit_returns_as_a_subscriber_consumes() {
    let (client, server) = pair().await;
    let (address, mut sees) = subscriber(&server, true).await;
    let sender = tokio::spawn(async move {
        for _ in 0..100 {
            client.send(vec![1; 500_000]).await.expect("open");
        }
        client
    });
    // It holds what it got, so the flow stops after what the credit and the kernels let through.
    let mut came = frames(&mut sees, 2).await.len();
    while let Ok(seen) = tokio::time::timeout(Duration::from_millis(300), sees.recv()).await {
        match seen {
            Some(Seen::Frames(frames)) => came += frames.len(),
            other => panic!("not frames: {other:?}"),
        }
    }
    assert!(came < 10, "{came} frames of 500 kB passed a gate of 1 MiB");
    address.try_send(LetGo).expect("alive");
    frames(&mut sees, 100 - came).await;
    within("the sender", sender).await.expect("no panic");
}

#[tokio::test]
async fn frames_of_a_subscriber_that_died_go_to_the_inbox() {
    let (client, server) = pair().await;
    let (address, mut sees) = subscriber(&server, false).await;
    client.send("one").await.expect("open");
    assert_eq!(frames(&mut sees, 1).await, ["one"]);
    address.try_send(Die).expect("alive");
    until("it died", || !address.connected()).await;
    client.send("two").await.expect("open");
    assert_eq!(
        within("receiving", server.recv()).await.expect("no loss"),
        Some("two".into())
    );
    // Another one may take over.
    let (_next, mut sees) = subscriber(&server, false).await;
    client.send("three").await.expect("open");
    assert_eq!(frames(&mut sees, 1).await, ["three"]);
}

#[tokio::test]
async fn an_actor_writes_with_reserved_credit() {
    let (client, server) = pair().await;
    until("the actor runs", || client.address().is_some()).await;
    let address = client.address().expect("running");
    for number in 0..100u8 {
        let unit = Frames::single(vec![number; 100_000].into());
        let credit = within("reserving", client.reserve(unit.wire_len()))
            .await
            .expect("open");
        address.try_send(Write { unit, credit }).expect("running");
        if number % 10 == 9 {
            for _ in 0..10 {
                assert!(
                    within("receiving", server.recv())
                        .await
                        .expect("no loss")
                        .is_some()
                );
            }
        }
    }
    let (flush, flushed) = Flush::new();
    address.try_send(flush).expect("running");
    within("flushing", flushed)
        .await
        .expect("answered")
        .expect("taken");
    assert_eq!(client.stats().bytes_under_way, 0);
    assert_eq!(client.stats().frames_sent, 100);
}

#[test]
fn messages_of_control_go_behind_what_handles_sent() {
    // On the channel's own arbiter nothing is drained between a send and a message.
    System::new().block_on(async {
        for round in 0..3 {
            let (channel, mut peer) = channel_and_peer(Default::default()).await;
            until("the actor runs", || channel.address().is_some()).await;
            let address = channel.address().expect("running");
            channel.send("hello").await.expect("open");
            let (flush, flushed) = Flush::new();
            match round {
                0 => {}
                1 => address.try_send(Finish).expect("running"),
                _ => address.try_send(Close).expect("running"),
            }
            address.try_send(flush).expect("running");
            within("flushing", flushed)
                .await
                .expect("answered")
                .expect("taken");
            assert_eq!(channel.stats().bytes_under_way, 0, "round {round}");
            let mut came = vec![0; 11];
            within("reading", peer.read_exact(&mut came))
                .await
                .expect("sent");
            assert_eq!(came, frame(b"hello"), "round {round}");
            if round > 0 {
                assert_eq!(
                    within("the end", peer.read(&mut came))
                        .await
                        .expect("an end"),
                    0
                );
            }
        }
    });
}
