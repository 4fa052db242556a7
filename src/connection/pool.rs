//! [`ConnectionPool`]: RPyC connections that are kept, and lent to whoever needs one.
//!
//! One connection serves many callers at once, so a pool of them is for what one connection bounds: the one thread with which stock Python serves
//! a connection, one socket, one processor. How the two compare stands in `docs/BENCHMARKS.md`.

use std::sync::Arc;

use rpyc_actors::{
    Chain, Endpoint, Runtime, StreamError, StreamPool,
    pool::{Recipe, Retired},
};

use super::{Connection, ConnectionConfig};
use crate::{
    error::Error,
    service::{Service, VoidService},
};

/// The seed's pool: RPyC connections, lent to any number of tasks and threads.
///
/// ```no_run
/// use rpyc::{ConnectionPool, Error};
///
/// fn main() -> Result<(), Error> {
///     let pool = ConnectionPool::new("server.example.com", 12345, 20);
///     std::thread::scope(|threads| {
///         for id in 0..10 {
///             let pool = &pool;
///             threads.spawn(move || -> Result<(), Error> {
///                 let conn = pool.get_connection_blocking()?;
///                 let result: i64 = conn.call_blocking("work_function", (id, 1))?;
///                 println!("{result}");
///                 pool.return_connection(conn); // or let it drop
///                 Ok(())
///             });
///         }
///     });
///     Ok(())
/// }
/// ```
pub type ConnectionPool = StreamPool<Connections>;

/// How the connections of a [`ConnectionPool`] are made, over any chain: TLS, encrypted, tunnelled.
///
/// A connection that was idle is checked with a ping before it is lent ([`PoolConfig::check`](rpyc_actors::PoolConfig::check)).
///
/// ```no_run
/// # fn example() -> Result<(), rpyc::Error> {
/// use rpyc::{Chain, ConnectionPool, Connections, PoolConfig, Service};
///
/// let chain = Chain::to("tls://server.example.com:12345")?;
/// let connections = Connections::new(chain).service(Service::new("Callbacks"));
/// let pool = ConnectionPool::of(connections, PoolConfig::default().max_size(20));
/// # drop(pool);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connections {
    chain: Chain,
    service: Arc<Service>,
    config: ConnectionConfig,
}

impl Connections {
    /// Over a chain, offering nothing to the peer.
    pub fn new(chain: Chain) -> Self {
        Self {
            chain,
            service: VoidService.into(),
            config: ConnectionConfig::default(),
        }
    }

    /// Sets the service that each connection offers to its peer.
    #[must_use]
    pub fn service(mut self, service: impl Into<Arc<Service>>) -> Self {
        self.service = service.into();
        self
    }

    /// Sets how the connections speak, and what bounds them.
    #[must_use]
    pub fn config(mut self, config: ConnectionConfig) -> Self {
        self.config = config;
        self
    }
}

impl From<Endpoint> for Connections {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(Chain::new(endpoint))
    }
}

impl Recipe for Connections {
    type Connection = Connection;

    fn endpoint(&self) -> &str {
        Recipe::endpoint(&self.chain)
    }

    async fn connect(&self, runtime: &Runtime) -> Result<Connection, StreamError> {
        let channel = Recipe::connect(&self.chain, runtime).await?;
        Ok(Connection::with_config(
            channel,
            self.service.clone(),
            self.config,
        ))
    }

    fn is_usable(&self, connection: &Connection) -> bool {
        !connection.closed()
    }

    async fn check(&self, connection: &Connection) -> Result<(), StreamError> {
        match connection.ping().await {
            Ok(_) => Ok(()),
            Err(Error::Stream(error) | Error::NotSent(error) | Error::MayHaveRun(error)) => {
                Err(error)
            }
            Err(error) => Err(StreamError::peer(error.to_string())),
        }
    }

    async fn close(&self, connection: Connection, why: Retired) {
        if why == Retired::CheckFailed {
            // It answers nothing, so it will not say goodbye either.
            connection.abort();
        }
        connection.close().await;
    }
}
