//! TCP streams: [`SocketStream`] and what can be set about them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use super::{Address, ByteStream, StreamHandle, StreamInfo, Transport};
use crate::{
    endpoint::Endpoint,
    error::{ConnectError, ConnectFailure, StreamError},
    limits::Limits,
    runtime::Runtime,
};

/// The head start of the first address before the next one is tried beside it (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The most seconds that Linux takes (`MAX_TCP_KEEPIDLE` in include/net/tcp.h); above, it refuses the socket's option, and so every connection.
const MAX_KEEPALIVE: u32 = 32_767;
/// The same for TCP_USER_TIMEOUT, a positive C `int` of milliseconds.
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// How a TCP connection is made and kept.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TcpConfig {
    /// Only IPv6 addresses are used when true; both families otherwise. False by default.
    pub ipv6: bool,
    /// Probes on an idle connection. Off by default.
    pub keepalive: Keepalive,
    /// How long all attempts together may take. 10 s by default.
    pub connect_timeout: Duration,
    /// How long sent data may stay unacknowledged (TCP_USER_TIMEOUT), at most 24 days. The system's default when `None`.
    pub user_timeout: Option<Duration>,
    /// What bounds the stream and its channel.
    pub limits: Limits,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            ipv6: false,
            keepalive: Keepalive::Off,
            connect_timeout: Duration::from_secs(10),
            user_timeout: None,
            limits: Limits::default(),
        }
    }
}

/// Whether and when idle connections are probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keepalive {
    /// No probes.
    #[default]
    Off,
    /// First probe after 60 s, then every 60 s, five in all: what RPyC's `keepalive=True` sets.
    On,
    /// First probe after this many seconds, then as often, five in all. More than 32,767 count as that.
    Seconds(u32),
}

impl From<bool> for Keepalive {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl From<u32> for Keepalive {
    fn from(seconds: u32) -> Self {
        if seconds == 0 {
            Self::Off
        } else {
            Self::Seconds(seconds)
        }
    }
}

impl TcpConfig {
    /// Sets [`ipv6`](Self::ipv6).
    #[must_use]
    pub fn ipv6(mut self, only: bool) -> Self {
        self.ipv6 = only;
        self
    }

    /// Sets [`keepalive`](Self::keepalive): a bool, or a number of seconds.
    #[must_use]
    pub fn keepalive(mut self, keepalive: impl Into<Keepalive>) -> Self {
        self.keepalive = keepalive.into();
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`user_timeout`](Self::user_timeout).
    #[must_use]
    pub fn user_timeout(mut self, timeout: Duration) -> Self {
        self.user_timeout = Some(timeout);
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Applies what concerns a connected socket.
    fn apply(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        let seconds = match self.keepalive {
            Keepalive::Off => None,
            Keepalive::On => Some(60),
            Keepalive::Seconds(seconds) => Some(seconds.clamp(1, MAX_KEEPALIVE)),
        };
        if let Some(seconds) = seconds {
            let time = Duration::from_secs(seconds.into());
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(time)
                    .with_interval(time)
                    .with_retries(5),
            )?;
        }
        if let Some(timeout) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(timeout.min(MAX_USER_TIMEOUT)))?;
        }
        Ok(())
    }

    /// Connects and applies the settings.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectFailure> {
        let connecting = async {
            let addresses = self.resolve(host, port).await?;
            connect_any(&addresses).await.map_err(ConnectFailure::from)
        };
        let socket = tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .map_err(|_| ConnectFailure::TimedOut(self.connect_timeout))??;
        self.apply(&SockRef::from(&socket))?;
        Ok(socket)
    }

    /// Connects on the current arbiter.
    pub(crate) async fn open(
        &self,
        host: &str,
        port: u16,
        endpoint: Arc<str>,
    ) -> Result<StreamHandle, ConnectFailure> {
        let socket = self.connect(host, port).await?;
        let info = self.info(&socket, endpoint);
        Ok(start(socket, info))
    }

    /// At least one address: both families in turn, beginning with the resolver's favourite.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, ConnectFailure> {
        let failed = |error: io::Error| ConnectFailure::Resolve {
            host: host.into(),
            source: Arc::new(error),
        };
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(failed)?;
        let found: Vec<_> = found
            .filter(|address| address.is_ipv6() || !self.ipv6)
            .collect();
        let Some(first) = found.first() else {
            return Err(failed(io::Error::new(
                io::ErrorKind::NotFound,
                "no address of the wanted family",
            )));
        };
        let (mut liked, mut other): (Vec<SocketAddr>, Vec<SocketAddr>) = found
            .iter()
            .copied()
            .partition(|address| address.is_ipv6() == first.is_ipv6());
        liked.reverse();
        other.reverse();
        let mut sorted = Vec::with_capacity(found.len());
        while sorted.len() < found.len() {
            sorted.extend(liked.pop());
            sorted.extend(other.pop());
        }
        Ok(sorted)
    }

    /// Makes a stream of a connected socket, on the current arbiter.
    pub(crate) fn start(&self, socket: TcpStream, endpoint: Arc<str>) -> io::Result<StreamHandle> {
        let info = self.adopt(&socket, endpoint)?;
        Ok(start(socket, info))
    }

    /// Applies the settings to a socket that somebody else connected.
    pub(crate) fn adopt(&self, socket: &TcpStream, endpoint: Arc<str>) -> io::Result<StreamInfo> {
        self.apply(&SockRef::from(socket))?;
        Ok(self.info(socket, endpoint))
    }

    pub(crate) fn info(&self, socket: &TcpStream, endpoint: Arc<str>) -> StreamInfo {
        StreamInfo {
            local: socket.local_addr().ok().map(Address::Tcp),
            peer: socket.peer_addr().ok().map(Address::Tcp),
            limits: self.limits,
            ..StreamInfo::new(endpoint)
        }
    }
}

/// Tries addresses in turn; the next one is started beside the last when that takes long.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut running = tokio::task::JoinSet::new();
    let mut left = addresses.iter().copied();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "no address to connect to");
    loop {
        let started = match left.next() {
            Some(address) => {
                running.spawn(TcpStream::connect(address));
                true
            }
            None => false,
        };
        let next_is_due = async {
            if started && left.len() > 0 {
                tokio::time::sleep(NEXT_ADDRESS_AFTER).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            Some(result) = running.join_next() => match result.map_err(io::Error::other).flatten() {
                Ok(socket) => return Ok(socket),
                Err(error) => last_error = error,
            },
            () = next_is_due => {}
        }
        if running.is_empty() && left.len() == 0 {
            return Err(last_error);
        }
    }
}

/// Starts the stream of a socket.
///
/// Not where it is awaited: each crate that awaits an async function compiles it anew, with all that it names, and a relay between
/// an accepted and a dialled socket would run through two copies of the same code, both of them cold.
#[inline(never)]
fn start(socket: TcpStream, info: StreamInfo) -> StreamHandle {
    ByteStream::start(socket, info)
}

impl Transport for TcpStream {
    fn expect_more(&mut self) {
        // A hint that some systems do not know.
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(&*self).set_tcp_quickack(true);
    }

    fn abort(&mut self) {
        // Fails only on a socket that is gone already.
        let _ = SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }
}

/// The TCP stream of the seed: [`connect`](Self::connect) it, or make it of a connected socket.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{Channel, SocketStream};
///
/// let stream = SocketStream::connect("localhost", 12345).await?;
/// let channel = Channel::new(stream);
/// channel.send("Hello RPyC").await?;
/// let response = channel.recv().await?;
/// channel.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SocketStream(pub(super) StreamHandle);

super::handle::stream_kind!(SocketStream);

impl SocketStream {
    /// Takes over a connected socket.
    ///
    /// # Errors
    ///
    /// When the socket's options cannot be set, or the socket cannot be handed to the runtime.
    pub async fn new(socket: std::net::TcpStream) -> Result<Self, StreamError> {
        Self::with_config(socket, TcpConfig::default()).await
    }

    /// Takes over a connected socket, with settings.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub async fn with_config(
        socket: std::net::TcpStream,
        config: TcpConfig,
    ) -> Result<Self, StreamError> {
        let endpoint: Arc<str> = socket
            .peer_addr()
            .map_or_else(|_| "tcp:".into(), |peer| format!("tcp://{peer}").into());
        let start = move || async move {
            let adopt = || -> io::Result<StreamHandle> {
                socket.set_nonblocking(true)?;
                config.start(TcpStream::from_std(socket)?, endpoint.clone())
            };
            adopt().map_err(|error| ConnectError::new(endpoint.clone(), error.into()).into())
        };
        Runtime::run_on(Runtime::try_current()?.arbiter(), start)
            .await?
            .map(Self)
    }

    /// Connects to a host, by name or address, with the defaults of [`TcpConfig`].
    ///
    /// # Errors
    ///
    /// `Connect`, naming the endpoint and the reason.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn connect(host: &str, port: u16) -> Result<Self, StreamError> {
        Self::connect_with(host, port, TcpConfig::default()).await
    }

    /// Connects to a host with settings.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn connect_with(
        host: &str,
        port: u16,
        config: TcpConfig,
    ) -> Result<Self, StreamError> {
        create_socket_stream(host, port, config).await
    }
}

/// Connects to a host, by name or address: the seed's factory. Its `ipv6` and `keepalive` are fields of the config.
///
/// # Errors
///
/// `Connect`, naming the endpoint and the reason.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn create_socket_stream(
    host: &str,
    port: u16,
    config: TcpConfig,
) -> Result<SocketStream, StreamError> {
    let endpoint = Endpoint::tcp(host, port, config);
    let open = move || async move { endpoint.open().await };
    Runtime::run_on(Runtime::try_current()?.arbiter(), open)
        .await?
        .map(SocketStream)
}

/// A listening socket for `address`.
///
/// The port of a listener that just ended can be taken again at once.
pub(crate) fn listen(address: SocketAddr, backlog: u32) -> io::Result<tokio::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    tokio::net::TcpListener::from_std(socket.into())
}
