//! What the commands that listen have in common.

use rpyc::{Endpoint, StreamError, stream::Address};

use crate::{Failure, output};

/// Says that an endpoint can be used, and on which port if the kernel chose it.
pub(crate) fn announce(endpoint: &Endpoint, local: &Address) -> Result<(), Failure> {
    match local {
        Address::Tcp(address) => {
            let scheme = endpoint.scheme();
            output::line(format_args!("listening on {scheme}://{address}"))?;
        }
        other => output::line(format_args!("listening on {other}"))?,
    }
    Ok(())
}

/// The error of binding says that it cannot connect, which a user who wants to listen did not ask for.
pub(crate) fn cannot_listen(error: rpyc::Error) -> Failure {
    let words = match &error {
        rpyc::Error::Stream(StreamError::Connect(error)) => {
            format!("cannot listen on {}: {}", error.endpoint, error.reason)
        }
        other => other.to_string(),
    };
    match Failure::from(error) {
        Failure::Usage(_) => Failure::Usage(words),
        _ => Failure::Unavailable(words),
    }
}
