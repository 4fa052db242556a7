//! Close, drop and finish: in order, and nothing under way is destroyed.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_with_unread_input_destroys_nothing_under_way() {
    // Each side sends far more than the kernel holds, then closes without having received anything.
    let (client, server) = pair().await;
    let flood = |channel: Channel| async move {
        let mut taken = 0u32;
        while let Ok(Ok(())) = tokio::time::timeout(
            Duration::from_millis(200),
            channel.send(numbered(taken, 10_000)),
        )
        .await
        {
            taken += 1;
        }
        taken
    };
    let from_server = tokio::spawn(flood(server.clone()));
    let sent = flood(client.clone()).await;
    let from_server = from_server.await.expect("no panic");
    assert!(sent > 100 && from_server > 100, "{sent} {from_server}");

    let closing = tokio::spawn(async move { client.close().await });
    let frames = drain(&server).await.expect("an orderly end");
    assert_numbered(&frames, sent);
    within("closing", server.close()).await.expect("taken");
    within("closing", closing)
        .await
        .expect("no panic")
        .expect("taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drop_with_unread_input_destroys_nothing_under_way() {
    let (client, server) = pair().await;
    for number in 0..50 {
        within("sending", server.send(numbered(number, 10_000)))
            .await
            .expect("open");
    }
    within("flushing", server.flush()).await.expect("open");
    for number in 0..80 {
        within("sending", client.send(numbered(number, 10_000)))
            .await
            .expect("open");
    }
    drop(client);
    let frames = drain(&server).await.expect("an orderly end");
    assert_numbered(&frames, 80);
}

#[tokio::test]
async fn close_gives_up_on_a_peer_that_never_reads() {
    let limits = Limits::default().close_timeout(Duration::from_millis(300));
    let (channel, mut peer) = channel_and_peer(limits).await;
    let mut taken = 0u32;
    while tokio::time::timeout(Duration::from_millis(200), channel.send(vec![1; 100_000]))
        .await
        .is_ok()
    {
        taken += 1;
    }
    assert!(taken > 1);
    let started = std::time::Instant::now();
    let error = within("closing", channel.close())
        .await
        .expect_err("nobody reads");
    assert!(matches!(error, StreamError::TimedOut { .. }), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(300));
    // The peer sees that something was lost.
    let mut rest = Vec::new();
    let result = within("reading", peer.read_to_end(&mut rest)).await;
    assert!(result.is_err(), "an orderly end after {} bytes", rest.len());
}

#[tokio::test]
async fn close_gives_up_on_a_peer_that_never_ends() {
    let limits = Limits::default().close_timeout(Duration::from_millis(300));
    let (channel, mut peer) = channel_and_peer(limits).await;
    within("sending", channel.send("hello"))
        .await
        .expect("open");
    let started = std::time::Instant::now();
    // What was accepted reached the kernel, so this is no error.
    within("closing", channel.close()).await.expect("taken");
    assert!(started.elapsed() >= Duration::from_millis(300));
    let mut came = vec![0; 11];
    within("reading", peer.read_exact(&mut came))
        .await
        .expect("sent");
    assert_eq!(came, frame(b"hello"));
}

#[tokio::test]
async fn close_ends_early_when_the_peer_ends() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let closing = tokio::spawn({
        let channel = channel.clone();
        async move { channel.close().await }
    });
    let mut came = Vec::new();
    within("reading", peer.read_to_end(&mut came))
        .await
        .expect("our end comes");
    drop(peer);
    let closed = tokio::time::timeout(Duration::from_secs(4), closing).await;
    closed
        .expect("long before the 5 s")
        .expect("no panic")
        .expect("taken");
    within("closing twice", channel.close())
        .await
        .expect("no error");
}

#[tokio::test]
async fn everything_is_refused_after_close() {
    let (client, server) = pair().await;
    drop(server);
    within("closing", client.close())
        .await
        .expect("nothing sent");
    assert!(client.closed());
    let refused = client.send("late").await.expect_err("closed");
    assert_eq!(refused.item, "late");
    assert!(matches!(refused.reason, StreamError::Closed));
    assert!(matches!(
        client.try_send("late"),
        Err(TrySendError::Closed(_))
    ));
    assert!(matches!(
        client.send_slice(b"late").await,
        Err(StreamError::Closed)
    ));
    let refused = client
        .send_all(["a".into(), "b".into()])
        .await
        .expect_err("closed");
    assert_eq!(refused.item.len(), 2);
    assert!(matches!(
        within("receiving", client.recv()).await,
        Err(StreamError::Closed)
    ));
    assert!(matches!(
        client.try_recv(),
        Err(TryRecvError::Failed(StreamError::Closed))
    ));
    assert!(matches!(
        within("flushing", client.flush()).await,
        Err(StreamError::Closed)
    ));
    assert!(client.finish().is_err());
    assert!(within("polling", client.poll(PATIENCE)).await);
}

#[tokio::test]
async fn close_wakes_a_receive_that_waits() {
    let (client, _server) = pair().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.recv().await }
    });
    tokio::task::yield_now().await;
    let closing = tokio::spawn(async move { client.close().await });
    let result = within("the receive", waiting).await.expect("no panic");
    assert!(matches!(result, Err(StreamError::Closed)));
    closing.abort();
}

#[tokio::test]
async fn finish_goes_behind_what_was_sent_before() {
    for count in [0u32, 1, 50, 500] {
        let (client, server) = pair().await;
        for number in 0..count {
            within("sending", client.send(numbered(number, 1000)))
                .await
                .expect("open");
        }
        client.finish().expect("open");
        assert_numbered(&drain(&server).await.expect("an orderly end"), count);
        // The other direction goes on.
        within("sending", server.send("answer"))
            .await
            .expect("open");
        assert_eq!(
            within("receiving", client.recv()).await.expect("no loss"),
            Some("answer".into())
        );
    }
}

#[test]
fn nothing_is_accepted_behind_a_finish_or_a_close() {
    // On the channel's own arbiter its actor does not run between these.
    actix::System::new().block_on(async {
        for closes in [false, true] {
            let (channel, _peer) = channel_and_peer(Limits::default()).await;
            channel.send("in time").await.expect("open");
            let closing = channel.close();
            if closes {
                let mut closing = std::pin::pin!(closing);
                assert!(poll_once(closing.as_mut()).await.is_none());
            } else {
                drop(closing);
                channel.finish().expect("open");
            }
            assert!(matches!(
                channel.try_send("late"),
                Err(TrySendError::Closed(_))
            ));
            let refused = channel.send("late").await.expect_err("finished");
            assert!(matches!(refused.reason, StreamError::Closed));
            assert!(channel.send_slice(b"late").await.is_err());
        }
    });
}

/// Polls a future a single time.
async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match future.as_mut().poll(cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_beside_a_finish_is_never_lost() {
    for _ in 0..200 {
        let (client, server) = pair().await;
        let sender = tokio::spawn({
            let client = client.clone();
            async move {
                let mut accepted = 0u32;
                while client.send(numbered(accepted, 8)).await.is_ok() {
                    accepted += 1;
                }
                accepted
            }
        });
        let receiver = tokio::spawn(async move { drain(&server).await });
        tokio::task::yield_now().await;
        client.finish().expect("open");
        let accepted = within("the sender", sender).await.expect("no panic");
        let frames = within("the receiver", receiver)
            .await
            .expect("no panic")
            .expect("an orderly end");
        assert_numbered(&frames, accepted);
    }
}
