//! Layers under RPyC: zlib of every level from and to Python, and a batch that holds nobody up.

use std::time::Duration;

use bytes::Bytes;
use rpyc::{
    BatchingChannel, BufferedStream, Channel, CompressedChannel, Connection, Layers,
    MonitoredStream, Server, ServerConfig, Service, SocketStream, VoidService,
};

use crate::{
    python::{Peer, Script},
    support::{python_client, python_server, serve, soon, timed},
};

/// A channel of Python's rpyc that gives back each frame, compressed at the level it was started with, and says how
/// each came: its flag and its size on the wire.
const ECHO: &str = r#"
import socket, sys
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream

class Watching(SocketStream):
    def read(self, count):
        data = super().read(count)
        if count == Channel.FRAME_HEADER.size:
            self.head = Channel.FRAME_HEADER.unpack(data)
        return data

Channel.COMPRESSION_LEVEL = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
print("READY", listener.getsockname()[1], flush=True)
stream = Watching(listener.accept()[0])
channel = Channel(stream)
while True:
    try:
        data = channel.recv()
    except EOFError:
        break
    print(stream.head[1], stream.head[0], flush=True)
    channel.send(data)
"#;

fn text(size: usize) -> Bytes {
    let words = b"all work and no play makes jack a dull boy ";
    words
        .iter()
        .copied()
        .cycle()
        .take(size)
        .collect::<Vec<u8>>()
        .into()
}

/// Bytes that do not compress.
fn noise(size: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect::<Vec<u8>>().into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_reads_every_level_and_writes_every_level() {
    for level in 0..=9u32 {
        let mut peer = Peer::start(Script::Text(ECHO), &[&level.to_string()]);
        let stream = soon(SocketStream::connect("127.0.0.1", peer.port()))
            .await
            .expect("it listens");
        let channel = CompressedChannel::new(stream, level);
        for frame in [
            text(3000),
            text(3001),
            text(500_000),
            noise(3001),
            noise(100_000),
        ] {
            soon(channel.send(frame.clone())).await.expect("open");
            let back = soon(channel.recv())
                .await
                .expect("no loss")
                .expect("not the end");
            assert!(back == frame, "level {level}: {} bytes", frame.len());
            let line = peer.line(Duration::from_secs(20));
            let (flag, size) = line.split_once(' ').expect("two numbers");
            let (is_compressed, size) = (flag != "0", size.parse::<usize>().expect("a number"));
            let shrinks = level > 0 && frame.len() > 3000 && frame[..20] == text(20)[..];
            assert_eq!(is_compressed, shrinks, "level {level}: {line}");
            assert!(
                if shrinks {
                    size < frame.len() / 10
                } else {
                    size == frame.len()
                },
                "{line}"
            );
        }
        soon(channel.close()).await.expect("all was taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_python_work_over_every_stack_that_python_understands() {
    let peer = python_server();
    for layers in [
        &["zlib:9"][..],
        &["batch:20,10s"],
        &["buffer:32768"],
        &[
            "monitor:channel",
            "batch:20,10s",
            "zlib:6",
            "monitor",
            "buffer",
            "monitor:stream",
        ],
    ] {
        let stream = soon(SocketStream::connect("127.0.0.1", peer.port()))
            .await
            .expect("it listens");
        let layers = Layers::parse(layers).expect("the right order");
        let connection = Connection::new(layers.channel(stream), VoidService);
        let (sum, time) = timed(soon(connection.call::<i64>("add", (20, 22)))).await;
        assert_eq!(sum.expect("an answer"), 42);
        assert!(time < Duration::from_secs(5), "{layers:?}: {time:?}");
        let large = text(300_000);
        let back: Bytes = soon(connection.call("echo", (large.clone(),)))
            .await
            .expect("an answer");
        assert!(back == large);
        soon(connection.close()).await;
    }
}

/// The server's layers and the client's; each end batches with a timeout that no test would survive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_over_a_batching_channel_is_answered_at_once() {
    let service = Service::new("Calc").function("add", |a: i64, b: i64| a + b);
    let layers = Layers::parse(["batch:1000,10s"]).expect("a batch");
    let config = ServerConfig::default().layers(layers);
    let endpoint = "tcp://127.0.0.1:0".parse().expect("an endpoint");
    let server = Server::bind_with(&[endpoint], service, config)
        .await
        .expect("a free port");
    let port = server.port().expect("TCP");

    let stream = soon(SocketStream::connect("127.0.0.1", port))
        .await
        .expect("it listens");
    let channel = BatchingChannel::new(stream, 1000, Duration::from_secs(10));
    let connection = Connection::new(channel, VoidService);
    let calls = async {
        for number in 0..200i64 {
            let sum: i64 = connection
                .call("add", (number, 1))
                .await
                .expect("an answer");
            assert_eq!(sum, number + 1);
        }
    };
    let ((), time) = timed(soon(calls)).await;
    println!("200 calls one after the other: {time:?}");
    assert!(time < Duration::from_secs(5), "{time:?}");
    // Many at once, of which each waits.
    let many = (0..200i64).map(|number| {
        let connection = connection.clone();
        tokio::spawn(async move { connection.call::<i64>("add", (number, 1)).await })
    });
    let ((), time) = timed(soon(async {
        for call in many.collect::<Vec<_>>() {
            call.await.expect("no panic").expect("an answer");
        }
    }))
    .await;
    assert!(time < Duration::from_secs(5), "{time:?}");
    soon(connection.close()).await;

    // Python's own client of that server.
    let program =
        "start = time.time()\nassert conn.root.add(1, 2) == 3\nassert time.time() - start < 5";
    python_client(port, program).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seeds_stack_of_streams_and_channels_serves_rpc() {
    let (_server, port) = serve(Service::new("Echo").function("echo", |value: Bytes| value)).await;
    let stream = soon(SocketStream::connect("127.0.0.1", port))
        .await
        .expect("it listens");
    let monitored = MonitoredStream::new(stream);
    let buffered = BufferedStream::new(monitored.clone(), 32_768).expect("below the limit");
    let channel = BatchingChannel::new(buffered, 20, Duration::from_millis(50));
    let connection = Connection::new(channel, VoidService);
    for size in [0, 10, 3001, 200_000] {
        let back: Bytes = soon(connection.call("echo", (noise(size),)))
            .await
            .expect("an answer");
        assert!(back == noise(size));
    }
    let stats = monitored.stats();
    assert!(
        stats.bytes_sent > 203_011 && stats.bytes_received > 203_011,
        "{stats}"
    );
    let channel: Channel = connection.channel().clone();
    assert!(channel.stats().frames_sent >= 5);
    soon(connection.close()).await;
}
