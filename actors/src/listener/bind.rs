//! Listening sockets and what they accept.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll, ready},
};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Clerk, Entry, ListenerConfig};
#[cfg(feature = "__tls")]
use crate::stream::StreamHandle;
#[cfg(feature = "__tls")]
use crate::stream::tls::{self, TlsError};
use crate::{
    endpoint::{Endpoint, ListenAddress},
    error::{ConnectError, StreamError},
    limits::Limits,
    stream::{Address, tcp, unix},
};

/// A socket that listens.
pub(super) enum Bound {
    Tcp {
        listener: TcpListener,
        config: tcp::TcpConfig,
    },
    #[cfg(feature = "__tls")]
    Tls {
        listener: TcpListener,
        config: tcp::TcpConfig,
        acceptor: Arc<tls::Acceptor>,
    },
    Unix {
        listener: UnixListener,
        file: SocketFile,
        limits: Limits,
    },
}

/// An accepted socket on its way to its arbiter.
pub(super) enum Accepted {
    Tcp {
        socket: std::net::TcpStream,
        config: tcp::TcpConfig,
        peer: std::net::SocketAddr,
    },
    #[cfg(feature = "__tls")]
    Tls(Greeted),
    Unix {
        socket: std::os::unix::net::UnixStream,
        endpoint: Arc<str>,
        limits: Limits,
    },
}

/// An accepted socket whose peer has to shake hands first.
#[cfg(feature = "__tls")]
pub(super) struct Greeted {
    socket: std::net::TcpStream,
    config: tcp::TcpConfig,
    acceptor: Arc<tls::Acceptor>,
    pub(super) peer: std::net::SocketAddr,
}

impl Bound {
    pub(super) async fn new(
        endpoint: &Endpoint,
        config: &ListenerConfig,
    ) -> Result<Self, StreamError> {
        let fail = |reason| StreamError::from(ConnectError::new(endpoint.text().clone(), reason));
        match endpoint.listen_address()? {
            ListenAddress::Tcp {
                host,
                port,
                config: tcp_config,
                #[cfg(feature = "__tls")]
                tls,
            } => {
                let addresses = tcp_config.resolve(host, port).await.map_err(fail)?;
                let listener = tcp::listen(addresses[0], config.backlog)
                    .map_err(|error| fail(error.into()))?;
                let config = tcp_config.clone().limits(endpoint.limits_now());
                #[cfg(feature = "__tls")]
                if let Some(tls) = tls {
                    let acceptor = tls::Acceptor::new(tls)
                        .await
                        .map_err(|error| fail(error.into()))?;
                    return Ok(Self::Tls {
                        listener,
                        config,
                        acceptor: Arc::new(acceptor),
                    });
                }
                Ok(Self::Tcp { listener, config })
            }
            ListenAddress::Unix(path) => {
                let (listener, file) =
                    listen_unix(path, config).map_err(|error| fail(error.into()))?;
                Ok(Self::Unix {
                    listener,
                    file,
                    limits: endpoint.limits_now(),
                })
            }
        }
    }

    pub(super) fn local(&self) -> io::Result<Address> {
        match self {
            Self::Tcp { listener, .. } => listener.local_addr().map(Address::Tcp),
            #[cfg(feature = "__tls")]
            Self::Tls { listener, .. } => listener.local_addr().map(Address::Tcp),
            Self::Unix { file, .. } => Ok(Address::Unix(file.path.clone())),
        }
    }

    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp { listener, config } => {
                let (socket, peer) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(socket.into_std().map(|socket| Accepted::Tcp {
                    socket,
                    config: config.clone(),
                    peer,
                }))
            }
            #[cfg(feature = "__tls")]
            Self::Tls {
                listener,
                config,
                acceptor,
            } => {
                let (socket, peer) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(socket.into_std().map(|socket| {
                    Accepted::Tls(Greeted {
                        socket,
                        config: config.clone(),
                        acceptor: acceptor.clone(),
                        peer,
                    })
                }))
            }
            Self::Unix {
                listener,
                file,
                limits,
            } => {
                let (socket, _) = ready!(listener.poll_accept(cx))?;
                let endpoint = file.endpoint.clone();
                let limits = *limits;
                Poll::Ready(socket.into_std().map(|socket| Accepted::Unix {
                    socket,
                    endpoint,
                    limits,
                }))
            }
        }
    }
}

impl Accepted {
    /// The address that counts against the limit for one address.
    pub(super) fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { peer, .. } => Some(peer.ip()),
            #[cfg(feature = "__tls")]
            Self::Tls(greeted) => Some(greeted.peer.ip()),
            Self::Unix { .. } => None,
        }
    }

    /// Makes a stream of it on the current arbiter, and hands that on: at once, or after a handshake that holds up nobody else.
    pub(super) fn start(self, entry: Entry, clerk: &Arc<Clerk>) {
        let stream = match self {
            Self::Tcp {
                socket,
                config,
                peer,
            } => TcpStream::from_std(socket)
                .and_then(|socket| config.start(socket, format!("tcp://{peer}").into())),
            #[cfg(feature = "__tls")]
            Self::Tls(greeted) => {
                let turn = clerk.handshakes.enter(Some(greeted.peer.ip()));
                let clerk = clerk.clone();
                actix_rt::spawn(async move {
                    let peer = greeted.peer;
                    let greeting = turn.during(greeted.shake_hands());
                    match greeting.await.unwrap_or(Err(TlsError::TooMany)) {
                        Ok(stream) => clerk.take(stream, entry),
                        Err(error) => clerk.refuse(peer, &error),
                    }
                });
                return;
            }
            Self::Unix {
                socket,
                endpoint,
                limits,
            } => UnixStream::from_std(socket).map(|socket| unix::start(socket, endpoint, limits)),
        };
        match stream {
            Ok(stream) => clerk.take(stream, entry),
            Err(error) => tracing::warn!(%error, "an accepted connection cannot be used"),
        }
    }
}

#[cfg(feature = "__tls")]
impl Greeted {
    async fn shake_hands(self) -> Result<StreamHandle, TlsError> {
        let adopt = || {
            let socket = TcpStream::from_std(self.socket)?;
            let endpoint = format!("tls://{}", self.peer).into();
            let info = self.config.adopt(&socket, endpoint)?;
            io::Result::Ok((socket, info))
        };
        let (socket, info) = adopt().map_err(|error| TlsError::Io(Arc::new(error)))?;
        self.acceptor.accept(socket, info).await
    }
}

/// A socket's file; removed with the listener, unless somebody else put another one there.
pub(super) struct SocketFile {
    path: PathBuf,
    endpoint: Arc<str>,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "a socket's file stays behind");
        }
    }
}

fn listen_unix(path: &Path, config: &ListenerConfig) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            socket.bind(&address)?;
        }
        result => result?,
    }
    // Nobody can connect before `listen`, so nobody gets in with the permissions that the umask gave.
    fs::set_permissions(path, fs::Permissions::from_mode(config.unix_mode))?;
    let inode = fs::symlink_metadata(path)?.ino();
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    let listener = UnixListener::from_std(socket.into())?;
    let endpoint = format!("unix:{}", path.display()).into();
    Ok((
        listener,
        SocketFile {
            path: path.to_owned(),
            endpoint,
            inode,
        },
    ))
}

/// Removes a socket's file that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let what = format!("{} exists and is not a socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    // Non-blocking: a listener whose queue is full would hold up this arbiter.
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "somebody listens there",
        )),
    }
}
