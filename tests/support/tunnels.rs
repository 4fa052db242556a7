//! Both ends of `rpyc tunnel`, as processes, and each way of carrying that the tests go.
#![allow(dead_code, reason = "each test uses its own part of this file")]

use std::{
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Instant,
};

use crate::{
    certificates::{Ca, Folder},
    run::{PATIENCE, command, end_of, printed},
};

/// One end, until this is dropped.
pub(crate) struct End {
    child: Child,
    /// What it listens on.
    pub(crate) endpoint: String,
    logs: Arc<Mutex<String>>,
    /// Fills them until there is no more.
    reader: Option<JoinHandle<()>>,
}

impl End {
    /// Starts `rpyc tunnel` with these arguments, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command(&[&["-v", "tunnel"], arguments].concat())
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command can be started");
        let logs = Arc::<Mutex<String>>::default();
        let (kept, mut err) = (logs.clone(), child.stderr.take().expect("stderr is piped"));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = err.read(&mut bytes)
                && count > 0
            {
                let text = String::from_utf8_lossy(&bytes[..count]);
                kept.lock().expect("no panic").push_str(&text);
            }
        });
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let Some(endpoint) = line.trim().strip_prefix("listening on ") else {
            let ended = end_of(&mut child);
            panic!("{arguments:?}: {ended}: {}", logs.lock().expect("no panic"));
        };
        Self {
            endpoint: endpoint.to_owned(),
            child,
            logs,
            reader: Some(reader),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self.endpoint.rsplit_once(':').expect("a port");
        port.parse().expect("a port")
    }

    /// A connection of a program, with bounded waits.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.port())
    }

    pub(crate) fn said(&self) -> String {
        self.logs.lock().expect("no panic").clone()
    }

    /// Waits for a line that holds `part`.
    pub(crate) fn says(&self, part: &str) -> String {
        self.says_one_of(&[part])
    }

    /// Waits for a line that holds any of `parts`.
    pub(crate) fn says_one_of(&self, parts: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let said = self.said();
            // The last line may not be whole yet.
            let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole
                .lines()
                .find(|line| parts.iter().any(|part| line.contains(part)))
            {
                return line.to_owned();
            }
            assert!(
                Instant::now() < until,
                "nothing says any of {parts:?}: {said}"
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .expect("there is a shell");
        assert!(status.success());
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.child.id());
        let entries = std::fs::read_dir(folder).expect("Linux, and it runs");
        entries.count()
    }

    /// Waits until it has ended, and all that it said is there.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let status = end_of(&mut self.child);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        status
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", self.endpoint, self.said());
        }
        // One that has ended cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    bounded(&socket);
    socket
}

/// No test waits longer than this for anything.
pub(crate) fn bounded(socket: &TcpStream) {
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket can");
    socket
        .set_write_timeout(Some(PATIENCE))
        .expect("a socket can");
    socket.set_nodelay(true).expect("TCP knows it");
}

/// The target of a tunnel that the test itself plays.
pub(crate) struct Target(TcpListener);

impl Target {
    pub(crate) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port())
    }

    /// The next connection of the tunnel.
    pub(crate) fn accept(&self) -> TcpStream {
        let (socket, _) = self.0.accept().expect("the tunnel connects");
        bounded(&socket);
        socket
    }

    /// True when nobody has connected.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.set_nonblocking(true).expect("a socket can");
        let is_idle = self.0.accept().is_err();
        self.0.set_nonblocking(false).expect("a socket can");
        is_idle
    }
}

/// How connections are carried.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    listen: String,
    /// With `PORT` where the port of the server belongs.
    to: String,
    layers: Vec<String>,
}

/// Keys and certificates, and all that they are good for.
pub(crate) struct Ways {
    pub(crate) folder: Folder,
    pub(crate) all: [Way; 4],
}

impl Ways {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let encrypt = key(&folder, "tunnel.key");
        let ca = Ca::new(&folder, "ca");
        let (server, client) = (ca.issue("server", &["localhost"]), ca.issue("client", &[]));
        let way = |name, layers: &[&str]| Way {
            name,
            listen: "tcp://127.0.0.1:0".into(),
            to: "tcp://127.0.0.1:PORT".into(),
            layers: layers.iter().map(|layer| (*layer).into()).collect(),
        };
        let tls = Way {
            listen: format!("tls://127.0.0.1:0?{}&{}", server.settings(), ca.setting()),
            to: format!(
                "tls://localhost:PORT?{}&{}",
                client.settings(),
                ca.setting()
            ),
            ..way("TLS", &[])
        };
        let all = [
            way("plain", &[]),
            way("encrypt", &[&encrypt]),
            way("snappy and encrypt", &["snappy", &encrypt]),
            tls,
        ];
        Self { folder, all }
    }

    pub(crate) fn plain(&self) -> &Way {
        &self.all[0]
    }

    pub(crate) fn encrypt(&self) -> &Way {
        &self.all[1]
    }

    pub(crate) fn tls(&self) -> &Way {
        &self.all[3]
    }
}

/// A new key in a file, as the layer that uses it.
pub(crate) fn key(folder: &Folder, name: &str) -> String {
    let path = folder.path(name).display().to_string();
    printed(&["keygen", &path]);
    format!("encrypt:{path}")
}

/// Both ends.
pub(crate) struct Tunnel {
    pub(crate) server: End,
    pub(crate) client: End,
}

impl Way {
    pub(crate) fn server(&self, target: &str, more: &[&str]) -> End {
        self.end(&["server", "--listen", &self.listen, "--to", target], more)
    }

    pub(crate) fn client(&self, server: u16, more: &[&str]) -> End {
        let to = self.to.replace("PORT", &server.to_string());
        let listen = "tcp://127.0.0.1:0";
        self.end(&["client", "--listen", listen, "--to", &to], more)
    }

    pub(crate) fn tunnel(&self, target: &str) -> Tunnel {
        let server = self.server(target, &[]);
        let client = self.client(server.port(), &[]);
        Tunnel { server, client }
    }

    fn end(&self, arguments: &[&str], more: &[&str]) -> End {
        let layers = self.layers.iter().flat_map(|layer| ["--layer", layer]);
        let layers: Vec<&str> = layers.collect();
        End::start(&[arguments, &layers, more].concat())
    }
}

impl Tunnel {
    pub(crate) fn connect(&self) -> TcpStream {
        self.client.connect()
    }
}
