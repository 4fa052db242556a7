//! Python's RPyC protocol, client and server, on actix actors.
//!
//! A Rust program calls a Python service, and an unmodified Python program calls a Rust one. Everything that moves bytes is in
//! [`rpyc_actors`], whose names are found here, too.
//!
//! A client:
//!
//! ```no_run
//! # async fn example() -> Result<(), rpyc::Error> {
//! let connection = rpyc::connect("localhost", 18861).await?;
//! let sum: i64 = connection.call("add", (1, 2)).await?;
//! assert_eq!(sum, 3);
//! connection.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! A server, which Python calls with `rpyc.connect("localhost", 18861).root.add(1, 2)`:
//!
//! ```no_run
//! # async fn example() -> Result<(), rpyc::Error> {
//! let service = rpyc::Service::new("Calculator").function("add", |a: i64, b: i64| a + b);
//! let server = rpyc::Server::bind("tcp://127.0.0.1:18861", service).await?;
//! # drop(server);
//! # Ok(())
//! # }
//! ```

/// The README's examples, as tests.
#[cfg(all(doctest, feature = "rpc"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the page about layers, as tests.
#[cfg(all(doctest, feature = "encrypt"))]
#[doc = include_str!("../docs/LAYERS.md")]
struct LayersPage;

#[cfg(feature = "rpc")]
pub mod blocking;
#[cfg(feature = "rpc")]
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod brine;
#[cfg(feature = "rpc")]
pub mod classic;
#[cfg(feature = "rpc")]
pub mod client;
#[cfg(feature = "rpc")]
pub mod connection;
#[cfg(feature = "rpc")]
pub mod error;
#[cfg(feature = "rpc")]
pub mod netref;
#[cfg(feature = "rpc")]
pub mod object;
#[cfg(feature = "rpc")]
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod protocol;
#[cfg(feature = "rpc")]
pub mod server;
#[cfg(feature = "rpc")]
pub mod service;
#[cfg(feature = "rpc")]
pub mod supervised;

pub use rpyc_actors::*;

#[cfg(all(feature = "rpc", any(feature = "tls", feature = "aws-lc-rs")))]
pub use self::client::ssl_connect;
#[cfg(feature = "rpc")]
pub use self::{
    blocking::connect_blocking,
    brine::Value,
    classic::ClassicService,
    client::{connect, connect_endpoint, connect_service},
    connection::{Connection, ConnectionConfig, ConnectionPool, Connections},
    error::Error,
    netref::Netref,
    object::Object,
    protocol::{Exception, RemoteError},
    server::{Server, ServerConfig},
    service::{Function, Service, VoidService},
    supervised::SupervisedConnection,
};
