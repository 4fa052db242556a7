//! TLS that does not come about: each cause is a named error with the endpoint, and the listener lives on.
#![cfg(any(feature = "tls", feature = "aws-lc-rs"))]

#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::{
    fs, io,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use certificates::{Ca, Folder, has_openssl};
use rpyc_actors::{
    Endpoint, Listener, ListenerConfig, SocketStream, StreamError, TlsConfig,
    error::{ConnectFailure, LossReason, TlsError},
    stream::tls::{TlsVersion, Verify},
};
use support::{until, within};
use tls::{listen, listen_with, own, trusting};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Everything that was logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no panic while logging")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    })
}

impl Log {
    /// Waits for a line with all of these.
    async fn says(&self, parts: &[&str]) {
        let found = || {
            let bytes = self.0.lock().expect("no panic while logging");
            let text = String::from_utf8_lossy(&bytes);
            text.lines()
                .any(|line| parts.iter().all(|part| line.contains(part)))
        };
        until(&format!("a line in the log with {parts:?}"), found).await;
    }
}

fn tls_failure(error: StreamError) -> TlsError {
    match error {
        StreamError::Connect(error) => {
            assert!(error.endpoint.starts_with("tls://"), "{error}");
            match error.reason {
                ConnectFailure::Tls(error) => error,
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

async fn refusal(port: u16, config: TlsConfig) -> TlsError {
    let connecting = SocketStream::ssl_connect("localhost", port, config);
    let error = within("connecting", connecting)
        .await
        .expect_err("a refusal");
    tls_failure(error)
}

/// Connects and exchanges a byte: the listener lives.
async fn works(listener: &Listener, accepted: &mut tls::Accepted, config: TlsConfig) {
    let port = listener.port().expect("a port");
    let near = within(
        "connecting",
        SocketStream::ssl_connect("localhost", port, config),
    )
    .await
    .expect("a living listener");
    let far = within("accepting", accepted.recv())
        .await
        .expect("a client");
    near.write("x").await.expect("written");
    assert_eq!(
        &within("a byte", far.read(1)).await.expect("read")[..],
        b"x"
    );
}

#[tokio::test]
async fn a_client_refuses_certificates_it_cannot_trust() {
    if !has_openssl() {
        return;
    }
    log();
    let folder = Folder::new();
    let (ca, other) = (Ca::new(&folder, "ca"), Ca::new(&folder, "other"));
    let good = ca.issue("good", &["localhost"]);
    let expired = ca.issue_expired("expired", &["localhost"]);
    let elsewhere = ca.issue("elsewhere", &["elsewhere.example"]);
    let plain = folder.openssl("plain");

    let (listener, mut accepted) = listen(own(&good)).await;
    let port = listener.port().expect("a port");
    let error = refusal(port, trusting(&other)).await;
    assert!(matches!(error, TlsError::UnknownIssuer), "{error}");
    // The listener is told.
    log().says(&["tls://127.0.0.1:", "UnknownCA"]).await;
    let pin = Verify::Pin(vec![plain.fingerprint().parse().expect("a pin")]);
    let error = refusal(port, TlsConfig::default().verify(pin)).await;
    assert!(matches!(error, TlsError::WrongPin { .. }), "{error}");
    works(&listener, &mut accepted, trusting(&ca)).await;
    assert_eq!(listener.stats().handshakes_failed, 2);

    for verify in [Verify::Full, Verify::Ca] {
        let (listener, _accepted) = listen(own(&expired)).await;
        let port = listener.port().expect("a port");
        let error = refusal(port, trusting(&ca).verify(verify)).await;
        assert!(matches!(error, TlsError::Expired), "{error}");
    }
    let (listener, _accepted) = listen(own(&elsewhere)).await;
    let error = refusal(listener.port().expect("a port"), trusting(&ca)).await;
    assert_eq!(
        error.to_string(),
        "the peer's certificate is not for localhost: it names DNS:elsewhere.example"
    );
    let (listener, _accepted) = listen(own(&plain)).await;
    let config = TlsConfig::default().ca(plain.certificate.as_path());
    let error = refusal(listener.port().expect("a port"), config).await;
    assert!(matches!(error, TlsError::CaAsEndEntity), "{error}");
}

#[tokio::test]
async fn a_listener_refuses_clients_it_cannot_trust() {
    if !has_openssl() {
        return;
    }
    log();
    let folder = Folder::new();
    let (ca, other) = (Ca::new(&folder, "ca"), Ca::new(&folder, "other"));
    let server = ca.issue("server", &["localhost"]);
    let client = ca.issue("client", &[]);
    let stranger = other.issue("stranger", &[]);
    let expired = ca.issue_expired("late", &[]);
    let plain = folder.openssl("plain");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let (listener, mut accepted) =
            listen(own(&server).ca(ca.certificate.as_path()).version(version)).await;
        let port = listener.port().expect("a port");
        let cases = [
            (None, "presented no certificate"),
            (Some(&stranger), "not signed by a CA"),
            (Some(&expired), "has expired"),
            (Some(&plain), "not signed by a CA"),
        ];
        for (own, said) in cases {
            let config = match own {
                Some(pair) => {
                    trusting(&ca).certificate(pair.certificate.as_path(), pair.key.as_path())
                }
                None => trusting(&ca),
            };
            let connecting = SocketStream::ssl_connect("localhost", port, config);
            // In TLS 1.3 the client has finished before the server looks: it learns with its first read.
            let error = match within("connecting", connecting).await {
                Err(error) => tls_failure(error),
                Ok(stream) => match within("the refusal", stream.read(1)).await {
                    Err(StreamError::ConnectionLost(error)) => match error.reason {
                        LossReason::Tls(error) => error,
                        other => panic!("{other:?}"),
                    },
                    other => panic!("{other:?}"),
                },
            };
            assert!(matches!(error, TlsError::Refused { .. }), "{error}");
            log().says(&["tls://127.0.0.1:", said]).await;
        }
        let good = trusting(&ca).certificate(client.certificate.as_path(), client.key.as_path());
        works(&listener, &mut accepted, good).await;
        assert_eq!(listener.stats().handshakes_failed, 4);
        assert!(accepted.try_recv().is_err(), "nobody else got in");
    }
}

#[tokio::test]
async fn garbage_and_silence_hold_up_nobody() {
    log();
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let config = own(&server).handshake_timeout(Duration::from_millis(300));
    let (listener, mut accepted) = listen(config).await;
    let port = listener.port().expect("a port");
    let silent = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a listener");
    let mut garbage = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a listener");
    garbage
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("written");
    let gone = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a listener");
    drop(gone);
    // While the silent one is waited for.
    works(&listener, &mut accepted, trusting(&ca)).await;
    log().says(&["does not speak TLS"]).await;
    log()
        .says(&["ended the connection during the handshake"])
        .await;
    log().says(&["no handshake within 300ms"]).await;
    // Who sent garbage gets the alert and the end.
    let mut rest = Vec::new();
    within("the end", garbage.read_to_end(&mut rest))
        .await
        .expect("no reset");
    assert_eq!(rest.first(), Some(&21), "an alert: {rest:?}");
    drop(silent);
    works(&listener, &mut accepted, trusting(&ca)).await;
    assert_eq!(listener.stats().handshakes_failed, 3);
}

#[tokio::test]
async fn the_oldest_handshake_gives_way() {
    log();
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let config = ListenerConfig::default().max_handshakes(2);
    let (listener, mut accepted) = listen_with(own(&server), config).await;
    let port = listener.port().expect("a port");
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(
            TcpStream::connect(("127.0.0.1", port))
                .await
                .expect("a listener"),
        );
    }
    log().says(&["too many handshakes were under way"]).await;
    works(&listener, &mut accepted, trusting(&ca)).await;
}

#[tokio::test]
async fn servers_that_do_not_shake_hands_are_told_apart() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = server.local_addr().expect("bound").port();
    let config = trusting(&ca).handshake_timeout(Duration::from_millis(300));

    let greeting = async {
        let (mut socket, _) = server.accept().await.expect("a client");
        socket.write_all(b"220 ready\r\n").await.expect("written");
        socket
    };
    let (error, socket) = tokio::join!(refusal(port, config.clone()), greeting);
    assert!(matches!(error, TlsError::NotTls), "{error}");
    drop(socket);

    let ending = async {
        let (mut socket, _) = server.accept().await.expect("a client");
        let _ = socket.read(&mut [0; 4096]).await.expect("a hello");
    };
    let (error, ()) = tokio::join!(refusal(port, config.clone()), ending);
    assert!(matches!(error, TlsError::Ended), "{error}");

    let error = refusal(port, config).await;
    assert!(matches!(error, TlsError::TimedOut(_)), "{error}");
}

#[tokio::test]
async fn bad_settings_are_told_before_anything_is_sent() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let other = ca.issue("other", &["localhost"]);
    let empty = folder.path("empty.pem");
    fs::write(&empty, "nothing\n").expect("a file");
    let cases: [(TlsConfig, &str); 7] = [
        (
            TlsConfig::default().certificate(server.certificate.as_path(), other.key.as_path()),
            "does not belong to the certificate",
        ),
        (own(&server).ca(folder.path("missing.pem")), "cannot read"),
        (own(&server).ca(empty.as_path()), "holds no certificate"),
        (
            TlsConfig::default().certificate(server.certificate.as_path(), empty.as_path()),
            "holds no private key",
        ),
        (
            own(&server).ca(server.key.as_path()),
            "holds no certificate",
        ),
        (own(&server).verify(Verify::Ca), "verify=ca needs ca"),
        (trusting(&ca).name("not a name"), "is no name of a host"),
    ];
    for (config, said) in cases {
        let error = refusal(9, config).await;
        assert!(error.to_string().contains(said), "{error}");
    }
    let bind = |config| async move {
        let endpoint = Endpoint::tls("127.0.0.1", 0, config);
        let binding = Listener::bind(&endpoint, ListenerConfig::default(), |_| {});
        tls_failure(within("binding", binding).await.expect_err("a refusal")).to_string()
    };
    let mismatch =
        TlsConfig::default().certificate(server.certificate.as_path(), other.key.as_path());
    assert!(
        bind(mismatch)
            .await
            .contains("does not belong to the certificate")
    );
    assert!(bind(trusting(&ca)).await.contains("needs a certificate"));
    let asks = own(&server).clients(rpyc_actors::stream::tls::ClientCertificates::Required);
    assert!(bind(asks).await.contains("no ca is named"));
}

#[tokio::test]
async fn text_that_is_no_tls_endpoint_says_why() {
    for (text, said) in [
        ("tls://host", "the port is missing"),
        (
            "tls://host:1?verify=maybe",
            "expected full, ca, pin:SHA256 or insecure",
        ),
        (
            "tls://host:1?verify=pin:00",
            "expected 64 hexadecimal digits",
        ),
        ("tls://host:1?key=k.pem", "key without cert"),
        (
            "tls://host:1?clients=all",
            "expected none, optional or required",
        ),
        ("tls://host:1?version=1.1", "expected 1.2 or 1.3"),
        ("tls://host:1?colour=red", "unknown setting \"colour\""),
    ] {
        let error = text.parse::<Endpoint>().expect_err(text);
        assert!(error.to_string().contains(said), "{error}");
    }
    let endpoint: Endpoint = "tls://127.0.0.1:1?cert=a&key=b%26c&ca=d"
        .parse()
        .expect("an endpoint");
    assert_eq!((endpoint.scheme(), endpoint.is_guarded()), ("tls", true));
    let open: Endpoint = "tls://0.0.0.0:1?cert=a&ca=d&verify=insecure"
        .parse()
        .expect("one");
    assert_eq!((open.is_local(), open.is_guarded()), (false, false));
}
