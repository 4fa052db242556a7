//! The command `rpyc`: call, measure and serve RPyC from the shell, use a classic server, carry other programs' connections, and see it
//! all at work.
//!
//! One file a subcommand. This one reads the command line and turns what went wrong into an exit status.

mod builtin;
mod call;
mod demo;
mod eval;
mod exec;
mod get;
mod keygen;
mod layers;
mod listening;
mod literal;
mod output;
mod peer;
mod ping;
mod put;
mod serve;
mod signals;
mod transfer;
mod tunnel;

use std::{io, process::ExitCode, time::Duration};

use clap::{ArgAction, Parser, Subcommand};
use rpyc::{Error, KeyError, StreamError, monitor::MONITOR};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Calls, measures and serves RPyC from the shell, and uses classic servers.
#[derive(Debug, Parser)]
#[command(name = "rpyc", version, after_help = HELP, max_term_width = 100)]
struct Arguments {
    /// Logs to standard error; twice for more
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Call(call::Arguments),
    Eval(eval::Arguments),
    Exec(exec::Arguments),
    Get(get::Arguments),
    Put(put::Arguments),
    Ping(ping::Arguments),
    Serve(serve::Arguments),
    Tunnel(tunnel::Arguments),
    Keygen(keygen::Arguments),
    Demo(demo::Arguments),
    /// What the demo starts at the other end of a pipe.
    #[command(hide = true)]
    Sink,
}

const HELP: &str = "\
Endpoints:
  tcp://host:port      TCP; an IPv6 address stands in brackets
  tls://host:port      TLS; ?ca=FILE for a CA of your own, ?cert=FILE&key=FILE for a certificate of this end,
                       ?verify=full, ca, pin:SHA256 or insecure, ?name=NAME, to listen ?clients=optional
  unix:path            a unix socket
  exec:command args    a child process's standard input and output
  stdio:               this process's own standard input and output
  tcp:// and tls:// go through a proxy with ?via=socks5://[user:password@]host:port, http://... or ssh://[user@]host

Layers (--layer, from the application to the socket):
  batch:20,50ms        waits for 20 messages or 50 ms, and sends them in one write
  zlib:9               compresses; Python's rpyc reads it
  snappy               compresses fast; the other end needs the same layer
  liveness:15s         signs of life; takes the other end, which needs the same layer, for dead after so long
  resume               a session that goes on over new connections; the other end needs the same layer, and encryption
                       or TLS stands below it, or resume:insecure
  encrypt:KEYFILE      encrypts with a key of rpyc keygen; the other end needs the same layer and key
  buffer:32768         joins small writes
  monitor              counts what passes, and says so on standard error at the end

Exit status:
  0    all is well
  1    the remote code raised an exception
  2    the command line is wrong
  66   a file cannot be read
  69   the connection cannot be made, or was lost
  74   the output, or a file, cannot be written
  124  there was no answer in time

Examples:
  rpyc demo
  rpyc serve --listen tcp://127.0.0.1:18861
  rpyc call tcp://127.0.0.1:18861 add 1 2
  rpyc eval tcp://127.0.0.1:18812 '1 + 1'
  rpyc ping tcp://127.0.0.1:18861
  rpyc keygen service.key
  rpyc tunnel client --help";

/// Why a command did not do what it was asked for.
#[derive(Debug)]
enum Failure {
    /// The remote code raised; its traceback.
    Raised(String),
    /// The command line is wrong, in a way that its parser could not see.
    Usage(String),
    /// A file of this end cannot be read.
    Input(String),
    /// A file of this end cannot be written.
    File(String),
    /// The connection cannot be made, or was lost.
    Unavailable(String),
    /// There was no connection in time, so nothing was asked.
    NoConnection(Duration),
    /// There was no answer in time.
    TimedOut(Duration),
    /// The output cannot be written.
    Output(io::Error),
}

impl Failure {
    /// The exit status: of sysexits.h, and of timeout(1).
    fn status(&self) -> u8 {
        match self {
            Self::Raised(_) => 1,
            Self::Usage(_) => 2,
            Self::Input(_) => 66,
            Self::Unavailable(_) => 69,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) | Self::File(_) => 74,
            Self::NoConnection(_) | Self::TimedOut(_) => 124,
        }
    }

    fn report(&self) {
        match self {
            Self::Raised(traceback) => eprintln!("{}", output::clean(traceback).trim_end()),
            Self::Usage(what) | Self::Input(what) | Self::File(what) | Self::Unavailable(what) => {
                eprintln!("rpyc: {}", output::clean(what));
            }
            Self::NoConnection(limit) => eprintln!("rpyc: no connection within {limit:?}"),
            Self::TimedOut(limit) => {
                eprintln!("rpyc: no answer within {limit:?}; the call may have run");
            }
            // Whoever read the output has enough of it.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Self::Output(error) => eprintln!("rpyc: the output cannot be written: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        let is_usage = matches!(
            &error,
            StreamError::Connect(error)
                if matches!(error.reason, rpyc::error::ConnectFailure::Endpoint(_))
        );
        if is_usage {
            Self::Usage(error.to_string())
        } else {
            Self::Unavailable(error.to_string())
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Output(io::Error::other(error))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Remote(error) => Self::Raised(match error.traceback() {
                Some(traceback) if !traceback.trim().is_empty() => traceback.into(),
                _ => error.to_string(),
            }),
            Error::StopIteration => Self::Raised("StopIteration".into()),
            Error::TimedOut(limit) => Self::TimedOut(limit),
            Error::Unsendable(_) => Self::Usage(error.to_string()),
            Error::Stream(error) => error.into(),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse_from(call::shielded(std::env::args_os()));
    start_logging(&arguments);
    let result = match &arguments.command {
        Command::Call(arguments) => in_event_loop(call::run(arguments)),
        Command::Eval(arguments) => in_event_loop(eval::run(arguments)),
        Command::Exec(arguments) => in_event_loop(exec::run(arguments)),
        Command::Get(arguments) => in_event_loop(get::run(arguments)),
        Command::Put(arguments) => in_event_loop(put::run(arguments)),
        Command::Ping(arguments) => in_event_loop(ping::run(arguments)),
        Command::Serve(arguments) => in_event_loop(serve::run(arguments)),
        Command::Tunnel(arguments) => in_event_loop(tunnel::run(arguments)),
        Command::Keygen(arguments) => keygen::run(arguments),
        Command::Demo(_) => in_event_loop(demo::run()),
        Command::Sink => in_event_loop(demo::sink::run()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            failure.status().into()
        }
    }
}

/// Waits for a command on an event loop of this thread.
fn in_event_loop(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // First, since the event loop of this thread panics where the operating system refuses what it needs for signals.
    rpyc::Runtime::try_shared()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Unavailable(format!("cannot start an event loop: {error}")))?
        .block_on(command)
}

/// Without `-v` only warnings are shown, among them what a child process writes to its standard error.
fn start_logging(arguments: &Arguments) {
    // What happens to each of thousands of connections is one line, and not the lives of their actors.
    let is_tunnel = matches!(arguments.command, Command::Tunnel(_));
    let level = match arguments.verbose {
        0 => LevelFilter::WARN,
        1 if is_tunnel => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let is_demo = matches!(arguments.command, Command::Demo(_));
    let ours = Targets::new()
        .with_target("rpyc", level)
        .with_target("rpyc_actors", level)
        // Only there when somebody asked for `--layer monitor`, or when the demo measures by it.
        .with_target(
            MONITOR,
            if is_demo {
                level
            } else {
                level.max(LevelFilter::INFO)
            },
        )
        .with_default(if arguments.verbose > 1 {
            LevelFilter::DEBUG
        } else {
            LevelFilter::WARN
        });
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(output::is_colourful(&io::stderr()))
        .with_filter(ours);
    let demo = is_demo.then(demo::life::recorder);
    tracing_subscriber::registry().with(lines).with(demo).init();
}
