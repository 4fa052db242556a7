//! Connecting to a peer.

use std::sync::Arc;

use rpyc_actors::{Chain, Endpoint, TcpConfig};

use crate::{
    connection::Connection,
    error::Error,
    service::{Service, VoidService},
};

/// Connects to an RPyC server over TCP, offering nothing to it.
///
/// # Errors
///
/// `Stream`, when the connection cannot be made.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn connect(host: &str, port: u16) -> Result<Connection, Error> {
    connect_service(host, port, VoidService).await
}

/// Connects to an RPyC server over TCP, offering a service to it.
///
/// # Errors
///
/// `Stream`, when the connection cannot be made.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn connect_service(
    host: &str,
    port: u16,
    service: impl Into<Arc<Service>>,
) -> Result<Connection, Error> {
    let chain = Chain::new(Endpoint::tcp(host, port, TcpConfig::default()));
    Ok(Connection::new(chain.connect().await?, service))
}

/// Connects to an RPyC server over TLS, offering nothing to it.
///
/// Servers whose certificates were made with plain `openssl req -x509` are reached with
/// [`Verify::Ca`](rpyc_actors::stream::tls::Verify::Ca) and the certificate itself as `ca`.
///
/// # Errors
///
/// `Stream`, when the connection cannot be made.
///
/// # Cancellation
///
/// The attempt is given up.
#[cfg(any(feature = "tls", feature = "aws-lc-rs"))]
pub async fn ssl_connect(
    host: &str,
    port: u16,
    config: rpyc_actors::TlsConfig,
) -> Result<Connection, Error> {
    let chain = Chain::new(Endpoint::tls(host, port, config));
    Ok(Connection::new(chain.connect().await?, VoidService))
}

/// Connects to an endpoint such as `tcp://host:port`, `tls://host:port`, `unix:path` or `exec:command`, offering nothing to it.
///
/// # Errors
///
/// `Stream`, when the text is no endpoint or the connection cannot be made.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn connect_endpoint(endpoint: &str) -> Result<Connection, Error> {
    let channel = Chain::to(endpoint)?.connect().await?;
    Ok(Connection::new(channel, VoidService))
}
