//! The command `rpyc`, run as a user runs it: against Python, against itself, and against nothing.
#![cfg(feature = "cli")]

#[path = "support/python.rs"]
mod python;
#[path = "support/run.rs"]
mod run;

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use python::{Peer, Script, run_script};
use run::{PATIENCE, PROGRAM, command, end_of, printed, refused, run, text};

/// A running `rpyc serve`.
struct Served {
    child: Child,
    /// What it listens on.
    endpoints: Vec<String>,
    lines: Lines<ChildStdout>,
    logs: Lines<ChildStderr>,
}

/// Lines of a child, read by a thread so that waiting for one has an end.
struct Lines<R> {
    lines: mpsc::Receiver<String>,
    _reader: std::marker::PhantomData<R>,
}

impl<R: Read + Send + 'static> Lines<R> {
    fn new(reader: R) -> Self {
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                // Read on when nobody listens, or a full pipe would stop the child.
                let _ = sender.send(line);
            }
        });
        Self {
            lines,
            _reader: std::marker::PhantomData,
        }
    }

    fn next(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("no line came"),
        }
    }

    fn until(&self, part: &str) -> String {
        let mut seen = Vec::new();
        while let Some(line) = self.next() {
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line says {part:?}: {seen:#?}");
    }
}

impl Served {
    fn start(listen: &[&str], more: &[&str]) -> Self {
        let mut args = vec!["serve", "--listen"];
        args.extend(listen);
        args.extend(more);
        let mut child = command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command can be started");
        let lines = Lines::new(child.stdout.take().expect("stdout is piped"));
        let logs = Lines::new(child.stderr.take().expect("stderr is piped"));
        let endpoints = listen
            .iter()
            .map(|_| match lines.next() {
                Some(line) => line
                    .strip_prefix("listening on ")
                    .expect("where it listens")
                    .to_owned(),
                None => panic!("it ended: {:?}", logs.next()),
            })
            .collect();
        Self {
            child,
            endpoints,
            lines,
            logs,
        }
    }

    fn on_tcp() -> Self {
        Self::start(&["tcp://127.0.0.1:0"], &[])
    }

    fn endpoint(&self) -> &str {
        &self.endpoints[0]
    }

    fn port(&self) -> &str {
        self.endpoint()
            .rsplit_once(':')
            .expect("an address has a port")
            .1
    }

    fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("there is a shell");
        assert!(status.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path for a unix socket; not below the target directory, since it has room for about 100 bytes only.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("rpyc-{name}-{}.sock", std::process::id())))
    }

    fn endpoint(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Where all went well it is gone.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn values_go_to_python_and_back() {
    let server = Peer::start(Script::File("server.py"), &[]);
    let endpoint = format!("tcp://127.0.0.1:{}", server.ready());
    for (literal, shown) in [
        ("None", "None"),
        ("True", "True"),
        ("7", "7"),
        ("-2.5", "-2.5"),
        ("-3", "-3"),
        ("1e999", "float('inf')"),
        ("text", "'text'"),
        ("\"it's\"", "\"it's\""),
        ("b'\\x00raw'", "b'\\x00raw'"),
        ("(1, (2,), ())", "(1, (2,), ())"),
        ("...", "Ellipsis"),
        ("2j", "2j"),
        (
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        ("[1]", "'[1]'"),
    ] {
        assert_eq!(
            printed(&["call", &endpoint, "echo", literal]),
            shown,
            "{literal}"
        );
    }
    assert_eq!(printed(&["call", &endpoint, "add", "1", "2"]), "3");
    assert_eq!(printed(&["call", &endpoint, "upper", "--", "-a-"]), "'-A-'");
    assert_eq!(
        printed(&[
            "call", &endpoint, "kwargs", "1", "--kw", "b=(2,)", "--kw", "a=x=y"
        ]),
        "((1,), (('a', 'x=y'), ('b', (2,))))"
    );
    assert_eq!(
        printed(&["call", &endpoint, "get_list"]),
        "<reference to builtins.list>"
    );
    assert_eq!(
        printed(&["call", &endpoint, "get_list", "--json"]),
        r#"{"reference":"builtins.list"}"#
    );
}

#[test]
fn json_is_printed_for_other_programs() {
    let server = Served::on_tcp();
    let echoed = |literal| printed(&["call", server.endpoint(), "echo", literal, "--json"]);
    assert_eq!(
        echoed(r#"(1, 2.5, None, True, "é", b"raw")"#),
        r#"[1,2.5,null,true,"é","cmF3"]"#
    );
    assert_eq!(
        echoed("123456789012345678901234567890"),
        r#""123456789012345678901234567890""#
    );
}

#[test]
fn calls_work_over_every_kind_of_stream() {
    let path = SocketPath::new("kinds");
    let server = Served::start(
        &["tcp://127.0.0.1:0", "tcp://[::1]:0", &path.endpoint()],
        &[],
    );
    let child = format!("exec:{PROGRAM} serve --listen stdio:");
    for endpoint in server.endpoints.iter().chain([&child]) {
        assert_eq!(
            printed(&["call", endpoint, "add", "1", "2"]),
            "3",
            "{endpoint}"
        );
        assert_eq!(
            printed(&["call", endpoint, "upper", "--kw", "text=straße"]),
            "'STRASSE'"
        );
        assert_eq!(printed(&["call", endpoint, "sleep", "0.01"]), "0.01");
        let pings = printed(&["ping", endpoint, "--count", "3"]);
        assert!(pings.starts_with("3 round trips: min "), "{pings}");
        assert!(
            pings.contains(", median ") && pings.contains(", max "),
            "{pings}"
        );
    }
}

/// A child whose standard output is a pipe to its parent must not keep the parent from looking into that pipe.
#[test]
fn a_subprocess_never_holds_its_parent_up() {
    let child = format!("exec:{PROGRAM} serve --listen stdio:");
    for count in 0..30 {
        assert_eq!(
            printed(&["call", &child, "add", "1", &count.to_string()]),
            (count + 1).to_string()
        );
    }
}

#[test]
fn what_the_remote_raises_ends_with_1_and_its_traceback() {
    let python = Peer::start(Script::File("server.py"), &[]);
    let rust = Served::on_tcp();
    let of_python = refused(
        1,
        &[
            "call",
            &format!("tcp://127.0.0.1:{}", python.ready()),
            "fail",
            "no luck",
        ],
    );
    assert!(
        of_python.starts_with("Traceback (most recent call last):"),
        "{of_python}"
    );
    assert!(of_python.ends_with("ValueError: no luck\n"), "{of_python}");
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "fail", "no luck"]),
        "ValueError: no luck\n"
    );
    let message = "can only concatenate str (not \"int\") to str";
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "add", "a", "1"]),
        format!("TypeError: {message}\n")
    );
    let unknown = refused(1, &["call", rust.endpoint(), "no_such_name"]);
    assert!(unknown.starts_with("AttributeError: "), "{unknown}");
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "fail", "'\\x1b[31m'"]),
        "ValueError: \\u{1b}[31m\n"
    );
    let blob = refused(1, &["call", rust.endpoint(), "blob", "67108864"]);
    assert!(blob.starts_with("ValueError: "), "{blob}");
    assert_eq!(
        refused(1, &["call", rust.endpoint(), "sleep", "-1"]),
        "ValueError: sleep length must be non-negative\n"
    );
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for args in [
        &[][..],
        &["no-such-command"],
        &["call"],
        &["call", "tcp://127.0.0.1:1"],
        &["call", "tcp://127.0.0.1:1", "f", "--kw", "novalue"],
        &["call", "tcp://127.0.0.1:1", "f", "--timeout", "soon"],
        &["call", "tpc://127.0.0.1:1", "f"],
        &["call", "tcp://127.0.0.1", "f"],
        &["ping", "exec:"],
        &["ping", "tcp://127.0.0.1:1", "--count", "0"],
        &["serve"],
        &["serve", "--listen", "exec:true"],
        &["serve", "--listen", "stdio:", "tcp://127.0.0.1:0"],
    ] {
        let text = refused(2, args);
        assert!(!text.is_empty(), "{args:?}");
    }
}

#[test]
fn listening_for_other_machines_takes_a_word() {
    for endpoint in [
        "tcp://0.0.0.0:0",
        "tcp://[::]:0",
        "tcp://192.0.2.1:1",
        "tcp://example.com:1",
    ] {
        let text = refused(2, &["serve", "--listen", "tcp://127.0.0.1:0", endpoint]);
        assert!(
            text.contains(endpoint) && text.contains("--insecure"),
            "{text}"
        );
    }
    let server = Served::start(&["tcp://0.0.0.0:0"], &["--insecure"]);
    let reachable = format!("tcp://127.0.0.1:{}", server.port());
    assert_eq!(printed(&["call", &reachable, "add", "1", "2"]), "3");
}

#[test]
fn no_connection_or_a_lost_one_ends_with_69() {
    // A port that was just free; nobody else is asked to take it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = format!("tcp://{}", free.local_addr().expect("an address"));
    drop(free);
    let text = refused(69, &["call", &closed, "add", "1", "2"]);
    assert!(
        text.starts_with(&format!("rpyc: cannot connect to {closed}: ")),
        "{text}"
    );
    refused(69, &["ping", &closed]);
    refused(69, &["call", "unix:/no/such/socket", "add"]);
    refused(69, &["call", "exec:/no/such/program", "add"]);
    refused(69, &["call", "exec:true", "add"]);
    let text = refused(69, &["call", "exec:sh -c 'exit 7'", "add"]);
    assert!(text.contains("exit status: 7"), "{text}");
    let python = Peer::start(Script::File("server.py"), &[]);
    let text = refused(
        69,
        &[
            "call",
            &format!("tcp://127.0.0.1:{}", python.ready()),
            "exit",
        ],
    );
    assert!(text.contains("may have run"), "{text}");
    let server = Served::on_tcp();
    let text = refused(69, &["serve", "--listen", server.endpoint()]);
    assert!(
        text.starts_with(&format!("rpyc: cannot listen on {}: ", server.endpoint())),
        "{text}"
    );
}

#[test]
fn no_answer_in_time_ends_with_124() {
    let server = Served::on_tcp();
    let start = Instant::now();
    refused(
        124,
        &[
            "call",
            server.endpoint(),
            "sleep",
            "20",
            "--timeout",
            "200ms",
        ],
    );
    // Somebody who listens, but says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = format!("tcp://{}", listener.local_addr().expect("an address"));
    refused(124, &["call", &silent, "add", "--timeout", "200ms"]);
    refused(124, &["ping", &silent, "--timeout", "200ms"]);
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn terminate_lets_running_calls_finish() {
    for signal in ["TERM", "INT"] {
        let path = SocketPath::new(&format!("drain-{signal}"));
        let mut server = Served::start(&[&path.endpoint()], &["-v"]);
        let endpoint = server.endpoint().to_owned();
        let call = std::thread::spawn(move || printed(&["call", &endpoint, "sleep", "0.5"]));
        server.logs.until("sleeping");
        server.signal(signal);
        assert_eq!(call.join().expect("the call gets its answer"), "0.5");
        assert_eq!(end_of(&mut server.child).code(), Some(0));
        assert!(server.lines.next().is_none(), "nothing else is printed");
        assert!(!path.0.exists(), "the socket's file is gone");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Served::start(&["tcp://127.0.0.1:0"], &["-v", "--drain", "1m"]);
    let endpoint = server.endpoint().to_owned();
    let call = std::thread::spawn(move || refused(69, &["call", &endpoint, "sleep", "25"]));
    server.logs.until("sleeping");
    server.signal("TERM");
    server.logs.until("draining");
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(end_of(&mut server.child).code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(5));
    let text = call.join().expect("the call ends");
    assert!(text.contains("may have run"), "{text}");
}

#[test]
fn calls_that_outlive_the_drain_are_cut_off() {
    let mut server = Served::start(&["tcp://127.0.0.1:0"], &["-v", "--drain", "200ms"]);
    let endpoint = server.endpoint().to_owned();
    let call = std::thread::spawn(move || refused(69, &["call", &endpoint, "sleep", "25"]));
    server.logs.until("sleeping");
    server.signal("TERM");
    server.logs.until("cut off after 200ms");
    assert_eq!(end_of(&mut server.child).code(), Some(0));
    call.join().expect("the call ends");
}

/// Every check of `client.py` gives with the built-in service what it gives with a service in Python.
#[test]
fn python_sees_no_difference_to_a_python_server() {
    let python = Peer::start(Script::File("server.py"), &[]);
    let path = SocketPath::new("checks");
    let rust = Served::start(&["tcp://127.0.0.1:0", &path.endpoint()], &[]);
    let expected = checks(&["127.0.0.1", python.ready()]);
    assert_eq!(expected.len(), 35, "every check of client.py");
    let unix = path.0.to_str().expect("the path is text");
    for seen in [
        checks(&["127.0.0.1", rust.port()]),
        checks(&["--unix", unix]),
    ] {
        for (seen, expected) in seen.iter().zip(&expected) {
            assert_eq!(seen, expected);
        }
        assert_eq!(seen.len(), expected.len());
    }
}

fn checks(args: &[&str]) -> Vec<serde_json::Value> {
    let output = run_script(Script::File("client.py"), args);
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let lines = text(&output.stdout);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

#[test]
fn python_talks_to_a_subprocess() {
    let script = r#"
import sys, rpyc
conn = rpyc.connect_subproc([sys.argv[1], "serve", "--listen", "stdio:"])
assert conn.root.add(1, 2) == 3
assert conn.root.blob(1 << 20) == bytes(1 << 20)
assert conn.root.echo(b"z" * 3_000_000) == b"z" * 3_000_000
conn.close()
print("status", conn.proc.wait(timeout=10) if hasattr(conn, "proc") else 0)
"#;
    let output = run_script(Script::Text(script), &[PROGRAM]);
    assert_eq!(
        text(&output.stdout),
        "status 0\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn stdio_ends_with_its_input() {
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "stdio:"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    drop(child.stdin.take());
    assert_eq!(end_of(&mut child).code(), Some(0));
    let mut out = String::new();
    child
        .stdout
        .take()
        .expect("stdout is piped")
        .read_to_string(&mut out)
        .expect("it can be read");
    assert_eq!(out, "");
}

#[test]
fn keygen_writes_a_key_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;

    let path = std::env::temp_dir().join(format!("rpyc-keygen-{}.key", std::process::id()));
    let name = path.to_str().expect("the path is UTF-8");
    let said = printed(&["keygen", name]);
    assert_eq!(said, format!("a new key is in {name}"));
    let content = std::fs::read_to_string(&path).expect("a new file");
    assert_eq!(content.trim_end().len(), 64);
    assert!(!said.contains(content.trim_end()));
    let mode = std::fs::metadata(&path)
        .expect("a new file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    rpyc::Key::load(&path).expect("a key that can be used");

    let refusal = refused(74, &["keygen", name]);
    assert!(
        refusal.contains(name) && refusal.contains("exists"),
        "{refusal}"
    );
    let again = std::fs::read_to_string(&path).expect("still there");
    assert_eq!(again, content, "a key is never overwritten");
    std::fs::remove_file(&path).expect("our file");
    refused(74, &["keygen", "/nowhere/at/all/key"]);
    refused(2, &["keygen"]);
}

#[test]
fn layers_stand_between_both_ends_and_python_reads_zlib() {
    let layers = [
        "--layer",
        "monitor:channel",
        "--layer",
        "batch:20,10s",
        "--layer",
        "snappy",
    ];
    let served = Served::start(&["tcp://127.0.0.1:0"], &layers);
    let endpoint = &served.endpoints[0];
    let mut args = vec!["call", endpoint, "blob", "100000"];
    args.extend(layers);
    let output = run(&args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.len() > 100_000, "{err}");
    assert!(
        err.contains("closed after") && err.contains("in 2 frames"),
        "{err}"
    );
    let ping = printed(&["ping", endpoint, "--layer", "batch:20,10s", "--count", "3"]);
    assert!(ping.starts_with("3 round trips"), "{ping}");

    let peer = Peer::start(Script::File("server.py"), &[]);
    let endpoint = format!("tcp://127.0.0.1:{}", peer.ready());
    let long = "all work and no play ".repeat(500);
    let echoed = printed(&[
        "call", &endpoint, "echo", &long, "--layer", "zlib:9", "--layer", "buffer",
    ]);
    assert_eq!(echoed, format!("'{long}'"));
}

#[test]
fn encryption_lets_in_who_has_the_key() {
    use std::os::unix::fs::PermissionsExt;

    let files = ["ours", "another"].map(|name| {
        let name = format!("rpyc-layer-{}-{name}.key", std::process::id());
        let path = std::env::temp_dir().join(name);
        printed(&["keygen", path.to_str().expect("the path is UTF-8")]);
        path
    });
    let [ours, another] = files
        .each_ref()
        .map(|path| format!("encrypt:{}", path.display()));
    let layers = ["--layer", "zlib", "--layer", &ours, "--layer", "buffer"];
    let served = Served::start(&["tcp://127.0.0.1:0"], &layers);
    let call = ["call", &served.endpoints[0], "add", "1", "2"];
    assert_eq!(printed(&[&call[..], &layers].concat()), "3");
    let with_ours = [&call[..], &["--layer", &ours]].concat();
    assert_eq!(
        printed(&with_ours),
        "3",
        "what does not show in the bytes need not be the same"
    );
    refused(69, &[&call[..], &["--layer", &another]].concat());
    // Other machines may connect, since they need the key, too.
    drop(Served::start(&["tcp://0.0.0.0:0"], &["--layer", &ours]));

    std::fs::set_permissions(&files[0], PermissionsExt::from_mode(0o644)).expect("our file");
    let words = refused(2, &with_ours);
    let name = files[0].display().to_string();
    assert!(words.contains(&name) && words.contains("644"), "{words}");
    for path in files {
        std::fs::remove_file(path).expect("our file");
    }
}

#[test]
fn layers_that_make_no_sense_are_a_wrong_command_line() {
    let mut args = vec![
        "ping",
        "tcp://127.0.0.1:1",
        "--layer",
        "buffer",
        "--layer",
        "zlib",
    ];
    let words = refused(2, &args);
    assert!(
        words.contains("zlib is a layer of frames and cannot stand below buffer"),
        "{words}"
    );
    args.truncate(2);
    for (layer, expected) in [
        ("zlib:10", "expected a number from 0 to 9"),
        (
            "gzip",
            "expected zlib, snappy, batch, encrypt, buffer or monitor",
        ),
        ("buffer:2000000", "above the buffer limit of 1048576"),
    ] {
        let words = refused(2, &[&args[..], &["--layer", layer]].concat());
        assert!(words.contains(expected), "{words}");
    }
}

#[test]
fn help_shows_examples() {
    for args in [
        &["--help"][..],
        &["call", "--help"],
        &["ping", "--help"],
        &["serve", "--help"],
        &["demo", "--help"],
    ] {
        let help = printed(args);
        assert!(help.contains("Examples:\n  "), "{help}");
        assert!(!help.contains("sink"), "{help}");
    }
    assert_eq!(
        printed(&["--version"]),
        concat!("rpyc ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn logs_go_to_standard_error_when_asked_for() {
    let server = Served::on_tcp();
    let output = run(&["-v", "call", server.endpoint(), "add", "1", "2"]);
    assert_eq!(text(&output.stdout), "3\n");
    assert!(
        text(&output.stderr).contains("DEBUG rpyc_actors::life: started"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_demo_shows_it_all_in_time() {
    let start = Instant::now();
    let output = command(&["demo"])
        .env("RPYC_PYTHON", python::venv_python())
        .output()
        .expect("the command can be started");
    let elapsed = start.elapsed();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    assert_eq!(err, "");
    assert!(elapsed < Duration::from_secs(15), "{elapsed:?}");
    for part in [
        "ByteStream<TcpStream>",
        "Layer<Tap>",
        "Head",
        "Serving",
        "length",
        "flag",
        "seq",
        "handler  8, CallAttr",
        "box",
        "the value 3",
        "add(1, 2) = 3",
        "7 of 7 actors have stopped",
        "calls",
        "per second",
        "p50",
        "p99",
        "MB/s",
        "TCP",
        "unix socket",
        "subprocess",
        "64 B frames",
        "1 KiB frames",
        "64 KiB frames",
        "1 MiB frames",
        "█",
        "serve --listen tcp://127.0.0.1:",
        "rpyc.connect(\"127.0.0.1\"",
        "\n   3\n",
        "rpyc 6.0.2",
    ] {
        assert!(out.contains(part), "{part:?} is missing:\n{out}");
    }
    assert!(!out.contains('\x1b'), "colour is for terminals");
    for line in out
        .lines()
        .filter(|line| !line.contains("-c 'import") && !line.contains("serve --listen"))
    {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
