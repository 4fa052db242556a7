//! The seed's stream monitoring: every read and write of a connection to Python, and a summary when it closes.
//!
//!     cargo run --example monitored
//!
//! `MonitoredStream` is a stream around any other. What it counts leads out in three ways, of which the example shows two: `stats()`, and
//! log lines; the third is the `metrics` facade. It starts its own Python server, checks what it shows, and ends by itself.

#[path = "../tests/support/python.rs"]
mod python;

use std::io;

use python::{Peer, Script};
use rpyc::{
    Channel, Connection, Error, MonitoredStream, Monitors, SocketStream, VoidService,
    monitor::MONITOR,
};
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

const SERVER: &str = r#"
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_some_operation(self, times):
        return "some result " * times

server = ThreadedServer(Service(), hostname="127.0.0.1", port=0)
print("READY", server.port, flush=True)
server.start()
"#;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stdout)
        .with_ansi(false)
        .with_target(false)
        .without_time();
    let traffic = Targets::new().with_target(MONITOR, tracing::Level::TRACE);
    tracing_subscriber::registry()
        .with(lines)
        .with(traffic)
        .init();
    let peer = Peer::start(Script::Text(SERVER), &[]);

    // Use monitored stream for debugging.
    let base_stream = SocketStream::connect("127.0.0.1", peer.port()).await?;
    let monitored_stream = MonitoredStream::new(base_stream);
    let channel = Channel::new(monitored_stream.clone());
    let connection = Connection::new(channel, VoidService);

    // Operations show their traffic.
    let before = monitored_stream.stats();
    let result: String = connection.call("some_operation", (2,)).await?;
    assert_eq!(result, "some result some result ");
    let first = monitored_stream.stats();
    let result: String = connection.call("some_operation", (1000,)).await?;
    assert_eq!(result.len(), 12_000);
    let second = monitored_stream.stats().since(&first);
    println!("the second call alone: {second}");
    assert!(first.bytes_sent > before.bytes_sent && second.bytes_sent > 0);
    assert!(
        (1..6000).contains(&second.bytes_received),
        "Python compressed 12,000 letters on the way"
    );

    // Closing shows a summary.
    connection.close().await;
    drop(connection);
    while monitored_stream.stats().open > 0 {
        tokio::task::yield_now().await;
    }
    let stats = monitored_stream.stats();
    println!("stats() when it is over: {stats}");
    assert_eq!(
        Monitors::shared().total(),
        stats,
        "the sum of this process, of one stream"
    );
    Ok(())
}
