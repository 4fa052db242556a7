//! [`Listener`]: the actor that accepts, for TCP and unix sockets.
//!
//! TLS handshakes happen on the connections' arbiters, so one that is never finished holds up nobody.
//! A full process table of descriptors does not end it: it pauses for about 50 ms and goes on. Connections above a
//! limit are closed at once, counted and logged.

mod bind;
mod census;

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message};
use tokio::{sync::watch, time::Sleep};

use self::{
    bind::Bound,
    census::{Census, Place},
};
#[cfg(feature = "__tls")]
use crate::handshakes::Handshakes;
use crate::{
    endpoint::Endpoint,
    error::{ConnectError, StreamError},
    runtime::Runtime,
    side::Side,
    stream::{Address, StreamHandle},
};

/// How long accepting rests after an error such as EMFILE; up to half as much again is added at random.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections accepted in one turn, so that the arbiter's other work is not starved.
const TURN: usize = 32;

/// Takes each accepted stream, on the arbiter it lives on.
type Accept = Box<dyn Fn(StreamHandle) + Send + Sync>;

/// How a listener accepts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// Connections alive at once, in all. 10,000 by default.
    pub max_connections: usize,
    /// Connections alive at once from one address; loopback and unix sockets are exempt. 256 by default.
    pub max_per_address: usize,
    /// TLS handshakes under way at once. 512 by default; a newcomer above that pushes out the oldest of the address that has most.
    pub max_handshakes: usize,
    /// Connections that the kernel holds before they are accepted. 1024 by default.
    pub backlog: u32,
    /// Permission bits of a unix socket's file. `0o600` by default.
    pub unix_mode: u32,
    /// The runtime whose arbiters carry the connections. [`Runtime::current`] at the time of binding by default.
    pub runtime: Option<Runtime>,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_per_address: 256,
            max_handshakes: 512,
            backlog: 1024,
            unix_mode: 0o600,
            runtime: None,
        }
    }
}

impl ListenerConfig {
    /// Sets [`max_connections`](Self::max_connections).
    #[must_use]
    pub fn max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// Sets [`max_per_address`](Self::max_per_address).
    #[must_use]
    pub fn max_per_address(mut self, count: usize) -> Self {
        self.max_per_address = count;
        self
    }

    /// Sets [`max_handshakes`](Self::max_handshakes).
    #[must_use]
    pub fn max_handshakes(mut self, count: usize) -> Self {
        self.max_handshakes = count;
        self
    }

    /// Sets [`backlog`](Self::backlog).
    #[must_use]
    pub fn backlog(mut self, count: u32) -> Self {
        self.backlog = count;
        self
    }

    /// Sets [`unix_mode`](Self::unix_mode).
    #[must_use]
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = mode;
        self
    }

    /// Sets [`runtime`](Self::runtime).
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }
}

/// What a listener counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that ended before their TLS handshake did.
    pub handshakes_failed: u64,
    /// Connections closed at once because of a limit.
    pub refused: u64,
    /// Times that accepting paused after an error.
    pub paused: u64,
    /// Connections alive now.
    pub alive: u64,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    handshakes_failed: AtomicU64,
    refused: AtomicU64,
    paused: AtomicU64,
}

/// An accepted connection until it is handed on.
struct Entry {
    place: Place,
    _unsettled: Unsettled,
}

/// What every accepted connection needs on its own arbiter.
struct Clerk {
    accept: Accept,
    #[cfg(feature = "__tls")]
    counters: Arc<Counters>,
    #[cfg(feature = "__tls")]
    handshakes: Arc<Handshakes>,
}

impl Clerk {
    fn take(&self, stream: StreamHandle, entry: Entry) {
        stream.keep_until_gone(entry.place);
        (self.accept)(stream.with_side(Side::Accepted));
    }

    #[cfg(feature = "__tls")]
    fn refuse(&self, peer: std::net::SocketAddr, error: &crate::error::TlsError) {
        self.counters
            .handshakes_failed
            .fetch_add(1, Ordering::Relaxed);
        tracing::warn!(peer = %format_args!("tls://{peer}"), %error, "a TLS handshake failed");
    }
}

/// A listening socket. Dropping it stops accepting; accepted connections live on.
#[derive(Clone)]
pub struct Listener {
    acceptor: Addr<Acceptor>,
    local: Address,
    counters: Arc<Counters>,
    census: Arc<Census>,
    runtime: Runtime,
    gone: watch::Receiver<()>,
    settled: watch::Receiver<()>,
}

/// Kept by whoever will still call `accept`.
type Unsettled = watch::Sender<()>;

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("local", &self.local)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Listens on a `tcp://`, `tls://` or `unix:` endpoint, and calls `accept` with each stream on the stream's arbiter: for TLS after the
    /// handshake, which has 5 s by default and holds up nobody else.
    ///
    /// A unix socket's file that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// `Connect`, when the endpoint cannot be listened on.
    pub async fn bind(
        endpoint: &Endpoint,
        config: ListenerConfig,
        accept: impl Fn(StreamHandle) + Send + Sync + 'static,
    ) -> Result<Self, StreamError> {
        let runtime = Runtime::or_current(config.runtime.as_ref())?;
        let endpoint = endpoint.clone();
        let arbiter = runtime.arbiter().clone();
        let start = move || async move {
            let bound = Bound::new(&endpoint, &config).await?;
            let local = bound
                .local()
                .map_err(|error| ConnectError::new(endpoint.text().clone(), error.into()))?;
            let counters = Arc::<Counters>::default();
            let census = Census::new(config.max_connections, config.max_per_address);
            let (alive, gone) = watch::channel(());
            let (unsettled, settled) = watch::channel(());
            let acceptor = Acceptor {
                bound,
                clerk: Arc::new(Clerk {
                    accept: Box::new(accept),
                    #[cfg(feature = "__tls")]
                    counters: counters.clone(),
                    #[cfg(feature = "__tls")]
                    handshakes: Handshakes::new(config.max_handshakes),
                }),
                runtime: runtime.clone(),
                counters: counters.clone(),
                census: census.clone(),
                pause: None,
                unsettled,
                _alive: alive,
            };
            Ok(Self {
                acceptor: acceptor.start(),
                local,
                counters,
                census,
                runtime,
                gone,
                settled,
            })
        };
        Runtime::run_on(&arbiter, start).await?
    }

    /// The address it listens on: for port 0 the one that the kernel chose.
    pub fn local_address(&self) -> &Address {
        &self.local
    }

    /// The runtime whose arbiters carry the connections.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The port it listens on, for TCP.
    pub fn port(&self) -> Option<u16> {
        match &self.local {
            Address::Tcp(address) => Some(address.port()),
            _ => None,
        }
    }

    /// Stops accepting, for all clones.
    pub fn stop(&self) {
        // One that is gone has stopped.
        let _ = self.acceptor.try_send(StopAccepting);
    }

    /// Resolves when the socket is closed after [`stop`](Self::stop), and a unix socket's file is gone.
    pub async fn stopped(&self) {
        // Nothing is ever sent: an error says that the actor is gone.
        while self.gone.clone().changed().await.is_ok() {}
    }

    /// Resolves when `accept` will be called no more after [`stop`](Self::stop): each connection that was accepted before has been handed
    /// on, or has failed in its TLS handshake.
    pub async fn settled(&self) {
        while self.settled.clone().changed().await.is_ok() {}
    }

    /// Counts so far.
    pub fn stats(&self) -> ListenerStats {
        ListenerStats {
            accepted: self.counters.accepted.load(Ordering::Relaxed),
            handshakes_failed: self.counters.handshakes_failed.load(Ordering::Relaxed),
            refused: self.counters.refused.load(Ordering::Relaxed),
            paused: self.counters.paused.load(Ordering::Relaxed),
            alive: self.census.alive() as u64,
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct StopAccepting;

/// The actor behind a [`Listener`].
struct Acceptor {
    bound: Bound,
    clerk: Arc<Clerk>,
    runtime: Runtime,
    counters: Arc<Counters>,
    census: Arc<Census>,
    pause: Option<Pin<Box<Sleep>>>,
    unsettled: Unsettled,
    /// Dropped with the actor, behind the socket: fields go in the order in which they stand.
    _alive: watch::Sender<()>,
}

impl Acceptor {
    fn poll_accept(&mut self, cx: &mut TaskContext<'_>) {
        for _ in 0..TURN {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.pause = None;
            }
            match self.bound.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(socket)) => match self.census.admit(socket.peer_ip()) {
                    Some(place) => {
                        self.counters.accepted.fetch_add(1, Ordering::Relaxed);
                        let clerk = self.clerk.clone();
                        let arbiter = self.runtime.arbiter();
                        let entry = Entry {
                            place,
                            _unsettled: self.unsettled.clone(),
                        };
                        if !arbiter.spawn_fn(move || socket.start(entry, &clerk)) {
                            tracing::error!("an arbiter that should carry connections has stopped");
                        }
                    }
                    None => {
                        self.counters.refused.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(peer = ?socket.peer_ip(), "connection refused: too many are alive");
                    }
                },
                Poll::Ready(Err(error)) if concerns_one_connection(&error) => {}
                Poll::Ready(Err(error)) => {
                    self.counters.paused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "accepting pauses");
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE + jitter(PAUSE / 2))));
                }
            }
        }
        cx.waker().wake_by_ref();
    }
}

/// Errors of a connection that went away before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Less than `most`, at random: keyed anew in each `RandomState`.
fn jitter(most: Duration) -> Duration {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let random = RandomState::new().build_hasher().finish();
    most.mul_f64((random % 1024) as f64 / 1024.0)
}

impl Actor for Acceptor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Accepting);
    }
}

impl Handler<StopAccepting> for Acceptor {
    type Result = ();

    fn handle(&mut self, _: StopAccepting, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// The future that accepts.
struct Accepting;

impl ActorFuture<Acceptor> for Accepting {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        acceptor: &mut Acceptor,
        ctx: &mut Context<Acceptor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if !ctx.connected() {
            return Poll::Ready(());
        }
        acceptor.poll_accept(cx);
        Poll::Pending
    }
}
