//! [`Server`]: a service on one or more listening endpoints.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rpyc_actors::{Channel, Endpoint, Layers, Listener, ListenerConfig, StreamError, StreamHandle};
use tokio::sync::watch;

use crate::{
    connection::{Connection, Link},
    error::Error,
    protocol::Limits,
    service::Service,
};

/// How long an authenticator may take, by default.
pub const DEFAULT_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

type Authenticator = Arc<
    dyn Fn(StreamHandle) -> Pin<Box<dyn Future<Output = Result<(), StreamError>>>> + Send + Sync,
>;

/// How a server serves.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// How connections are accepted.
    pub listener: ListenerConfig,
    /// What each peer may send.
    pub limits: Limits,
    /// The layers of each connection's channel.
    pub layers: Layers,
    /// How long the authenticator may take. 5 s by default.
    pub handshake_timeout: Duration,
    authenticator: Option<Authenticator>,
}

impl std::fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("listener", &self.listener)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listener: ListenerConfig::default(),
            limits: Limits::default(),
            layers: Layers::default(),
            handshake_timeout: DEFAULT_HANDSHAKE_TIMEOUT,
            authenticator: None,
        }
    }
}

impl ServerConfig {
    /// Sets [`listener`](Self::listener).
    #[must_use]
    pub fn listener(mut self, listener: ListenerConfig) -> Self {
        self.listener = listener;
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`layers`](Self::layers).
    #[must_use]
    pub fn layers(mut self, layers: Layers) -> Self {
        self.layers = layers;
        self
    }

    /// Sets [`handshake_timeout`](Self::handshake_timeout).
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Runs before the first frame of each connection, with the plain stream: it may read and write, and an error
    /// closes the connection.
    #[must_use]
    pub fn authenticator<F>(
        mut self,
        check: impl Fn(StreamHandle) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), StreamError>> + 'static,
    {
        self.authenticator = Some(Arc::new(move |stream| Box::pin(check(stream))));
        self
    }
}

/// A running server. Dropping it stops accepting and ends its connections.
pub struct Server {
    listeners: Vec<Listener>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

struct Shared {
    service: Arc<Service>,
    config: ServerConfig,
    next: AtomicU64,
    stopped: AtomicBool,
    connections: Mutex<HashMap<u64, Weak<Link>>>,
    /// How many have a stream and are not served yet.
    authenticating: watch::Sender<usize>,
}

impl Server {
    /// Serves on an endpoint such as `tcp://127.0.0.1:18861`, `tls://0.0.0.0:18821?cert=…&key=…&ca=…` or `unix:path`; port 0 lets the kernel
    /// choose. Who a client is by its certificate stands in [`Channel::tls`] of its connection, for hooks and functions alike.
    ///
    /// # Errors
    ///
    /// `Stream`, when the endpoint cannot be listened on.
    pub async fn bind(endpoint: &str, service: impl Into<Arc<Service>>) -> Result<Self, Error> {
        Self::bind_with(&[endpoint.parse()?], service, ServerConfig::default()).await
    }

    /// Serves on several endpoints, with settings.
    ///
    /// # Errors
    ///
    /// `Stream`, when one of the endpoints cannot be listened on; then none is.
    pub async fn bind_with(
        endpoints: &[Endpoint],
        service: impl Into<Arc<Service>>,
        config: ServerConfig,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            service: service.into(),
            next: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            connections: Mutex::default(),
            authenticating: watch::Sender::new(0),
            config,
        });
        let mut listeners: Vec<Listener> = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let shared_here = shared.clone();
            let accept = move |stream| shared_here.accept(stream);
            match Listener::bind(endpoint, shared.config.listener.clone(), accept).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    // Behind this error a program ends, and the files of unix sockets would stay.
                    listeners.iter().for_each(Listener::stop);
                    for listener in &listeners {
                        listener.stopped().await;
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(Self { listeners, shared })
    }

    /// The listeners, in the order of the endpoints.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The port of the first TCP listener.
    pub fn port(&self) -> Option<u16> {
        self.listeners.iter().find_map(Listener::port)
    }

    /// Connections that are served now.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().len()
    }

    /// Stops accepting, tells clients whose sessions can be resumed ([`GoingAway`](rpyc_actors::ConnectionEvent::GoingAway)), lets each
    /// connection finish the requests it has, and ends it; what is left after `deadline` is cut off. Those are waited for, too, that still
    /// shake hands in TLS, or authenticate. Returns whether all ended in time. The listening sockets are closed then, and the files of unix
    /// sockets gone.
    ///
    /// Where sessions can be resumed, their clients may come back over new connections until then; others are refused
    /// ([`PeerGoing`](rpyc_actors::error::SessionLost::PeerGoing)).
    pub async fn drain(self, deadline: Duration) -> bool {
        if self.shared.config.layers.resumes() {
            self.shared.stopped.store(true, Ordering::Release);
            self.shared.config.layers.go_away();
        } else {
            self.stop_accepting();
        }
        // Held until the end: whoever drops the last handle closes.
        let open = self.shared.open();
        for connection in &open {
            connection.link().drain();
        }
        let all = async {
            if !self.shared.config.layers.resumes() {
                for listener in &self.listeners {
                    listener.settled().await;
                }
                // The sender lives as long as this does.
                let _ = self
                    .shared
                    .authenticating
                    .subscribe()
                    .wait_for(|count| *count == 0)
                    .await;
            }
            for connection in open.iter().chain(&self.shared.open()) {
                connection.ended().await;
            }
        };
        // Without one, nobody ever came.
        let Some(runtime) = self.listeners.first().map(Listener::runtime) else {
            return true;
        };
        let in_time = tokio::select! {
            () = all => true,
            () = runtime.sleep(deadline) => {
                self.shared.open().iter().for_each(Connection::abort);
                false
            }
        };
        self.stop_accepting();
        for listener in &self.listeners {
            listener.stopped().await;
        }
        in_time
    }

    fn stop_accepting(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.listeners.iter().for_each(Listener::stop);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting();
        self.shared.open().iter().for_each(Connection::start_close);
    }
}

impl Shared {
    fn open(&self) -> Vec<Connection> {
        let connections = self.connections.lock();
        let links = connections.values().filter_map(Weak::upgrade);
        links.map(|link| Connection::of(link.hold())).collect()
    }

    /// Takes an accepted stream, on its arbiter.
    fn accept(self: &Arc<Self>, stream: StreamHandle) {
        let Some(check) = self.config.authenticator.clone() else {
            self.serve_on(stream);
            return;
        };
        let authenticating = Authenticating::at(self);
        actix_rt::spawn(async move {
            let shared = &authenticating.0;
            match tokio::time::timeout(shared.config.handshake_timeout, check(stream.clone())).await
            {
                Ok(Ok(())) => shared.serve_on(stream),
                Ok(Err(error)) => {
                    tracing::warn!(%error, peer = stream.endpoint(), "a peer was refused by the authenticator");
                    // Whatever the peer still sends is of no interest.
                    let _ = stream.close().await;
                }
                Err(_) => {
                    tracing::warn!(
                        peer = stream.endpoint(),
                        "a peer did not authenticate in time"
                    );
                    stream.abort();
                }
            }
        });
    }

    /// Serves a new channel over a stream; with layers that resume it may belong to one there is.
    fn serve_on(self: &Arc<Self>, stream: StreamHandle) {
        let layers = &self.config.layers;
        if layers.resumes() && self.stopped.load(Ordering::Acquire) {
            layers.accept_known(stream);
            return;
        }
        let shared = self.clone();
        layers.accept(stream, move |channel| shared.serve(channel));
    }

    fn serve(self: &Arc<Self>, channel: Channel) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let enter = |connection: &Connection| {
            let weak = connection.downgrade();
            self.connections.lock().insert(number, weak);
            Entry {
                server: Arc::downgrade(self),
                number,
            }
        };
        let (service, limits) = (self.service.clone(), self.config.limits);
        let connection = Connection::serve_as(channel, service, limits, enter);
        if self.stopped.load(Ordering::Acquire) {
            connection.start_close();
        }
    }
}

/// A stream whose peer is not known yet, until this is dropped.
struct Authenticating(Arc<Shared>);

impl Authenticating {
    fn at(server: &Arc<Shared>) -> Self {
        server.authenticating.send_modify(|count| *count += 1);
        Self(server.clone())
    }
}

impl Drop for Authenticating {
    fn drop(&mut self) {
        self.0.authenticating.send_modify(|count| *count -= 1);
    }
}

/// A connection among those of its server, until this is dropped.
struct Entry {
    server: Weak<Shared>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(server) = self.server.upgrade() {
            server.connections.lock().remove(&self.number);
        }
    }
}
