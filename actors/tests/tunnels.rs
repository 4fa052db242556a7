//! Streams through real proxies: microsocks, tinyproxy, and OpenSSH's server.

#[path = "../../tests/support/certificates.rs"]
mod certificates;
#[path = "../../tests/support/daemons.rs"]
mod daemons;
mod support;

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use certificates::Folder;
use daemons::Daemon;
use rpyc_actors::{
    Chain, Channel, Endpoint, StreamError, StreamHandle, TcpConfig, TunneledSocketStream,
    error::{ConnectFailure, LossReason, TunnelError},
    stream::{Address, tunnel::Via},
};
use support::{until, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server that sends everything back, and ends its direction when the client does.
async fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.into_split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

/// A port where nobody listens.
async fn closed_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    listener.local_addr().expect("bound").port()
}

async fn open(text: &str) -> Result<StreamHandle, StreamError> {
    within("opening", Chain::to(text).expect(text).open()).await
}

fn tunnel_failure(result: Result<StreamHandle, StreamError>) -> TunnelError {
    match result {
        Err(StreamError::Connect(error)) => match error.reason {
            ConnectFailure::Tunnel(error) => error,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Frames there and back, more than any buffer on the way holds.
async fn carries(stream: StreamHandle) {
    carry(Channel::new(stream), |_| {}).await;
}

/// The same, with our direction ended before the other one: microsocks and tinyproxy end both then, ssh does not.
async fn carries_half_closed(stream: StreamHandle) {
    let channel = Channel::new(stream);
    carry(channel.clone(), |channel| channel.finish().expect("open")).await;
    assert!(
        within("the end", channel.recv())
            .await
            .expect("an orderly end")
            .is_none()
    );
}

async fn carry(channel: Channel, finish: impl Fn(&Channel)) {
    within("an exchange", async {
        let sending = async {
            for number in 0..200_u8 {
                channel.send(vec![number; 40_000]).await.expect("sent");
            }
            finish(&channel);
        };
        let receiving = async {
            for number in 0..200_u8 {
                let frame = channel.recv().await.expect("read").expect("a frame");
                assert!(frame.len() == 40_000 && frame.iter().all(|byte| *byte == number));
            }
        };
        tokio::join!(sending, receiving);
    })
    .await;
}

#[tokio::test]
async fn proxies_of_both_kinds_carry_a_channel() {
    let folder = Folder::new();
    let port = echo().await;
    let login = Some(("me", "p@ss:word"));
    let here = folder.path("");
    for (name, user, proxy) in [
        ("socks5", "", Daemon::microsocks(&here, None)),
        (
            "socks5",
            "me:p%40ss%3Aword@",
            Daemon::microsocks(&here, login),
        ),
        ("http", "", Daemon::tinyproxy(&here, None)),
        (
            "http",
            "me:secret@",
            Daemon::tinyproxy(&here, Some(("me", "secret"))),
        ),
    ] {
        let Some(proxy) = proxy else { return };
        let text = format!(
            "tcp://localhost:{port}?via={name}://{user}127.0.0.1:{}",
            proxy.port
        );
        let stream = open(&text).await.expect("a way through");
        assert!(matches!(stream.local_address(), Some(Address::Tcp(_))));
        assert!(!stream.endpoint().contains("word") && !stream.endpoint().contains("secret"));
        carries(stream).await;
    }
}

#[tokio::test]
async fn refusals_of_real_proxies_are_named() {
    let folder = Folder::new();
    let here = folder.path("");
    let (nobody, port) = (closed_port().await, echo().await);
    for (name, proxy, locked) in [
        (
            "socks5",
            Daemon::microsocks(&here, None),
            Daemon::microsocks(&here, Some(("me", "right"))),
        ),
        (
            "http",
            Daemon::tinyproxy(&here, None),
            Daemon::tinyproxy(&here, Some(("me", "right"))),
        ),
    ] {
        let (Some(proxy), Some(locked)) = (proxy, locked) else {
            return;
        };
        let way = format!("via={name}://127.0.0.1:{}", proxy.port);
        let error = tunnel_failure(open(&format!("tcp://127.0.0.1:{nobody}?{way}")).await);
        match &error {
            TunnelError::Refused { target, .. } => {
                assert_eq!(**target, *format!("127.0.0.1:{nobody}"));
            }
            other => panic!("{other:?}"),
        }
        for login in ["me:wrong@", ""] {
            let way = format!("via={name}://{login}127.0.0.1:{}", locked.port);
            let result = open(&format!("tcp://127.0.0.1:{port}?{way}")).await;
            let shown = format!("{result:?}");
            assert!(!shown.contains("wrong"), "{shown}");
            let error = tunnel_failure(result);
            assert!(matches!(error, TunnelError::Login { .. }), "{error}");
        }
        let way = format!("via={name}://127.0.0.1:{nobody}");
        let error = tunnel_failure(open(&format!("tcp://127.0.0.1:{port}?{way}")).await);
        assert!(matches!(error, TunnelError::Unreachable { .. }), "{error}");
    }
}

/// A proxy that answers once with just these bytes, and gives the connection and what it was asked.
async fn answering(answer: &'static [u8]) -> (u16, tokio::task::JoinHandle<(TcpStream, Vec<u8>)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let serving = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut asked = vec![0; 4096];
        let count = socket.read(&mut asked).await.expect("a request");
        asked.truncate(count);
        // A client that has enough of it may be gone.
        let _ = socket.write_all(answer).await;
        (socket, asked)
    });
    (port, serving)
}

#[tokio::test]
async fn proxies_that_are_none_are_named() {
    // A head without an end.
    const ENDLESS: &[u8] = &[b'a'; 40_000];
    for (name, answer) in [
        ("socks5", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]),
        ("http", b"\x05\x00"),
        ("http", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        ("http", ENDLESS),
    ] {
        let (port, _serving) = answering(answer).await;
        let text = format!("tcp://host:1?via={name}://127.0.0.1:{port}");
        let error = tunnel_failure(open(&text).await);
        assert!(matches!(error, TunnelError::NotAProxy { .. }), "{error}");
    }
    for name in ["socks5", "http"] {
        let (port, _serving) = answering(b"").await;
        let text = format!("tcp://host:1?connect_timeout=300ms&via={name}://127.0.0.1:{port}");
        let error = tunnel_failure(open(&text).await);
        assert!(matches!(error, TunnelError::TimedOut { .. }), "{error}");

        let (port, serving) = answering(b"").await;
        tokio::spawn(async move { drop(serving.await) });
        let error =
            tunnel_failure(open(&format!("tcp://host:1?via={name}://127.0.0.1:{port}")).await);
        assert!(matches!(error, TunnelError::Ended { .. }), "{error}");
    }
}

#[tokio::test]
async fn names_are_left_to_the_proxy_and_nothing_behind_its_answer_is_lost() {
    let answer = b"HTTP/1.1 200 Connection established\r\n\r\nthe target's first words";
    let (port, serving) = answering(answer).await;
    let text = format!("tcp://no-such-host.invalid:99?via=http://127.0.0.1:{port}");
    let stream = open(&text).await.expect("a way through");
    assert_eq!(
        &within("words", stream.read(24)).await.expect("read")[..],
        b"the target's first words"
    );
    let (_socket, asked) = serving.await.expect("a proxy");
    assert!(asked.starts_with(b"CONNECT no-such-host.invalid:99 HTTP/1.1\r\n"));

    // SOCKS5: the method first, then the request with the name.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let serving = async {
        let (mut socket, _) = listener.accept().await.expect("a client");
        let mut greeting = [0; 3];
        socket.read_exact(&mut greeting).await.expect("a greeting");
        socket.write_all(&[5, 0]).await.expect("written");
        let mut request = vec![0; 4 + 1 + 20 + 2];
        socket.read_exact(&mut request).await.expect("a request");
        socket
            .write_all(b"\x05\x00\x00\x01\0\0\0\0\0\0the target's first words")
            .await
            .expect("written");
        (socket, request)
    };
    let text = format!("tcp://no-such-host.invalid:99?via=socks5://127.0.0.1:{port}");
    let (stream, (_socket, request)) = tokio::join!(open(&text), serving);
    assert_eq!(request, b"\x05\x01\x00\x03\x14no-such-host.invalid\x00\x63");
    let stream = stream.expect("a way through");
    assert_eq!(
        &within("words", stream.read(24)).await.expect("read")[..],
        b"the target's first words"
    );
}

/// What is told to a proxy is a line of text, and a name with the end of a line would be two.
#[tokio::test]
async fn a_name_that_says_more_than_a_name_is_told_to_no_proxy() {
    for name in ["socks5", "http", "ssh"] {
        let port = closed_port().await;
        for host in ["a\r\nProxy-Authorization: x", "a b", "a\0", ""] {
            let via: Via = format!("{name}://127.0.0.1:{port}").parse().expect("a way");
            let endpoint = Endpoint::tcp(host, 1, TcpConfig::default()).via(via);
            let chain = Chain::new(endpoint.expect("no tunnel yet"));
            match within("opening", chain.open()).await {
                Err(StreamError::Connect(error)) => assert!(
                    matches!(error.reason, ConnectFailure::Endpoint(_)),
                    "{name}: {error:?}"
                ),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

#[cfg(any(feature = "tls", feature = "aws-lc-rs"))]
#[tokio::test]
async fn tls_goes_through_every_tunnel() {
    use certificates::Ca;
    use rpyc_actors::{Listener, ListenerConfig, TlsConfig};
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let config =
        TlsConfig::default().certificate(server.certificate.as_path(), server.key.as_path());
    let accept = |stream: StreamHandle| {
        let channel = Channel::new(stream);
        actix_rt::spawn(async move {
            while let Ok(Some(frame)) = channel.recv().await {
                let _ = channel.send(frame).await;
            }
            let _ = channel.close().await;
        });
    };
    let endpoint = Endpoint::tls("127.0.0.1", 0, config);
    let listener = Listener::bind(&endpoint, ListenerConfig::default(), accept)
        .await
        .expect("a free port");
    let port = listener.port().expect("a port");
    let here = folder.path("");
    let (Some(socks), Some(http), Some(ssh)) = (
        Daemon::microsocks(&here, None),
        Daemon::tinyproxy(&here, None),
        Daemon::sshd(&here),
    ) else {
        return;
    };
    let parse = |text: String| text.parse::<Via>().expect("a way");
    for via in [
        parse(format!("socks5://127.0.0.1:{}", socks.port)),
        parse(format!("http://127.0.0.1:{}", http.port)),
        ssh_via(&ssh, &here, "user"),
    ] {
        let text = format!("tls://localhost:{port}?{}", ca.setting());
        let endpoint: Endpoint = text.parse().expect("an endpoint");
        let chain = Chain::new(endpoint.via(via).expect("no tunnel yet"));
        let stream = within("opening", chain.open())
            .await
            .expect("a way through");
        assert!(stream.tls().is_some());
        carries(stream).await;
    }
}

fn ssh_via(daemon: &Daemon, folder: &Path, key: &str) -> Via {
    let config = daemon.ssh_config(folder, key).display().to_string();
    let via: Via = "ssh://tunnel".parse().expect("a way");
    via.ssh_command(["ssh", "-F", &config])
}

fn process_of(stream: &StreamHandle) -> u32 {
    match stream.peer_address() {
        Some(Address::Process(id)) => *id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ssh_carries_a_channel_and_its_process_goes_with_it() {
    let folder = Folder::new();
    let here = folder.path("");
    let Some(ssh) = Daemon::sshd(&here) else {
        return;
    };
    let port = echo().await;
    let connect = || TunneledSocketStream::connect("127.0.0.1", port, ssh_via(&ssh, &here, "user"));
    let is_gone = |id: u32| move || !Path::new(&format!("/proc/{id}")).exists();

    let stream: StreamHandle = within("connecting", connect()).await.expect("ssh").into();
    let process = process_of(&stream);
    carries_half_closed(stream).await;
    until("ssh to be reaped", is_gone(process)).await;

    let stream: StreamHandle = within("connecting", connect()).await.expect("ssh").into();
    let process = process_of(&stream);
    stream.write("x").await.expect("written");
    within("an echo", stream.read(1)).await.expect("read");
    stream.abort();
    until("ssh to be reaped", is_gone(process)).await;
}

#[tokio::test]
async fn what_ssh_cannot_do_is_the_reason_of_the_loss() {
    let folder = Folder::new();
    let here = folder.path("");
    let Some(ssh) = Daemon::sshd(&here) else {
        return;
    };
    let (nobody, port) = (closed_port().await, echo().await);
    for (key, port, said) in [
        ("user", nobody, "open failed"),
        ("stranger", port, "Permission denied"),
    ] {
        let connecting =
            TunneledSocketStream::connect("127.0.0.1", port, ssh_via(&ssh, &here, key));
        let stream = within("connecting", connecting).await.expect("ssh starts");
        let error = match within("the loss", stream.read(1)).await {
            Err(StreamError::ConnectionLost(error)) => error,
            other => panic!("{other:?}"),
        };
        match &error.reason {
            LossReason::Tunnel(TunnelError::Ssh {
                proxy, said: found, ..
            }) => {
                assert_eq!(&**proxy, "ssh://tunnel");
                assert!(found.contains(said), "{found}");
            }
            other => panic!("{other:?}"),
        }
    }
    let via: Via = "ssh://tunnel".parse().expect("a way");
    let connecting = TunneledSocketStream::connect("h", 1, via.ssh_command(["no-such-program"]));
    match within("connecting", connecting).await {
        Err(StreamError::Connect(error)) => {
            assert!(
                matches!(error.reason, ConnectFailure::Spawn { .. }),
                "{error}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_socket_to_the_near_end_keeps_its_tunnel_until_it_is_closed() {
    let port = echo().await;
    let connect = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a server");
    let tunnel = Arc::new(());
    let stream = TunneledSocketStream::with_tunnel(connect(), tunnel.clone())
        .await
        .expect("a stream");
    stream.write("through").await.expect("written");
    assert_eq!(
        &within("an echo", stream.read(7)).await.expect("read")[..],
        b"through"
    );
    assert_eq!(Arc::strong_count(&tunnel), 2);
    within("closing", stream.close()).await.expect("closed");
    until("the tunnel to be dropped", || {
        Arc::strong_count(&tunnel) == 1
    })
    .await;
    carries(
        TunneledSocketStream::new(connect())
            .await
            .expect("a stream")
            .into(),
    )
    .await;
}

#[tokio::test]
async fn only_tcp_and_tls_go_through_a_tunnel_and_nobody_listens_in_one() {
    let way = || "socks5://127.0.0.1:1".parse::<Via>().expect("a way");
    let refused = Endpoint::unix("/tmp/x").via(way());
    assert!(
        matches!(refused, Err(StreamError::ApiMisuse(_))),
        "{refused:?}"
    );
    let twice = Endpoint::tcp("host", 1, TcpConfig::default())
        .via(way())
        .expect("none yet")
        .via(way());
    assert!(matches!(twice, Err(StreamError::ApiMisuse(_))), "{twice:?}");
    let endpoint: Endpoint = "tcp://127.0.0.1:1?via=socks5://a:b@127.0.0.1:1"
        .parse()
        .expect("one");
    assert!(!endpoint.is_local());
    assert_eq!(
        endpoint.to_string(),
        "tcp://127.0.0.1:1?via=socks5://a:***@127.0.0.1:1"
    );
    let binding = rpyc_actors::Listener::bind(&endpoint, Default::default(), |_| {});
    let error = within("binding", binding).await.expect_err("a refusal");
    assert!(error.to_string().contains("no tunnel"), "{error}");
    let error = "tcp://h:1?via=http://a:secret@"
        .parse::<Endpoint>()
        .expect_err("no port");
    assert!(!error.to_string().contains("secret"), "{error}");
    // A sign that should have been written with percents.
    for text in [
        "tcp://h:1?via=http://a:secret&more@proxy:1",
        "tcp://h:1?via=http://a:12&secret@proxy:1",
        "tcp://h:1?ipv6=no&via=http://a:secret&more&more@proxy:1",
    ] {
        let error = text.parse::<Endpoint>().expect_err(text).to_string();
        let shows = ["secret", "more", "12&"].map(|word| error.contains(word));
        assert!(
            !shows.contains(&true) && error.contains("***@proxy:1"),
            "{error}"
        );
    }
}
