//! Streams that stay on this machine: unix sockets, pipes, child processes, this process's stdin and stdout.

mod support;

use std::{
    fs, io,
    io::Read as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use rpyc_actors::{
    Chain, Channel, PipeStream, SocketStream, StreamError, create_pipe_stream, create_unix_stream,
    error::{ConnectFailure, LossReason},
    stream::Address,
};
use support::{frame, until, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A folder of its own for each test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rpyc-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is the system's to clean.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn connect_failure(error: StreamError) -> ConnectFailure {
    match error {
        StreamError::Connect(error) => error.reason,
        other => panic!("not a connect error: {other}"),
    }
}

// ---- unix sockets ----

#[tokio::test]
async fn a_unix_stream_reads_and_writes_and_names_its_path() {
    let folder = Folder::new("unix");
    let path = folder.0.join("socket");
    let listener = tokio::net::UnixListener::bind(&path).expect("a free path");
    for connect in [true, false] {
        let stream = match connect {
            true => within("connecting", create_unix_stream(&path)).await,
            false => within("connecting", SocketStream::unix_connect(&path)).await,
        }
        .expect("a listener");
        let (mut peer, _) = listener.accept().await.expect("a client");
        assert_eq!(stream.endpoint(), format!("unix:{}", path.display()));
        assert_eq!(stream.peer_address(), Some(&Address::Unix(path.clone())));
        peer.write_all(b"hello").await.expect("open");
        assert_eq!(
            within("reading", stream.read(5)).await.expect("sent"),
            "hello"
        );
        stream.write("world").await.expect("open");
        let mut came = [0; 5];
        within("reading", peer.read_exact(&mut came))
            .await
            .expect("sent");
        assert_eq!(&came, b"world");
    }
}

#[tokio::test]
async fn a_unix_socket_that_is_not_there_is_named() {
    let error = within("connecting", create_unix_stream("/nowhere/rpyc.sock"))
        .await
        .expect_err("no such folder");
    assert!(
        error.to_string().contains("unix:/nowhere/rpyc.sock"),
        "{error}"
    );
    assert!(matches!(
        connect_failure(error),
        ConnectFailure::Io(error) if error.kind() == io::ErrorKind::NotFound
    ));
}

// ---- pipes ----

#[tokio::test]
async fn a_pair_of_pipes_talks_both_ways_and_ends() {
    let (left, right) = within("starting", PipeStream::create_pair())
        .await
        .expect("pipes");
    left.write("to the right").await.expect("open");
    assert_eq!(
        within("reading", right.read(12)).await.expect("sent"),
        "to the right"
    );
    right.write("to the left").await.expect("open");
    assert_eq!(
        within("reading", left.read(11)).await.expect("sent"),
        "to the left"
    );
    assert!(!left.closed());
    let (closed, also) = within("closing", async {
        tokio::join!(left.close(), right.close())
    })
    .await;
    closed.and(also).expect("nothing is left to send");
    assert!(left.closed() && right.closed());
    assert!(matches!(left.read(1).await, Err(StreamError::Closed)));
    let refused = left.write("late").await.expect_err("closed");
    assert!(refused.item == "late" && matches!(refused.reason, StreamError::Closed));
    within("closing twice", left.close())
        .await
        .expect("no error");
}

#[tokio::test]
async fn channels_cross_large_frames_over_pipes() {
    let (left, right) = within("starting", PipeStream::create_pair())
        .await
        .expect("pipes");
    let (left, right) = (Channel::new(left), Channel::new(right));
    let exchange = |channel: Channel, fill: u8| async move {
        let sender = tokio::spawn({
            let channel = channel.clone();
            async move {
                for _ in 0..10 {
                    channel.send(vec![fill; 500_000]).await.expect("open");
                }
            }
        });
        for _ in 0..10 {
            let frame = channel.recv().await.expect("no loss").expect("not the end");
            assert!(frame.len() == 500_000 && frame[0] == 3 - fill);
        }
        sender.await.expect("no panic");
        channel.close().await.expect("taken");
    };
    within("crossing", async {
        tokio::join!(exchange(left, 1), exchange(right, 2))
    })
    .await;
}

#[tokio::test]
async fn what_is_no_pipe_is_refused() {
    let file = || fs::File::open("/proc/self/exe").expect("ourselves");
    let error = within("starting", PipeStream::new(file(), file()))
        .await
        .expect_err("a file");
    assert!(matches!(error, StreamError::Connect(_)), "{error}");
    let (reader, writer) = io::pipe().expect("pipes");
    let error = within("starting", PipeStream::new(writer, reader))
        .await
        .expect_err("the wrong ends");
    assert!(matches!(error, StreamError::Connect(_)), "{error}");
}

// ---- child processes ----

fn process_of(stream: &PipeStream) -> u32 {
    match stream.peer_address() {
        Some(Address::Process(id)) => *id,
        other => panic!("no process: {other:?}"),
    }
}

/// True when there is no such process any more, not even a zombie.
fn is_reaped(id: u32) -> bool {
    !PathBuf::from(format!("/proc/{id}")).exists()
}

#[tokio::test]
async fn a_child_echoes_and_is_reaped() {
    let stream = within("starting", create_pipe_stream(["cat"]))
        .await
        .expect("cat");
    let id = process_of(&stream);
    assert!(!is_reaped(id));
    stream.write("through a child").await.expect("open");
    assert_eq!(
        within("reading", stream.read(15)).await.expect("echoed"),
        "through a child"
    );
    within("closing", stream.close()).await.expect("taken");
    until("the child is reaped", || is_reaped(id)).await;
}

#[tokio::test]
async fn a_child_of_a_dropped_stream_is_reaped() {
    let stream = within("starting", create_pipe_stream(["cat"]))
        .await
        .expect("cat");
    let id = process_of(&stream);
    drop(stream);
    until("the child is reaped", || is_reaped(id)).await;
}

#[tokio::test]
async fn a_child_that_ends_well_is_an_orderly_end() {
    let stream = within("starting", create_pipe_stream(["sh", "-c", "exit 0"]))
        .await
        .expect("sh");
    let channel = Channel::new(stream);
    assert_eq!(
        within("receiving", channel.recv()).await.expect("an end"),
        None
    );
}

#[tokio::test]
async fn the_exit_status_of_a_child_is_the_reason_of_the_loss() {
    let script = "printf '\\0\\0\\0\\002\\0hi\\n'; exit 7";
    let stream = within("starting", create_pipe_stream(["sh", "-c", script]))
        .await
        .expect("sh");
    let id = process_of(&stream);
    let channel = Channel::new(stream);
    assert_eq!(
        within("receiving", channel.recv()).await.expect("whole"),
        Some("hi".into())
    );
    match within("receiving", channel.recv())
        .await
        .expect_err("exit 7")
    {
        StreamError::ConnectionLost(lost) => {
            assert!(
                matches!(lost.reason, LossReason::ProcessExited(status) if status.code() == Some(7)),
                "{lost}"
            );
            assert!(lost.endpoint.starts_with("exec:sh"));
        }
        other => panic!("not a loss: {other}"),
    }
    until("the child is reaped", || is_reaped(id)).await;
}

#[tokio::test]
async fn a_killed_child_is_a_loss_that_names_the_signal() {
    let stream = within("starting", create_pipe_stream(["cat"]))
        .await
        .expect("cat");
    let id = process_of(&stream);
    let channel = Channel::new(stream);
    let killed = Command::new("kill")
        .args(["-9", &id.to_string()])
        .status()
        .expect("kill");
    assert!(killed.success());
    let error = within("receiving", channel.recv())
        .await
        .expect_err("killed");
    assert!(error.to_string().contains("signal: 9"), "{error}");
    until("the child is reaped", || is_reaped(id)).await;
    until("the channel is closed", || channel.closed()).await;
    assert!(within("sending", channel.send("late")).await.is_err());
}

#[tokio::test]
async fn abort_kills_the_child_at_once() {
    let stream = within("starting", create_pipe_stream(["sleep", "1000"]))
        .await
        .expect("sleep");
    let id = process_of(&stream);
    let channel = Channel::new(stream);
    channel.abort();
    let reaped = tokio::time::timeout(Duration::from_secs(4), until("reaping", || is_reaped(id)));
    reaped
        .await
        .expect("before the 5 s that a closed child has");
}

#[tokio::test]
async fn a_child_that_ignores_its_end_is_killed_in_the_end() {
    // It ignores that its stdin is closed, and keeps its stdout open.
    let stream = within("starting", create_pipe_stream(["sleep", "1000"]))
        .await
        .expect("sleep");
    let id = process_of(&stream);
    within("closing", stream.close())
        .await
        .expect("nothing to send");
    until("the child is reaped", || is_reaped(id)).await;
}

#[tokio::test]
async fn a_child_that_cannot_be_started_is_named() {
    let error = within(
        "starting",
        create_pipe_stream(["/nowhere/program", "argument"]),
    )
    .await
    .expect_err("no such program");
    assert!(
        error.to_string().contains("exec:/nowhere/program argument"),
        "{error}"
    );
    assert!(matches!(
        connect_failure(error),
        ConnectFailure::Spawn { program, source }
            if program == "/nowhere/program" && source.kind() == io::ErrorKind::NotFound
    ));
    let nothing: [&str; 0] = [];
    let error = within("starting", create_pipe_stream(nothing))
        .await
        .expect_err("no command");
    assert!(matches!(
        connect_failure(error),
        ConnectFailure::Endpoint(_)
    ));
}

#[tokio::test]
async fn a_child_may_write_more_to_its_stderr_than_a_pipe_holds() {
    let script = "i=0; while [ $i -lt 3000 ]; do echo 'a line that nobody but the log reads, of some length' >&2; i=$((i+1)); done; cat";
    let stream = within("starting", create_pipe_stream(["sh", "-c", script]))
        .await
        .expect("sh");
    stream.write("done").await.expect("open");
    assert_eq!(
        within("reading", stream.read(4)).await.expect("echoed"),
        "done"
    );
}

// ---- this process's stdin and stdout ----

/// The example `stdio_echo`, which cargo builds beside the tests.
fn echo_program() -> String {
    let tests = std::env::current_exe().expect("this test");
    let folder = tests
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/debug");
    let program = folder.join("examples/stdio_echo");
    assert!(
        program.is_file(),
        "{} is not built: run the tests of the whole package",
        program.display()
    );
    program.display().to_string()
}

#[tokio::test]
async fn a_process_serves_its_stdin_and_stdout() {
    let chain = Chain::new(rpyc_actors::Endpoint::exec([echo_program()]));
    let channel = within("starting", chain.connect())
        .await
        .expect("the example");
    for size in [0, 1, 1000, 70_000, 2 << 20] {
        channel.send(vec![size as u8; size]).await.expect("open");
        let frame = within("receiving", channel.recv()).await.expect("no loss");
        assert_eq!(frame.expect("not the end").len(), size);
    }
    channel.finish().expect("open");
    assert_eq!(
        within("receiving", channel.recv()).await.expect("exit 0"),
        None
    );
}

#[test]
fn a_close_on_stdout_returns_only_when_everything_is_in_the_pipe() {
    let mut child = Command::new(echo_program())
        .arg("late")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example");
    let mut input = child.stdin.take().expect("piped");
    let payload = vec![9; 150_000];
    for _ in 0..6 {
        io::Write::write_all(&mut input, &frame(&payload)).expect("open");
    }
    drop(input);
    let mut output = child.stdout.take().expect("piped");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // What is left behind this fits into the child's socket pair, but not into the pipe.
        let mut came = vec![0; 700_000];
        output.read_exact(&mut came).expect("readable");
        // The child has all the time to end too early.
        std::thread::sleep(Duration::from_millis(300));
        output.read_to_end(&mut came).expect("readable");
        // The test may have given up.
        let _ = sender.send(came);
    });
    let came = receiver.recv_timeout(support::PATIENCE);
    // One that hangs is not left behind; one that has ended cannot be killed.
    if came.is_err() {
        let _ = child.kill();
    }
    assert!(child.wait().expect("a child").success());
    let came = came.expect("the child does not hang");
    assert_eq!(came.len(), 6 * 150_006, "the child ended too early");
}
