//! `rpyc serve` as a process of its own, and what the system knows of it.
#![allow(dead_code, reason = "each test uses its own part of this file")]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::run::{PATIENCE, command};

/// What a process needs beside its connections.
const OTHER_DESCRIPTORS: u64 = 100;

/// A running `rpyc serve`, until this is dropped.
pub(crate) struct Served {
    child: Child,
    /// What it listens on.
    pub(crate) endpoint: String,
}

impl Served {
    pub(crate) fn start(listen: &str, more: &[&str]) -> Self {
        Self::spawn(command(&[&["serve", "--listen", listen], more].concat()))
    }

    /// Starts what serves, and waits until it listens.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command can be started");
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut lines = out.lines().map(|line| line.expect("text"));
        // A test's own binary says other things first.
        let endpoint = lines.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
        let endpoint = endpoint.unwrap_or_else(|| panic!("{command:?} does not listen"));
        Self { endpoint, child }
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.endpoint.rsplit_once(':').expect("a port");
        port.parse().expect("a port")
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, such as `STOP`.
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status()
        .expect("kill can be run");
    assert!(status.success());
}

/// Stops a process, and waits until all of its threads stand still: the signal reaches one of them first.
pub(crate) fn stop(process: u32) {
    signal(process, "STOP");
    let stands = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).expect("a thread");
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    let until = Instant::now() + PATIENCE;
    let tasks = || fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    while !tasks().all(|task| stands(task.expect("a thread"))) {
        assert!(Instant::now() < until, "it does not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sockets that a process has open.
pub(crate) fn sockets(process: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("a process");
    descriptors
        // One that is closed meanwhile is none.
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// Processor time that a process has used, in user and system mode.
pub(crate) fn processor_time(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("a process");
    // The name stands in parentheses and may hold anything; times are fields 14 and 15, in ticks of 10 ms (proc(5)).
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = |at: usize| -> u64 {
        let field = fields.split_ascii_whitespace().nth(at - 3);
        field.and_then(|text| text.parse().ok()).expect("a number")
    };
    Duration::from_millis((ticks(14) + ticks(15)) * 10)
}

/// Memory of a process that is resident, in bytes.
pub(crate) fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_ascii_whitespace().next());
    kib.and_then(|text| text.parse::<u64>().ok())
        .expect("a number")
        << 10
}

/// Lets this process and its children have so many connections each; says if that is not possible.
pub(crate) fn allow_descriptors(count: usize) -> bool {
    let needed = count as u64 + OTHER_DESCRIPTORS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= needed) {
        return true;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if maximum.is_none_or(|maximum| maximum >= needed)
        && setrlimit(Resource::Nofile, raised).is_ok()
    {
        return true;
    }
    let what = format!("{needed} descriptors are not allowed, so a test did not run");
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
    eprintln!("{what}");
    false
}
