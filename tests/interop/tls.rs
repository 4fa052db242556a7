//! TLS with Python's `ssl_connect` and `SSLAuthenticator`, with careful certificates and with those of plain `openssl req -x509`.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use rpyc::{
    Connection, Endpoint, Error, Server, ServerConfig, Service, StreamError, TlsConfig,
    error::LossReason,
    service::Call,
    stream::tls::{TlsVersion, Verify},
};

use bytes::Bytes;

use crate::{
    certificates::{Ca, Folder, Pair, has_openssl},
    python::{Peer, Script},
    support::{assert_alive, python_program, soon, until},
};

/// server.py with TLS; with a CA it wants certificates of its clients.
fn python_server(own: &Pair, ca: Option<&std::path::Path>) -> Peer {
    let [certificate, key] = [&own.certificate, &own.key].map(|path| path.display().to_string());
    let mut words = vec!["--certfile", &certificate, "--keyfile", &key];
    let ca = ca.map(|path| path.display().to_string());
    if let Some(ca) = &ca {
        words.extend(["--cafile", ca]);
    }
    Peer::start(Script::File("server.py"), &words)
}

fn own(pair: &Pair) -> TlsConfig {
    TlsConfig::default().certificate(pair.certificate.as_path(), pair.key.as_path())
}

async fn connect(port: u16, config: TlsConfig) -> Connection {
    soon(rpyc::ssl_connect("localhost", port, config))
        .await
        .expect("the server listens")
}

/// Calls that need more than one record, and callbacks.
async fn works(client: &Connection) {
    assert_alive(client).await;
    let blob: Bytes = soon(client.call("noise", (1_000_000,)))
        .await
        .expect("bytes");
    let echoed: Bytes = soon(client.call("echo", (blob.clone(),)))
        .await
        .expect("bytes");
    assert!(blob == echoed && blob.len() == 1_000_000);
}

#[tokio::test]
async fn a_rust_client_calls_a_python_server() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let (server, client) = (ca.issue("server", &["localhost"]), ca.issue("client", &[]));
    let peer = python_server(&server, Some(&ca.certificate));
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let config = own(&client).ca(ca.certificate.as_path()).version(version);
        let connection = connect(peer.port(), config).await;
        assert_eq!(connection.channel().tls().expect("TLS").version, version);
        works(&connection).await;
        let name: String = soon(connection.call("peer", ())).await.expect("a name");
        assert_eq!(name, "client");
        // Python answers CLOSE by ending the socket, without a close_notify.
        soon(connection.close()).await;
        let reason = connection.end_reason();
        assert!(matches!(reason, Some(StreamError::Closed)), "{reason:?}");
    }
}

/// Python does not see a request that its TLS has decrypted together with the one before: no two may share a record.
#[tokio::test]
async fn many_calls_at_once_are_all_answered_by_a_python_server() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let (server, client) = (ca.issue("server", &["localhost"]), ca.issue("client", &[]));
    let peer = python_server(&server, Some(&ca.certificate));
    let connection = connect(peer.port(), own(&client).ca(ca.certificate.as_path())).await;
    for round in 0..20 {
        let calls = (0..50).map(|number| connection.call::<i64>("add", (round, number)));
        let sums = soon(futures_util::future::join_all(calls)).await;
        for (number, sum) in sums.into_iter().enumerate() {
            assert_eq!(sum.expect("an answer"), round + number as i64);
        }
    }
    soon(connection.close()).await;
}

#[tokio::test]
async fn certificates_of_plain_openssl_work_both_ways() {
    if !has_openssl() {
        return;
    }
    let folder = Folder::new();
    let (server, client) = (folder.openssl("server"), folder.openssl("client"));
    let peer = python_server(&server, Some(&client.certificate));
    let config = own(&client)
        .ca(server.certificate.as_path())
        .verify(Verify::Ca);
    let connection = connect(peer.port(), config).await;
    works(&connection).await;
    let name: String = soon(connection.call("peer", ())).await.expect("a name");
    assert_eq!(name, "client");

    let listening = own(&server)
        .ca(client.certificate.as_path())
        .verify(Verify::Ca);
    let (ours, port) = serve(listening, service()).await;
    let connect = python_connect(port, Some(&client), Some(&server.certificate));
    soon(python_program(
        &connect,
        "assert conn.root.who() == 'CN=client'; conn.close()",
    ))
    .await;
    drop(ours);
}

#[tokio::test]
async fn a_python_server_without_a_good_certificate_is_refused() {
    if !has_openssl() {
        return;
    }
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let peer = python_server(&folder.openssl("server"), None);
    let config = TlsConfig::default().ca(ca.certificate.as_path());
    let error = soon(rpyc::ssl_connect("localhost", peer.port(), config)).await;
    match error {
        Err(Error::Stream(StreamError::Connect(error))) => {
            let endpoint = format!("tls://localhost:{}", peer.port());
            assert_eq!(*error.endpoint, *endpoint);
            assert!(error.to_string().contains("is a CA certificate"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // It lives on.
    let config = TlsConfig::default().verify(Verify::DangerousInsecure);
    assert_alive(&connect(peer.port(), config).await).await;
}

#[tokio::test]
async fn a_python_server_that_exits_is_a_loss() {
    if !has_openssl() {
        return;
    }
    let folder = Folder::new();
    let server = folder.openssl("server");
    let peer = python_server(&server, None);
    let config = TlsConfig::default()
        .ca(server.certificate.as_path())
        .verify(Verify::Ca);
    let connection = connect(peer.port(), config).await;
    assert_alive(&connection).await;
    // It has read all that we sent, so its kernel ends the connection in order; TLS knows better.
    let result = soon(connection.call::<i64>("exit", ())).await;
    match result {
        Err(Error::MayHaveRun(StreamError::ConnectionLost(error))) => {
            assert!(matches!(error.reason, LossReason::CutOff), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// Says who calls, by the certificate, and counts.
fn service() -> Service {
    Service::new("Calculator")
        .function("add", |a: i64, b: i64| a + b)
        .expose(rpyc::Function::with_call("who", |call: Call| async move {
            let tls = call.connection.channel().tls().expect("a TLS listener");
            let peer = tls.peer.as_ref().map(|peer| peer.subject().to_owned());
            Ok(rpyc::Value::from(peer))
        }))
        .function("blob", |count: i64| {
            Bytes::from(vec![7; usize::try_from(count).expect("a size")])
        })
}

async fn serve(config: TlsConfig, service: Service) -> (Server, u16) {
    let endpoint = Endpoint::tls("127.0.0.1", 0, config);
    let server = Server::bind_with(&[endpoint], service, ServerConfig::default())
        .await
        .expect("a free port");
    let port = server.port().expect("a port");
    (server, port)
}

fn python_connect(port: u16, own: Option<&Pair>, ca: Option<&std::path::Path>) -> String {
    let shown = |path: Option<&std::path::Path>| match path {
        Some(path) => format!("{:?}", path.display().to_string()),
        None => "None".into(),
    };
    let key = shown(own.map(|own| own.key.as_path()));
    let certificate = shown(own.map(|own| own.certificate.as_path()));
    let ca = shown(ca);
    format!(
        "conn = rpyc.ssl_connect('localhost', {port}, keyfile={key}, certfile={certificate}, ca_certs={ca})"
    )
}

#[tokio::test]
async fn a_python_client_calls_a_rust_server() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let (server, client) = (ca.issue("server", &["localhost"]), ca.issue("client", &[]));
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let listening = own(&server).ca(ca.certificate.as_path()).version(version);
        let (ours, port) = serve(listening, service()).await;
        let connect = python_connect(port, Some(&client), Some(&ca.certificate));
        let text = "
assert conn.root.add(1, 2) == 3
assert conn.root.who() == 'CN=client'
assert conn.root.blob(1_000_000) == b'\\x07' * 1_000_000
conn.ping()
conn.close()";
        soon(python_program(&connect, text)).await;
        // Without a certificate it is refused, and others are served.
        let connect = python_connect(port, None, Some(&ca.certificate));
        let text = format!(
            "try:\n    {connect}\n    conn.ping()\nexcept (OSError, EOFError): pass\nelse: sys.exit('let in')"
        );
        soon(python_program("", &text)).await;
        let connect = python_connect(port, Some(&client), Some(&ca.certificate));
        soon(python_program(&connect, "assert conn.root.add(1, 2) == 3")).await;
        drop(ours);
    }
}

#[tokio::test]
async fn a_close_tells_an_end_from_a_cut() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let marks = Arc::new(AtomicUsize::new(0));
    let (noted, marked) = (reasons.clone(), marks.clone());
    let service = service()
        .function("mark", move |_: i64| {
            marked.fetch_add(1, Ordering::Relaxed);
        })
        .on_disconnect(move |connection| {
            let reason = connection.end_reason().expect("it is over");
            noted.lock().expect("no panic").push(reason);
        });
    let (_ours, port) = serve(own(&server), service).await;
    let connect = python_connect(port, None, None);
    let reason = |count: usize| {
        let reasons = reasons.clone();
        async move {
            until(|| reasons.lock().expect("no panic").len() == count).await;
            match reasons.lock().expect("no panic").last().cloned() {
                Some(StreamError::ConnectionLost(error)) => error.reason,
                other => panic!("{other:?}"),
            }
        }
    };
    let closes = [
        "conn.close()",
        // CLOSE, and at once the end of the socket; what was asked for before is done all the same.
        "mark = rpyc.async_(conn.root.mark)\n[mark(i) for i in range(50)]\n\
         conn._async_request(rpyc.core.consts.HANDLE_CLOSE)\nconn._channel.close()",
    ];
    for (count, text) in closes.into_iter().enumerate() {
        soon(python_program(&connect, text)).await;
        let reason = reason(count + 1).await;
        assert!(
            matches!(reason, LossReason::EndOfStream),
            "{text}: {reason:?}"
        );
    }
    assert_eq!(marks.load(Ordering::Relaxed), 50);
    soon(python_program(
        &connect,
        "conn.ping(); conn._channel.close()",
    ))
    .await;
    let reason = reason(3).await;
    assert!(matches!(reason, LossReason::CutOff), "{reason:?}");
}
