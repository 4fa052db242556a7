//! How connections end: killed, stopped, closed, from either side and with calls under way. Each call is told whether it may have run.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rpyc::{Connection, Error, Service, StreamError, brine::Value};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    python::{Peer, Script},
    raw::Raw,
    support::{
        assert_alive, assert_serves, connect, python_client, python_server, serve, socket_path,
        soon, until,
    },
};

fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(status.expect("there is a kill command").success());
}

/// Stops a process, and waits until all its threads have.
async fn stop(process: u32) {
    signal(process, "-STOP");
    until(|| {
        let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it lives");
        threads.filter_map(Result::ok).all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The name before it stands in parentheses.
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" T"))
        })
    })
    .await;
}

type Call = JoinHandle<Result<Value, Error>>;

/// Calls that the peer has and will not answer.
async fn calls_under_way(client: &Connection, count: usize) -> Vec<Call> {
    assert_alive(client).await;
    let client = client.clone().with_timeout(None);
    let calls = (0..count)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<Value>("sleep", (3_600,)).await })
        })
        .collect();
    until(|| client.stats().pending == count).await;
    calls
}

async fn each_may_have_run(calls: Vec<Call>) {
    for call in calls {
        let result = soon(call).await.expect("no panic");
        assert!(matches!(result, Err(Error::MayHaveRun(_))), "{result:?}");
        assert!(!result.expect_err("it failed").was_not_sent());
    }
}

async fn is_over(client: &Connection) {
    soon(client.ended()).await;
    assert!(client.closed());
    let result = soon(client.call::<i64>("add", (1, 2))).await;
    assert!(matches!(result, Err(Error::NotSent(_))), "{result:?}");
    assert!(result.expect_err("it failed").was_not_sent());
    // Closing what is over does nothing.
    soon(client.close()).await;
}

#[tokio::test]
async fn python_is_killed_with_calls_under_way() {
    let path = socket_path();
    let text = path.to_str().expect("the path is UTF-8");
    for options in [&[][..], &["--unix", text]] {
        let mut server = Peer::start(Script::File("server.py"), options);
        let endpoint = match options {
            [] => format!("tcp://127.0.0.1:{}", server.port()),
            _ => format!("unix:{text}"),
        };
        let client = soon(rpyc::connect_endpoint(&endpoint))
            .await
            .expect("the server listens");
        let calls = calls_under_way(&client, 20).await;
        server.kill();
        each_may_have_run(calls).await;
        is_over(&client).await;
        let reason = client.end_reason().expect("it is over").to_string();
        assert!(reason.contains(&endpoint), "{reason}");
    }
    // The server was killed, so its socket file is ours to remove.
    let _ = std::fs::remove_file(path);
}

#[tokio::test]
async fn a_python_child_is_killed_with_calls_under_way() {
    let command = Script::File("server.py").command(&["--stdio"]);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_str().expect("UTF-8").to_owned())
        .collect();
    let client = soon(rpyc::connect_endpoint(&format!("exec:{}", words.join(" "))))
        .await
        .expect("it starts");
    let pid: u32 = soon(client.call("pid", ())).await.expect("an answer");
    let calls = calls_under_way(&client, 5).await;
    signal(pid, "-KILL");
    each_may_have_run(calls).await;
    is_over(&client).await;
    let reason = client.end_reason().expect("it is over").to_string();
    assert!(reason.contains("signal: 9"), "{reason}");
}

#[tokio::test]
async fn python_exits_in_the_middle_of_a_call() {
    let server = python_server();
    let client = connect(server.port()).await;
    let result = soon(client.call::<Value>("exit", (3,))).await;
    assert!(matches!(result, Err(Error::MayHaveRun(_))), "{result:?}");
    is_over(&client).await;
    drop(server);
}

/// Some calls fill what is under way, the others wait for room: those were not sent.
#[tokio::test]
async fn a_lost_call_says_whether_it_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let client = connect(port).await.with_timeout(None);
    let mut peer = Raw::accept(&listener).await;
    let root = client.clone();
    let asking = tokio::spawn(async move { root.root().await });
    let (_, seq, _) = soon(peer.next()).await.expect("GETROOT");
    peer.reply(seq, (4, ("a.Root", 1, 1)).into()).await;
    soon(asking).await.expect("no panic").expect("the root");

    // 40 MB, of which the kernel takes a few, and 1 MiB of credit some more. The peer reads nothing.
    let data = bytes::Bytes::from(vec![7; 1_000_000]);
    let calls: Vec<Call> = (0..40)
        .map(|_| {
            let (client, data) = (client.clone(), data.clone());
            tokio::spawn(async move { client.call::<Value>("echo", (data,)).await })
        })
        .collect();
    // What could leave has left when the numbers stand still and the gate is full.
    let mut last = client.stats().pending;
    let mut since = Instant::now();
    until(|| {
        let now = client.stats().pending;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        now > 0
            && client.channel().try_reserve(1).is_none()
            && since.elapsed() > Duration::from_millis(300)
    })
    .await;
    let started = client.stats().pending;
    assert!(
        started < 40,
        "all calls were sent to a peer that reads nothing"
    );
    drop(peer);
    let (mut not_sent, mut may_have_run) = (0, 0);
    for call in calls {
        match soon(call).await.expect("no panic") {
            Err(Error::NotSent(error)) => {
                assert!(error.is_connection_lost(), "{error:?}");
                not_sent += 1;
            }
            Err(Error::MayHaveRun(error)) => {
                assert!(error.is_connection_lost(), "{error:?}");
                may_have_run += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    // The kernel may have taken a last one before it noticed.
    assert!(
        may_have_run - started <= 4,
        "{may_have_run} may have run of {started}"
    );
    assert_eq!(may_have_run + not_sent, 40);
}

/// A call that waits for room has the same deadline as one that waits for its answer.
#[tokio::test]
async fn a_deadline_holds_while_a_call_waits_for_room() {
    let mut server = python_server();
    let client = connect(server.port()).await;
    assert_alive(&client).await;
    stop(server.id()).await;
    let start = Instant::now();
    let impatient = client.clone().with_timeout(Duration::from_millis(500));
    let data = bytes::Bytes::from(vec![7; 1_000_000]);
    let calls: Vec<Call> = (0..40)
        .map(|_| {
            let (client, data) = (impatient.clone(), data.clone());
            tokio::spawn(async move { client.call::<Value>("echo", (data,)).await })
        })
        .collect();
    let (mut timed_out, mut not_sent) = (0, 0);
    for call in calls {
        match soon(call).await.expect("no panic") {
            Err(Error::TimedOut(_)) => timed_out += 1,
            Err(Error::NotSent(StreamError::TimedOut { .. })) => not_sent += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(
        timed_out > 0 && not_sent > 0,
        "{timed_out} timed out, {not_sent} not sent"
    );
    // It goes on where it stopped, and the late answers do no harm.
    signal(server.id(), "-CONT");
    assert_alive(&client).await;
    soon(client.close()).await;
    server.kill();
}

#[tokio::test]
async fn a_stopped_peer_is_found_by_the_deadline() {
    let mut server = python_server();
    let client = connect(server.port())
        .await
        .with_timeout(Duration::from_millis(200));
    assert_alive(&client).await;
    stop(server.id()).await;
    let result = soon(client.call::<i64>("add", (1, 2))).await;
    assert!(matches!(result, Err(Error::TimedOut(_))), "{result:?}");
    let pinged = soon(client.ping()).await;
    assert!(matches!(pinged, Err(Error::TimedOut(_))), "{pinged:?}");
    // Closing does not wait for ever either.
    let start = Instant::now();
    soon(client.close()).await;
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    signal(server.id(), "-CONT");
    server.kill();
}

#[tokio::test]
async fn closing_ends_calls_under_way() {
    let server = python_server();
    let client = connect(server.port()).await;
    assert_alive(&client).await;
    // Python serves one after the other: the sleeping one keeps it from seeing our end.
    let waiting = client.clone();
    let call = tokio::spawn(async move { waiting.call::<Value>("sleep", (0.5,)).await });
    until(|| client.stats().pending == 1).await;
    soon(client.close()).await;
    let result = soon(call).await.expect("no panic");
    assert!(
        matches!(result, Err(Error::MayHaveRun(StreamError::Closed))),
        "{result:?}"
    );
    is_over(&client).await;
}

#[tokio::test]
async fn the_last_handle_closes() {
    let server = python_server();
    let watcher = connect(server.port()).await;
    let client = connect(server.port()).await;
    let counter: rpyc::Netref = soon(client.call("shared_counter", ()))
        .await
        .expect("a reference");
    let channel = client.channel().clone();
    drop(client);
    // The reference holds the connection.
    let sum: i64 = soon(counter.call_method("increment", ()))
        .await
        .expect("an answer");
    assert_eq!(sum, 1);
    drop(counter);
    until(|| channel.closed()).await;
    assert_alive(&watcher).await;
}

#[tokio::test]
async fn python_closes_with_rust_calls_under_way() {
    // A Python client that serves our call while it waits, and closes in the middle of it.
    let ended = Arc::new(AtomicBool::new(false));
    let seen = ended.clone();
    let service = Service::new("Calls")
        .function("add", |a: i64, b: i64| a + b)
        .async_function("run", move |function: rpyc::Netref| {
            let seen = seen.clone();
            // Outside of the handler, which goes when the connection does.
            let call =
                tokio::spawn(async move { function.with_timeout(None).call::<Value>(()).await });
            async move {
                let watch = tokio::spawn(async move {
                    let result = call.await.expect("no panic");
                    assert!(matches!(result, Err(Error::MayHaveRun(_))), "{result:?}");
                    seen.store(true, Ordering::Release);
                });
                std::future::pending::<()>().await;
                drop(watch);
            }
        });
    let (server, port) = serve(service).await;
    let checks = "
def closes():
    conn._channel.close()
try:
    conn.root.run(closes)
except EOFError:
    pass
else:
    raise AssertionError
";
    python_client(port, checks).await;
    until(|| ended.load(Ordering::Acquire)).await;
    until(|| server.connections() == 0).await;
    assert_serves(port).await;
}

#[tokio::test]
async fn a_python_client_is_killed_with_calls_under_way() {
    let running = Arc::new(AtomicBool::new(false));
    let dropped = running.clone();
    struct Running(Arc<AtomicBool>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.store(false, Ordering::Release);
        }
    }
    let service = Service::new("Waits")
        .function("add", |a: i64, b: i64| a + b)
        .async_function("wait", move || {
            let running = dropped.clone();
            async move {
                running.store(true, Ordering::Release);
                let _running = Running(running);
                std::future::pending::<()>().await;
            }
        });
    let (server, port) = serve(service).await;
    let script = format!(
        "import rpyc\nconn = rpyc.connect('127.0.0.1', {port})\nprint('READY', flush=True)\nconn.root.wait()"
    );
    let mut client = tokio::task::spawn_blocking(move || Peer::start(Script::Text(&script), &[]))
        .await
        .expect("it starts");
    until(|| running.load(Ordering::Acquire)).await;
    client.kill();
    // What was computed for it is given up.
    until(|| !running.load(Ordering::Acquire)).await;
    until(|| server.connections() == 0).await;
    assert_serves(port).await;
}

/// The server goes away while a Python client waits: it gets an EOFError, at once.
#[tokio::test]
async fn a_python_client_learns_that_the_server_is_gone() {
    let service = Service::new("Waits").async_function("wait", std::future::pending::<()>);
    let (server, port) = serve(service).await;
    let client = tokio::spawn(python_client(
        port,
        "
try:
    conn.root.wait()
except EOFError:
    pass
else:
    raise AssertionError
",
    ));
    until(|| server.connections() == 1).await;
    drop(server);
    soon(client).await.expect("no panic");
}

/// A server that resets as soon as somebody connects: the end is seen at whatever moment it comes.
#[tokio::test]
async fn no_call_hangs_on_a_connection_that_ends_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let resetting = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("somebody connects");
            socket.set_zero_linger().expect("TCP has that option");
            drop(socket);
        }
    });
    for _ in 0..300 {
        let Ok(client) = soon(rpyc::connect("127.0.0.1", port)).await else {
            // The reset came before the connection was ready.
            continue;
        };
        let result = soon(client.with_timeout(None).call::<i64>("add", (1, 2))).await;
        assert!(
            matches!(result, Err(Error::NotSent(_) | Error::MayHaveRun(_))),
            "{result:?}"
        );
    }
    resetting.abort();
}

/// What was asked for before the close is done, by a Rust server as by Python's.
#[tokio::test]
async fn calls_before_a_close_are_finished() {
    let done = Arc::new(AtomicUsize::new(0));
    let counter = done.clone();
    let service = Service::new("Notes").async_function("note", move |_: i64| {
        let done = counter.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            done.fetch_add(1, Ordering::Release);
        }
    });
    let (server, port) = serve(service).await;
    let checks = "
note = rpyc.async_(conn.root.note)
results = [note(i) for i in range(100)]
conn.close()
";
    python_client(port, checks).await;
    until(|| done.load(Ordering::Acquire) == 100).await;
    let client = connect(port).await;
    soon(client.root()).await.expect("an answer");
    let calls: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<()>("note", (number,)).await })
        })
        .collect();
    // GETROOT and a hundred calls, some of which may have been answered.
    until(|| client.channel().accepted() == 101).await;
    soon(client.close()).await;
    for call in calls {
        let result = soon(call).await.expect("no panic");
        assert!(
            matches!(result, Ok(()) | Err(Error::MayHaveRun(_))),
            "{result:?}"
        );
    }
    until(|| done.load(Ordering::Acquire) == 200).await;
    until(|| server.connections() == 0).await;
}
