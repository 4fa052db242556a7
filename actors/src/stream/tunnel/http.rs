//! HTTP's CONNECT (RFC 9110, section 9.3.6), with Basic authentication (RFC 7617) if there is a login.

use std::{io, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{TunnelError, authority, via::Login};
use crate::error::ConnectFailure;

/// Largest head of an answer, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// Most fields of an answer's head.
const MAX_FIELDS: usize = 64;

/// Asks the proxy behind `socket` for a connection to a target, whose name it resolves. Gives what came behind the answer, too.
pub(super) async fn connect(
    proxy: &Arc<str>,
    login: Option<&Login>,
    mut socket: TcpStream,
    host: &str,
    port: u16,
) -> Result<(TcpStream, Bytes), TunnelError> {
    let target = authority(host, port);
    let lost = |error: io::Error| TunnelError::Unreachable {
        proxy: proxy.clone(),
        reason: Arc::new(ConnectFailure::from(error)),
    };
    let head = request(&target, login);
    socket.write_all(head.as_bytes()).await.map_err(lost)?;
    let mut received = BytesMut::new();
    loop {
        if socket.read_buf(&mut received).await.map_err(lost)? == 0 {
            return Err(TunnelError::Ended {
                proxy: proxy.clone(),
            });
        }
        match parse(&received).map_err(|what| not_http(proxy, what))? {
            Some(answer) => {
                judge(proxy, &target, &answer)?;
                received.advance(answer.length);
                return Ok((socket, received.freeze()));
            }
            None if received.len() > MAX_HEAD => {
                return Err(not_http(proxy, "the head of its answer has no end"));
            }
            None => {}
        }
    }
}

fn request(target: &str, login: Option<&Login>) -> String {
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Login { user, password }) = login {
        let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
        head.push_str("Proxy-Authorization: Basic ");
        head.push_str(&login);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    head
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    reason: String,
    /// In bytes, with the empty line.
    length: usize,
}

/// Reads the head, if it is whole.
fn parse(received: &[u8]) -> Result<Option<Answer>, String> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(received) {
        Err(error) => Err(error.to_string()),
        Ok(httparse::Status::Partial) => Ok(None),
        Ok(httparse::Status::Complete(length)) => Ok(Some(Answer {
            status: response.code.unwrap_or_default(),
            reason: response.reason.unwrap_or_default().into(),
            length,
        })),
    }
}

fn judge(proxy: &Arc<str>, target: &str, answer: &Answer) -> Result<(), TunnelError> {
    let what = || {
        format!("{} {}", answer.status, answer.reason)
            .trim_end()
            .into()
    };
    match answer.status {
        200..300 => Ok(()),
        401 | 407 => Err(TunnelError::Login {
            proxy: proxy.clone(),
            what: what(),
        }),
        _ => Err(TunnelError::Refused {
            proxy: proxy.clone(),
            target: target.into(),
            what: what(),
        }),
    }
}

fn not_http(proxy: &Arc<str>, what: impl Into<Arc<str>>) -> TunnelError {
    TunnelError::NotAProxy {
        proxy: proxy.clone(),
        protocol: "HTTP",
        what: what.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 Connection established\r\nProxy-agent: tiny\r\n\r\n";

    #[test]
    fn a_head_is_found_however_it_is_cut() {
        for cut in 0..HEAD.len() {
            assert_eq!(parse(&HEAD[..cut]), Ok(None), "{cut}");
        }
        let answer = Answer {
            status: 200,
            reason: "Connection established".into(),
            length: HEAD.len(),
        };
        assert_eq!(parse(HEAD), Ok(Some(answer)));
    }

    #[test]
    fn what_follows_the_head_is_left_alone() {
        let all = [HEAD, b"\x16\x03\x01"].concat();
        let answer = parse(&all).expect("HTTP").expect("whole");
        assert_eq!(answer.length, HEAD.len());
    }

    #[test]
    fn answers_are_told_apart() {
        let proxy: Arc<str> = "http://proxy:1".into();
        let judged = |line: &str| {
            let head = format!("HTTP/1.1 {line}\r\n\r\n");
            let answer = parse(head.as_bytes()).expect("HTTP").expect("whole");
            judge(&proxy, "host:2", &answer).map_err(|error| error.to_string())
        };
        assert_eq!(judged("200 OK"), Ok(()));
        assert_eq!(judged("204"), Ok(()));
        assert_eq!(
            judged("407 Proxy Authentication Required"),
            Err(
                "the proxy http://proxy:1 refused the login: 407 Proxy Authentication Required"
                    .into()
            )
        );
        assert_eq!(
            judged("403 Filtered"),
            Err("the proxy http://proxy:1 does not connect to host:2: 403 Filtered".into())
        );
        assert!(judged("100 Continue").is_err());
    }

    #[test]
    fn too_many_fields_and_no_http_are_refused() {
        let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
        for number in 0..=MAX_FIELDS {
            head.extend_from_slice(format!("X-{number}: 1\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        assert!(parse(&head).is_err());
        assert!(parse(b"SSH-2.0-OpenSSH_9.2p1\r\n").is_err());
        assert!(parse(&[0x05, 0x00]).is_err());
    }

    #[test]
    fn a_login_is_sent_in_base64() {
        let login = Login {
            user: "Aladdin".into(),
            password: "open sesame".into(),
        };
        let head = request("[::1]:443", Some(&login));
        assert_eq!(
            head,
            "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = parse(&bytes);
        }
    }
}
