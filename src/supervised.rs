//! [`SupervisedConnection`]: RPyC over a connection that is built anew when it is lost.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rpyc_actors::{
    Chain, ConnectionEvent, Events, Meanwhile, Runtime, StreamError, SupervisedChannel,
    SupervisorConfig, codec::Liveness, supervisor::Generation,
};

use crate::{
    connection::{Connection, ConnectionConfig, DEFAULT_TIMEOUT, Exported},
    error::Error,
    object::FromObject,
    protocol::PackTuple,
    service::Service,
};

/// A handle of a supervised connection to an RPyC server.
///
/// A call waits for a connection, within its deadline. One whose connection is lost before it left is sent again on the next. One that had
/// left may have run: it ends with [`Error::MayHaveRun`], unless the caller said that it is [idempotent](Self::idempotent).
///
/// A [`Netref`](crate::Netref) belongs to the connection it came from, and fails at once when that is lost: ask again for what it stood
/// for. [`connection`](Self::connection) gives the present connection for everything that is not here.
///
/// Clones share the connection. Dropping the last one closes it.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc::Error> {
/// use rpyc::{Chain, SupervisedConnection, SupervisorConfig, VoidService};
///
/// let chain = Chain::to("tcp://localhost:18861")?;
/// let connection = SupervisedConnection::new(&chain, VoidService, SupervisorConfig::default());
/// let sum: i64 = connection.idempotent().call("add", (1, 2)).await?;
/// # drop(sum);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SupervisedConnection {
    shared: Arc<Shared>,
    timeout: Option<Duration>,
    is_idempotent: bool,
}

struct Shared {
    channel: SupervisedChannel,
    service: Arc<Service>,
    config: ConnectionConfig,
    /// That of the last generation.
    current: Mutex<Option<(u64, Connection)>>,
}

impl Shared {
    /// The connection over a generation, one for each; or over a later one, if somebody knows of that already.
    fn over(&self, generation: Generation) -> (u64, Connection) {
        let mut current = self.current.lock();
        match &*current {
            Some((number, connection)) if *number >= generation.number => {
                (*number, connection.clone())
            }
            _ => {
                let number = generation.number;
                let config = self.config.of_generation(number);
                let service = self.service.clone();
                let connection = Connection::with_config(generation.channel, service, config);
                let before = current.replace((number, connection.clone()));
                drop(current);
                // The last handle of a connection closes it.
                drop(before);
                (number, connection)
            }
        }
    }
}

impl std::fmt::Debug for SupervisedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SupervisedConnection")
            .field("channel", &self.shared.channel)
            .finish_non_exhaustive()
    }
}

impl SupervisedConnection {
    /// Keeps a connection to a server up from now on, and offers a service on it: [`VoidService`](crate::VoidService) to offer
    /// none. It is dialled at once; nothing waits for that.
    ///
    /// While nothing is asked of the server it is sent a PING every 5 s, and taken for dead when there is no answer for 15 s; with
    /// [`with_config`](Self::with_config) that can be set. What finds a dead host while a call is pending is TCP: see
    /// [`TcpConfig::keepalive`](crate::TcpConfig::keepalive) and [`user_timeout`](crate::TcpConfig::user_timeout).
    ///
    /// # Panics
    ///
    /// As [`Chain::supervise`]: [`try_with_config`](Self::try_with_config) gives an error.
    pub fn new(chain: &Chain, service: impl Into<Arc<Service>>, config: SupervisorConfig) -> Self {
        let ours = ConnectionConfig::default().liveness(Liveness::default());
        Self::with_config(chain, service, config, ours)
    }

    /// As [`new`](Self::new), with settings for each connection.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with_config(
        chain: &Chain,
        service: impl Into<Arc<Service>>,
        config: SupervisorConfig,
        ours: ConnectionConfig,
    ) -> Self {
        Self::over(chain.supervise(waiting_above(config)), service.into(), ours)
    }

    /// As [`with_config`](Self::with_config).
    ///
    /// # Errors
    ///
    /// `Stream`, as [`Chain::try_supervise`].
    pub fn try_with_config(
        chain: &Chain,
        service: impl Into<Arc<Service>>,
        config: SupervisorConfig,
        ours: ConnectionConfig,
    ) -> Result<Self, Error> {
        let channel = chain.try_supervise(waiting_above(config))?;
        Ok(Self::over(channel, service.into(), ours))
    }

    fn over(channel: SupervisedChannel, service: Arc<Service>, ours: ConnectionConfig) -> Self {
        let events = channel.events();
        let arbiter = channel.arbiter().clone();
        let shared = Arc::new(Shared {
            channel,
            service,
            config: ours,
            current: Mutex::new(None),
        });
        // Without an arbiter there are no connections.
        arbiter.spawn(serve_each(Arc::downgrade(&shared), events));
        Self {
            shared,
            timeout: Some(DEFAULT_TIMEOUT),
            is_idempotent: false,
        }
    }

    /// The same connection with another deadline for each call, with all the waiting and sending again; `None` waits for ever. 30 s by
    /// default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// The same connection for calls that may run twice: those whose connection is lost are sent again.
    #[must_use]
    pub fn idempotent(&self) -> Self {
        let mut this = self.clone();
        this.is_idempotent = true;
        this
    }

    /// The present connection, for references, attributes, and whatever else a [`Connection`] does. It ends with its generation; closing
    /// it is taken for a loss.
    ///
    /// # Errors
    ///
    /// `NotSent`: nobody is there within the deadline, the connection is taken for broken, or closed.
    ///
    /// # Cancellation
    ///
    /// Only the waiting ends.
    pub async fn connection(&self) -> Result<Connection, Error> {
        let (_, connection) = self.present(self.until()).await?;
        Ok(connection.with_timeout(self.timeout))
    }

    fn until(&self) -> Option<Instant> {
        self.timeout
            .and_then(|timeout| Instant::now().checked_add(timeout))
    }

    async fn present(&self, until: Option<Instant>) -> Result<(u64, Connection), Error> {
        let channel = &self.shared.channel;
        loop {
            let generation = match channel.generation() {
                Some(generation) => generation,
                None => self.wait(until).await?,
            };
            let (number, connection) = self.shared.over(generation);
            if !connection.closed() {
                return Ok((number, connection));
            }
            // The supervisor will know in a moment, too.
            channel.give_up(number);
        }
    }

    async fn wait(&self, until: Option<Instant>) -> Result<Generation, Error> {
        let channel = &self.shared.channel;
        let Some(until) = until else {
            return channel.connected().await.map_err(Error::NotSent);
        };
        let clock = Runtime::with_arbiters([channel.arbiter().clone()])?;
        tokio::select! {
            biased;
            generation = channel.connected() => generation.map_err(Error::NotSent),
            () = clock.sleep(until.saturating_duration_since(Instant::now())) => {
                Err(Error::NotSent(StreamError::TimedOut {
                    what: "waiting for a connection",
                    after: self.timeout.unwrap_or_default(),
                }))
            }
        }
    }

    /// Calls a function of the server's service. `args` is a Rust tuple.
    ///
    /// # Errors
    ///
    /// [`Error`]: what the peer raised, or why there is no answer. `NotSent` when there was no connection within the deadline,
    /// `MayHaveRun` when the connection was lost with the call under way.
    ///
    /// # Cancellation
    ///
    /// As [`Connection::call`].
    pub async fn call<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.call_kw(name, args, ()).await
    }

    /// Calls with keyword arguments, as [`Connection::call_kw`].
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// As [`Connection::call`].
    pub async fn call_kw<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        let until = self.until();
        let mut may_have_run = false;
        let told = |error, may_have_run| match error {
            // What was not sent this time may have been the time before.
            Error::NotSent(error) if may_have_run => Error::MayHaveRun(error),
            Error::TimedOut(_) => Error::TimedOut(self.timeout.unwrap_or_default()),
            error => error,
        };
        loop {
            let present = self.present(until).await;
            let (number, connection) = present.map_err(|error| told(error, may_have_run))?;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let connection = connection.with_timeout(left);
            match connection.call_kw(name, &args, &kwargs).await {
                Err(error) if self.may_go_again(&error) => {
                    tracing::debug!(%error, name, "a call is sent again");
                    may_have_run |= matches!(error, Error::MayHaveRun(_));
                    self.shared.channel.give_up(number);
                }
                result => return result.map_err(|error| told(error, may_have_run)),
            }
        }
    }

    fn may_go_again(&self, error: &Error) -> bool {
        let is_over = |error: &StreamError| {
            matches!(error, StreamError::ConnectionLost(_) | StreamError::Closed)
        };
        match error {
            Error::NotSent(error) => is_over(error),
            Error::MayHaveRun(error) => self.is_idempotent && is_over(error),
            _ => false,
        }
    }

    /// What happens from now on, beginning with the present state.
    pub fn events(&self) -> Events {
        self.shared.channel.events()
    }

    /// The channel below: its counts, its supervisor. Frames sent on it would break the protocol.
    pub fn channel(&self) -> &SupervisedChannel {
        &self.shared.channel
    }

    /// Tells the server, closes, and dials no more. Calls that wait end with an error.
    ///
    /// # Cancellation
    ///
    /// The connection closes all the same.
    pub async fn close(&self) {
        // It stays where it is, or another would be made over the same channel.
        let current = self.shared.current.lock().clone();
        if let Some((_, connection)) = current {
            connection.start_close();
        }
        if let Err(error) = self.shared.channel.close().await {
            tracing::debug!(%error, "a supervised connection ended early");
        }
    }

    /// [`call`](Self::call) for plain threads.
    ///
    /// # Errors
    ///
    /// As `call`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn call_blocking<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        rpyc_actors::runtime::block_on(self.call(name, args))?
    }
}

/// Calls wait by themselves, each as long as it may; nothing is sent past them.
fn waiting_above(config: SupervisorConfig) -> SupervisorConfig {
    config.meanwhile(Meanwhile::Fail)
}

/// Has each generation served as soon as it is up: the peer may call, too, and is asked whether it lives.
async fn serve_each(shared: Weak<Shared>, mut events: Events) {
    while let Some(event) = events.next().await {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        if let (ConnectionEvent::Connected { .. }, Some(generation)) =
            (event, shared.channel.generation())
        {
            shared.over(generation);
        }
    }
}
