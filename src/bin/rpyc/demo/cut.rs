//! A connection that is cut on purpose, again and again, under a session that goes on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, Context, Handler};
use bytes::Bytes;
use rpyc::{
    Chain, Channel, ConnectionEvent, Key, Layers, Listener, ListenerConfig, Runtime, StreamError,
    StreamHandle,
    channel::Subscribe,
    codec::{EncryptConfig, ResumeConfig},
};
use tokio::sync::mpsc;

use super::{measure, paint::Paint, tcp};
use crate::{Failure, output};

/// How often the connection is cut.
const CUTS: u64 = 4;
/// Frames that are sent before each cut, and as many behind it.
const BURST: u64 = 2_500;
/// Frames after which others on the arbiter have their turn, so that some are under way when the cut comes.
const AT_ONCE: u64 = 100;

/// Connections of the far end, from which one can be torn.
type Links = Arc<Mutex<Vec<StreamHandle>>>;

/// What became of one cut.
struct Healed {
    reason: String,
    connection: u64,
    downtime: Duration,
}

pub(crate) async fn show(
    near: &Runtime,
    far: &ListenerConfig,
    paint: Paint,
) -> Result<(), Failure> {
    paint.heading(
        "A connection that is cut in the middle",
        "layers resume and encrypt at both ends",
    )?;
    let key = Key::generate().map_err(|error| Failure::Unavailable(error.to_string()))?;
    let layers = Layers::new()
        .resume(ResumeConfig::default())
        .encrypt(EncryptConfig::new(key));
    let links = Links::default();
    let (kept, accepting) = (links.clone(), layers.clone());
    let accept = move |stream: StreamHandle| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(stream.clone());
        accepting.accept(stream, |channel| drop(actix_rt::spawn(echo(channel))));
    };
    let listener = Listener::bind(&tcp(0), far.clone(), accept).await?;
    let channel = Chain::new(tcp(listener.port().unwrap_or_default()))
        .layers(layers)
        .runtime(near.clone())
        .connect()
        .await?;
    let for_task = channel.clone();
    let carried = measure::on_arbiter_of(&channel, async move || carry(&for_task, &links).await);
    let (frames, healed) = carried.await??;
    channel.close().await?;
    for (index, healed) in healed.iter().enumerate() {
        let Healed {
            reason,
            connection,
            downtime,
        } = healed;
        let downtime = output::time(*downtime);
        output::line(format!(
            "   cut {}  connection {connection} after {downtime:<7}  {reason}",
            index + 1,
        ))?;
    }
    output::line("")?;
    output::line(format!(
        "   {frames} of {frames} frames came back, each once and in order, over {} connections.",
        healed.len() + 1,
    ))?;
    Ok(())
}

async fn echo(channel: Channel) -> Result<(), StreamError> {
    while let Some(frame) = channel.recv().await? {
        channel.send(frame).await?;
    }
    channel.close().await
}

/// Sends numbered frames, cuts, sends more, and checks what comes back.
async fn carry(channel: &Channel, links: &Links) -> Result<(u64, Vec<Healed>), StreamError> {
    let (tell, mut told) = mpsc::unbounded_channel();
    // Held as long as somebody listens: channels hold whoever watches them weakly.
    let watch = Watch(tell).start();
    channel.subscribe(Subscribe {
        frames: None,
        events: Some(watch.clone().recipient().downgrade()),
    })?;
    // What is cut is a session that has begun.
    channel.send_slice(&0_u64.to_be_bytes()).await?;
    came_back(channel, 0).await?;
    let mut sent = 1;
    let mut healed = Vec::new();
    for _ in 0..CUTS {
        burst(channel, &mut sent).await?;
        let torn = std::mem::take(&mut *links.lock().unwrap_or_else(PoisonError::into_inner));
        torn.iter().for_each(StreamHandle::abort);
        burst(channel, &mut sent).await?;
        healed.push(heal(&mut told).await?);
    }
    for number in 1..sent {
        came_back(channel, number).await?;
    }
    drop(watch);
    Ok((sent, healed))
}

/// Takes the next frame, which has to be the one with this number.
async fn came_back(channel: &Channel, number: u64) -> Result<(), StreamError> {
    match channel.recv().await? {
        Some(frame) if frame[..] == number.to_be_bytes() => Ok(()),
        Some(_) => Err(StreamError::peer(format!("frame {number} is another one"))),
        None => Err(StreamError::peer(format!("frame {number} is missing"))),
    }
}

async fn burst(channel: &Channel, sent: &mut u64) -> Result<(), StreamError> {
    for _ in 0..BURST {
        let frame = Bytes::copy_from_slice(&sent.to_be_bytes());
        channel.send(frame).await?;
        *sent += 1;
        if sent.is_multiple_of(AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Waits until a loss and what came of it were told.
async fn heal(told: &mut mpsc::UnboundedReceiver<ConnectionEvent>) -> Result<Healed, StreamError> {
    let mut lost = String::new();
    loop {
        match told.recv().await {
            Some(ConnectionEvent::Detached { reason, .. }) => lost = cause(&reason),
            Some(ConnectionEvent::Resumed {
                generation,
                downtime,
                ..
            }) => {
                return Ok(Healed {
                    reason: lost,
                    connection: generation,
                    downtime,
                });
            }
            Some(ConnectionEvent::Lost(error)) => return Err(error.into()),
            Some(_) => {}
            None => return Err(StreamError::Closed),
        }
    }
}

/// Why a connection was lost, without saying which.
fn cause(error: &StreamError) -> String {
    match error {
        StreamError::ConnectionLost(lost) => lost.reason.to_string(),
        error => error.to_string(),
    }
}

/// Passes on what happens to the channel.
struct Watch(mpsc::UnboundedSender<ConnectionEvent>);

impl Actor for Watch {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for Watch {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Context<Self>) {
        // Nobody listens any more once all is shown.
        let _ = self.0.send(event);
    }
}
