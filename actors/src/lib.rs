//! Streams, channel layers and pools as actix actors that pass typed read, write and frame messages.
//!
//! ```text
//!  application          Channel::send(frame)                     Channel::recv() / Recipient<Read<Frames>>
//!                           │ outbox (shared, batches by itself)         ▲ inbox
//!  BatchingChannel          ▼ Write<Frames>                Read<Frames>  │        ┐ optional layers
//!  CompressedChannel        ▼                                            │        ┘ of frames
//!  Channel (framing)        ▼ Frames in, Chunk out      Chunk in, Frames out
//!  Resume                   ▼ Write<Chunk>                  Read<Chunk>  │        ┐ optional layers
//!  EncryptedChannel         ▼                                            │        ┘ of bytes
//!  SocketStream             ▼ vectored write                    one read │
//! ```
//!
//! An echo, and whoever talks to it; neither needs an actor system of its own:
//!
//! ```
//! use rpyc_actors::{Channel, Endpoint, Listener, ListenerConfig, SocketStream, StreamError};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), StreamError> {
//! let endpoint: Endpoint = "tcp://127.0.0.1:0".parse()?;
//! let echo = |stream| {
//!     let channel = Channel::new(stream);
//!     tokio::spawn(async move {
//!         while let Ok(Some(frame)) = channel.recv().await {
//!             let _ = channel.send(frame).await;
//!         }
//!     });
//! };
//! let listener = Listener::bind(&endpoint, ListenerConfig::default(), echo).await?;
//!
//! let port = listener.port().expect("it is TCP");
//! let channel = Channel::new(SocketStream::connect("127.0.0.1", port).await?);
//! channel.send("Hello RPyC").await?;
//! assert_eq!(channel.recv().await?, Some("Hello RPyC".into()));
//! channel.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Inside an actor system the same channel is an actor with typed messages: [`channel::Subscribe`], [`message`], and the example `actor_system`.

mod alarm;
// Pure, like the codecs: the time comes in.
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod backoff;
pub mod chain;
pub mod channel;
// What `clippy.toml` lists is refused here: no clock, no socket, no runtime.
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod codec;
pub mod credit;
#[cfg(feature = "encrypt")]
pub mod encrypted;
pub mod endpoint;
pub mod error;
pub mod event;
mod handshakes;
mod here;
#[cfg(feature = "encrypt")]
pub mod key;
pub mod layer;
pub mod layers;
pub mod limits;
pub mod listener;
mod mail;
pub mod message;
pub mod monitor;
mod noted;
pub mod panics;
mod piece;
pub mod pool;
mod queue;
pub mod relay;
pub mod runtime;
pub mod session;
pub mod side;
pub mod stream;
pub mod supervisor;
pub mod unit;
mod work;

pub use backoff::{Backoff, BackoffConfig};
pub use chain::{Chain, Layers};
pub use channel::{BatchingChannel, Channel, CompressedChannel, Head, MonitoredChannel, Receiver};
pub use credit::{Credit, Gate};
#[cfg(feature = "encrypt")]
pub use encrypted::EncryptedChannel;
pub use endpoint::Endpoint;
pub use error::{
    BufferOverflowError, CompressionError, ConnectError, ConnectionLostError, EncryptionError,
    StreamError, WriteError,
};
pub use event::ConnectionEvent;
#[cfg(feature = "encrypt")]
pub use key::{Key, KeyError};
pub use layers::LayerSpec;
pub use limits::{
    DEFAULT_BATCH_SIZE, DEFAULT_BATCH_TIMEOUT, DEFAULT_BUFFER_SIZE, DEFAULT_COMPRESSION_LEVEL,
    Limits, MAX_BUFFER_SIZE, STREAM_CHUNK_SIZE,
};
pub use listener::{Listener, ListenerConfig};
pub use monitor::{MonitorStats, Monitors};
pub use piece::Piece;
pub use pool::{Lease, PoolConfig, PoolError, StreamPool};
pub use runtime::Runtime;
pub use side::Side;
#[cfg(feature = "__tls")]
pub use stream::tls::{TlsConfig, create_ssl_stream};
pub use stream::{
    BufferedStream, MonitoredStream, StreamHandle,
    pipe::PipeStream,
    process::create_pipe_stream,
    tcp::{SocketStream, TcpConfig, create_socket_stream},
    tunnel::TunneledSocketStream,
    unix::create_unix_stream,
};
pub use supervisor::{
    ConnectionSupervisor, Events, Meanwhile, Received, SupervisedChannel, SupervisorConfig,
};
pub use unit::{Chunk, Frames, FramesBuilder};
