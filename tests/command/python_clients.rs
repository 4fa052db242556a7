//! Python clients of what it serves.

use super::*;

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

/// With kill -9, so that nothing is said and nothing tidied up: every call that is under way ends, and none hangs.
#[test]
fn python_learns_that_its_server_was_killed() {
    let script = r#"
import sys, rpyc
where = sys.argv[1]
if where.startswith("unix:"):
    conn = rpyc.utils.factory.unix_connect(where[5:])
else:
    host, port = where[6:].rsplit(":", 1)
    conn = rpyc.connect(host, int(port))
sleep = rpyc.async_(conn.root.sleep)
results = [sleep(60) for _ in range(20)]
print("READY", flush=True)
for result in results:
    try:
        result.value
    except EOFError:
        pass
    else:
        raise AssertionError
print("over", conn.closed, flush=True)
"#;
    let path = SocketPath::new("killed");
    for endpoint in ["tcp://127.0.0.1:0", &path.endpoint()] {
        let mut server = Served::start(&[endpoint], &["-v"]);
        let mut client = Peer::start(Script::Text(script), &[server.endpoint()]);
        server.logs.until("sleeping");
        server.child.kill().expect("it runs");
        assert_eq!(client.line(PATIENCE), "over True");
    }
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
