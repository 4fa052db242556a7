//! Flush, abort, and connections that are lost in one direction or both.

use super::*;

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
