//! Polling: what `poll` tells of, and whom it leaves alone.

mod support;

use std::time::Duration;

use rpyc_actors::channel::TryRecvError;
use support::{PATIENCE, pair, within};

#[tokio::test]
async fn poll_sees_what_comes_behind_a_frame_that_fills_the_gate() {
    let (client, server) = pair().await;
    let sender = tokio::spawn(async move {
        for number in 0..4 {
            client.send(vec![number; 2 << 20]).await.expect("open");
        }
        client
    });
    for number in 0..4 {
        assert!(within("polling", server.poll(PATIENCE * 2)).await);
        let frame = server.try_recv().expect("it is there");
        assert_eq!(frame[0], number);
    }
    assert!(!server.poll(Duration::ZERO).await);
    within("the sender", sender).await.expect("no panic");
}

#[tokio::test]
async fn poll_sees_what_comes_behind_a_batch_that_a_receiver_took() {
    let (client, server) = pair().await;
    let sender = tokio::spawn(async move {
        for number in 0..4 {
            client.send(vec![number; 2 << 20]).await.expect("open");
        }
        client
    });
    let mut receiver = server.receiver().expect("the only one");
    for number in 0..4 {
        assert!(within("polling", server.poll(PATIENCE * 2)).await);
        let frame = within("receiving", receiver.recv()).await.expect("no loss");
        assert_eq!(frame.expect("not the end")[0], number);
    }
    within("the sender", sender).await.expect("no panic");
}

#[tokio::test]
async fn poll_is_true_at_the_end_and_after_a_loss() {
    let (client, server) = pair().await;
    client.finish().expect("open");
    assert!(within("polling", server.poll(PATIENCE * 2)).await);
    assert!(matches!(server.try_recv(), Err(TryRecvError::Ended)));
    server.abort();
    assert!(within("polling", client.poll(PATIENCE * 2)).await);
    assert!(matches!(client.try_recv(), Err(TryRecvError::Failed(_))));
}

#[tokio::test]
async fn a_poll_takes_no_wake_up_from_a_receive() {
    let (client, server) = pair().await;
    let polls: Vec<_> = (0..4)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move { server.poll(PATIENCE * 2).await })
        })
        .collect();
    let receive = tokio::spawn(async move { server.recv().await });
    tokio::task::yield_now().await;
    client.send("one").await.expect("open");
    let frame = within("receiving", receive).await.expect("no panic");
    assert_eq!(frame.expect("no loss"), Some("one".into()));
    client.finish().expect("open");
    for poll in polls {
        assert!(within("polling", poll).await.expect("no panic"));
    }
}
