//! The seed's performance optimized streaming: a buffered stream and a batching channel under 1000 calls, and where they help.
//!
//!     cargo run --example performance
//!
//! A call waits for its answer, so no batch holds it up: the layers cost next to nothing there, and save next to nothing. What they
//! save are writes when messages that nobody waits for trickle out one by one. The example starts its own peers, a
//! Python server among them, checks what it shows, and ends by itself.

#[path = "../tests/support/python.rs"]
mod python;

use std::time::{Duration, Instant};

use python::{Peer, Script};
use rpyc::{
    BatchingChannel, BufferedStream, Channel, Connection, Endpoint, Error, Listener,
    ListenerConfig, MonitoredStream, SocketStream, StreamError, TcpConfig, VoidService,
};
use tokio::sync::mpsc;

const SERVER: &str = r#"
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_quick_operation(self, number):
        return number + 1

server = ThreadedServer(Service(), hostname="127.0.0.1", port=0)
print("READY", server.port, flush=True)
server.start()
"#;

const CALLS: i64 = 1000;
const MESSAGES: u32 = 200;

/// 20 messages or 50 ms a batch, over a buffer of 32 KiB.
fn optimized(stream: MonitoredStream) -> Result<Channel, StreamError> {
    let buffered = BufferedStream::new(stream, 32768)?;
    Ok(BatchingChannel::new(buffered, 20, Duration::from_millis(50)).into())
}

/// Many quick calls, one after the other.
async fn calls(name: &str, channel: Channel) -> Result<Duration, Error> {
    let connection = Connection::new(channel, VoidService);
    let started = Instant::now();
    for number in 0..CALLS {
        let result: i64 = connection.call("quick_operation", (number,)).await?;
        assert_eq!(result, number + 1);
    }
    let took = started.elapsed();
    connection.close().await;
    println!(
        "{name:<10} {CALLS} calls: {:>4} µs each",
        took.as_micros() / CALLS as u128
    );
    Ok(took)
}

/// Messages that nobody answers, a millisecond apart. Gives the number of writes they went in.
async fn trickle(
    name: &str,
    near: MonitoredStream,
    channel: Channel,
    far: &Channel,
) -> Result<u64, Error> {
    for number in 0..MESSAGES {
        channel
            .send(number.to_be_bytes().to_vec())
            .await
            .map_err(StreamError::from)?;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    channel.close().await?;
    for number in 0..MESSAGES {
        let message = far.recv().await?;
        assert_eq!(
            message.as_deref(),
            Some(&number.to_be_bytes()[..]),
            "all of them, in order"
        );
    }
    let writes = near.stats().writes;
    println!("{name:<10} {MESSAGES} messages, 1 ms apart: {writes:>3} writes");
    Ok(writes)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let peer = Peer::start(Script::Text(SERVER), &[]);
    let connect = async |port| SocketStream::connect("127.0.0.1", port).await;
    let plain = calls("plain", Channel::new(connect(peer.port()).await?)).await?;
    let stream = MonitoredStream::new(connect(peer.port()).await?);
    let batched = calls("optimized", optimized(stream)?).await?;
    assert!(
        batched < plain * 3 + Duration::from_secs(1),
        "no call waits 50 ms for others"
    );

    let (sender, mut accepted) = mpsc::unbounded_channel();
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let accept = move |stream| {
        // Whoever waits for it may have failed by then.
        let _ = sender.send(Channel::new(stream));
    };
    let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept).await?;
    let port = listener.port().ok_or(StreamError::Closed)?;

    let near = MonitoredStream::new(connect(port).await?);
    let far = accepted.recv().await.ok_or(StreamError::Closed)?;
    let single = trickle("plain", near.clone(), Channel::new(near), &far).await?;
    let near = MonitoredStream::new(connect(port).await?);
    let far = accepted.recv().await.ok_or(StreamError::Closed)?;
    let joined = trickle("optimized", near.clone(), optimized(near)?, &far).await?;
    assert!(joined * 4 < single, "{joined} writes instead of {single}");
    Ok(())
}
