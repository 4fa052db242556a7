//! `rpyc exec`: a Python program at a classic server, from the shell.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use clap::Args;
use rpyc::ClassicService;

use crate::{Failure, peer::Peer};

/// Executes a Python program at a classic server
///
/// What it prints goes to the server's own output; what it raises is printed here. `rpyc eval` gives results.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    peer: Peer,
    /// The program; - for standard input
    file: PathBuf,
}

const HELP: &str = "\
Examples:
  rpyc exec tcp://127.0.0.1:18812 setup.py --timeout 5m
  echo 'import os; os.mkdir(\"/tmp/new\")' | rpyc exec unix:/run/python.sock -";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program = read(&arguments.file)
        .map_err(|error| Failure::Input(format!("{}: {error}", arguments.file.display())))?;
    let ask = async |connection: &rpyc::Connection| connection.execute(&program).await;
    arguments.peer.ask(ClassicService, ask, Ok).await
}

fn read(file: &PathBuf) -> io::Result<String> {
    if file.as_os_str() != "-" {
        return std::fs::read_to_string(file);
    }
    let mut program = String::new();
    io::stdin().read_to_string(&mut program)?;
    Ok(program)
}
