//! Streams through a tunnel: [`TunneledSocketStream`], and [`Via`], the way that any TCP or TLS endpoint can take.

mod error;
mod http;
mod prefixed;
mod socks5;
mod ssh;
mod via;

use std::sync::Arc;

pub use error::TunnelError;
pub use via::Via;

use super::{
    Address, ByteStream, StreamHandle, StreamInfo, Transport,
    tcp::{SocketStream, TcpConfig},
};
use crate::{
    endpoint::Endpoint,
    error::{ConnectFailure, StreamError},
    runtime::Runtime,
};

/// A way through a tunnel to its target.
pub(crate) struct Tunnel {
    /// What carries the bytes; dropping it closes the tunnel.
    pub(crate) transport: Box<dyn Transport>,
    /// Where the near end of the tunnel is.
    pub(crate) local: Option<Address>,
    /// The process that is the tunnel.
    pub(crate) process: Option<Address>,
}

impl Tunnel {
    /// What is known about a stream through it. The target's own address is known only to the proxy.
    pub(crate) fn info(&self, config: &TcpConfig, endpoint: Arc<str>) -> StreamInfo {
        StreamInfo {
            local: self.local.clone(),
            peer: self.process.clone(),
            limits: config.limits,
            ..StreamInfo::new(endpoint)
        }
    }
}

/// Opens a stream through a tunnel, on the current arbiter.
pub(crate) async fn open(
    via: &Via,
    host: &str,
    port: u16,
    config: &TcpConfig,
    endpoint: Arc<str>,
) -> Result<StreamHandle, ConnectFailure> {
    let tunnel = via.connect(host, port, config).await?;
    let info = tunnel.info(config, endpoint);
    Ok(ByteStream::start(tunnel.transport, info))
}

/// The tunnelled stream of the seed: a socket, and a tunnel that ends with it.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{Channel, TunneledSocketStream, stream::tunnel::Via};
///
/// let via: Via = "socks5://127.0.0.1:1080".parse()?;
/// let stream = TunneledSocketStream::connect("inside.example", 18861, via).await?;
/// let channel = Channel::new(stream);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TunneledSocketStream(StreamHandle);

super::handle::stream_kind!(TunneledSocketStream);

impl TunneledSocketStream {
    /// Takes over a socket that is connected to the near end of a tunnel.
    ///
    /// # Errors
    ///
    /// When the socket's options cannot be set, or the socket cannot be handed to the runtime.
    pub async fn new(sock: std::net::TcpStream) -> Result<Self, StreamError> {
        Ok(Self(SocketStream::new(sock).await?.into()))
    }

    /// As [`new`](Self::new), with what holds the tunnel open: it is dropped when the stream has ended.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn with_tunnel(
        sock: std::net::TcpStream,
        tunnel: impl Send + 'static,
    ) -> Result<Self, StreamError> {
        let stream = Self::new(sock).await?;
        stream.keep_until_gone(tunnel);
        Ok(stream)
    }

    /// Connects to a host through a proxy, with the defaults of [`TcpConfig`]. Names are resolved at the far end.
    ///
    /// # Errors
    ///
    /// `Connect`, naming the endpoint and the reason. What `ssh` cannot do is told later, as the reason of a loss: it does not say when
    /// it has reached the target.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn connect(host: &str, port: u16, via: Via) -> Result<Self, StreamError> {
        let endpoint = Endpoint::tcp(host, port, TcpConfig::default()).via(via)?;
        let open = move || async move { endpoint.open().await };
        Runtime::run_on(Runtime::try_current()?.arbiter(), open)
            .await?
            .map(Self)
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
