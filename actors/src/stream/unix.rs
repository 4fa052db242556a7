//! Unix domain sockets.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::{UnixStream, unix::SocketAddr};

use super::{Address, ByteStream, StreamHandle, StreamInfo, Transport, tcp::SocketStream};
use crate::{
    error::{ConnectError, StreamError},
    limits::Limits,
    runtime::Runtime,
};

/// A unix socket has no reset: after an abort the peer sees the end, or an error if we left something unread.
impl Transport for UnixStream {}

fn address(address: io::Result<SocketAddr>) -> Option<Address> {
    let path = address
        .ok()?
        .as_pathname()
        .map(Path::to_owned)
        .unwrap_or_default();
    Some(Address::Unix(path))
}

/// Makes a stream of a connected socket, on the current arbiter.
pub(crate) fn start(socket: UnixStream, endpoint: Arc<str>, limits: Limits) -> StreamHandle {
    let info = StreamInfo {
        local: address(socket.local_addr()),
        peer: address(socket.peer_addr()),
        peer_user: socket.peer_cred().ok().map(|peer| peer.uid()),
        limits,
        ..StreamInfo::new(endpoint)
    };
    ByteStream::start(socket, info)
}

/// Connects on the current arbiter.
pub(crate) async fn open(
    path: &Path,
    endpoint: &Arc<str>,
    limits: Limits,
) -> Result<StreamHandle, StreamError> {
    match UnixStream::connect(path).await {
        Ok(socket) => Ok(start(socket, endpoint.clone(), limits)),
        Err(error) => Err(ConnectError::new(endpoint.clone(), error.into()).into()),
    }
}

impl SocketStream {
    /// Connects to a unix socket.
    ///
    /// # Errors
    ///
    /// `Connect`, naming the path and the reason.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn unix_connect(path: impl Into<PathBuf>) -> Result<Self, StreamError> {
        create_unix_stream(path).await
    }
}

/// Connects to a unix socket: the seed's factory.
///
/// # Errors
///
/// `Connect`, naming the path and the reason.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn create_unix_stream(path: impl Into<PathBuf>) -> Result<SocketStream, StreamError> {
    let path = path.into();
    let endpoint: Arc<str> = format!("unix:{}", path.display()).into();
    let connect = move || async move { open(&path, &endpoint, Limits::default()).await };
    Runtime::run_on(Runtime::try_current()?.arbiter(), connect)
        .await?
        .map(SocketStream)
}
