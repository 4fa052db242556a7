//! Programs that nobody here wrote, as the targets of tunnels: Redis, PostgreSQL and iperf3. `./test` installs them.
#![allow(dead_code, reason = "each test uses its own part of this file")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::{
    daemons::{Daemon, find, missing},
    run::PATIENCE,
};

/// Runs a program to its end, and gives what it printed.
pub(crate) fn printed(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{err}",
        output.status
    );
    out
}

/// A Redis server that keeps nothing, and redis-benchmark.
pub(crate) fn redis(folder: &Path) -> Option<(Daemon, PathBuf)> {
    let benchmark = find("redis-benchmark")?;
    let server = Daemon::start(folder, "redis-server", |port| {
        let (port, folder) = (port.to_string(), folder.display().to_string());
        [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
            &folder,
        ]
        .map(String::from)
        .into()
    })?;
    Some((server, benchmark))
}

pub(crate) fn iperf3(folder: &Path) -> Option<(Daemon, PathBuf)> {
    let client = find("iperf3")?;
    let server = Daemon::start(folder, "iperf3", |port| {
        let port = port.to_string();
        ["--server", "--bind", "127.0.0.1", "--port", &port]
            .map(String::from)
            .into()
    })?;
    Some((server, client))
}

/// A PostgreSQL server with an empty cluster.
pub(crate) struct Postgres {
    pub(crate) server: Daemon,
    /// Where its programs are.
    programs: PathBuf,
}

impl Postgres {
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        let Some(programs) = programs() else {
            missing("PostgreSQL");
            return None;
        };
        let data = folder.join("cluster");
        fs::create_dir(&data).expect("a temporary folder");
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).expect("ours");
        let user = owner();
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(&data, Some(user), Some(group)).expect("root may");
        }
        let mut init = as_user(&programs.join("initdb"), user);
        init.args([
            "--username",
            "postgres",
            "--auth",
            "trust",
            "--no-sync",
            "--pgdata",
        ]);
        init.arg(&data).current_dir(&data);
        printed(init);
        let server = Daemon::start_with(folder, |port| {
            let mut command = as_user(&programs.join("postgres"), user);
            command.arg("-D").arg(&data).current_dir(&data);
            // No socket besides, and nothing that outlives the test.
            command.args(["-F", "-h", "127.0.0.1", "-k", "", "-p", &port.to_string()]);
            command
        });
        Some(Self { server, programs })
    }

    /// A psql on a port, which ends at the first thing that goes wrong.
    pub(crate) fn session(&self, port: u16) -> Session {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "postgres"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql can be started");
        let (line, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        thread::spawn(move || {
            // Until psql ends, or nobody wants to know.
            let mut said = stdout.lines().map_while(Result::ok);
            while said.next().is_some_and(|text| line.send(text).is_ok()) {}
        });
        Session { child, lines }
    }

    /// Runs pgbench against a port.
    pub(crate) fn bench(&self, port: u16, arguments: &[&str]) -> String {
        let mut command = Command::new(self.programs.join("pgbench"));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port.to_string()]);
        command.args(arguments).arg("postgres");
        printed(command)
    }
}

/// A psql that is talked to, and answers in lines.
pub(crate) struct Session {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Session {
    /// The one line that an SQL statement gives.
    pub(crate) fn answer(&mut self, statement: &str) -> String {
        self.say(statement);
        let answer = self.lines.recv_timeout(PATIENCE);
        answer.unwrap_or_else(|_| panic!("no answer to {statement}"))
    }

    /// A statement that gives nothing.
    pub(crate) fn say(&mut self, statement: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        writeln!(stdin, "{statement};").expect("psql lives");
    }

    /// Ends it, and says whether all went well.
    pub(crate) fn ended_well(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().expect("a child").success()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian has them in a folder of each version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let folders = versions.flatten().map(|version| version.path().join("bin"));
    folders
        .filter(|folder| {
            ["initdb", "postgres", "pgbench", "psql"]
                .iter()
                .all(|name| folder.join(name).is_file())
        })
        .max()
}

/// The server refuses to run as root, and has a user of its own then.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| -> u32 {
        let mut command = Command::new("id");
        command.args(arguments);
        printed(command).trim().parse().expect("a number")
    };
    (id(&["-u"]) == 0).then(|| (id(&["-u", "postgres"]), id(&["-g", "postgres"])))
}

fn as_user(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}
