//! [`TunnelError`]: why there is no way through a proxy.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use crate::error::ConnectFailure;

/// Why there is no way through a tunnel, or why it ended. Each names the proxy, without its password.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunnelError {
    /// The proxy itself cannot be reached.
    #[error("cannot reach the proxy {proxy}: {reason}")]
    Unreachable {
        /// The proxy.
        proxy: Arc<str>,
        /// What stood in the way.
        #[source]
        reason: Arc<ConnectFailure>,
    },
    /// The proxy does not take the user name and password, or wants some.
    #[error("the proxy {proxy} refused the login: {what}")]
    Login {
        /// The proxy.
        proxy: Arc<str>,
        /// What it said.
        what: Arc<str>,
    },
    /// The proxy does not connect to the target.
    #[error("the proxy {proxy} does not connect to {target}: {what}")]
    Refused {
        /// The proxy.
        proxy: Arc<str>,
        /// The target.
        target: Arc<str>,
        /// What it said.
        what: Arc<str>,
    },
    /// What the proxy answered is not of its protocol.
    #[error("the proxy {proxy} does not speak {protocol}: {what}")]
    NotAProxy {
        /// The proxy.
        proxy: Arc<str>,
        /// The protocol that was expected.
        protocol: &'static str,
        /// What is wrong with the answer.
        what: Arc<str>,
    },
    /// The proxy ended the connection instead of answering.
    #[error("the proxy {proxy} ended the connection before it answered")]
    Ended {
        /// The proxy.
        proxy: Arc<str>,
    },
    /// The proxy did not answer in time.
    #[error("no answer from the proxy {proxy} within {after:?}")]
    TimedOut {
        /// The proxy.
        proxy: Arc<str>,
        /// The limit for the whole way through it.
        after: Duration,
    },
    /// `ssh` failed: at the login, at the target, or later.
    #[error("the tunnel {proxy} failed with {status}: {said}")]
    Ssh {
        /// The proxy.
        proxy: Arc<str>,
        /// How `ssh` ended; 255 is its word for an error of its own.
        status: ExitStatus,
        /// What it wrote to its stderr last.
        said: Arc<str>,
    },
}
