//! Streams, channel layers and pools as actix actors that pass typed read, write and frame messages.

pub mod chain;
pub mod channel;
// What `clippy.toml` lists is refused here: no clock, no socket, no runtime.
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod codec;
pub mod credit;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod layer;
pub mod limits;
pub mod listener;
pub mod message;
pub mod runtime;
pub mod stream;
pub mod unit;

pub use chain::{Chain, Layers};
pub use channel::{Channel, Head, Receiver};
pub use credit::{Credit, Gate};
pub use endpoint::Endpoint;
pub use error::{
    BufferOverflowError, CompressionError, ConnectError, ConnectionLostError, EncryptionError,
    StreamError, WriteError,
};
pub use event::ConnectionEvent;
pub use limits::{
    DEFAULT_BATCH_SIZE, DEFAULT_BATCH_TIMEOUT, DEFAULT_BUFFER_SIZE, DEFAULT_COMPRESSION_LEVEL,
    Limits, MAX_BUFFER_SIZE, STREAM_CHUNK_SIZE,
};
pub use listener::{Listener, ListenerConfig};
pub use runtime::Runtime;
#[cfg(feature = "__tls")]
pub use stream::tls::{TlsConfig, create_ssl_stream};
pub use stream::{
    StreamHandle,
    pipe::PipeStream,
    process::create_pipe_stream,
    tcp::{SocketStream, TcpConfig, create_socket_stream},
    tunnel::TunneledSocketStream,
    unix::create_unix_stream,
};
pub use unit::{Chunk, Frames, FramesBuilder};
