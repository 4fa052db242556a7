//! The commands for classic servers, run as a user runs them, against Python's.
#![cfg(feature = "cli")]

#[path = "support/python.rs"]
mod python;
#[path = "support/run.rs"]
mod run;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Stdio},
};

use python::{Peer, RPYC_5, Script};
use run::{PROGRAM, command, end_of, printed, refused, run, text};

struct Server {
    _peer: Peer,
    endpoint: String,
}

fn classic() -> Server {
    let peer = Peer::start(Script::File("classic.py"), &[]);
    let endpoint = format!("tcp://127.0.0.1:{}", peer.ready());
    Server {
        _peer: peer,
        endpoint,
    }
}

#[test]
fn expressions_are_shown_as_python_shows_them() {
    let server = classic();
    let endpoint = &*server.endpoint;
    for (expression, shown) in [
        ("1 + 1", "2"),
        ("-1", "-1"),
        ("'text'", "'text'"),
        ("[1, {'a': (None,)}]", "[1, {'a': (None,)}]"),
        ("__import__('math')", "<module 'math' (built-in)>"),
    ] {
        let printed = printed(&["eval", endpoint, expression]);
        if expression.contains("math") {
            assert!(printed.starts_with("<module 'math' "), "{printed}");
        } else {
            assert_eq!(printed, shown);
        }
    }
    for (expression, shown) in [
        ("[1, {'a': (None,)}]", r#"[1,[["a",[null]]]]"#),
        ("b'raw'", r#""cmF3""#),
        ("[object()]", r#"[{"reference":"builtins.object"}]"#),
    ] {
        assert_eq!(printed(&["eval", endpoint, expression, "--json"]), shown);
    }
    // What a terminal would obey is spelled out.
    let shown = printed(&[
        "eval",
        endpoint,
        "type('T', (), {'__repr__': lambda s: chr(27)})()",
    ]);
    assert_eq!(shown, "\\u{1b}");
}

#[test]
fn a_program_is_executed_from_a_file_and_from_standard_input() {
    let server = classic();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (made, program) = (folder.path().join("made"), folder.path().join("program.py"));
    fs::write(&program, format!("import os\nos.mkdir({made:?})\n")).expect("it can be written");
    let output = run(&["exec", &server.endpoint, program.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        (text(&output.stdout), text(&output.stderr)),
        (String::new(), String::new())
    );
    assert!(made.is_dir());

    let mut child = command(&["exec", &server.endpoint, "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    write!(stdin, "import os\nos.rmdir({made:?})\n").expect("it reads");
    drop(stdin);
    assert!(end_of(&mut child).success());
    assert!(!made.exists());
}

#[test]
fn what_goes_wrong_has_the_status_of_its_kind() {
    let server = classic();
    let endpoint = &*server.endpoint;
    let error = refused(1, &["eval", endpoint, "{}['gone']"]);
    assert!(
        error.starts_with("Traceback ") && error.contains("KeyError: 'gone'"),
        "{error}"
    );
    let error = refused(1, &["eval", endpoint, "1 +"]);
    assert!(error.contains("SyntaxError"), "{error}");
    let error = refused(1, &["eval", endpoint, "no_name", "--json"]);
    assert!(
        error.contains("NameError: name 'no_name' is not defined"),
        "{error}"
    );
    let error = refused(66, &["exec", endpoint, "/no/such/program.py"]);
    assert!(error.contains("/no/such/program.py"), "{error}");
    let error = refused(66, &["put", endpoint, "/no/such/file", "/tmp/x"]);
    assert!(error.starts_with("rpyc: /no/such/file: "), "{error}");
    let error = refused(1, &["get", endpoint, "/no/such/file", "/tmp/x"]);
    assert!(error.contains("FileNotFoundError"), "{error}");
    let error = refused(74, &["get", endpoint, "/etc/hostname", "/no/such/folder/x"]);
    assert!(error.starts_with("rpyc: /no/such/folder/x: "), "{error}");
    let error = refused(
        124,
        &[
            "eval",
            endpoint,
            "__import__('time').sleep(5)",
            "--timeout",
            "200ms",
        ],
    );
    assert!(error.contains("200ms"), "{error}");
    let error = refused(69, &["eval", endpoint, "__import__('os')._exit(1)"]);
    assert!(error.contains("may have run"), "{error}");
}

#[test]
fn a_server_of_rpyc_5_is_spoken_to_when_asked() {
    let peer = Peer::spawn(Script::File("classic.py").command_of(RPYC_5, &[]));
    let endpoint = format!("tcp://127.0.0.1:{}", peer.ready());
    assert_eq!(printed(&["eval", &endpoint, "6 * 7", "--rpyc5"]), "42");
    let error = refused(69, &["eval", &endpoint, "6 * 7"]);
    assert!(error.contains("rpyc 5"), "{error}");
}

#[test]
fn files_are_copied_both_ways_and_into_folders() {
    let server = classic();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = |name: &str| {
        let path = folder.path().join(name);
        path.to_str().expect("the path is UTF-8").to_owned()
    };
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(path("here"), &bytes).expect("it can be written");
    let quiet = |args: &[&str]| {
        let output = run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        // The bar is for terminals.
        assert!(
            output.status.success() && out.is_empty() && err.is_empty(),
            "{out}{err}"
        );
    };
    quiet(&["put", &server.endpoint, &path("here"), &path("there")]);
    assert!(fs::read(path("there")).expect("it came") == bytes);
    fs::create_dir(path("sub")).expect("it can be made");
    quiet(&["get", &server.endpoint, &path("there"), &path("sub")]);
    assert!(fs::read(path("sub/there")).expect("it came") == bytes);
    let child = Script::File("classic.py").command(&["--stdio"]);
    let words = [child.get_program()].into_iter().chain(child.get_args());
    let words: Vec<_> = words.map(|word| word.to_str().expect("UTF-8")).collect();
    quiet(&[
        "get",
        &format!("exec:{}", words.join(" ")),
        &path("here"),
        &path("again"),
    ]);
    assert!(fs::read(path("again")).expect("it came") == bytes);
}

/// A pipe that is never written to: the peer waits in the middle of a `get`.
#[test]
fn a_get_that_is_interrupted_leaves_nothing() {
    let server = classic();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (endless, to) = (folder.path().join("endless"), folder.path().join("to"));
    // It grows as long as it is read, so the transfer does not end.
    fs::write(&endless, vec![7; 1_000_000]).expect("it can be written");
    let grow = format!(
        "import threading, time\n\
         def grow():\n    \
             with open({endless:?}, 'ab') as file:\n        \
                 for _ in range(2000):\n            \
                     file.write(bytes(1000000)); file.flush(); time.sleep(0.005)\n\
         threading.Thread(target=grow, daemon=True).start()\n"
    );
    let program = folder.path().join("grow.py");
    fs::write(&program, grow).expect("it can be written");
    assert!(
        run(&["exec", &server.endpoint, program.to_str().expect("UTF-8")])
            .status
            .success()
    );
    let mut child = command(&[
        "get",
        &server.endpoint,
        endless.to_str().expect("UTF-8"),
        to.to_str().expect("UTF-8"),
    ])
    .spawn()
    .expect("the command can be started");
    let names = || -> Vec<_> {
        let entries = fs::read_dir(folder.path()).expect("it is there");
        entries
            .map(|entry| entry.expect("it can be read").file_name())
            .collect()
    };
    while !names()
        .iter()
        .any(|name| name.to_string_lossy().ends_with(".part"))
    {
        assert!(
            child
                .try_wait()
                .expect("a child can be waited for")
                .is_none()
        );
    }
    signal(&child, "INT");
    assert_eq!(end_of(&mut child).code(), Some(130));
    let mut left = names();
    left.sort();
    assert_eq!(left, ["endless", "grow.py"]);
}

fn signal(child: &Child, name: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", &format!("kill -{name} {}", child.id())])
        .status();
    assert!(status.expect("there is a shell").success());
}

#[test]
fn a_demo_that_is_ended_takes_its_folder_along() {
    for (name, status) in [("TERM", 143), ("INT", 130)] {
        let place = tempfile::tempdir().expect("a folder can be made");
        let mut child = command(&["demo"])
            .env("XDG_RUNTIME_DIR", place.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        lines.next().expect("a line").expect("text");
        let count = || fs::read_dir(place.path()).expect("it is there").count();
        assert_eq!(count(), 1);
        signal(&child, name);
        assert_eq!(end_of(&mut child).code(), Some(status));
        assert_eq!(count(), 0);
    }
}

#[test]
fn the_commands_have_help_with_examples() {
    for name in ["eval", "exec", "get", "put"] {
        let help = printed(&[name, "--help"]);
        assert!(help.contains("Examples:\n  rpyc "), "{help}");
    }
    assert!(!PROGRAM.is_empty());
}
