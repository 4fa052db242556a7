//! The Python server and client that other tests rely on, against each other: a check that fails here fails with rpyc itself, and no Rust code
//! is to blame.

#[path = "support/python.rs"]
mod python;

use python::{Peer, Script, run_script};
use std::time::Duration;

/// Runs every check of `client.py` and gives its lines.
fn lines_of_client(args: &[&str]) -> Vec<serde_json::Value> {
    let output = run_script(Script::File("client.py"), args);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    out.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

fn value_of<'a>(lines: &'a [serde_json::Value], check: &str) -> &'a serde_json::Value {
    let line = lines
        .iter()
        .find(|line| line["check"] == check)
        .unwrap_or_else(|| panic!("no line for {check}"));
    line.get("value").unwrap_or(line)
}

#[test]
fn python_calls_python_over_tcp() {
    let server = Peer::start(Script::File("server.py"), &[]);
    let lines = lines_of_client(&["127.0.0.1", server.ready()]);
    assert_eq!(value_of(&lines, "add"), 3);
    assert_eq!(
        value_of(&lines, "echo_values")["wrong"],
        serde_json::json!([])
    );
    assert_eq!(value_of(&lines, "fail")["error"], "ValueError");
    assert_eq!(value_of(&lines, "fail")["text"], "on purpose");
    assert_eq!(value_of(&lines, "unknown_name")["error"], "AttributeError");
    assert_eq!(value_of(&lines, "timed_too_late")["error"], "TimeoutError");
}

#[test]
fn python_calls_python_over_a_unix_socket() {
    // Not below the target directory: a unix socket's path has room for about 100 bytes.
    let path = std::env::temp_dir().join(format!("rpyc-peers-{}.sock", std::process::id()));
    let path = path.to_str().expect("the path is UTF-8");
    let server = Peer::start(Script::File("server.py"), &["--unix", path]);
    let lines = lines_of_client(&["--unix", server.ready(), "add", "close"]);
    assert_eq!(value_of(&lines, "add"), 3);
    drop(server);
    // The server was killed, so its socket file is ours to remove.
    let _ = std::fs::remove_file(path);
}

#[test]
fn python_calls_python_over_pipes() {
    let client = r#"
import sys, rpyc
conn = rpyc.connect_subproc([sys.executable, "-I", "-u", sys.argv[1], "--stdio"])
print(conn.root.add(1, 2))
conn.close()
"#;
    let server = python::script_path("server.py");
    let output = run_script(
        Script::Text(client),
        &[server.to_str().expect("the path is UTF-8")],
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "3\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_peer_ends_with_its_input() {
    let mut server = Peer::start(Script::File("server.py"), &[]);
    server.close_stdin();
    assert!(server.wait().success());
}

#[test]
fn a_killed_peer_is_reaped() {
    let mut server = Peer::start(Script::File("server.py"), &[]);
    server.kill();
    assert!(!server.wait().success());
}

#[test]
fn a_peer_is_talked_to_in_lines() {
    let mut peer = Peer::start(
        Script::Text("print('READY x')\nprint(input().upper())"),
        &[],
    );
    peer.say("hello");
    assert_eq!(peer.line(Duration::from_secs(20)), "HELLO");
}

#[test]
#[should_panic(expected = "the reason")]
fn a_peer_that_dies_shows_its_standard_error() {
    Peer::start(Script::Text("raise SystemExit('the reason')"), &[]);
}
