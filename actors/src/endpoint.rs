//! [`Endpoint`]: text to a recipe that can be opened again and again.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use crate::{
    error::{ConnectError, ConnectFailure, StreamError},
    limits::Limits,
    stream::{StreamHandle, process, stdio, tcp::TcpConfig, unix},
};

/// Where a chain leads.
///
/// | text | what |
/// | --- | --- |
/// | `tcp://host:port` | TCP; `?ipv6=true`, `?keepalive=true` or seconds, `?connect_timeout=5s`, `?user_timeout=30s` |
/// | `unix:path` | a unix socket |
/// | `exec:command args` | a child process's stdin and stdout; words are split as a shell does, without expansions |
/// | `stdio:` | this process's own stdin and stdout |
///
/// ```
/// use rpyc_actors::Endpoint;
///
/// let endpoint: Endpoint = "tcp://[::1]:18861?keepalive=30".parse()?;
/// assert_eq!(endpoint.to_string(), "tcp://[::1]:18861?keepalive=30");
/// let error = "tpc://host:1".parse::<Endpoint>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"cannot connect to tpc://host:1: unknown scheme "tpc": expected tcp://, unix:, exec: or stdio:"#
/// );
/// # Ok::<(), rpyc_actors::StreamError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Endpoint {
    text: Arc<str>,
    kind: Kind,
    limits: Limits,
}

#[derive(Clone, Debug)]
enum Kind {
    Tcp {
        host: String,
        port: u16,
        config: TcpConfig,
    },
    Unix(PathBuf),
    Exec(Vec<String>),
    Stdio,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Endpoint {
    type Err = StreamError;

    fn from_str(text: &str) -> Result<Self, StreamError> {
        let kind = parse(text)
            .map_err(|what| ConnectError::new(text, ConnectFailure::Endpoint(what.into())))?;
        Ok(Self {
            text: text.into(),
            kind,
            limits: Limits::default(),
        })
    }
}

impl Endpoint {
    /// TCP to a host by name or address.
    pub fn tcp(host: impl Into<String>, port: u16, config: TcpConfig) -> Self {
        let host = host.into();
        let text = if host.contains(':') {
            format!("tcp://[{host}]:{port}")
        } else {
            format!("tcp://{host}:{port}")
        };
        let limits = config.limits;
        Self {
            text: text.into(),
            kind: Kind::Tcp { host, port, config },
            limits,
        }
    }

    /// A unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            text: format!("unix:{}", path.display()).into(),
            kind: Kind::Unix(path),
            limits: Limits::default(),
        }
    }

    /// A child process.
    pub fn exec<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Self {
        let command: Vec<String> = command.into_iter().map(Into::into).collect();
        Self {
            text: format!("exec:{}", command.join(" ")).into(),
            kind: Kind::Exec(command),
            limits: Limits::default(),
        }
    }

    /// This process's own stdin and stdout.
    pub fn stdio() -> Self {
        Self {
            text: "stdio:".into(),
            kind: Kind::Stdio,
            limits: Limits::default(),
        }
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
            Kind::Tcp { host, port, config } => Ok(ListenAddress::Tcp {
                host,
                port: *port,
                config,
            }),
            Kind::Unix(path) => Ok(ListenAddress::Unix(path)),
            Kind::Exec(_) | Kind::Stdio => {
                let what = "only tcp:// and unix: endpoints can be listened on";
                Err(
                    ConnectError::new(self.text.clone(), ConnectFailure::Endpoint(what.into()))
                        .into(),
                )
            }
        }
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(crate) fn limits_now(&self) -> Limits {
        self.limits
    }

    /// True when only processes of this machine can be at the other end: a loopback address, a unix socket, a child.
    pub fn is_local(&self) -> bool {
        match &self.kind {
            Kind::Tcp { host, .. } => {
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
            Kind::Unix(_) | Kind::Exec(_) | Kind::Stdio => true,
        }
    }

    /// Opens the endpoint on the current arbiter.
    pub(crate) async fn open(&self) -> Result<StreamHandle, StreamError> {
        match &self.kind {
            Kind::Tcp { host, port, config } => {
                config
                    .clone()
                    .limits(self.limits)
                    .open(host, *port, &self.text)
                    .await
            }
            Kind::Unix(path) => unix::open(path, &self.text, self.limits).await,
            Kind::Exec(command) => process::open(command, &self.text, self.limits),
            Kind::Stdio => stdio::open(&self.text, self.limits),
        }
    }
}

/// What a listener binds to.
pub(crate) enum ListenAddress<'a> {
    Tcp {
        host: &'a str,
        port: u16,
        config: &'a TcpConfig,
    },
    Unix(&'a std::path::Path),
}

fn parse(text: &str) -> Result<Kind, String> {
    if let Some(rest) = text.strip_prefix("tcp://") {
        return parse_tcp(rest);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.is_empty() {
            Err("the path is missing".into())
        } else {
            Ok(Kind::Unix(path.into()))
        };
    }
    if let Some(command) = text.strip_prefix("exec:") {
        return match shlex::split(command) {
            Some(words) if words.is_empty() => Err("the command is missing".into()),
            Some(words) => Ok(Kind::Exec(words)),
            None => Err("a quotation mark in the command is not closed".into()),
        };
    }
    if text == "stdio:" {
        return Ok(Kind::Stdio);
    }
    let scheme = text.split(':').next().unwrap_or_default();
    Err(format!(
        "unknown scheme {scheme:?}: expected tcp://, unix:, exec: or stdio:"
    ))
}

fn parse_tcp(rest: &str) -> Result<Kind, String> {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, port) = address.rsplit_once(':').ok_or("the port is missing")?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner
            .strip_suffix(']')
            .ok_or("the bracket around the address is not closed")?,
        None if host.contains(':') => return Err("an IPv6 address needs brackets around it".into()),
        None => host,
    };
    if host.is_empty() {
        return Err("the host is missing".into());
    }
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is no port: expected a number from 0 to 65535"))?;
    let mut config = TcpConfig::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("{pair:?} is not name=value"))?;
        config = match name {
            "ipv6" => config.ipv6(parse_bool(name, value)?),
            "keepalive" => match value.parse::<u32>() {
                Ok(seconds) => config.keepalive(seconds),
                Err(_) => config.keepalive(parse_bool(name, value)?),
            },
            "connect_timeout" => config.connect_timeout(parse_duration(value)?),
            "user_timeout" => config.user_timeout(parse_duration(value)?),
            _ => {
                return Err(format!(
                    "unknown setting {name:?}: expected ipv6, keepalive, connect_timeout or user_timeout"
                ));
            }
        };
    }
    Ok(Kind::Tcp {
        host: host.into(),
        port,
        config,
    })
}

fn parse_bool(name: &str, value: &str) -> Result<bool, String> {
    value
        .parse()
        .map_err(|_| format!("{name}={value:?}: expected true or false"))
}

/// Reads `500ms`, `5s`, `2m` or plain seconds.
///
/// # Errors
///
/// In words, when the text is none of these.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is no duration: expected for example 500ms, 5s or 2m");
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| bad())?;
    let scale = match &text[digits..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(number * scale).map_err(|_| bad())
}
