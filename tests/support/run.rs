//! Running the command `rpyc` as a user does.
#![allow(dead_code, reason = "each test uses its own part of this file")]

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

/// Longer than anything here takes unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_rpyc");

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    let mut child = command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let mut err = child.stderr.take().expect("stderr is piped");
    let mut out = child.stdout.take().expect("stdout is piped");
    let out = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    let err = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        err.read_to_end(&mut bytes).map(|_| bytes)
    });
    let status = end_of(&mut child);
    let text = |reader: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        reader
            .join()
            .expect("no panic")
            .expect("a pipe can be read")
    };
    Output {
        status,
        stdout: text(out),
        stderr: text(err),
    }
}

pub(crate) fn end_of(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if Instant::now() > until {
            child.kill().expect("a child can be killed");
            panic!("a command hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a command that must succeed, and gives what it printed, without the line feed.
pub(crate) fn printed(args: &[&str]) -> String {
    let output = run(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{args:?}: {}\n{out}{err}",
        output.status
    );
    assert_eq!(err, "", "{args:?}");
    out.strip_suffix('\n').expect("a line").to_owned()
}

/// Runs a command that must fail with this status, and gives what it said on standard error.
pub(crate) fn refused(status: i32, args: &[&str]) -> String {
    let output = run(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{args:?}\n{out}{err}");
    assert_eq!(out, "", "{args:?}");
    err
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
