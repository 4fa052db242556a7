//! Endpoints as text: what they may look like, and what is shown of them.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::Kind;
#[cfg(feature = "__tls")]
use crate::stream::tls::{ClientCertificates, TlsConfig, TlsVersion, Verify};
use crate::stream::{tcp::TcpConfig, tunnel::Via};

pub(super) fn parse(text: &str) -> Result<Kind, String> {
    if let Some(rest) = text.strip_prefix("tcp://") {
        return parse_tcp(rest);
    }
    if let Some(rest) = text.strip_prefix("tls://") {
        return parse_tls(rest);
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
        "unknown scheme {scheme:?}: expected tcp://, tls://, unix:, exec: or stdio:"
    ))
}

/// The settings behind the question mark.
struct Settings<'a>(&'a str);

impl<'a> Settings<'a> {
    /// Host, port and settings.
    fn split(rest: &'a str) -> Result<(String, u16, Self), String> {
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, port) = parse_authority(address)?;
        Ok((host, port, Self(query)))
    }

    /// Gives each name and value to `take`, which says whether it knows the name. `via` is left as it is written: it decodes its parts itself.
    fn each(
        &self,
        expected: &str,
        mut take: impl FnMut(&str, &str) -> Result<bool, String>,
    ) -> Result<(), String> {
        for pair in self.0.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| match pair {
                // It may be the rest of a password.
                _ if pair.contains('@') => {
                    "what stands behind & is not name=value: in a login & is written %26".into()
                }
                _ => format!("{pair:?} is not name=value"),
            })?;
            let value = if name == "via" {
                value.to_owned()
            } else {
                percent_decoded(value)?
            };
            if !take(name, &value)? {
                return Err(format!("unknown setting {name:?}: expected {expected}"));
            }
        }
        Ok(())
    }
}

fn parse_tcp(rest: &str) -> Result<Kind, String> {
    let (host, port, settings) = Settings::split(rest)?;
    let (mut config, mut via) = (TcpConfig::default(), None);
    settings.each(
        "ipv6, keepalive, connect_timeout, user_timeout or via",
        |name, value| take_tcp(&mut config, &mut via, name, value),
    )?;
    Ok(Kind::Tcp {
        host,
        port,
        config,
        via,
    })
}

/// What TCP understands, and all that is built on it.
fn take_tcp(
    config: &mut TcpConfig,
    via: &mut Option<Via>,
    name: &str,
    value: &str,
) -> Result<bool, String> {
    match name {
        "ipv6" => config.ipv6 = parse_bool(name, value)?,
        "keepalive" => {
            config.keepalive = match value.parse::<u32>() {
                Ok(seconds) => seconds.into(),
                Err(_) => parse_bool(name, value)?.into(),
            }
        }
        "connect_timeout" => config.connect_timeout = parse_duration(value)?,
        "user_timeout" => config.user_timeout = Some(parse_duration(value)?),
        "via" => *via = Some(Via::parse(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(not(feature = "__tls"))]
fn parse_tls(_: &str) -> Result<Kind, String> {
    Err("this program was built without the feature tls".into())
}

#[cfg(feature = "__tls")]
fn parse_tls(rest: &str) -> Result<Kind, String> {
    let (host, port, settings) = Settings::split(rest)?;
    let (mut tcp, mut via) = (TcpConfig::default(), None);
    let (mut certificate, mut key) = (None, None);
    let mut config = TlsConfig::default();
    let expected = "ca, cert, key, name, verify, clients, version, handshake_timeout, ipv6, keepalive, connect_timeout, user_timeout or via";
    settings.each(expected, |name, value| {
        let before = config.clone();
        config = match name {
            "ca" => before.ca(value),
            "cert" => {
                certificate = Some(value.to_owned());
                before
            }
            "key" => {
                key = Some(value.to_owned());
                before
            }
            "name" => before.name(value),
            "verify" => before.verify(parse_verify(value)?),
            "clients" => before.clients(parse_clients(value)?),
            "version" => before.version(parse_version(value)?),
            "handshake_timeout" => before.handshake_timeout(parse_duration(value)?),
            _ => return take_tcp(&mut tcp, &mut via, name, value),
        };
        Ok(true)
    })?;
    config = match (certificate, key) {
        (None, None) => config,
        (None, Some(_)) => return Err("key without cert".into()),
        // A file may hold both.
        (Some(certificate), key) => {
            let key = key.unwrap_or_else(|| certificate.clone());
            config.certificate(&certificate[..], &key[..])
        }
    };
    Ok(Kind::Tls {
        host,
        port,
        config: Box::new(config.tcp(tcp)),
        via,
    })
}

#[cfg(feature = "__tls")]
fn parse_verify(value: &str) -> Result<Verify, String> {
    if let Some(pins) = value.strip_prefix("pin:") {
        let pins: Result<_, String> = pins.split(',').map(str::parse).collect();
        return Ok(Verify::Pin(pins?));
    }
    match value {
        "full" => Ok(Verify::Full),
        "ca" => Ok(Verify::Ca),
        "insecure" => Ok(Verify::DangerousInsecure),
        _ => Err(format!(
            "verify={value:?}: expected full, ca, pin:SHA256 or insecure"
        )),
    }
}

#[cfg(feature = "__tls")]
fn parse_clients(value: &str) -> Result<ClientCertificates, String> {
    match value {
        "none" => Ok(ClientCertificates::None),
        "optional" => Ok(ClientCertificates::Optional),
        "required" => Ok(ClientCertificates::Required),
        _ => Err(format!(
            "clients={value:?}: expected none, optional or required"
        )),
    }
}

#[cfg(feature = "__tls")]
fn parse_version(value: &str) -> Result<TlsVersion, String> {
    match value {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err(format!("version={value:?}: expected 1.2 or 1.3")),
    }
}

/// Reads `host:port`, with brackets around an IPv6 address.
pub(crate) fn parse_authority(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
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
    // A number alone would also be one with a plus sign.
    let number = port.parse().ok().filter(|_| !port.starts_with('+'));
    let port =
        number.ok_or_else(|| format!("{port:?} is no port: expected a number from 0 to 65535"))?;
    Ok((host.into(), port))
}

pub(crate) fn percent_decoded(text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("what is written with percents is no text".into()),
    }
}

/// The text with the password of its `via` hidden: errors and logs show it.
pub(super) fn shown(text: &str) -> String {
    let hide = |pair: &str| -> Option<String> {
        let (scheme, rest) = pair.strip_prefix("via=")?.split_once("://")?;
        let (login, address) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("via={scheme}://{user}:***@{address}"))
    };
    let Some((before, query)) = text.split_once('?') else {
        return text.into();
    };
    if let Some((settings, address)) = cut_login(query) {
        return format!("{before}?{settings}***@{address}");
    }
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| hide(pair).unwrap_or_else(|| pair.into()))
        .collect();
    format!("{before}?{}", pairs.join("&"))
}

/// What stands before and behind a login that a `&` cuts in two, since it was not written `%26`.
fn cut_login(query: &str) -> Option<(&str, &str)> {
    let login = query.find("via=")? + "via=".len();
    let login = login + query[login..].find("://")? + "://".len();
    let (first, rest) = query[login..].split_once('&')?;
    let (name, address) = rest.rsplit_once('@')?;
    let is_cut = !first.contains('@') && !name.contains('=');
    is_cut.then_some((&query[..login], address))
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
