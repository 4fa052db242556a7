//! `rpyc keygen`: a fresh key for encrypted channels, in a file.

use std::path::PathBuf;

use clap::Args;
use rpyc::Key;

use crate::{Failure, output};

/// Makes a key for encrypted channels
///
/// Writes 32 random bytes, as 64 hexadecimal digits, to a new file that only its owner can read. Both ends of a channel need the same
/// key, and whoever has it can pose as either: copy it over a connection that is safe already.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The file to write; one that is there already stays as it is
    file: PathBuf,
}

const HELP: &str = "\
Examples:
  rpyc keygen service.key
  scp -p service.key host:";

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    Key::generate()?.save(&arguments.file)?;
    output::line(format_args!("a new key is in {}", arguments.file.display()))?;
    Ok(())
}
