//! SOCKS5 (RFC 1928), with user name and password (RFC 1929) if there are some.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_socks::{Error, tcp::Socks5Stream};

use super::{TunnelError, via::Login};

/// Asks the proxy behind `socket` for a connection to a target, whose name it resolves.
pub(super) async fn connect(
    proxy: &Arc<str>,
    login: Option<&Login>,
    socket: TcpStream,
    host: &str,
    port: u16,
) -> Result<TcpStream, TunnelError> {
    let target = (host, port);
    let connected = match login {
        None => Socks5Stream::connect_with_socket(socket, target).await,
        Some(Login { user, password }) => {
            Socks5Stream::connect_with_password_and_socket(socket, target, user, password).await
        }
    };
    connected
        .map(Socks5Stream::into_inner)
        .map_err(|error| failure(proxy, host, port, error))
}

fn failure(proxy: &Arc<str>, host: &str, port: u16, error: Error) -> TunnelError {
    let proxy = proxy.clone();
    let what: Arc<str> = error.to_string().into();
    match error {
        Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            TunnelError::Ended { proxy }
        }
        Error::Io(error) => TunnelError::Unreachable {
            proxy,
            reason: Arc::new(error.into()),
        },
        Error::PasswordAuthFailure(_)
        | Error::NoAcceptableAuthMethods
        | Error::AuthorizationRequired
        | Error::InvalidAuthValues(_) => TunnelError::Login { proxy, what },
        Error::InvalidResponseVersion
        | Error::UnknownAuthMethod
        | Error::InvalidReservedByte
        | Error::UnknownAddressType => TunnelError::NotAProxy {
            proxy,
            protocol: "SOCKS5",
            what,
        },
        _ => TunnelError::Refused {
            proxy,
            target: super::authority(host, port).into(),
            what,
        },
    }
}
