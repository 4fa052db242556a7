//! Listeners: limits, unix socket files, errors of accept, and the text of endpoints.

mod support;

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rpyc_actors::{
    Channel, Endpoint, Listener, ListenerConfig, StreamError, TcpConfig, create_unix_stream,
    error::ConnectFailure,
};
use support::{until, within};
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UnixStream},
    sync::mpsc,
};

async fn listen(
    endpoint: &Endpoint,
    config: ListenerConfig,
) -> (Listener, mpsc::UnboundedReceiver<Channel>) {
    let (sender, accepted) = mpsc::unbounded_channel();
    let accept = move |stream| {
        // A test that is over takes nothing.
        let _ = sender.send(Channel::new(stream));
    };
    let listener = within("binding", Listener::bind(endpoint, config, accept))
        .await
        .expect("a free address");
    (listener, accepted)
}

fn loopback() -> Endpoint {
    Endpoint::tcp("127.0.0.1", 0, TcpConfig::default())
}

fn socket_path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("rpyc-listener-{}-{name}", std::process::id()));
    // A file of an earlier process with the same id.
    let _ = fs::remove_file(&path);
    path
}

fn io_kind(error: &StreamError) -> Option<io::ErrorKind> {
    match error {
        StreamError::Connect(error) => match &error.reason {
            ConnectFailure::Io(error) => Some(error.kind()),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_and_make_room_when_they_end() {
    let (listener, mut accepted) =
        listen(&loopback(), ListenerConfig::default().max_connections(2)).await;
    let address = ("127.0.0.1", listener.port().expect("TCP"));
    let mut clients = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..2 {
        clients.push(TcpStream::connect(address).await.expect("a listener"));
        channels.push(within("accepting", accepted.recv()).await.expect("alive"));
    }
    let mut refused = TcpStream::connect(address).await.expect("a listener");
    let mut byte = [0; 1];
    let end = within("the refusal", refused.read(&mut byte)).await;
    assert!(!matches!(end, Ok(count) if count > 0));
    until("it is counted", || listener.stats().refused == 1).await;
    assert_eq!((listener.stats().accepted, listener.stats().alive), (2, 2));
    // Those that were there before are unharmed.
    channels[0].send("fine").await.expect("open");
    let mut came = [0; 10];
    within("reading", clients[0].read_exact(&mut came))
        .await
        .expect("open");

    drop(clients.pop());
    drop(channels.pop());
    until("there is room", || listener.stats().alive == 1).await;
    let _client = TcpStream::connect(address).await.expect("a listener");
    within("accepting", accepted.recv()).await.expect("alive");
}

#[tokio::test]
async fn a_dropped_or_stopped_listener_accepts_no_more_and_connections_live_on() {
    for stop in [true, false] {
        let (listener, mut accepted) = listen(&loopback(), ListenerConfig::default()).await;
        let address = ("127.0.0.1", listener.port().expect("TCP"));
        let mut client = TcpStream::connect(address).await.expect("a listener");
        let channel = within("accepting", accepted.recv()).await.expect("alive");
        let kept = listener.clone();
        if stop {
            listener.stop();
        } else {
            drop((listener, kept));
        }
        within("nobody listens", async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        channel.send("still here").await.expect("open");
        let mut came = [0; 16];
        within("reading", client.read_exact(&mut came))
            .await
            .expect("open");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused() {
    let (listener, _accepted) = listen(&loopback(), ListenerConfig::default()).await;
    let again = Endpoint::tcp(
        "127.0.0.1",
        listener.port().expect("TCP"),
        TcpConfig::default(),
    );
    let error = within(
        "binding",
        Listener::bind(&again, ListenerConfig::default(), |_| {}),
    )
    .await
    .expect_err("taken");
    assert_eq!(io_kind(&error), Some(io::ErrorKind::AddrInUse), "{error}");
}

#[tokio::test]
async fn a_unix_listener_sets_permissions_and_removes_its_file() {
    let path = socket_path("mode");
    let endpoint = Endpoint::unix(&path);
    for (config, mode) in [
        (ListenerConfig::default(), 0o600),
        (ListenerConfig::default().unix_mode(0o660), 0o660),
    ] {
        let (listener, mut accepted) = listen(&endpoint, config).await;
        let found = fs::metadata(&path).expect("there");
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, mode);
        let client = Channel::new(
            within("connecting", create_unix_stream(&path))
                .await
                .expect("up"),
        );
        let server = within("accepting", accepted.recv()).await.expect("alive");
        client.send("hello").await.expect("open");
        assert_eq!(
            within("receiving", server.recv()).await.expect("no loss"),
            Some("hello".into())
        );
        drop(listener);
        until("the file is gone", || !path.exists()).await;
    }
}

/// Leaves a socket's file behind that nobody listens on.
fn leave_stale(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).expect("a free path"));
    assert!(path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_nothing_else() {
    let path = socket_path("stale");
    let endpoint = Endpoint::unix(&path);
    leave_stale(&path);
    let (_listener, _accepted) = listen(&endpoint, ListenerConfig::default()).await;
    let error = within(
        "binding",
        Listener::bind(&endpoint, ListenerConfig::default(), |_| {}),
    )
    .await
    .expect_err("somebody listens");
    assert_eq!(io_kind(&error), Some(io::ErrorKind::AddrInUse), "{error}");
    UnixStream::connect(&path)
        .await
        .expect("the first one is unharmed");

    let path = socket_path("file");
    fs::write(&path, "precious").expect("a file");
    let error = within(
        "binding",
        Listener::bind(&Endpoint::unix(&path), ListenerConfig::default(), |_| {}),
    )
    .await
    .expect_err("a file");
    assert_eq!(
        io_kind(&error),
        Some(io::ErrorKind::AlreadyExists),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    fs::remove_file(&path).expect("still there");
}

#[tokio::test]
async fn a_socket_whose_listener_is_too_busy_to_accept_is_not_stale() {
    let path = socket_path("busy");
    let busy =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a socket");
    busy.bind(&socket2::SockAddr::unix(&path).expect("a path"))
        .expect("a free path");
    busy.listen(0).expect("bound");
    let _filler = std::os::unix::net::UnixStream::connect(&path).expect("the only place");
    let error = within(
        "binding",
        Listener::bind(&Endpoint::unix(&path), ListenerConfig::default(), |_| {}),
    )
    .await
    .expect_err("somebody listens");
    assert_eq!(io_kind(&error), Some(io::ErrorKind::AddrInUse), "{error}");
    assert!(path.exists());
    drop(busy);
    fs::remove_file(&path).expect("still there");
}

#[tokio::test]
async fn a_listener_leaves_a_file_that_is_not_its_own() {
    let path = socket_path("other");
    let (listener, _accepted) = listen(&Endpoint::unix(&path), ListenerConfig::default()).await;
    fs::remove_file(&path).expect("there");
    fs::write(&path, "somebody else's").expect("a file");
    listener.stop();
    drop(listener);
    // Nobody tells when it is gone; too short a time could only hide a failure.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        fs::read_to_string(&path).expect("left alone"),
        "somebody else's"
    );
    fs::remove_file(&path).expect("left alone");
}

// ---- out of descriptors ----

/// Set in the process that runs the second half of the next test.
const INNER: &str = "RPYC_TEST_FEW_DESCRIPTORS";

#[test]
fn a_listener_survives_that_there_are_no_descriptors() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    if std::env::var_os(INNER).is_some() {
        return runtime.block_on(without_descriptors());
    }
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 60; exec \"$0\" --exact --nocapture \"$1\""])
        .arg(std::env::current_exe().expect("this test"))
        .arg("a_listener_survives_that_there_are_no_descriptors")
        .env(INNER, "1")
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn without_descriptors() {
    let (listener, mut accepted) = listen(&loopback(), ListenerConfig::default()).await;
    let address = ("127.0.0.1", listener.port().expect("TCP"));
    // One is connected before the others take all that is left.
    let early = TcpStream::connect(address).await.expect("a listener");
    let channel = within("accepting", accepted.recv()).await.expect("alive");
    let mut hoard = Vec::new();
    let late = loop {
        match fs::File::open("/dev/null") {
            Ok(file) => hoard.push(file),
            Err(_) => {
                assert!(
                    hoard.len() < 1000,
                    "there is no limit: this test runs inside another one"
                );
                drop(hoard.pop());
                break TcpStream::connect(address)
                    .await
                    .expect("the last descriptor");
            }
        }
    };
    until("accepting pauses", || listener.stats().paused > 0).await;
    let paused = listener.stats().paused;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(listener.stats().paused - paused < 10, "it spins");
    channel.send("the others live on").await.expect("open");
    within("flushing", channel.flush()).await.expect("open");
    drop(hoard);
    within("accepting", accepted.recv()).await.expect("alive");
    drop((early, late));
}

// ---- endpoints ----

fn refusal(text: &str) -> String {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => panic!("{text:?} is taken for {endpoint:?}"),
        Err(StreamError::Connect(error)) => {
            assert_eq!(*error.endpoint, *text);
            assert!(matches!(error.reason, ConnectFailure::Endpoint(_)));
            error.reason.to_string()
        }
        Err(other) => panic!("not a connect error: {other}"),
    }
}

#[test]
fn endpoints_that_are_none_are_refused_with_the_reason() {
    for (text, reason) in [
        ("", "unknown scheme"),
        ("host:1", "unknown scheme"),
        ("http://host:1", "unknown scheme"),
        ("tcp:host:1", "unknown scheme"),
        ("tcp://", "the port is missing"),
        ("tcp://host", "the port is missing"),
        ("tcp://:1", "the host is missing"),
        ("tcp://[]:1", "the host is missing"),
        ("tcp://host:", "is no port"),
        ("tcp://host:x", "is no port"),
        ("tcp://host:65536", "is no port"),
        ("tcp://host:-1", "is no port"),
        ("tcp://host:+1", "is no port"),
        ("tcp://::1:1", "brackets"),
        ("tcp://[::1:1", "bracket"),
        ("tcp://host:1?keepalive", "is not name=value"),
        ("tcp://host:1?keepalive=maybe", "true or false"),
        ("tcp://host:1?ipv6=1", "true or false"),
        ("tcp://host:1?color=red", "unknown setting"),
        ("tcp://host:1?connect_timeout=soon", "is no duration"),
        ("tcp://host:1?connect_timeout=1h", "is no duration"),
        ("unix:", "the path is missing"),
        ("exec:", "the command is missing"),
        ("exec:  ", "the command is missing"),
        ("exec:cat 'unclosed", "not closed"),
        ("stdio:x", "unknown scheme"),
    ] {
        let said = refusal(text);
        assert!(
            said.contains(reason),
            "{text:?}: {said:?} does not say {reason:?}"
        );
    }
}

#[test]
fn endpoints_keep_their_text_and_know_what_is_local() {
    for (text, is_local) in [
        ("tcp://localhost:0", true),
        ("tcp://127.0.0.2:80?keepalive=true&user_timeout=500ms", true),
        ("tcp://[::1]:65535?connect_timeout=2m", true),
        ("tcp://example.org:1?ipv6=true&keepalive=5", false),
        ("tcp://10.0.0.1:1", false),
        ("unix:/tmp/x", true),
        ("exec:ssh host 'a b'", true),
        ("stdio:", true),
    ] {
        let endpoint: Endpoint = text.parse().expect("legal");
        assert_eq!(endpoint.to_string(), text);
        assert_eq!(endpoint.is_local(), is_local, "{text}");
    }
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_refused() {
    for text in [
        "exec:cat",
        "stdio:",
        "tcp://no-such-host.invalid:0",
        "tcp://127.0.0.1:0?ipv6=true",
    ] {
        let endpoint: Endpoint = text.parse().expect("legal");
        let error = within(
            "binding",
            Listener::bind(&endpoint, ListenerConfig::default(), |_| {}),
        )
        .await
        .expect_err("not listened on");
        assert!(error.to_string().contains(text), "{error}");
    }
}
