//! Python's RPyC, as the peer of our client and of our server. All of it is on loopback TCP.

use std::{sync::Mutex, time::Duration};

use pollster::block_on;
use rpyc::{
    Chain, Connection, Endpoint, ListenerConfig, Server, ServerConfig, TcpConfig, VoidService,
};

use super::{
    calls::Asking,
    cell::{Outcome, PATIENCE},
    ends::runtimes,
    ours,
    pooled::{self, Way},
    processes::{self, Peer, Script},
};

/// The server that a Python client calls, by its place in the client's arguments.
#[derive(Clone, Copy)]
pub(crate) enum Callee {
    Python = 0,
    Rust = 1,
}

/// A Python server, our server, and a Python client that is connected to both; they live until the benchmark's end.
pub(crate) struct Python {
    server: Peer,
    client: Mutex<Peer>,
    /// Kept, since it ends when it is dropped.
    ours: Server,
}

impl Python {
    /// Starts them; `None` where Python's RPyC cannot be had.
    pub(crate) fn start() -> Option<Self> {
        if let Err(error) = processes::try_venv_python() {
            eprintln!("no rows with Python: {error}");
            return None;
        }
        let server = Peer::start(Script::File("server.py"), &[]);
        let config = ServerConfig::default()
            .listener(ListenerConfig::default().runtime(runtimes()[1].clone()));
        let endpoint = Endpoint::tcp("127.0.0.1", 0, TcpConfig::default());
        let ours = block_on(Server::bind_with(&[endpoint], ours::service(), config));
        let ours = ours.expect("a free port");
        let port = ours.port().expect("a TCP port").to_string();
        let script = Script::Text(include_str!("client.py"));
        let client = Peer::start(script, &[server.ready(), &port]);
        Some(Self {
            server,
            client: Mutex::new(client),
            ours,
        })
    }

    /// The port of either server.
    pub(crate) fn port(&self, callee: Callee) -> u16 {
        match callee {
            Callee::Python => self.server.port(),
            Callee::Rust => self.ours.port().expect("a TCP port"),
        }
    }

    /// Calls of many tasks to either server, which runs as long as this is there.
    pub(crate) fn serve_pooled(&self, time: Duration, way: &Way) -> Outcome {
        pooled::measure(time, way)
    }

    /// Calls of the Python client; `how` is one of its functions.
    pub(crate) fn calls(&self, time: Duration, callee: Callee, how: &str) -> Outcome {
        let mut client = self.client.lock().expect("no cell panicked");
        client.say(&format!("{} {how} {}", callee as u8, time.as_secs_f64()));
        let line = client.line(time + PATIENCE);
        let (calls, seconds) = line.split_once(' ').expect("two numbers");
        Outcome::Flow {
            frames: calls.parse().expect("a number of calls"),
            seconds: seconds.parse().expect("a time"),
        }
    }

    /// Calls of a Rust client to the Python server.
    pub(crate) fn serve_ours(&self, time: Duration) -> Outcome {
        let endpoint = Endpoint::tcp("127.0.0.1", self.server.port(), TcpConfig::default());
        let channel = Chain::new(endpoint)
            .runtime(runtimes()[0].clone())
            .connect_blocking()
            .expect("it listens");
        let connection = Connection::new(channel, VoidService);
        ours::measure(time, Asking::Sequential, connection)
    }
}
