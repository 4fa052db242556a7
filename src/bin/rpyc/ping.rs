//! `rpyc ping`: how long a round trip takes.

use std::time::Duration;

use clap::Args;
use rpyc::{Connection, VoidService, endpoint::parse_duration};

use crate::{Failure, layers, output, peer::close};

/// Measures round trips to a peer
///
/// Prints the shortest, the median and the longest, over one connection.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Where the peer is
    endpoint: String,
    #[command(flatten)]
    layers: layers::Arguments,
    /// How many round trips
    #[arg(short, long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// How long the connection, and then each round trip, may take: 500ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

const HELP: &str = "\
Examples:
  rpyc ping tcp://127.0.0.1:18861
  rpyc ping 'tcp://inside.example:18861?via=ssh://gate.example'
  rpyc ping unix:/run/service.sock --count 1000";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let connect = arguments.layers.connect(&arguments.endpoint);
    let channel = tokio::time::timeout(arguments.timeout, connect)
        .await
        .map_err(|_| Failure::NoConnection(arguments.timeout))??;
    let connection = Connection::new(channel, VoidService).with_timeout(arguments.timeout);
    let mut times = Vec::new();
    for _ in 0..arguments.count {
        times.push(connection.ping().await?);
    }
    times.sort_unstable();
    let [min, median, max] =
        [0.0, 0.5, 1.0].map(|share| output::time(output::percentile(&times, share)));
    output::line(format_args!(
        "{} round trips: min {min}, median {median}, max {max}",
        arguments.count
    ))?;
    close(&connection).await;
    Ok(())
}
