//! The seed's first example: a TCP stream, a channel on top of it, a frame there and a frame back.
//!
//!     cargo run --example basic_stream
//!
//! The peer is Python's own `rpyc.core`: a channel that answers each frame in capitals. The example starts it, checks what it shows, and ends
//! by itself.

#[path = "../tests/support/python.rs"]
mod python;

use python::{Peer, Script};
use rpyc_actors::{Channel, SocketStream, StreamError};

const PEER: &str = r#"
import socket
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream

listener = socket.create_server(("127.0.0.1", 0))
print("READY", listener.getsockname()[1], flush=True)
channel = Channel(SocketStream(listener.accept()[0]))
try:
    while True:
        channel.send(channel.recv().upper())
except EOFError:
    pass
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StreamError> {
    let mut peer = Peer::start(Script::Text(PEER), &[]);

    let stream = SocketStream::connect("localhost", peer.port()).await?;
    println!("stream    {}", stream.endpoint());

    let channel = Channel::new(stream);
    channel.send("Hello RPyC").await?;
    let response = channel.recv().await?.expect("the peer answers");
    println!("response  {}", String::from_utf8_lossy(&response));
    assert_eq!(&response[..], b"HELLO RPYC");

    // Frames of any size keep their bounds: this one is compressed on its way back.
    let large = vec![b'x'; 1_000_000];
    channel.send(large).await?;
    let response = channel.recv().await?.expect("the peer answers");
    println!("response  {} bytes", response.len());
    assert!(response.len() == 1_000_000 && response.iter().all(|byte| *byte == b'X'));

    channel.close().await?;
    assert!(channel.closed() && peer.wait().success());
    println!("closed    and the peer has ended");
    Ok(())
}
