//! The command `rpyc`, run as a user runs it: against Python, against itself, and against nothing.
#![cfg(feature = "cli")]

mod endings;
mod layers;
#[path = "../support/python.rs"]
mod python;
mod python_clients;
#[path = "../support/run.rs"]
mod run;
mod shown;
mod values;

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
