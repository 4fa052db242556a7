//! Real servers for tests, on loopback, with throw-away keys and passwords: microsocks, tinyproxy, OpenSSH's, and what else a test starts.
//!
//! Used from anywhere in the repository with `#[path = "…/tests/support/daemons.rs"] mod daemons;`. `./test` installs the programs. One that is
//! missing is a failure with `CI=true`, and otherwise said on standard error.
#![allow(dead_code, reason = "each test uses its own part of this file")]

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a daemon may take until it listens.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
    log: PathBuf,
}

impl Daemon {
    /// Starts `program` on a free port, if it is installed. `arguments` are made for the port.
    pub(crate) fn start(
        folder: &Path,
        program: &str,
        arguments: impl Fn(u16) -> Vec<String>,
    ) -> Option<Self> {
        let path = find(program)?;
        Some(Self::start_with(folder, |port| {
            let mut command = Command::new(&path);
            command.args(arguments(port));
            command
        }))
    }

    /// Starts what `command` makes for a free port.
    pub(crate) fn start_with(folder: &Path, command: impl Fn(u16) -> Command) -> Self {
        // Somebody else may take the port between its choice and its use; then the daemon ends, and another is tried.
        for attempt in 0..10 {
            let port = free_port();
            let mut command = command(port);
            let program = Path::new(command.get_program()).file_name();
            let program = program.unwrap_or_default().display();
            let log = folder.join(format!("{program}-{port}-{attempt}.log"));
            let output = File::create(&log).expect("a temporary file");
            let child = command
                .stdin(Stdio::null())
                .stdout(output.try_clone().expect("a descriptor"))
                .stderr(output)
                .spawn()
                .expect("an installed program can be started");
            let mut daemon = Self { child, port, log };
            if daemon.is_ready() {
                return daemon;
            }
        }
        panic!("it does not start: see {}", folder.display());
    }

    fn is_ready(&mut self) -> bool {
        let until = Instant::now() + READY_WITHIN;
        while Instant::now() < until {
            if self.child.try_wait().expect("a child").is_some() {
                eprintln!("{}", self.said());
                return false;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("no answer on port {}: {}", self.port, self.said());
    }

    /// What it has logged.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A SOCKS5 proxy; with a login it takes no other.
    pub(crate) fn microsocks(folder: &Path, login: Option<(&str, &str)>) -> Option<Self> {
        Self::start(folder, "microsocks", |port| {
            let mut words: Vec<String> = ["-i", "127.0.0.1", "-p"].map(String::from).into();
            words.push(port.to_string());
            if let Some((user, password)) = login {
                words.extend(["-u", user, "-P", password].map(String::from));
            }
            words
        })
    }

    /// An HTTP proxy; with a login it takes no other.
    pub(crate) fn tinyproxy(folder: &Path, login: Option<(&str, &str)>) -> Option<Self> {
        Self::start(folder, "tinyproxy", |port| {
            let mut text = format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\n");
            if let Some((user, password)) = login {
                text.push_str(&format!("BasicAuth {user} {password}\n"));
            }
            let config = folder.join(format!("tinyproxy-{port}.conf"));
            fs::write(&config, text).expect("a temporary file");
            vec!["-d".into(), "-c".into(), config.display().to_string()]
        })
    }

    /// An ssh server that takes the key of [`Ssh`] alone.
    pub(crate) fn sshd(folder: &Path) -> Option<Self> {
        if find("ssh").is_none() || find("ssh-keygen").is_none() {
            return None;
        }
        // As root, OpenSSH wants this folder for its own protection; Debian makes it when the service starts.
        let _ = fs::create_dir_all("/run/sshd");
        for name in ["host", "user", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(folder.join(name))
                .status()
                .expect("ssh-keygen starts");
            assert!(made.success(), "ssh-keygen: {made}");
        }
        let shown = folder.display();
        Self::start(folder, "sshd", |port| {
            let config = folder.join(format!("sshd-{port}.conf"));
            let text = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/user.pub\nStrictModes no\n\
                 PidFile none\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
            );
            fs::write(&config, text).expect("a temporary file");
            vec![
                "-D".into(),
                "-e".into(),
                "-f".into(),
                config.display().to_string(),
            ]
        })
    }

    /// The client's configuration for [`sshd`](Self::sshd): the host `tunnel`, with the key of that name.
    pub(crate) fn ssh_config(&self, folder: &Path, key: &str) -> PathBuf {
        let shown = folder.display();
        let host_key = fs::read_to_string(folder.join("host.pub")).expect("a key");
        let known = folder.join("known_hosts");
        fs::write(&known, format!("[127.0.0.1]:{} {host_key}", self.port)).expect("a file");
        let config = folder.join(format!("ssh-{key}.conf"));
        let text = format!(
            "Host tunnel\n  HostName 127.0.0.1\n  Port {}\n  IdentityFile {shown}/{key}\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
             UserKnownHostsFile {shown}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n",
            self.port
        );
        fs::write(&config, text).expect("a file");
        config
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.said());
        }
        // One that ended by itself needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The path of a program, which may be given with it. Servers are in folders that are not on every user's path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        missing(program);
    }
    found
}

/// Says that a test did not run, which is a failure with `CI=true`.
pub(crate) fn missing(program: &str) {
    let what = format!("{program} is not installed, so a test did not run");
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
    eprintln!("{what}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}
