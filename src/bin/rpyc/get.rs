//! `rpyc get`: a file from a classic server.

use std::path::PathBuf;

use clap::Args;
use rpyc::classic;

use crate::{Failure, peer::Peer, transfer};

/// Copies a file from a classic server
///
/// The file appears under its name when all of it has come, and one that was there keeps its permissions.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    peer: Peer,
    /// The file at the server
    remote: String,
    /// Where it is to be here; in a folder it keeps its name
    local: PathBuf,
}

const HELP: &str = "\
The time of --timeout is that of each piece of the file, not of all of it.

Examples:
  rpyc get tcp://127.0.0.1:18812 /var/log/syslog syslog
  rpyc get 'exec:ssh host rpyc_classic.py -q -m stdio' notes.txt .";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let remote = &arguments.remote;
    let mut local = arguments.local.clone();
    if local.is_dir()
        && let Some(name) = remote.rsplit(['/', '\\']).next()
    {
        local.push(name);
    }
    transfer::run(
        &arguments.peer,
        remote,
        Failure::File,
        async |connection, progress| classic::download(connection, remote, local, progress).await,
    )
    .await
}
