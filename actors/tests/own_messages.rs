//! Messages that a user adds to the actor of a channel: its context does what actix's own does.

mod support;

use actix::prelude::*;
use futures_util::FutureExt;
use rpyc_actors::Head;
use support::{pair, until, within};
use tokio::sync::oneshot;

type HeadContext = <Head as Actor>::Context;

/// What a handler does with a future that ends when it is told to.
enum How {
    Spawn,
    Wait,
    SpawnAndCancel,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Run {
    how: How,
    until: oneshot::Receiver<()>,
    done: oneshot::Sender<()>,
}

impl Handler<Run> for Head {
    type Result = ();

    fn handle(&mut self, Run { how, until, done }: Run, ctx: &mut HeadContext) {
        let future = async move {
            let _ = until.await;
        };
        let future = future.into_actor(self).map(move |(), _, _| {
            let _ = done.send(());
        });
        match how {
            How::Spawn => drop(ctx.spawn(future)),
            How::Wait => ctx.wait(future),
            How::SpawnAndCancel => {
                let handle = ctx.spawn(future);
                assert!(ctx.cancel_future(handle) && !ctx.cancel_future(handle));
            }
        }
    }
}

/// Answered in its turn.
#[derive(Message)]
#[rtype(result = "bool")]
struct IsWaiting;

impl Handler<IsWaiting> for Head {
    type Result = bool;

    fn handle(&mut self, _: IsWaiting, ctx: &mut HeadContext) -> bool {
        ctx.waiting()
    }
}

async fn door() -> (rpyc_actors::Channel, rpyc_actors::Channel, Addr<Head>) {
    let (channel, peer) = pair().await;
    until("the actor", || channel.address().is_some()).await;
    let door = channel.address().expect("it is there");
    (channel, peer, door)
}

fn run(how: How) -> (Run, oneshot::Sender<()>, oneshot::Receiver<()>) {
    let ((go, until), (done, is_done)) = (oneshot::channel(), oneshot::channel());
    (Run { how, until, done }, go, is_done)
}

#[tokio::test]
async fn a_spawned_future_runs_beside_the_messages() {
    let (_channel, _peer, door) = door().await;
    let (message, go, is_done) = run(How::Spawn);
    door.send(message).await.expect("it lives");
    let answered = within("an answer", door.send(IsWaiting)).await;
    assert!(!answered.expect("it lives"));
    go.send(()).expect("it is awaited");
    within("the future", is_done).await.expect("it ran");
}

#[tokio::test]
async fn a_future_that_is_waited_for_keeps_messages_waiting() {
    let (channel, peer, door) = door().await;
    let (message, go, mut is_done) = run(How::Wait);
    door.send(message).await.expect("it lives");
    let mut answer = Box::pin(door.send(IsWaiting));
    // What the channel itself has to do goes on.
    channel.send("frame").await.expect("open");
    let frame = within("a frame", peer.recv()).await.expect("no loss");
    assert_eq!(frame.expect("not the end"), "frame");
    assert!((&mut answer).now_or_never().is_none() && is_done.try_recv().is_err());
    go.send(()).expect("it is awaited");
    assert!(
        !within("an answer", answer).await.expect("it lives"),
        "the wait is over"
    );
    within("the future", is_done).await.expect("it ran");
}

#[tokio::test]
async fn a_cancelled_future_never_ends() {
    let (_channel, _peer, door) = door().await;
    let (message, go, is_done) = run(How::SpawnAndCancel);
    door.send(message).await.expect("it lives");
    assert!(go.send(()).is_err(), "nobody awaits it");
    within("the news", is_done)
        .await
        .expect_err("it was dropped");
}
