//! `rpyc tunnel`: carries the connections of other programs over layered channels.
//!
//! This file reads the command line and listens; [`guard`] says what is refused, and [`carry`] does the work.

mod carry;
mod guard;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use rpyc::{Endpoint, Layers, Limits, Listener, ListenerConfig, endpoint::parse_duration};
use rustix::process::{Resource, getrlimit, setrlimit};

use self::carry::Tunnel;
use crate::{
    Failure, layers,
    listening::{announce, cannot_listen},
    peer::monitors_have_spoken,
    signals::Signals,
};

/// Default of `--buffer`. With more, bytes leave the processor's cache between a read and a write.
const BUFFER: usize = 128 << 10;
/// Connections that the kernel holds while others are accepted.
const BACKLOG: u32 = 4096;

/// Carries the connections of other programs over channels with layers
///
/// A client here takes plain connections and carries each over a channel; a server there takes them off and connects to the target.
#[derive(Args, Debug)]
#[command(after_help = HELP, subcommand_required = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    end: EndArguments,
}

#[derive(Debug, Subcommand)]
enum EndArguments {
    /// Takes plain connections, and carries each over a channel to a tunnel server
    #[command(after_help = CLIENT_HELP)]
    Client(Settings),
    /// Takes channels of tunnel clients, and connects each to the target
    #[command(after_help = SERVER_HELP)]
    Server(Settings),
}

/// Which end of the tunnel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

#[derive(Args, Debug)]
struct Settings {
    /// Where to listen: tcp:// or tls:// (port 0 for any free one), or unix:
    #[arg(long, value_name = "ENDPOINT")]
    listen: String,
    /// Where each connection goes on: for a client the tunnel server, for a server the target
    #[arg(long, value_name = "ENDPOINT")]
    to: String,
    #[command(flatten)]
    layers: layers::Arguments,
    /// How long connections may go on after SIGTERM or SIGINT: 500ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
    /// Connections at once
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    max_connections: NonZeroUsize,
    /// Connections at once from one address; as many as there may be in all, since a tunnel's connections come from its other end
    #[arg(long, value_name = "COUNT")]
    max_per_address: Option<NonZeroUsize>,
    /// Bytes that a connection holds at most in one direction, on each of its two sides. More does not help: what is on its way between
    /// machines is the system's
    #[arg(long, value_name = "BYTES", default_value_t = BUFFER)]
    buffer: usize,
    /// Allows a plain side that other machines can reach, and a channel between machines without encryption or TLS, or to a server that
    /// proves nothing (verify=insecure)
    #[arg(long)]
    insecure: bool,
    /// Allows --layer resume without encryption below it: whoever can read along can take a session over
    #[arg(long)]
    insecure_resume: bool,
}

const HELP: &str = "\
Examples, on the machine with the database and on the one with its users:
  rpyc keygen tunnel.key        # and copy it to the other machine
  rpyc tunnel server --listen tcp://0.0.0.0:7000 --to tcp://127.0.0.1:6379 --layer encrypt:tunnel.key
  rpyc tunnel client --listen tcp://127.0.0.1:6379 --to tcp://db.example:7000 --layer encrypt:tunnel.key

With -v each connection is one line: from where, the bytes each way, for how long, and how it ended.
SIGTERM and SIGINT let connections end by themselves; a second one ends at once.";

const CLIENT_HELP: &str = "\
Examples:
  rpyc tunnel client --listen tcp://127.0.0.1:6379 --to tcp://db.example:7000 --layer encrypt:tunnel.key
  rpyc tunnel client --listen unix:/run/pg/.s.PGSQL.5432 --to tcp://db.example:7000 --layer snappy --layer encrypt:tunnel.key
  rpyc tunnel client --listen tcp://127.0.0.1:5432 --to 'tls://db.example:7000?ca=ca.crt&cert=me.crt&key=me.key'";

const SERVER_HELP: &str = "\
Examples:
  rpyc tunnel server --listen tcp://0.0.0.0:7000 --to tcp://127.0.0.1:6379 --layer encrypt:tunnel.key
  rpyc tunnel server --listen tcp://0.0.0.0:7000 --to unix:/run/pg/.s.PGSQL.5432 --layer snappy --layer encrypt:tunnel.key
  rpyc tunnel server --listen 'tls://0.0.0.0:7000?cert=db.crt&key=db.key&ca=clients.crt' --to tcp://127.0.0.1:5432";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (end, settings) = match &arguments.end {
        EndArguments::Client(settings) => (End::Client, settings),
        EndArguments::Server(settings) => (End::Server, settings),
    };
    let mut signals = Signals::new()?;
    let (listen, to) = settings.endpoints(end)?;
    let layers = settings.layers()?;
    allow_descriptors();
    let (tunnel, listener) = settings.start(end, &listen, to, layers).await?;
    announce(&listen, listener.local_address())?;
    signals.next().await;
    tracing::info!(connections = tunnel.alive(), "draining");
    let reset = async {
        // The kernel would end the programs' connections in order, as if all had been carried.
        listener.stop();
        listener.stopped().await;
        tunnel.cut_off().await;
    };
    let drained = tunnel.drain(&listener, settings.drain);
    let cut_off = signals.unless_after(drained, reset).await;
    if cut_off > 0 {
        let after = settings.drain;
        eprintln!("rpyc: {cut_off} connections were cut off after {after:?}");
    }
    monitors_have_spoken().await;
    Ok(())
}

impl Settings {
    /// Both endpoints, unless that would be unsafe.
    fn endpoints(&self, end: End) -> Result<(Endpoint, Endpoint), Failure> {
        let (listen, to): (Endpoint, Endpoint) = (self.listen.parse()?, self.to.parse()?);
        if to.scheme() == "stdio" {
            return Err(Failure::Usage(format!(
                "cannot carry connections on to {to}: this process has one standard input, and each connection needs a way of its own"
            )));
        }
        let is_sealed = self.layers.are_guarded();
        if !self.insecure {
            guard::check(end, &listen, &to, is_sealed).map_err(Failure::Usage)?;
        }
        if !self.insecure_resume {
            let channel = match end {
                End::Client => &to,
                End::Server => &listen,
            };
            self.layers.check_sessions(channel, "--insecure-resume")?;
        }
        if end == End::Server && !is_sealed && !listen.is_local() && !listen.is_guarded() {
            tracing::warn!(%listen, "whoever connects reaches the target, since no proof is wanted of clients");
        }
        let limits = Limits::default().credit(self.buffer);
        Ok((listen.limits(limits), to.limits(limits)))
    }

    fn layers(&self) -> Result<Layers, Failure> {
        if self.insecure_resume {
            self.layers.with_insecure_resume()
        } else {
            self.layers.layers()
        }
    }

    async fn start(
        &self,
        end: End,
        listen: &Endpoint,
        to: Endpoint,
        layers: Layers,
    ) -> Result<(Arc<Tunnel>, Listener), Failure> {
        // A client's connections may all come at once, and those who shake hands are counted among the others.
        let most = self.max_connections.get();
        let layers = layers.max_handshakes(most);
        let tunnel = Tunnel::new(end, to, layers, self.layers.are_guarded());
        let config = ListenerConfig::default()
            .max_connections(most)
            .max_per_address(self.max_per_address.map_or(most, NonZeroUsize::get))
            .max_handshakes(most)
            .backlog(BACKLOG);
        let carrying = tunnel.clone();
        let listener = Listener::bind(listen, config, move |stream| carrying.accept(stream))
            .await
            .map_err(|error| cannot_listen(error.into()))?;
        Ok((tunnel, listener))
    }
}

/// A connection takes two descriptors, and the usual soft limit is for programs with a handful.
fn allow_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the number of descriptors stays as it is");
    }
}
