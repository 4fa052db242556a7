//! A user's own actors around a channel: one consumes frames as messages, one produces them.
//!
//!     cargo run --example actor_system
//!
//! `Thermometer` sends `Write<Frames>` to the channel's actor, for which it reserves credit first. `Logbook` subscribes:
//! each `Read<Frames>` carries credit that returns when the logbook drops it, and so a slow logbook slows down the
//! thermometer at the other end of the connection, through both kernels, without a line of code for it. The example
//! starts its own peer, checks what it shows, and ends by itself.

use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use rpyc_actors::{
    Channel, ConnectionEvent, Endpoint, Frames, Head, Listener, ListenerConfig, SocketStream,
    StreamError, TcpConfig,
    channel::Subscribe,
    message::{Finish, Read, Write},
};
use tokio::sync::{mpsc, oneshot};

const READINGS: u32 = 200;
/// Large enough that all readings together are far above the credit of 1 MiB.
const READING_SIZE: usize = 64 << 10;
const BATCH: u32 = 5;

/// Produces readings, as fast as there is credit.
struct Thermometer {
    channel: Channel,
    door: Addr<Head>,
}

impl Actor for Thermometer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let (channel, door) = (self.channel.clone(), self.door.clone());
        let work = async move {
            for first in (0..READINGS).step_by(BATCH as usize) {
                let unit: Frames = (first..first + BATCH).map(reading).collect();
                // Waits here while the peer does not read; nothing piles up in a mailbox.
                let credit = channel.reserve(unit.wire_len()).await?;
                if door.try_send(Write { unit, credit }).is_err() {
                    return Err(StreamError::Closed);
                }
            }
            // Ends this direction behind the readings; messages between two actors keep their order.
            door.try_send(Finish).map_err(|_| StreamError::Closed)
        };
        ctx.spawn(work.into_actor(self).map(|result, _, ctx| {
            if let Err(error) = result {
                println!("thermometer  stops: {error}");
            }
            ctx.stop();
        }));
    }
}

fn reading(number: u32) -> Bytes {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(READING_SIZE, number as u8);
    payload.into()
}

/// What the logbook saw when all was over.
#[derive(Debug, Default)]
struct Summary {
    readings: u32,
    batches: u32,
    most_at_once: usize,
}

/// Consumes readings, more slowly than they could come.
struct Logbook {
    summary: Summary,
    done: Option<oneshot::Sender<Summary>>,
    /// Batches not worked on yet, with their credit.
    desk: Vec<Read<Frames>>,
}

impl Actor for Logbook {
    type Context = Context<Self>;
}

impl Handler<Read<Frames>> for Logbook {
    type Result = ();

    fn handle(&mut self, read: Read<Frames>, ctx: &mut Context<Self>) {
        self.desk.push(read);
        let on_desk: usize = self.desk.iter().map(|read| read.unit.wire_len()).sum();
        self.summary.most_at_once = self.summary.most_at_once.max(on_desk);
        // The work takes a moment. Until then the batch stays on the desk, and its credit with it.
        ctx.run_later(Duration::from_millis(1), Self::work);
    }
}

impl Logbook {
    fn work(&mut self, _: &mut Context<Self>) {
        if self.desk.is_empty() {
            return;
        }
        let Read { unit, credit } = self.desk.remove(0);
        self.summary.batches += 1;
        unit.for_each_slice(|payload| {
            let expected = reading(self.summary.readings);
            assert_eq!(payload, expected, "readings come whole and in order");
            self.summary.readings += 1;
        });
        // The peer may send as many bytes again.
        drop(credit);
    }
}

impl Handler<ConnectionEvent> for Logbook {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, ctx: &mut Context<Self>) {
        match event {
            ConnectionEvent::Ended { endpoint } => {
                println!("logbook      {endpoint} has ended its direction")
            }
            ConnectionEvent::Lost(error) => println!("logbook      {error}"),
            other => println!("logbook      {other:?}"),
        }
        // Facts overtake nothing: all frames are on the desk by now.
        while !self.desk.is_empty() {
            self.work(ctx);
        }
        if let Some(done) = self.done.take() {
            // Whoever waits for the summary may have gone.
            let _ = done.send(std::mem::take(&mut self.summary));
        }
    }
}

/// Waits for the actor of a channel; it is started on the channel's own arbiter.
async fn door_of(channel: &Channel) -> Addr<Head> {
    loop {
        match channel.address() {
            Some(address) => return address,
            None => tokio::task::yield_now().await,
        }
    }
}

async fn run() -> Result<Summary, StreamError> {
    // The peer: any process at the other end of a socket would do.
    let (sender, mut accepted) = mpsc::unbounded_channel();
    let accept = move |stream| {
        let _ = sender.send(Channel::new(stream));
    };
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept).await?;
    let port = listener.port().ok_or(StreamError::Closed)?;
    println!("listener     on {}", listener.local_address());

    let near = Channel::new(SocketStream::connect("127.0.0.1", port).await?);
    let far = accepted.recv().await.ok_or(StreamError::Closed)?;
    println!("channel      to {}", near.endpoint());

    let (done, summary) = oneshot::channel();
    let logbook = Logbook {
        summary: Summary::default(),
        done: Some(done),
        desk: Vec::new(),
    }
    .start();
    // Subscribers are held weakly: this function keeps the logbook, and the channel it listens to.
    let subscribe = Subscribe {
        frames: Some(logbook.downgrade().recipient()),
        events: Some(logbook.downgrade().recipient()),
    };
    door_of(&far)
        .await
        .try_send(subscribe)
        .map_err(|_| StreamError::Closed)?;

    let door = door_of(&near).await;
    Thermometer {
        channel: near.clone(),
        door,
    }
    .start();

    let summary = summary.await.map_err(|_| StreamError::Closed)?;
    let (near_closed, far_closed) = tokio::join!(near.close(), far.close());
    near_closed.and(far_closed)?;
    Ok(summary)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    // Everything is built inside this System, and so lives on its arbiter.
    let summary = System::new().block_on(async { actix_rt::spawn(run()).await })??;
    println!(
        "logbook      {} readings of 64 KiB in {} batches, at most {} KiB on the desk at once, {} ms in all",
        summary.readings,
        summary.batches,
        summary.most_at_once >> 10,
        started.elapsed().as_millis()
    );
    assert_eq!(summary.readings, READINGS);
    assert!(
        summary.most_at_once <= (1 << 20) + (256 << 10),
        "credit bounds what is on the desk"
    );
    Ok(())
}
