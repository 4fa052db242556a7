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
