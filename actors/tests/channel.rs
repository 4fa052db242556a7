//! Channels over real sockets.

use std::time::Duration;

use bytes::Bytes;
use rpyc_actors::{Chain, Channel, Endpoint, Listener, ListenerConfig, StreamError, TcpConfig};
use tokio::sync::mpsc;

/// A connected pair of channels over loopback TCP.
async fn pair() -> (Channel, Channel) {
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let accept = move |stream| {
        sender
            .send(Channel::new(stream))
            .expect("the test takes what is accepted")
    };
    let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept)
        .await
        .expect("a free port");
    let port = listener.port().expect("a TCP port");
    let client = Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()))
        .connect()
        .await
        .expect("a listener");
    let server = accepted.recv().await.expect("an accepted channel");
    (client, server)
}

#[tokio::test]
async fn frames_of_all_sizes_arrive_in_order() {
    let (client, server) = pair().await;
    let sizes = [0, 1, 64, 4096, 4097, 65_536, 1 << 20, 5 << 20];
    let sender = tokio::spawn(async move {
        for round in 0..3u8 {
            for size in sizes {
                client
                    .send(vec![round; size])
                    .await
                    .expect("the server reads");
            }
        }
        client.close().await.expect("the kernel takes everything");
    });
    for round in 0..3u8 {
        for size in sizes {
            let frame = server.recv().await.expect("no loss").expect("not the end");
            assert_eq!(frame.len(), size);
            assert!(frame.iter().all(|byte| *byte == round));
        }
    }
    assert!(server.recv().await.expect("an orderly end").is_none());
    server.close().await.expect("nothing to send");
    sender.await.expect("no panic");
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let (client, server) = pair().await;
    client.send("question").await.expect("open");
    client.finish().expect("open");
    assert!(matches!(
        client.send("late").await.map_err(StreamError::from),
        Err(StreamError::Closed)
    ));
    assert_eq!(
        server.recv().await.expect("no loss"),
        Some(Bytes::from("question"))
    );
    assert_eq!(server.recv().await.expect("an orderly end"), None);
    server.send("answer").await.expect("our direction is open");
    server.close().await.expect("taken");
    assert_eq!(
        client.recv().await.expect("no loss"),
        Some(Bytes::from("answer"))
    );
    assert_eq!(client.recv().await.expect("an orderly end"), None);
}

#[tokio::test]
async fn a_dropped_channel_delivers_what_was_accepted() {
    let (client, server) = pair().await;
    for number in 0..1000u32 {
        client
            .send(number.to_be_bytes().to_vec())
            .await
            .expect("open");
    }
    drop(client);
    for number in 0..1000u32 {
        let frame = server.recv().await.expect("no loss").expect("not the end");
        assert_eq!(frame, number.to_be_bytes()[..]);
    }
    assert!(server.recv().await.expect("an orderly end").is_none());
}

#[tokio::test]
async fn an_aborted_channel_is_lost_at_the_other_end() {
    let (client, server) = pair().await;
    client.send("hello").await.expect("open");
    client.flush().await.expect("taken");
    assert!(server.recv().await.expect("no loss").is_some());
    client.abort();
    let error = server.recv().await.expect_err("a reset");
    assert!(error.is_connection_lost(), "{error}");
    assert!(matches!(
        server.send("late").await.map_err(StreamError::from),
        Err(StreamError::ConnectionLost(_))
    ));
}

#[tokio::test]
async fn poll_tells_whether_a_receive_would_wait() {
    let (client, server) = pair().await;
    assert!(!server.poll(Duration::ZERO).await);
    assert!(!server.poll(Duration::from_millis(5)).await);
    client.send("hello").await.expect("open");
    assert!(server.poll(Duration::from_secs(20)).await);
    assert_eq!(server.try_recv().expect("it is there"), "hello");
}

#[test]
fn plain_threads_use_the_blocking_twins() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (client, server) = runtime.block_on(pair());
    let echo = std::thread::spawn(move || {
        while let Some(frame) = server.recv_blocking().expect("no loss") {
            server.send_blocking(frame).expect("the client reads");
        }
        server.close_blocking().expect("taken");
    });
    for size in [0, 10, 100_000] {
        client.send_blocking(vec![1; size]).expect("open");
        let frame = client
            .recv_blocking()
            .expect("no loss")
            .expect("not the end");
        assert_eq!(frame.len(), size);
    }
    client.close_blocking().expect("taken");
    echo.join().expect("no panic");
}
