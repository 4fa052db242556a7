//! `rpyc put`: a file to a classic server.

use std::path::PathBuf;

use clap::Args;
use rpyc::classic;

use crate::{Failure, peer::Peer, transfer};

/// Copies a file to a classic server
///
/// The file appears under its name when all of it has come, and one that was there keeps its permissions.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    peer: Peer,
    /// The file here
    local: PathBuf,
    /// Its full name at the server
    remote: String,
}

const HELP: &str = "\
The time of --timeout is that of each piece of the file, not of all of it.

Examples:
  rpyc put tcp://127.0.0.1:18812 report.pdf /tmp/report.pdf
  rpyc put 'exec:ssh host rpyc_classic.py -q -m stdio' report.pdf report.pdf";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (local, remote) = (&arguments.local, &*arguments.remote);
    transfer::run(
        &arguments.peer,
        remote,
        Failure::Input,
        async |connection, progress| classic::upload(connection, local, remote, progress).await,
    )
    .await
}
