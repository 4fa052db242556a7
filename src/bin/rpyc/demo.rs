//! `rpyc demo`: one call step by step, then calls and frames over each kind of stream, frames through each layer, a connection that is
//! cut, and a call from Python.
//!
//! Nothing that it shows is written down here: the actors are those that said that they started, the bytes are those that
//! passed, the times were measured.

mod anatomy;
mod cut;
mod layered;
pub(crate) mod life;
mod measure;
mod paint;
mod python;
pub(crate) mod sink;
mod steps;
mod table;
mod tap;

use std::{path::PathBuf, time::Instant};

use clap::Args;
use rpyc::{Endpoint, Layers, Listener, ListenerConfig, Runtime, Server, ServerConfig, TcpConfig};
use tempfile::TempDir;

use self::paint::Paint;
use crate::{Failure, builtin, output, signals::Signals};

/// Shows it at work: one call step by step, then calls and frames over every kind of stream and through every layer
///
/// Starts servers of its own, on free ports, and takes less than 15 seconds.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {}

const HELP: &str = "\
Examples:
  rpyc demo
  NO_COLOR=1 rpyc demo | less
  RPYC_PYTHON=~/venv/bin/python rpyc demo     with a Python that has rpyc";

/// What the demo talks to.
struct Stage {
    /// The built-in service, over TCP and a unix socket.
    server: Server,
    /// Sinks for frames, over the same.
    sinks: Vec<Listener>,
    /// The threads of the near end: one, as for a user with one connection.
    near: Runtime,
    /// Those of the far ends in this process.
    far: ListenerConfig,
    /// This program, for the far ends that are processes.
    program: String,
    /// Where the unix sockets are; it goes with this value.
    _folder: TempDir,
}

/// A folder that nobody else can look into, where the user's runtime files belong if the system has such a place. After `su` it may be the
/// place of another user, and its path may leave no room for a socket's name: then the next one will do.
fn runtime_folder() -> std::io::Result<TempDir> {
    let make = |place: PathBuf| {
        tempfile::Builder::new()
            .prefix("rpyc-demo-")
            .tempdir_in(place)
    };
    let user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = user.into_iter().chain([std::env::temp_dir()]);
    places
        .filter(|place| place.is_absolute() && place.as_os_str().len() < MAX_PLACE)
        .find_map(|place| make(place).ok())
        .map_or_else(|| make("/tmp".into()), Ok)
}

/// The path of a unix socket is at most 103 bytes on some systems, 107 on Linux; ours adds a folder and a name.
const MAX_PLACE: usize = 70;

impl Stage {
    async fn set() -> Result<Self, Failure> {
        let fail = |error: std::io::Error| Failure::Unavailable(error.to_string());
        let program = std::env::current_exe().map_err(fail)?;
        let program = program
            .to_str()
            .ok_or_else(|| Failure::Unavailable("the path of this program is no text".into()))?
            .to_owned();
        let folder = runtime_folder().map_err(fail)?;
        let socket = |name| Endpoint::unix(folder.path().join(name));
        let any_port = || tcp(0);
        let far = Runtime::start(1).map_err(fail)?;
        let config = ListenerConfig::default().runtime(far);
        let server = Server::bind_with(
            &[any_port(), socket("service.sock")],
            builtin::service(),
            ServerConfig::default().listener(config.clone()),
        )
        .await?;
        let mut sinks = Vec::new();
        for endpoint in [any_port(), socket("sink.sock")] {
            sinks.push(sink::listen(&endpoint, config.clone(), Layers::new()).await?);
        }
        Ok(Self {
            server,
            sinks,
            near: Runtime::start(1).map_err(fail)?,
            far: config,
            program,
            _folder: folder,
        })
    }

    /// Where the service is, by kind of stream.
    fn services(&self) -> [Endpoint; 3] {
        [
            endpoint_of(&self.server.listeners()[0]),
            endpoint_of(&self.server.listeners()[1]),
            Endpoint::exec([&self.program, "serve", "--listen", "stdio:"]),
        ]
    }

    /// Where frames are counted, by kind of stream.
    fn sinks(&self) -> [Endpoint; 3] {
        [
            endpoint_of(&self.sinks[0]),
            endpoint_of(&self.sinks[1]),
            Endpoint::exec([&self.program, "sink"]),
        ]
    }
}

fn endpoint_of(listener: &Listener) -> Endpoint {
    match listener.local_address() {
        rpyc::stream::Address::Unix(path) => Endpoint::unix(path),
        _ => tcp(listener.port().unwrap_or_default()),
    }
}

fn tcp(port: u16) -> Endpoint {
    Endpoint::tcp("127.0.0.1", port, TcpConfig::default())
}

const STREAMS: [&str; 3] = ["TCP", "unix socket", "subprocess"];

/// Ends early at a signal, and takes its folder and its children with it.
pub(crate) async fn run() -> Result<(), Failure> {
    Signals::new()?.unless(show()).await
}

async fn show() -> Result<(), Failure> {
    let start = Instant::now();
    let paint = Paint::of_stdout();
    let stage = Stage::set().await?;

    steps::show(&stage.services()[0], &stage.near, paint).await?;

    paint.heading(
        "Calls and frames over every kind of stream",
        "each end on its own thread",
    )?;
    let mut rows = Vec::new();
    let ends = stage.services().into_iter().zip(stage.sinks());
    for (stream, (service, sink)) in STREAMS.into_iter().zip(ends) {
        paint.progress(&format!("{stream}: calls"))?;
        let calls = measure::calls(&service, &stage.near).await?;
        paint.progress(&format!("{stream}: frames"))?;
        let frames = measure::frames(&sink, &stage.near).await?;
        rows.push(table::Row {
            stream,
            calls,
            frames,
        });
    }
    paint.progress("")?;
    for line in table::lines(&rows, paint) {
        output::line(line)?;
    }

    layered::show(&stage.near, &stage.far, paint).await?;
    cut::show(&stage.near, &stage.far, paint).await?;
    python::show(&stage.program, paint).await?;
    output::line("")?;
    output::line(paint.dim(&format!(" Done in {}.", output::time(start.elapsed()))))?;
    Ok(())
}
