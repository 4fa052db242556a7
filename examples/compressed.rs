//! The seed's compressed communication: large data goes to a Python server at every zlib level.
//!
//!     cargo run --example compressed
//!
//! `CompressedChannel` compresses each frame by itself, and any RPyC reads it. A `MonitoredStream` below counts what really
//! travels. The example starts its own Python server, checks what it shows, and ends by itself.

#[path = "../tests/support/python.rs"]
mod python;

use std::time::Instant;

use python::{Peer, Script};
use rpyc::{
    CompressedChannel, Connection, DEFAULT_COMPRESSION_LEVEL, Error, MonitoredStream, SocketStream,
    Value, VoidService,
};

const SERVER: &str = r#"
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_process_large_data(self, data):
        return sum(data)

server = ThreadedServer(Service(), hostname="127.0.0.1", port=0)
print("READY", server.port, flush=True)
server.start()
"#;

/// Sends the data over a channel of that level. Gives the bytes that it took on the wire.
async fn process(port: u16, level: u32, large_data: &Value) -> Result<u64, Error> {
    let stream = MonitoredStream::new(SocketStream::connect("127.0.0.1", port).await?);
    let channel = CompressedChannel::new(stream.clone(), level);
    let connection = Connection::new(channel, VoidService);
    let started = Instant::now();
    // Large data transfers are compressed automatically.
    let result: i64 = connection.call("process_large_data", (large_data,)).await?;
    let took = started.elapsed();
    assert_eq!(
        result,
        (0..10_000).sum::<i64>(),
        "Python read what was sent"
    );
    let sent = stream.stats().bytes_sent;
    println!(
        "level {level}{}  {sent:>6} bytes on the wire, answered after {:>5.1} ms",
        if level == DEFAULT_COMPRESSION_LEVEL {
            " (default)"
        } else {
            "          "
        },
        took.as_secs_f64() * 1e3
    );
    connection.close().await;
    Ok(sent)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let peer = Peer::start(Script::Text(SERVER), &[]);
    println!("python server on port {}", peer.port());
    let large_data = Value::Tuple((0..10_000).map(Value::from).collect());

    let mut sizes = Vec::new();
    for level in [0, 1, DEFAULT_COMPRESSION_LEVEL, 9] {
        sizes.push(process(peer.port(), level, &large_data).await?);
    }
    let (plain, best) = (sizes[0], sizes[3]);
    assert!(
        sizes.is_sorted_by(|one, next| one >= next) && best * 2 < plain,
        "each level shrinks it at least as well as the one before: {sizes:?}"
    );
    println!("level 9 saves {} of 100 bytes", 100 - 100 * best / plain);
    Ok(())
}
