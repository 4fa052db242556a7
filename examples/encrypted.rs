//! The seed's encrypted communication: a service that only the holders of a key can call.
//!
//!     cargo run --example encrypted
//!
//! Both ends read the same key file, and a tap between them sees nothing of what they say. The example starts its own server, checks what it shows,
//! and ends by itself.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rpyc::{
    Chain, Connection, EncryptedChannel, Endpoint, Error, Key, Layers, Server, ServerConfig,
    Service, SocketStream, StreamError, TcpConfig, VoidService, codec::EncryptConfig,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What is said to the service, and should be seen by nobody else.
const SECRET: &str = "the launch code is 0000";

type Seen = Arc<Mutex<Vec<u8>>>;

/// Passes everything on to `port`, and keeps a copy. Gives its own port.
async fn tap(port: u16, seen: Seen) -> std::io::Result<u16> {
    async fn copy(
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        seen: Seen,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return to.shutdown().await;
            }
            seen.lock()
                .expect("nobody panicked")
                .extend_from_slice(&buffer[..count]);
            to.write_all(&buffer[..count]).await?;
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let own = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let called = TcpStream::connect(("127.0.0.1", port)).await?;
            let (caller_reads, caller_writes) = caller.into_split();
            let (called_reads, called_writes) = called.into_split();
            tokio::spawn(copy(caller_reads, called_writes, seen.clone()));
            tokio::spawn(copy(called_reads, caller_writes, seen.clone()));
        }
        std::io::Result::Ok(())
    });
    Ok(own)
}

/// A key's file, removed at the end.
struct KeyFile(PathBuf);

impl Drop for KeyFile {
    fn drop(&mut self) {
        // One that is gone already needs no removing.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // As `rpyc keygen` does.
    let name = format!("rpyc-example-{}.key", std::process::id());
    let file = KeyFile(std::env::temp_dir().join(name));
    Key::generate()?.save(&file.0)?;
    println!("key          {}", file.0.display());

    let service = Service::new("Echo").function("echo", |text: String| text);
    let layers = Layers::new().encrypt(EncryptConfig::new(Key::load(&file.0)?));
    let config = ServerConfig::default().layers(layers);
    let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
    let server = Server::bind_with(&[endpoint], service, config).await?;
    let port = server.port().ok_or(StreamError::Closed)?;

    let seen = Seen::default();
    let tapped = tap(port, seen.clone()).await?;
    let stream = SocketStream::connect("127.0.0.1", tapped).await?;
    let channel = EncryptedChannel::new(stream, Key::load(&file.0)?);
    let connection = Connection::new(channel, VoidService);
    let echoed: String = connection.call("echo", (SECRET,)).await?;
    assert_eq!(echoed, SECRET);
    connection.close().await;
    let seen = seen.lock().expect("nobody panicked").clone();
    let shows = seen
        .windows(6)
        .any(|window| SECRET.as_bytes().windows(6).any(|part| part == window));
    assert!(!shows, "nothing of it is on the wire");
    println!("said         {SECRET:?}, and heard it back");
    println!("on the wire  {} bytes that say nothing", seen.len());

    // The same as text, as `--layer` of the command takes it.
    let layers = Layers::parse([format!("encrypt:{}", file.0.display())])?;
    let chain = Chain::to(&format!("tcp://127.0.0.1:{port}"))?.layers(layers);
    let connection = Connection::new(chain.connect().await?, VoidService);
    let echoed: String = connection.call("echo", ("as text",)).await?;
    assert_eq!(echoed, "as text");
    connection.close().await;

    let stream = SocketStream::connect("127.0.0.1", port).await?;
    let stranger = Connection::new(EncryptedChannel::new(stream, Key::generate()?), VoidService);
    match stranger.call::<String>("echo", (SECRET,)).await {
        Err(Error::MayHaveRun(error) | Error::NotSent(error) | Error::Stream(error)) => {
            println!("another key  {error}");
        }
        other => panic!("a stranger was let in: {other:?}"),
    }
    assert!(server.drain(Duration::from_secs(5)).await);
    Ok(())
}
