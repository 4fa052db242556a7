//! [`Via`]: which way a tunnel goes, as text and as a recipe.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{Tunnel, TunnelError, authority, http, prefixed::Prefixed, socks5, ssh};
use crate::{
    endpoint::{parse_authority, percent_decoded},
    error::{ConnectError, ConnectFailure, StreamError},
    stream::{Address, Transport, tcp::TcpConfig},
};

/// The way to a target through somebody else.
///
/// | text | what |
/// | --- | --- |
/// | `socks5://[user:password@]host:port` | a SOCKS5 proxy |
/// | `http://[user:password@]host:port` | an HTTP proxy, with CONNECT |
/// | `ssh://[user@]host[:port]` | `ssh -W` with the user's own configuration, keys and known hosts |
///
/// The target's name is resolved at the far end. What is special in an address is written with percents: `p%40ss`. Text that is shown
/// hides the password.
///
/// ```
/// use rpyc_actors::stream::tunnel::Via;
///
/// let via: Via = "socks5://me:p%40ss@127.0.0.1:1080".parse()?;
/// assert_eq!(via.to_string(), "socks5://me:***@127.0.0.1:1080");
/// # Ok::<(), rpyc_actors::StreamError>(())
/// ```
#[derive(Clone)]
pub struct Via {
    kind: Kind,
    shown: Arc<str>,
}

#[derive(Clone)]
enum Kind {
    Socks5(Proxy),
    Http(Proxy),
    Ssh {
        command: Vec<String>,
        destination: String,
        port: Option<u16>,
    },
}

#[derive(Clone)]
struct Proxy {
    host: String,
    port: u16,
    login: Option<Login>,
}

/// A user name and a password.
#[derive(Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Via").field(&self.shown).finish()
    }
}

impl FromStr for Via {
    type Err = StreamError;

    fn from_str(text: &str) -> Result<Self, StreamError> {
        // Text that is no address may have a password anywhere.
        Self::parse(text).map_err(|what| {
            let scheme = text.split("://").next().unwrap_or_default();
            let shown = format!("{scheme}://…");
            ConnectError::new(shown, ConnectFailure::Endpoint(what.into())).into()
        })
    }
}

impl Via {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected socks5://, http:// or ssh://";
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("via is no address: {expected}"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        match scheme {
            "socks5" | "socks5h" | "http" => {
                let (host, port) = parse_authority(address).map_err(|what| match login {
                    // A login whose end is missing looks like one.
                    None if what.contains("is no port") => {
                        "the port of via is no number: in a login & is written %26".into()
                    }
                    _ => what,
                })?;
                let login = login.map(parse_login).transpose()?;
                let shown = match &login {
                    Some(login) => format!("{}:***@", login.user),
                    None => String::new(),
                };
                let shown = format!("{scheme}://{shown}{}", authority(&host, port)).into();
                let proxy = Proxy { host, port, login };
                let kind = match scheme {
                    "http" => Kind::Http(proxy),
                    _ => Kind::Socks5(proxy),
                };
                Ok(Self { kind, shown })
            }
            "ssh" => Self::parse_ssh(login, address),
            _ => Err(format!("unknown scheme {scheme:?} of via: {expected}")),
        }
    }

    fn parse_ssh(user: Option<&str>, address: &str) -> Result<Self, String> {
        let has_port = address.rsplit_once(':').is_some_and(|(host, port)| {
            !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && !host.ends_with(':')
        });
        let (host, port) = if has_port {
            let (host, port) = parse_authority(address)?;
            (host, Some(port))
        } else {
            let host = address
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            (host.unwrap_or(address).to_owned(), None)
        };
        if user.is_some_and(|user| user.contains(':')) {
            // ssh would take it for a part of the name, and everybody see it among the words of its command.
            return Err("ssh takes no password in via: give it a key".into());
        }
        let user = user.map(percent_decoded).transpose()?;
        for word in user.iter().chain([&host]) {
            check_word(word)?;
        }
        let destination = match user {
            Some(user) => format!("{user}@{host}"),
            None => host,
        };
        let shown = match port {
            Some(port) => format!("ssh://{destination}:{port}"),
            None => format!("ssh://{destination}"),
        };
        Ok(Self {
            kind: Kind::Ssh {
                command: vec!["ssh".into()],
                destination,
                port,
            },
            shown: shown.into(),
        })
    }

    /// Sets the command that is run for `ssh`, for example `["ssh", "-F", "config"]`. Others are left as they are.
    #[must_use]
    pub fn ssh_command<S: Into<String>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        if let Kind::Ssh { command, .. } = &mut self.kind {
            *command = words.into_iter().map(Into::into).collect();
        }
        self
    }

    /// True when bytes may be written before it is known whether the target was reached.
    #[cfg(feature = "__tls")]
    pub(crate) fn opens_late(&self) -> bool {
        matches!(self.kind, Kind::Ssh { .. })
    }

    /// Opens the way to a target, within the config's time for connecting.
    pub(crate) async fn connect(
        &self,
        host: &str,
        port: u16,
        config: &TcpConfig,
    ) -> Result<Tunnel, ConnectFailure> {
        let after = config.connect_timeout;
        let opened = match &self.kind {
            Kind::Ssh {
                command,
                destination,
                port: ssh_port,
            } => {
                check_word(host).map_err(|what| ConnectFailure::Endpoint(what.into()))?;
                let target = authority(host, port);
                return ssh::start(command, &self.shown, destination, *ssh_port, &target, after);
            }
            Kind::Socks5(proxy) | Kind::Http(proxy) => {
                check_host(host).map_err(|what| ConnectFailure::Endpoint(what.into()))?;
                let through = self.through(proxy, host, port, config);
                tokio::time::timeout(after, through).await
            }
        };
        let proxy = self.shown.clone();
        opened.map_err(|_| TunnelError::TimedOut { proxy, after })?
    }

    async fn through(
        &self,
        proxy: &Proxy,
        host: &str,
        port: u16,
        config: &TcpConfig,
    ) -> Result<Tunnel, ConnectFailure> {
        let reached = config.connect(&proxy.host, proxy.port).await;
        let socket = reached.map_err(|reason| TunnelError::Unreachable {
            proxy: self.shown.clone(),
            reason: Arc::new(reason),
        })?;
        let login = proxy.login.as_ref();
        let (socket, surplus): (TcpStream, Bytes) = match self.kind {
            Kind::Http(_) => http::connect(&self.shown, login, socket, host, port).await?,
            _ => {
                let socket = socks5::connect(&self.shown, login, socket, host, port).await?;
                (socket, Bytes::new())
            }
        };
        let local = socket.local_addr().ok().map(Address::Tcp);
        let transport: Box<dyn Transport> = if surplus.is_empty() {
            Box::new(socket)
        } else {
            Box::new(Prefixed::new(surplus, socket))
        };
        Ok(Tunnel {
            transport,
            local,
            process: None,
        })
    }
}

fn parse_login(text: &str) -> Result<Login, String> {
    let (user, password) = text
        .split_once(':')
        .ok_or("the login of via is not user:password")?;
    Ok(Login {
        user: percent_decoded(user)?,
        password: percent_decoded(password)?,
    })
}

/// Refuses what would end the line that a proxy is told, or a part of it.
fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() || host.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(format!("{host:?} is no name of a host"));
    }
    Ok(())
}

/// Refuses what ssh, or a command in its configuration, could take for more than a name.
fn check_word(word: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_alphanumeric() || "._-:%@\\+=".contains(c);
    if word.is_empty() || word.starts_with('-') || !word.chars().all(is_plain) {
        return Err(format!("{word:?} is no name that is given to ssh"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Via::parse(text).map_or_else(|what| what, |via| panic!("taken: {via}"))
    }

    #[test]
    fn text_is_read_and_shown_without_the_password() {
        for (text, shown) in [
            ("socks5://localhost:1080", "socks5://localhost:1080"),
            ("socks5h://[::1]:1080", "socks5h://[::1]:1080"),
            ("http://a:b%3Ac@proxy:3128/", "http://a:***@proxy:3128"),
            ("ssh://host", "ssh://host"),
            ("ssh://me@host:2222", "ssh://me@host:2222"),
            ("ssh://[::1]", "ssh://::1"),
        ] {
            let via = Via::parse(text).expect(text);
            assert_eq!(via.to_string(), shown);
            assert!(!format!("{via:?}").contains("b:c"));
        }
    }

    #[test]
    fn what_could_be_an_option_is_refused() {
        for text in [
            "ssh://-oProxyCommand=id",
            "ssh://-l@host",
            "ssh://host;id",
            "ssh://a b",
            "ssh://",
            "ssh://$(id)@host",
        ] {
            assert!(refusal(text).contains("is no name"), "{text}");
        }
    }

    #[test]
    fn what_is_no_way_is_refused() {
        assert!(refusal("localhost:1080").contains("no address"));
        assert!(refusal("ftp://localhost:1").contains("unknown scheme"));
        assert!(refusal("socks5://localhost").contains("the port is missing"));
        assert!(refusal("http://user@host:1").contains("not user:password"));
        let password = refusal("ssh://me:s!cret@host");
        assert!(
            password.contains("takes no password") && !password.contains("cret"),
            "{password}"
        );
    }
}
