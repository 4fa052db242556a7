//! Python peers for tests, examples and benches: a virtual environment with the pinned rpyc, and child processes that use it.
//!
//! Used from anywhere in the repository with `#[path = "…/tests/support/python.rs"] mod python;`, so it needs nothing but `std`.
//! The environment is made on first use below cargo's target directory and shared by all processes; `./test` needs no step for it.
#![allow(
    dead_code,
    reason = "each test, example and bench uses its own part of this file"
)]

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a virtual environment holds, and the variable that names a Python to use in its place. Each has an environment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Of which the first is rpyc.
    packages: &'static [&'static str],
    named_by: &'static str,
}

/// What everything is tested against, with a second implementation of Noise for the encrypted channel.
pub(crate) const RPYC: Version = Version {
    packages: &["rpyc==6.0.2", "noiseprotocol==0.3.1"],
    named_by: "RPYC_PYTHON",
};

/// The last one before the wire changed.
pub(crate) const RPYC_5: Version = Version {
    packages: &["rpyc==5.3.1"],
    named_by: "RPYC5_PYTHON",
};

/// How long a peer may take from its start to its `READY` line.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long a client script may run unless [`run_script_within`] says otherwise.
const SCRIPT_WITHIN: Duration = Duration::from_secs(60);

/// A Python program: a file of `tests/support`, or its text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script<'a> {
    /// The name of a file in `tests/support`, such as `server.py`.
    File(&'a str),
    /// The program itself.
    Text(&'a str),
}

impl Script<'_> {
    /// A command that runs this program unbuffered and blind to the user's own Python settings (`-I`).
    ///
    /// Useful where the caller starts the child itself, as a stream over a subprocess's pipes does.
    pub(crate) fn command(self, args: &[&str]) -> Command {
        self.command_of(RPYC, args)
    }

    /// [`command`](Self::command) with the Python of a version.
    pub(crate) fn command_of(self, version: Version, args: &[&str]) -> Command {
        let python = version.python().unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(python);
        command.args(["-I", "-u"]);
        match self {
            Script::File(name) => command.arg(script_path(name)),
            Script::Text(text) => command.args(["-c", text]),
        };
        command.args(args);
        command
    }
}

/// The path of a Python file in `tests/support`.
pub(crate) fn script_path(name: &str) -> PathBuf {
    let path = root().join("tests/support").join(name);
    assert!(path.is_file(), "{} does not exist", path.display());
    path
}

/// The interpreter of the virtual environment, which is made first if need be; `RPYC_PYTHON` names another one.
///
/// # Panics
///
/// With a text for people when python3 or pip fails.
pub(crate) fn venv_python() -> PathBuf {
    try_venv_python().unwrap_or_else(|error| panic!("{error}"))
}

/// [`venv_python`] for callers that can go on without Python.
///
/// # Errors
///
/// A text for people that names the command that failed and what it printed.
pub(crate) fn try_venv_python() -> Result<PathBuf, String> {
    RPYC.python()
}

impl Version {
    /// The interpreter of its environment, which is made first if need be.
    ///
    /// # Errors
    ///
    /// As [`try_venv_python`].
    pub(crate) fn python(self) -> Result<PathBuf, String> {
        if let Some(python) = std::env::var_os(self.named_by).filter(|python| !python.is_empty()) {
            return Ok(python.into());
        }
        let parent = target_dir().join("python");
        let venv = parent.join(self.packages[0].replace("==", "-"));
        if self.is_complete(&venv) {
            return Ok(interpreter(&venv));
        }
        fs::create_dir_all(&parent).map_err(|error| cannot("create", &parent, error))?;
        // The lock goes with the process, however that ends. Whoever waited for it finds the work done.
        let lock_path = parent.join("lock");
        let lock = File::create(&lock_path).map_err(|error| cannot("open", &lock_path, error))?;
        lock.lock()
            .map_err(|error| cannot("lock", &lock_path, error))?;
        if !self.is_complete(&venv) {
            self.make(&venv)?;
        }
        Ok(interpreter(&venv))
    }

    /// Makes the environment in its final place, because pip writes that place into the scripts it installs; so it cannot be made elsewhere
    /// and renamed. The mark, written last, is what tells a whole environment from one whose making was interrupted.
    fn make(self, venv: &Path) -> Result<(), String> {
        if venv.exists() {
            fs::remove_dir_all(venv)
                .map_err(|error| cannot("remove the half-made", venv, error))?;
        }
        let mut create = Command::new("python3");
        create.args(["-I", "-m", "venv"]).arg(venv);
        run_step(
            create,
            "python3 with its venv module is needed (on Debian the packages python3 and python3-venv)",
        )?;
        let mut install = Command::new(interpreter(venv));
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ]);
        install.args(self.packages);
        run_step(
            install,
            &format!(
                "pip must reach a package index, or {} must name a Python that has {}",
                self.named_by,
                self.packages.join(" and ")
            ),
        )?;
        let mark = mark(venv);
        fs::write(&mark, self.marked()).map_err(|error| cannot("write", &mark, error))
    }

    /// An environment is complete when its mark is there and the interpreter it links to still is, which an upgrade may have removed.
    fn is_complete(self, venv: &Path) -> bool {
        fs::read_to_string(mark(venv)).is_ok_and(|found| found == self.marked())
            && interpreter(venv).exists()
    }

    /// What the mark says: another set of packages makes the environment anew.
    fn marked(self) -> String {
        self.packages.join("\n")
    }
}

fn run_step(mut command: Command, hint: &str) -> Result<(), String> {
    let shown = format!("{command:?}");
    // The user's own settings would make pip see other packages than the environment's, or put them elsewhere.
    command
        .env_remove("PYTHONHOME")
        .env_remove("PYTHONPATH")
        .env_remove("PIP_USER")
        .env_remove("PIP_TARGET")
        .stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let (out, err) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            Err(format!(
                "{shown} failed ({}): {hint}\n{out}{err}",
                output.status
            ))
        }
        Err(error) => Err(format!("{shown} could not be started ({error}): {hint}")),
    }
}

fn mark(venv: &Path) -> PathBuf {
    venv.join("complete")
}

fn interpreter(venv: &Path) -> PathBuf {
    venv.join("bin/python")
}

fn cannot(action: &str, path: &Path, error: impl Display) -> String {
    format!("cannot {action} {}: {error}", path.display())
}

/// Cargo's target directory: the one this program was built in, wherever settings or `CARGO_TARGET_DIR` put it.
pub(crate) fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    // Cargo marks its target directory as not worth a backup.
    if let Some(folder) = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
    {
        return folder.to_path_buf();
    }
    match std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => folder,
        _ => root().join("target"),
    }
}

/// The clone's root, whichever of the two packages this file was compiled into.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .ancestors()
        .find(|folder| folder.join("tests/support/python.rs").is_file())
        .unwrap_or(package)
}

/// A Python program that runs beside the test until this is dropped.
///
/// The program must print a line `READY <port or path>` when it can be used. Its standard input is a pipe that ends when the test does, so a
/// program that reads it can follow; its standard error is kept, and shown when something fails.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    ready: String,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    gone: bool,
}

impl Peer {
    /// Starts `script` and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it cannot be started, ends, or is not ready within 20 s; with what it wrote to standard error.
    pub(crate) fn start(script: Script<'_>, args: &[&str]) -> Self {
        Self::spawn(script.command(args))
    }

    /// [`start`](Self::start) for a command that needs its own environment or directory; see [`Script::command`].
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub(crate) fn spawn(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} could not be started: {error}"));
        let stdin = child.stdin.take();
        let (out, err) = (
            child.stdout.take().expect("stdout is piped"),
            child.stderr.take().expect("stderr is piped"),
        );
        let (sender, lines) = mpsc::channel();
        let stderr = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&stderr);
        let readers = vec![
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    // Read on when nobody listens any more: a full pipe would stop the peer.
                    let _ = sender.send(line);
                }
            }),
            std::thread::spawn(move || {
                for line in BufReader::new(err).split(b'\n').map_while(Result::ok) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push_str(&String::from_utf8_lossy(&line));
                    kept.push('\n');
                }
            }),
        ];
        let mut peer = Self {
            child,
            stdin,
            ready: String::new(),
            lines,
            stderr,
            readers,
            gone: false,
        };
        let until = Instant::now() + READY_WITHIN;
        peer.ready = loop {
            let line = peer.line(until.saturating_duration_since(Instant::now()));
            if let Some(ready) = line.strip_prefix("READY") {
                break ready.trim().to_owned();
            }
        };
        peer
    }

    /// What stood after `READY`: a port or a path.
    pub(crate) fn ready(&self) -> &str {
        &self.ready
    }

    /// The port after `READY`.
    ///
    /// # Panics
    ///
    /// When it was no port.
    pub(crate) fn port(&self) -> u16 {
        self.ready
            .parse()
            .unwrap_or_else(|_| panic!("READY {} names no port", self.ready))
    }

    /// The process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the peer prints.
    ///
    /// # Panics
    ///
    /// When none comes within `limit`, with what the peer wrote to standard error.
    pub(crate) fn line(&mut self, limit: Duration) -> String {
        match self.lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!(
                "the Python peer printed no line within {limit:?}\n{}",
                self.stderr()
            ),
            Err(RecvTimeoutError::Disconnected) => {
                // Its standard output has ended, so wait until the rest of its standard error has come too.
                self.kill();
                panic!("the Python peer ended ({})\n{}", self.wait(), self.stderr());
            }
        }
    }

    /// Writes a line to the peer's standard input.
    ///
    /// # Panics
    ///
    /// When the peer is gone, or its input was closed.
    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self
            .stdin
            .as_mut()
            .expect("the peer's standard input was closed");
        writeln!(stdin, "{line}")
            .and_then(|()| stdin.flush())
            .expect("the peer reads its standard input");
    }

    /// Ends the peer's standard input.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// All that the peer has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Ends the peer at once with SIGKILL; [`wait`](Self::wait) reaps it.
    pub(crate) fn kill(&mut self) {
        // An error means that it has been reaped already.
        let _ = self.child.kill();
    }

    /// Waits until the peer has ended and all it wrote has been read.
    ///
    /// # Panics
    ///
    /// When the peer's status cannot be read.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("a child can be waited for");
        self.gone = true;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.gone {
            self.kill();
            let _ = self.child.wait();
        }
        // The readers are not joined here: a grandchild that holds the pipes open must not hang the test.
        let stderr = self.stderr();
        if std::thread::panicking() && !stderr.is_empty() {
            eprintln!("the Python peer's standard error:\n{stderr}");
        }
    }
}

/// Runs a Python program to its end, with empty standard input, for at most a minute.
///
/// # Panics
///
/// When it cannot be started or takes longer. How it ended is for the caller to judge.
pub(crate) fn run_script(script: Script<'_>, args: &[&str]) -> Output {
    run_script_within(SCRIPT_WITHIN, script, args)
}

/// [`run_script`] with another limit.
///
/// # Panics
///
/// As [`run_script`].
pub(crate) fn run_script_within(limit: Duration, script: Script<'_>, args: &[&str]) -> Output {
    run_within(limit, script.command(args))
}

/// [`run_script_within`] for a command that needs its own version or environment; see [`Script::command_of`].
///
/// # Panics
///
/// As [`run_script`].
pub(crate) fn run_within(limit: Duration, mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} could not be started: {error}"));
    let out = read_all(child.stdout.take().expect("stdout is piped"));
    let err = read_all(child.stderr.take().expect("stderr is piped"));
    let until = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break Some(status);
        }
        if Instant::now() >= until {
            // It may have ended just now, which makes this an error that does not matter.
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (stdout, stderr) = (
        out.join().unwrap_or_default(),
        err.join().unwrap_or_default(),
    );
    match status {
        Some(status) => Output {
            status,
            stdout,
            stderr,
        },
        None => panic!(
            "{command:?} took longer than {limit:?}\n{}{}",
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr)
        ),
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}
