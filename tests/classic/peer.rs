//! Starting classic servers, and connecting to them.

use std::{
    future::Future,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use rpyc::{
    Chain, ClassicService, Connection, ConnectionConfig, Endpoint, TcpConfig, TlsConfig,
    protocol::Dialect,
};

use crate::certificates::{Ca, Folder};
use crate::python::{Peer, RPYC, RPYC_5, Script, Version};

/// Longer than anything here takes. What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(40);

const SERVER: Script<'_> = Script::File("classic.py");

/// How a classic server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Unix,
    Stdio,
    Tls,
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Unix, Self::Stdio, Self::Tls];

    /// Starts a server, and says where it is. The server of a child process is started by connecting.
    fn start(self, version: Version) -> (Option<Served>, Endpoint) {
        match self {
            Self::Tcp => {
                let peer = Peer::spawn(SERVER.command_of(version, &[]));
                let endpoint = Endpoint::tcp("127.0.0.1", peer.port(), TcpConfig::default());
                (Some(Served::new(peer)), endpoint)
            }
            Self::Unix => {
                let path = scratch_path("sock");
                let text = path.to_str().expect("the path is UTF-8");
                let peer = Peer::spawn(SERVER.command_of(version, &["--unix", text]));
                let endpoint = Endpoint::unix(&path);
                let mut served = Served::new(peer);
                served.socket = Some(path);
                (Some(served), endpoint)
            }
            Self::Stdio => {
                let command = SERVER.command_of(version, &["--stdio"]);
                let words = [command.get_program()]
                    .into_iter()
                    .chain(command.get_args());
                let words = words.map(|word| word.to_str().expect("the path is UTF-8"));
                (None, Endpoint::exec(words))
            }
            Self::Tls => {
                let folder = Folder::new();
                let ca = Ca::new(&folder, "ca");
                let pair = ca.issue("server", &["localhost"]);
                let [certificate, key] = [&pair.certificate, &pair.key]
                    .map(|path| path.to_str().expect("the path is UTF-8"));
                let peer = Peer::spawn(SERVER.command_of(version, &["--ssl", certificate, key]));
                let config = TlsConfig::default().ca(ca.certificate.as_path());
                let endpoint = Endpoint::tls("localhost", peer.port(), config);
                let mut served = Served::new(peer);
                served.certificates = Some(folder);
                (Some(served), endpoint)
            }
        }
    }
}

/// A server beside the test.
pub(crate) struct Served {
    pub(crate) peer: Peer,
    socket: Option<PathBuf>,
    certificates: Option<Folder>,
}

impl Served {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            socket: None,
            certificates: None,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.peer.kill();
        if let Some(socket) = &self.socket {
            // The server was killed, so its socket file is ours to remove.
            let _ = std::fs::remove_file(socket);
        }
    }
}

/// A classic server and a connection to it.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    pub(crate) endpoint: Endpoint,
    pub(crate) served: Option<Served>,
}

pub(crate) async fn session(transport: Transport, version: Version) -> Session {
    let start = move || transport.start(version);
    let (served, endpoint) = tokio::task::spawn_blocking(start).await.expect("it starts");
    let channel = soon(Chain::new(endpoint.clone()).connect())
        .await
        .expect("it listens");
    let connection = if version == RPYC_5 {
        let config = ConnectionConfig::default().dialect(Dialect::Rpyc5);
        Connection::with_config(channel, ClassicService, config)
    } else {
        Connection::new(channel, ClassicService)
    };
    Session {
        connection,
        endpoint,
        served,
    }
}

/// A session over TCP with what everything is tested against.
pub(crate) async fn over_tcp() -> Session {
    session(Transport::Tcp, RPYC).await
}

/// Waits for a future that must not hang.
#[track_caller]
pub(crate) fn soon<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(output) => output,
            Err(_) => panic!("{place}: still waiting after {PATIENCE:?}"),
        }
    }
}

/// A path that nothing else uses; short, since a unix socket's has room for about 100 bytes.
pub(crate) fn scratch_path(kind: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!(
        "rpyc-classic-{}-{number}.{kind}",
        std::process::id()
    ))
}
