//! How a channel ends: finish, close, drop, abort and loss, with data under way in both directions.

mod support;

use std::{io, time::Duration};

use bytes::Bytes;
use rpyc_actors::{
    Channel, FramesBuilder, Limits, PipeStream, SocketStream, StreamError, channel::TryRecvError,
    channel::TrySendError, error::LossReason,
};
use support::{
    PATIENCE, channel_and_peer, flagged, frame, pair, pair_with, stream_and_peer, until, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Receives until the end, and gives what came.
async fn drain(channel: &Channel) -> Result<Vec<Bytes>, (Vec<Bytes>, StreamError)> {
    let mut frames = Vec::new();
    loop {
        match within("receiving", channel.recv()).await {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return Ok(frames),
            Err(error) => return Err((frames, error)),
        }
    }
}

fn numbered(number: u32, size: usize) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(size.max(4), number as u8);
    payload.into()
}

fn assert_numbered(frames: &[Bytes], count: u32) {
    assert_eq!(frames.len(), count as usize);
    for (number, frame) in (0..).zip(frames) {
        assert_eq!(frame[..4], u32::to_be_bytes(number), "out of order");
    }
}

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

#[tokio::test]
async fn flush_resolves_when_the_kernel_took_everything_and_not_before() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let mut sent = 0usize;
    while tokio::time::timeout(Duration::from_millis(200), channel.send(vec![1; 100_000]))
        .await
        .is_ok()
    {
        sent += 1;
    }
    let mut flush = tokio::spawn({
        let channel = channel.clone();
        async move { channel.flush().await }
    });
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut flush)
            .await
            .is_err(),
        "the kernel cannot have taken everything"
    );
    let mut came = vec![0; sent * 100_006];
    within("reading", peer.read_exact(&mut came))
        .await
        .expect("sent");
    within("flushing", flush)
        .await
        .expect("no panic")
        .expect("taken");
    assert_eq!(channel.stats().bytes_under_way, 0);
}

#[tokio::test]
async fn abort_resets_and_drops_what_is_under_way() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    within("sending", channel.send("hello"))
        .await
        .expect("open");
    within("flushing", channel.flush()).await.expect("open");
    channel.abort();
    let error = within("receiving", channel.recv())
        .await
        .expect_err("aborted");
    let StreamError::ConnectionLost(lost) = error else {
        panic!("not a loss: {error}")
    };
    assert!(matches!(lost.reason, LossReason::Aborted), "{lost}");
    let mut came = vec![0; 11];
    let reset = within("reading", async {
        peer.read_exact(&mut came).await?;
        peer.read(&mut came).await
    })
    .await
    .expect_err("a reset");
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    let refused = within("sending", channel.send("late"))
        .await
        .expect_err("aborted");
    assert!(refused.reason.is_connection_lost());
}

#[tokio::test]
async fn abort_wakes_senders_that_wait_for_credit() {
    let (channel, _peer) = channel_and_peer(Limits::default()).await;
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { while channel.send(vec![1; 300_000]).await.is_ok() {} })
        })
        .collect();
    until("the credit is used up", || {
        matches!(
            channel.try_send(vec![1; 300_000]),
            Err(TrySendError::Full(_))
        )
    })
    .await;
    channel.abort();
    for sender in senders {
        within("a sender", sender).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_peer_that_vanishes_ends_everything_with_its_loss() {
    let (channel, peer) = channel_and_peer(Limits::default()).await;
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.recv().await }
    });
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket");
    drop(peer);
    let error = within("receiving", waiting)
        .await
        .expect("no panic")
        .expect_err("reset");
    assert!(error.is_connection_lost(), "{error}");
    assert!(error.to_string().contains("tcp://127.0.0.1:"), "{error}");
    until("the channel knows", || channel.closed()).await;
    assert!(within("flushing", channel.flush()).await.is_err());
    assert!(within("closing", channel.close()).await.is_err());
}

/// A channel over two pipes, and the peer's ends of them.
async fn channel_over_pipes() -> (Channel, io::PipeReader, io::PipeWriter) {
    let (input, to_us) = io::pipe().expect("pipes");
    let (from_us, output) = io::pipe().expect("pipes");
    let stream = within("starting", PipeStream::new(input, output))
        .await
        .expect("pipes");
    (Channel::new(stream), from_us, to_us)
}

/// True once nobody reads from the pipe any more.
fn nobody_reads(pipe: &mut io::PipeWriter) -> bool {
    io::Write::write(pipe, b"").is_ok()
        && io::Write::write(pipe, &frame(b"x"))
            .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[tokio::test]
async fn a_peer_that_reads_no_more_may_still_send() {
    let (channel, from_us, mut to_us) = channel_over_pipes().await;
    drop(from_us);
    within("sending", channel.send("lost")).await.expect("open");
    assert!(within("flushing", channel.flush()).await.is_err());
    let refused = within("sending", channel.send("late")).await;
    assert!(refused.is_err_and(|error| error.reason.is_connection_lost()));
    io::Write::write_all(&mut to_us, &frame(b"still here")).expect("a reader");
    assert_eq!(
        within("receiving", channel.recv()).await.expect("no loss"),
        Some("still here".into())
    );
}

/// Returns when all actors of the channel know that nobody reads what it writes.
async fn fail_a_write(channel: &Channel, from_us: io::PipeReader, to_us: &mut io::PipeWriter) {
    drop(from_us);
    within("sending", channel.send("lost")).await.expect("open");
    assert!(within("flushing", channel.flush()).await.is_err());
    // What comes up behind the news tells that they passed.
    io::Write::write_all(to_us, &frame(b"news")).expect("a reader");
    assert!(within("receiving", channel.recv()).await.is_ok());
}

#[tokio::test]
async fn drop_after_a_failed_write_closes_the_connection() {
    let (channel, from_us, mut to_us) = channel_over_pipes().await;
    fail_a_write(&channel, from_us, &mut to_us).await;
    drop(channel);
    until("the reading end is closed", || nobody_reads(&mut to_us)).await;
}

#[tokio::test]
async fn abort_after_a_failed_write_closes_the_connection() {
    let (channel, from_us, mut to_us) = channel_over_pipes().await;
    fail_a_write(&channel, from_us, &mut to_us).await;
    channel.abort();
    until("the reading end is closed", || nobody_reads(&mut to_us)).await;
}

#[tokio::test]
async fn close_after_a_failed_write_says_so_and_closes_the_connection() {
    let (channel, from_us, mut to_us) = channel_over_pipes().await;
    fail_a_write(&channel, from_us, &mut to_us).await;
    assert!(within("closing", channel.close()).await.is_err());
    until("the reading end is closed", || nobody_reads(&mut to_us)).await;
}

// ---- peers that misbehave ----

#[tokio::test]
async fn a_frame_above_the_limit_names_endpoint_and_limit() {
    let (bystander, bystander_peer) = pair().await;
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let mut wire = frame(b"good");
    wire.extend(((64u32 << 20) + 1).to_be_bytes());
    wire.push(0);
    within("writing", peer.write_all(&wire))
        .await
        .expect("open");
    assert_eq!(
        within("receiving", channel.recv()).await.expect("whole"),
        Some("good".into())
    );
    let error = within("receiving", channel.recv())
        .await
        .expect_err("too large");
    let StreamError::LimitExceeded {
        limit,
        got,
        endpoint,
        ..
    } = &error
    else {
        panic!("not a limit: {error}")
    };
    assert_eq!((*limit, *got), (64 << 20, (64 << 20) + 1));
    assert_eq!(endpoint.as_deref(), Some(channel.endpoint()));
    let refused = within("sending", channel.send("late")).await;
    assert!(refused.is_err());
    // The peer is cut off, and nobody else is harmed.
    let mut rest = [0; 1];
    assert!(
        !within("reading", peer.read(&mut rest))
            .await
            .is_ok_and(|count| count > 0)
    );
    within("sending", bystander.send("fine"))
        .await
        .expect("open");
    assert_eq!(
        within("receiving", bystander_peer.recv())
            .await
            .expect("open"),
        Some("fine".into())
    );
}

#[tokio::test]
async fn a_frame_cut_short_is_a_loss_that_says_where() {
    let (bystander, bystander_peer) = pair().await;
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let mut wire = frame(b"good");
    wire.extend(&frame(&[1; 100])[..50]);
    within("writing", peer.write_all(&wire))
        .await
        .expect("open");
    drop(peer);
    let (frames, error) = drain(&channel).await.expect_err("cut short");
    assert_eq!(frames, ["good"]);
    let StreamError::ConnectionLost(lost) = error else {
        panic!("not a loss: {error}")
    };
    assert_eq!(*lost.endpoint, *channel.endpoint());
    assert!(
        matches!(
            lost.reason,
            LossReason::Truncated {
                got: 50,
                due: 106,
                ..
            }
        ),
        "{lost}"
    );
    within("sending", bystander.send("fine"))
        .await
        .expect("open");
    assert_eq!(
        within("receiving", bystander_peer.recv())
            .await
            .expect("open"),
        Some("fine".into())
    );
}

#[tokio::test]
async fn a_bad_compressed_frame_ends_the_channel_at_once() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    let good = flagged(1, &support::deflated(b"good"));
    let wire = [good.clone(), flagged(1, b"bad"), good, frame(b"late")].concat();
    within("writing", peer.write_all(&wire))
        .await
        .expect("open");
    let (frames, error) = drain(&channel).await.expect_err("not zlib");
    assert_eq!(frames, ["good"]);
    let StreamError::Compression(error) = error else {
        panic!("not compression: {error}")
    };
    assert_eq!(error.endpoint.as_deref(), Some(channel.endpoint()));
}

#[tokio::test]
async fn garbage_is_an_error_and_not_a_hang() {
    let (channel, mut peer) = channel_and_peer(Limits::default()).await;
    within(
        "writing",
        peer.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"),
    )
    .await
    .expect("open");
    let (frames, error) = drain(&channel).await.expect_err("garbage");
    assert!(frames.is_empty());
    assert!(
        matches!(error, StreamError::LimitExceeded { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn frames_above_our_own_limit_are_not_sent_however_they_come() {
    let (channel, _peer) = channel_and_peer(Limits::default().max_frame(10_000)).await;
    let is_limit = |error: &StreamError| matches!(error, StreamError::LimitExceeded { .. });
    let refused = channel.send(vec![1; 10_001]).await.expect_err("too large");
    assert!(is_limit(&refused.reason) && refused.item.len() == 10_001);
    let error = channel.send_slice(&[1; 10_001]).await;
    assert!(is_limit(&error.expect_err("too large")));
    let refused = channel.try_send(vec![1; 10_001]).expect_err("too large");
    assert!(matches!(refused, TrySendError::Closed(error) if is_limit(&error.reason)));
    let mut builder = FramesBuilder::new();
    builder.push_slice(b"small");
    builder.push_slice(&[1; 10_001]);
    let refused = channel
        .send_batch(builder.take())
        .await
        .expect_err("too large");
    assert!(is_limit(&refused.reason) && refused.item.len() == 2);
    // A refusal is not the end.
    channel.send(vec![1; 10_000]).await.expect("of the limit");
}

// ---- streams that are not channels ----

#[tokio::test]
async fn abort_of_a_stream_resets_while_its_handle_is_held() {
    let (stream, mut peer) = stream_and_peer(Default::default()).await;
    stream.abort();
    let mut byte = [0; 1];
    let error = within("reading", peer.read(&mut byte))
        .await
        .expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(within("reading", stream.read(1)).await.is_err());
    assert!(stream.closed());
}

#[tokio::test]
async fn closing_a_stream_under_a_channel_ends_the_channel() {
    let (stream, _peer) = stream_and_peer(Default::default()).await;
    let below: rpyc_actors::StreamHandle = SocketStream::clone(&stream).into();
    let channel = Channel::new(stream);
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.recv().await }
    });
    let closing = tokio::spawn(async move { below.close().await });
    assert!(
        within("receiving", waiting)
            .await
            .expect("no panic")
            .is_err()
    );
    assert!(within("sending", channel.send("late")).await.is_err());
    closing.abort();
}

#[tokio::test]
async fn a_dropped_stream_flushes_and_ends() {
    let (stream, mut peer) = stream_and_peer(Default::default()).await;
    within("writing", stream.write(vec![7; 3 << 20]))
        .await
        .expect("open");
    drop(stream);
    let mut came = Vec::new();
    within("reading", peer.read_to_end(&mut came))
        .await
        .expect("an orderly end");
    assert!(came.len() == 3 << 20 && came.iter().all(|byte| *byte == 7));
}

#[tokio::test]
async fn an_address_does_not_keep_the_channel_open() {
    let (client, server) = pair_with(Limits::default()).await;
    until("the actor runs", || client.address().is_some()).await;
    let address = client.address().expect("running");
    drop(client);
    assert_eq!(
        within("receiving", server.recv()).await.expect("an end"),
        None
    );
    drop(server);
    until("the actor is gone", || !address.connected()).await;
}
