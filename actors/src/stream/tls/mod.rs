//! TLS: [`create_ssl_stream`], [`TlsConfig`], and the transport that speaks it over any other.
//!
//! The crypto is ring's, or AWS-LC's where only the feature `aws-lc-rs` is on; it is passed explicitly, and the process-wide default of rustls
//! is never touched.
//!
//! # Ends
//!
//! Each direction ends with TLS's close_notify, and then with the end of the transport below. An end without it may have been made by
//! anybody on the way, so it is a loss ([`LossReason::CutOff`]): what came may be cut short.

mod config;
mod error;
mod identity;
mod pem;
mod verify;

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

pub use config::{ClientCertificates, Fingerprint, TlsConfig, TlsVersion, Verify};
pub use error::TlsError;
pub use identity::{PeerCertificate, TlsInfo};
pub use pem::Pem;

use super::{
    ByteStream, StreamHandle, StreamInfo, Transport, tcp::SocketStream, transport::write_through,
};
use crate::{
    endpoint::Endpoint,
    error::{LossReason, StreamError},
    runtime::Runtime,
};

/// Bytes of a refused client that are read and dropped, so that it learns why.
const DRAINED: u64 = 64 << 10;
/// The label of what both ends export, to tie something to their connection.
const EXPORTED: &[u8] = b"EXPORTER-rpyc-resume";

/// TLS over another transport.
struct Tls<T> {
    stream: TlsStream<T>,
    /// The transport below ended without a close_notify.
    is_cut_off: bool,
}

impl<T: Transport> AsyncRead for Tls<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_read(cx, buffer)) {
            // rustls's word for the end of the transport without a close_notify.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.is_cut_off = true;
                Poll::Ready(Ok(()))
            }
            result => Poll::Ready(result),
        }
    }
}

impl<T: Transport> AsyncWrite for Tls<T> {
    // A shutdown sends the close_notify and ends the transport's direction; the peer's goes on.
    write_through!(stream, one piece at a time);
}

impl<T: Transport> Transport for Tls<T> {
    fn expect_more(&mut self) {
        self.stream.get_mut().0.expect_more();
    }

    fn abort(&mut self) {
        self.stream.get_mut().0.abort();
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<LossReason>> {
        if !self.is_cut_off {
            return Poll::Ready(None);
        }
        // The transport may know better why.
        let reason = ready!(self.stream.get_mut().0.poll_end(cx));
        Poll::Ready(Some(reason.unwrap_or(LossReason::CutOff)))
    }
}

/// What a client shakes hands with: made before it dials, so that bad settings are told first.
pub(crate) struct Connector<'a> {
    connector: TlsConnector,
    name: ServerName<'static>,
    config: &'a TlsConfig,
}

impl<'a> Connector<'a> {
    /// `host` is where the transport will lead.
    pub(crate) async fn new(config: &'a TlsConfig, host: &str) -> Result<Self, TlsError> {
        Ok(Self {
            name: config.server_name(host)?,
            connector: config.client().await?.into(),
            config,
        })
    }

    /// Shakes hands with a server within `patience`, and starts the stream on the current arbiter.
    pub(crate) async fn connect<T: Transport>(
        self,
        transport: T,
        info: StreamInfo,
        patience: Duration,
    ) -> Result<StreamHandle, TlsError> {
        let asked = self.name.to_str().into();
        let handshake = self.connector.connect(self.name, transport);
        let stream = tokio::time::timeout(patience, handshake)
            .await
            .map_err(|_| TlsError::TimedOut(patience))?
            .map_err(TlsError::of_handshake)?;
        let binding = stream
            .get_ref()
            .1
            .export_keying_material([0; 32], EXPORTED, None)
            .ok();
        Ok(start(
            self.config,
            stream.into(),
            info,
            Some(asked),
            binding,
        ))
    }
}

/// What a listener shakes hands with.
pub(crate) struct Acceptor {
    acceptor: TlsAcceptor,
    config: TlsConfig,
}

impl Acceptor {
    pub(crate) async fn new(config: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self {
            acceptor: config.server().await?.into(),
            config: config.clone(),
        })
    }

    /// Shakes hands with a client, and starts the stream on the current arbiter.
    pub(crate) async fn accept<T: Transport>(
        &self,
        transport: T,
        info: StreamInfo,
    ) -> Result<StreamHandle, TlsError> {
        let patience = self.config.patience();
        let until = Instant::now() + patience;
        let handshake = self.acceptor.accept(transport).into_fallible();
        match tokio::time::timeout_at(until, handshake).await {
            Ok(Ok(stream)) => {
                let name = stream.get_ref().1.server_name().map(Into::into);
                let binding = stream
                    .get_ref()
                    .1
                    .export_keying_material([0; 32], EXPORTED, None)
                    .ok();
                Ok(start(&self.config, stream.into(), info, name, binding))
            }
            Ok(Err((error, transport))) => {
                // A close with unread input would destroy the alert that says why.
                let _ = tokio::time::timeout_at(until, let_go(transport)).await;
                Err(TlsError::of_handshake(error))
            }
            Err(_) => Err(TlsError::TimedOut(patience)),
        }
    }
}

async fn let_go<T: Transport>(mut transport: T) -> io::Result<()> {
    transport.shutdown().await?;
    tokio::io::copy(&mut transport.take(DRAINED), &mut tokio::io::sink()).await?;
    Ok(())
}

fn start<T: Transport>(
    config: &TlsConfig,
    stream: TlsStream<T>,
    info: StreamInfo,
    name: Option<Arc<str>>,
    binding: Option<[u8; 32]>,
) -> StreamHandle {
    let tls = TlsInfo::new(stream.get_ref().1, name, binding, config.is_verifying());
    let info = StreamInfo {
        tls: Some(Arc::new(tls)),
        ..info
    };
    let transport = Tls {
        stream,
        is_cut_off: false,
    };
    ByteStream::start(transport, info)
}

impl SocketStream {
    /// Connects to a TLS server, by name or address.
    ///
    /// # Errors
    ///
    /// `Connect`, naming the endpoint and the reason.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn ssl_connect(
        host: &str,
        port: u16,
        config: TlsConfig,
    ) -> Result<Self, StreamError> {
        let endpoint = Endpoint::tls(host, port, config);
        let open = move || async move { endpoint.open().await };
        Runtime::run_on(Runtime::try_current()?.arbiter(), open)
            .await?
            .map(Self)
    }
}

/// Connects to a TLS server, by name or address: the seed's factory. All but host and port may be left out; more can be set with
/// [`SocketStream::ssl_connect`]. Without a `keyfile` the key is looked for in `certfile`.
///
/// The server's certificate must be for `host` and signed by a CA in `ca_certs`, or else by one of the system's.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{Channel, create_ssl_stream};
///
/// let stream = create_ssl_stream(
///     "secure-server.com",
///     18821,
///     Some("client.key".as_ref()),
///     Some("client.crt".as_ref()),
///     Some("ca.crt".as_ref()),
/// )
/// .await?;
/// let channel = Channel::new(stream);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// `Connect`, naming the endpoint and the reason; `ApiMisuse` for a key without a certificate.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn create_ssl_stream(
    host: &str,
    port: u16,
    keyfile: Option<&Path>,
    certfile: Option<&Path>,
    ca_certs: Option<&Path>,
) -> Result<SocketStream, StreamError> {
    let mut config = TlsConfig::default();
    if let Some(certificate) = certfile {
        // As Python's ssl, a file may hold both.
        config = config.certificate(certificate, keyfile.unwrap_or(certificate));
    } else if keyfile.is_some() {
        return Err(StreamError::misuse("a keyfile without a certfile"));
    }
    if let Some(ca) = ca_certs {
        config = config.ca(ca);
    }
    SocketStream::ssl_connect(host, port, config).await
}
