//! Layers on layers, between two ends of this crate: batching, snappy, encryption, a buffer, and a monitor at the top and at the bottom.
//!
//!     cargo run --example layered
//!
//! The same stack is written twice: with the builder, as text. Both list the layers from the application to the socket, and a
//! wrong order is refused. The example starts its own server, checks what it shows, and ends by itself.

use std::{path::Path, time::Duration};

use rpyc::{
    Chain, Connection, Endpoint, Key, Layers, MonitorStats, Monitors, Server, ServerConfig,
    Service, StreamError, TcpConfig, VoidService,
    codec::{BatchConfig, BufferConfig, CompressConfig, EncryptConfig},
};

/// The stack, as `--layer` of the command `rpyc` takes it, too.
fn text(key_file: &Path) -> [String; 6] {
    [
        "monitor:channel".into(),
        "batch:20,50ms".into(),
        "snappy".into(),
        format!("encrypt:{}", key_file.display()),
        "buffer:32768".into(),
        "monitor:stream".into(),
    ]
}

/// The same with the builder, where each monitor counts for a sum of its own.
fn layers(top: &Monitors, bottom: &Monitors, key: Key) -> Result<Layers, StreamError> {
    let batch = BatchConfig::default()
        .batch_size(20)
        .batch_timeout(Duration::from_millis(50));
    Ok(Layers::new()
        .monitor_channel(top)
        .batch(batch)
        .compress(CompressConfig::snappy())
        .encrypt(EncryptConfig::new(key))
        .buffer(BufferConfig::new(32768)?)
        .monitor_stream(bottom))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = Service::new("Words").function("count", |text: String| {
        text.split_whitespace().count() as i64
    });
    let key_file = std::env::temp_dir().join(format!("rpyc-layered-{}.key", std::process::id()));
    let key = Key::generate()?;
    key.save(&key_file)?;
    let text_of_layers = text(&key_file);
    let there = Layers::parse(&text_of_layers);
    std::fs::remove_file(&key_file)?;
    let config = ServerConfig::default().layers(there?);
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let server = Server::bind_with(&[endpoint], service, config).await?;
    let port = server.port().ok_or(StreamError::Closed)?;
    println!("server with   {}", text_of_layers.join(" | "));

    let (top, bottom) = (Monitors::new(), Monitors::new());
    let chain = Chain::to(&format!("tcp://127.0.0.1:{port}"))?.layers(layers(&top, &bottom, key)?);
    let connection = Connection::new(chain.connect().await?, VoidService);
    let text = "all work and no play makes jack a dull boy ".repeat(1000);
    for _ in 0..10 {
        let words: i64 = connection.call("count", (&text[..],)).await?;
        assert_eq!(words, 10_000);
    }
    let show = |place: &str, stats: &MonitorStats| println!("{place:<13} {stats}");
    let (above, below) = (top.total(), bottom.total());
    show("at the top", &above);
    show("on the wire", &below);
    assert_eq!(
        above.frames_sent, 11,
        "ten calls, and the question for the service"
    );
    assert!(
        below.bytes_sent * 10 < above.bytes_sent,
        "snappy between the two"
    );
    connection.close().await;

    let error = Layers::parse(["buffer", "snappy"]).expect_err("the wrong order");
    println!("wrong order   {error}");
    let plain = Chain::to(&format!("tcp://127.0.0.1:{port}"))?;
    let plain = Connection::new(plain.connect().await?, VoidService);
    let answer = plain.call::<i64>("count", (&text[..],)).await;
    assert!(answer.is_err(), "whoever has no key is not understood");
    println!("without a key nobody is let in");
    assert!(server.drain(Duration::from_secs(5)).await);
    Ok(())
}
