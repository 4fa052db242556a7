//! [`Endpoint`]: text to a recipe that can be opened again and again.

mod opening;
mod text;

use std::{fmt, future::Future, path::PathBuf, pin::Pin, str::FromStr, sync::Arc};

use tokio::io::{AsyncRead, AsyncWrite};

pub use text::parse_duration;
pub(crate) use text::{parse_authority, percent_decoded};

use self::opening::Opening;
#[cfg(feature = "__tls")]
use crate::stream::tls::{self, TlsConfig};
use crate::{
    error::{ConnectError, ConnectFailure, StreamError},
    limits::Limits,
    stream::{
        StreamHandle, custom, process, stdio,
        tcp::TcpConfig,
        tunnel::{self, Via},
        unix,
    },
};

/// Where a chain leads.
///
/// | text | what |
/// | --- | --- |
/// | `tcp://host:port` | TCP; `?ipv6=true`, `?keepalive=true` or seconds, `?connect_timeout=5s`, `?user_timeout=30s` |
/// | `tls://host:port` | TLS: `?ca=FILE`, `?cert=FILE&key=FILE`, `?name=NAME`, `?verify=full`, `ca`, `pin:SHA256` or `insecure`, `?version=1.3`, `?handshake_timeout=5s`, and all of TCP; to listen `?clients=none`, `optional` or `required` |
/// | `unix:path` | a unix socket |
/// | `exec:command args` | a child process's stdin and stdout; words are split as a shell does, without expansions |
/// | `stdio:` | this process's own stdin and stdout |
///
/// TCP and TLS take a way through a tunnel: `?via=socks5://[user:password@]host:port`, `http://…` or `ssh://[user@]host[:port]`
/// ([`Via`]). In the values of settings, `%26` stands for `&` and `%25` for `%`. A password is shown as `***`.
///
/// ```
/// use rpyc_actors::Endpoint;
///
/// let endpoint: Endpoint = "tcp://[::1]:18861?keepalive=30".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://[::1]:18861?keepalive=30");
/// let error = "tpc://host:1".parse::<Endpoint>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"cannot connect to tpc://host:1: unknown scheme "tpc": expected tcp://, tls://, unix:, exec: or stdio:"#
/// );
/// # Ok::<(), rpyc_actors::StreamError>(())
/// ```
#[derive(Clone)]
pub struct Endpoint {
    text: Arc<str>,
    kind: Kind,
    limits: Limits,
    opening: Option<Opening>,
}

/// Makes a stream anew each time, on the arbiter it is called on.
type Factory = Arc<
    dyn Fn(Arc<str>, Limits) -> Pin<Box<dyn Future<Output = Result<StreamHandle, StreamError>>>>
        + Send
        + Sync,
>;

#[derive(Clone)]
enum Kind {
    Tcp {
        host: String,
        port: u16,
        config: TcpConfig,
        via: Option<Via>,
    },
    #[cfg(feature = "__tls")]
    Tls {
        host: String,
        port: u16,
        config: Box<TlsConfig>,
        via: Option<Via>,
    },
    Custom(Factory),
    Unix(PathBuf),
    Exec(Vec<String>),
    Stdio,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("text", &self.text)
            .field("limits", &self.limits)
            .field("opening", &self.opening)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Endpoint {
    type Err = StreamError;

    fn from_str(text: &str) -> Result<Self, StreamError> {
        let shown = text::shown(text);
        match text::parse(text) {
            Ok(kind) => Ok(Self::of(shown, kind)),
            Err(what) => {
                Err(ConnectError::new(shown, ConnectFailure::Endpoint(what.into())).into())
            }
        }
    }
}

impl Endpoint {
    fn of(text: impl Into<Arc<str>>, kind: Kind) -> Self {
        Self {
            text: text.into(),
            kind,
            limits: Limits::default(),
            opening: None,
        }
    }

    /// TCP to a host by name or address.
    pub fn tcp(host: impl Into<String>, port: u16, config: TcpConfig) -> Self {
        let host = host.into();
        let text = format!("tcp://{}", tunnel::authority(&host, port));
        let limits = config.limits;
        let via = None;
        let kind = Kind::Tcp {
            host,
            port,
            config,
            via,
        };
        Self::of(text, kind).limits(limits)
    }

    /// TLS to a host by name or address.
    #[cfg(feature = "__tls")]
    pub fn tls(host: impl Into<String>, port: u16, config: TlsConfig) -> Self {
        let host = host.into();
        let text = format!("tls://{}", tunnel::authority(&host, port));
        let limits = config.tcp_config().limits;
        let kind = Kind::Tls {
            host,
            port,
            config: Box::new(config),
            via: None,
        };
        Self::of(text, kind).limits(limits)
    }

    /// A unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::of(format!("unix:{}", path.display()), Kind::Unix(path))
    }

    /// A child process.
    pub fn exec<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        let command: Vec<String> = command.into_iter().map(Into::into).collect();
        Self::of(format!("exec:{}", command.join(" ")), Kind::Exec(command))
    }

    /// This process's own stdin and stdout.
    pub fn stdio() -> Self {
        Self::of("stdio:", Kind::Stdio)
    }

    /// A transport of your own. `factory` runs on the arbiter of each connection, once for each time that the endpoint is opened; `name` is
    /// for errors and logs.
    ///
    /// ```
    /// use rpyc_actors::{Chain, Endpoint, error::ConnectError};
    ///
    /// let dial = || async {
    ///     let failed = |error: std::io::Error| ConnectError::new("mine:", error.into());
    ///     Ok(tokio::net::TcpStream::connect("127.0.0.1:12345").await.map_err(failed)?)
    /// };
    /// let chain = Chain::new(Endpoint::custom("mine:", dial));
    /// # drop(chain);
    /// ```
    pub fn custom<T, F>(
        name: impl Into<Arc<str>>,
        factory: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
        F: Future<Output = Result<T, StreamError>> + 'static,
    {
        let make: Factory = Arc::new(move |endpoint, limits| {
            let making = factory();
            Box::pin(async move { Ok(custom::start(making.await?, endpoint, limits)) })
        });
        Self::of(name, Kind::Custom(make))
    }

    /// Leads the endpoint through a tunnel.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` for what is neither TCP nor TLS, or has a tunnel already.
    pub fn via(mut self, way: Via) -> Result<Self, StreamError> {
        let place = match &mut self.kind {
            Kind::Tcp { via, .. } => via,
            #[cfg(feature = "__tls")]
            Kind::Tls { via, .. } => via,
            _ => return Err(StreamError::misuse("only TCP and TLS go through a tunnel")),
        };
        if place.is_some() {
            return Err(StreamError::misuse("there is a tunnel already"));
        }
        let sign = if self.text.contains('?') { '&' } else { '?' };
        self.text = format!("{}{sign}via={way}", self.text).into();
        *place = Some(way);
        Ok(self)
    }

    /// Sets what bounds the stream and its channel.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The address to listen on, for the kinds that can.
    pub(crate) fn listen_address(&self) -> Result<ListenAddress<'_>, StreamError> {
        match &self.kind {
            Kind::Tcp {
                host,
                port,
                config,
                via: None,
            } => Ok(ListenAddress::Tcp {
                host,
                port: *port,
                config,
                #[cfg(feature = "__tls")]
                tls: None,
            }),
            #[cfg(feature = "__tls")]
            Kind::Tls {
                host,
                port,
                config,
                via: None,
            } => Ok(ListenAddress::Tcp {
                host,
                port: *port,
                config: config.tcp_config(),
                tls: Some(config),
            }),
            Kind::Unix(path) => Ok(ListenAddress::Unix(path)),
            _ => {
                let what =
                    "only tcp://, tls:// and unix: endpoints can be listened on, and no tunnel";
                Err(self.fail(ConnectFailure::Endpoint(what.into())))
            }
        }
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn limits_now(&self) -> Limits {
        self.limits
    }

    /// What stands before the colon of the text of such an endpoint; `custom` for a transport of your own.
    pub fn scheme(&self) -> &'static str {
        match &self.kind {
            Kind::Tcp { .. } => "tcp",
            #[cfg(feature = "__tls")]
            Kind::Tls { .. } => "tls",
            Kind::Custom(_) => "custom",
            Kind::Unix(_) => "unix",
            Kind::Exec(_) => "exec",
            Kind::Stdio => "stdio",
        }
    }

    /// True when only processes of this machine can be at the other end: a loopback address, a unix socket, a child.
    pub fn is_local(&self) -> bool {
        match &self.kind {
            Kind::Tcp {
                host, via: None, ..
            } => is_loopback(host),
            #[cfg(feature = "__tls")]
            Kind::Tls {
                host, via: None, ..
            } => is_loopback(host),
            Kind::Unix(_) | Kind::Exec(_) | Kind::Stdio => true,
            _ => false,
        }
    }

    /// True when whoever listens here lets nobody in without a certificate that was checked, and nobody else can read along.
    pub fn is_guarded(&self) -> bool {
        match &self.kind {
            #[cfg(feature = "__tls")]
            Kind::Tls { config, .. } => config.requires_clients(),
            _ => false,
        }
    }

    /// True when whoever is dialled here has to prove who it is, by a certificate that is checked, and nobody else can read along.
    pub fn is_proven(&self) -> bool {
        match &self.kind {
            #[cfg(feature = "__tls")]
            Kind::Tls { config, .. } => config.is_verifying(),
            _ => false,
        }
    }

    fn fail(&self, reason: impl Into<ConnectFailure>) -> StreamError {
        ConnectError::new(self.text.clone(), reason.into()).into()
    }

    /// Opens the endpoint on the current arbiter.
    pub(crate) async fn open(&self) -> Result<StreamHandle, StreamError> {
        let stream = self.open_stream().await?;
        if let Some(opening) = &self.opening {
            opening
                .run(&stream)
                .await
                .map_err(|error| self.fail(ConnectFailure::Refused(Arc::new(error))))?;
        }
        Ok(stream)
    }

    async fn open_stream(&self) -> Result<StreamHandle, StreamError> {
        let text = self.text.clone();
        match &self.kind {
            Kind::Tcp {
                host,
                port,
                config,
                via,
            } => {
                let config = config.clone().limits(self.limits);
                let opened = match via {
                    Some(via) => tunnel::open(via, host, *port, &config, text).await,
                    None => config.open(host, *port, text).await,
                };
                opened.map_err(|reason| self.fail(reason))
            }
            #[cfg(feature = "__tls")]
            Kind::Tls {
                host,
                port,
                config,
                via,
            } => self
                .open_tls(host, *port, config, via.as_ref())
                .await
                .map_err(|reason| self.fail(reason)),
            Kind::Custom(make) => make(text, self.limits).await,
            Kind::Unix(path) => unix::open(path, &text, self.limits).await,
            Kind::Exec(command) => process::open(command, &text, self.limits),
            Kind::Stdio => stdio::open(&text, self.limits),
        }
    }

    #[cfg(feature = "__tls")]
    async fn open_tls(
        &self,
        host: &str,
        port: u16,
        config: &TlsConfig,
        via: Option<&Via>,
    ) -> Result<StreamHandle, ConnectFailure> {
        let tcp = config.tcp_config().clone().limits(self.limits);
        let patience = config.patience();
        let connector = tls::Connector::new(config, host).await?;
        let Some(via) = via else {
            let socket = tcp.connect(host, port).await?;
            let info = tcp.info(&socket, self.text.clone());
            return Ok(connector.connect(socket, info, patience).await?);
        };
        let tunnel = via.connect(host, port, &tcp).await?;
        let info = tunnel.info(&tcp, self.text.clone());
        // The way may still be under construction.
        let patience = if via.opens_late() {
            patience + tcp.connect_timeout
        } else {
            patience
        };
        Ok(connector.connect(tunnel.transport, info, patience).await?)
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What a listener binds to.
pub(crate) enum ListenAddress<'a> {
    Tcp {
        host: &'a str,
        port: u16,
        config: &'a TcpConfig,
        #[cfg(feature = "__tls")]
        tls: Option<&'a TlsConfig>,
    },
    Unix(&'a std::path::Path),
}
