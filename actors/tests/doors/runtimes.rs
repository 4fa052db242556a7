//! Handles on any runtime and on any thread.

use super::*;

async fn ping_pong(client: &Channel, server: &Channel) {
    for size in [1, 5000, 300_000] {
        client.send(vec![1; size]).await.expect("open");
        let frame = within("there", server.recv()).await.expect("no loss");
        server
            .send(frame.expect("not the end"))
            .await
            .expect("open");
        let frame = within("back", client.recv()).await.expect("no loss");
        assert_eq!(frame.expect("not the end").len(), size);
    }
}

#[test]
fn handles_outlive_the_runtime_they_were_made_on() {
    let first = tokio::runtime::Runtime::new().expect("threads");
    let (client, server) = first.block_on(pair());
    drop(first);
    let second = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    second.block_on(ping_pong(&client, &server));
    drop(second);
    // No runtime at all.
    pollster::block_on(async {
        client.send("plain").await.expect("open");
        assert!(server.poll(PATIENCE).await);
        assert_eq!(server.recv().await.expect("no loss"), Some("plain".into()));
    });
}

#[test]
fn threads_share_a_channel_through_blocking_twins() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (client, server) = runtime.block_on(pair());
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let client = &client;
            scope.spawn(move || {
                for round in 0..200u8 {
                    let frame = vec![thread, round];
                    match round % 4 {
                        0 => client.send_blocking(frame).expect("open"),
                        1 => client.send_slice_blocking(&frame).expect("open"),
                        2 => client.send_all_blocking([frame.into()]).expect("open"),
                        _ => client
                            .send_batch_blocking(Frames::single(frame.into()))
                            .expect("open"),
                    }
                }
            });
        }
        let mut next = [0u8; 8];
        for _ in 0..1600 {
            assert!(server.poll_blocking(PATIENCE).expect("no arbiter"));
            let frame = server.recv_blocking().expect("no loss").expect("a frame");
            let (thread, round) = (usize::from(frame[0]), frame[1]);
            assert_eq!(round, next[thread]);
            next[thread] += 1;
        }
    });
    client.flush_blocking().expect("taken");
    server.finish().expect("open");
    client.close_blocking().expect("taken");
}

#[test]
fn inside_a_system_a_channel_stays_on_its_arbiter_and_blocking_is_refused() {
    System::new().block_on(async {
        let (client, server) = pair().await;
        let here = std::thread::current().id();
        let (sender, on) = std_mpsc::channel();
        client.arbiter().spawn_fn(move || {
            let _ = sender.send(std::thread::current().id());
        });
        ping_pong(&client, &server).await;
        assert_eq!(on.recv().expect("it ran"), here);

        let is_misuse = |error: StreamError| matches!(error, StreamError::ApiMisuse(_));
        let refused = client.send_blocking("frame").expect_err("an arbiter");
        assert!(refused.item == "frame" && is_misuse(refused.reason.clone()));
        assert!(is_misuse(
            client
                .send_slice_blocking(b"frame")
                .expect_err("an arbiter")
        ));
        let refused = client.send_all_blocking(["frame".into()]);
        assert!(is_misuse(refused.expect_err("an arbiter").reason.clone()));
        let batch = Frames::single("frame".into());
        let refused = client.send_batch_blocking(batch).expect_err("an arbiter");
        assert!(refused.item.len() == 1 && is_misuse(refused.reason.clone()));
        assert!(is_misuse(client.recv_blocking().expect_err("an arbiter")));
        assert!(is_misuse(client.flush_blocking().expect_err("an arbiter")));
        assert!(is_misuse(client.close_blocking().expect_err("an arbiter")));
        assert!(is_misuse(
            client.poll_blocking(PATIENCE).expect_err("an arbiter")
        ));
        let mut receiver = client.receiver().expect("the only one");
        assert!(is_misuse(receiver.recv_blocking().expect_err("an arbiter")));
        assert!(is_misuse(
            receiver.recv_batch_blocking().expect_err("an arbiter")
        ));
        drop(receiver);
        // None of it did any harm.
        ping_pong(&client, &server).await;
    });
}

#[test]
fn a_runtime_is_used_when_it_is_passed() {
    let runtime = Runtime::start(2).expect("threads");
    assert_eq!(runtime.arbiters().len(), 2);
    assert!(matches!(
        Runtime::with_arbiters([]),
        Err(StreamError::ApiMisuse(_))
    ));
    let tokio = tokio::runtime::Runtime::new().expect("threads");
    tokio.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let chain = rpyc_actors::Chain::to(&format!("tcp://127.0.0.1:{port}"))
            .expect("an endpoint")
            .runtime(runtime.clone());
        let mut threads = Vec::new();
        for _ in 0..4 {
            let channel = within("connecting", chain.connect()).await.expect("up");
            let (sender, on) = std_mpsc::channel();
            channel.arbiter().spawn_fn(move || {
                let _ = sender.send(std::thread::current().id());
            });
            threads.push(on.recv().expect("it ran"));
        }
        assert_eq!(threads[0], threads[2]);
        assert_eq!(threads[1], threads[3]);
        assert_ne!(threads[0], threads[1], "connections are spread in turn");
    });
}
