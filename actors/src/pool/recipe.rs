//! [`Recipe`]: what a pool has to know about its connections.

use std::{fmt, future::Future};

use crate::{chain::Chain, channel::Channel, error::StreamError, runtime::Runtime};

/// How the connections of a pool to one endpoint are made, tried and closed.
///
/// [`Chain`] is the recipe for bare channels. All but [`is_usable`](Self::is_usable) runs on the arbiter of the pool's actor. A
/// panic counts as a failure of that one connection.
pub trait Recipe: Send + Sync + 'static {
    /// What the pool holds.
    type Connection: Send + 'static;

    /// The endpoint as text, for events, errors and counts.
    fn endpoint(&self) -> &str;

    /// Makes a connection, on one of the arbiters of `runtime`, which takes them in turn. Names are resolved anew each time. The pool sets the time
    /// limit.
    ///
    /// # Errors
    ///
    /// The reason, after which the pool tries again at its own pace.
    ///
    /// # Cancellation
    ///
    /// A pool that closes drops the future; the attempt should end with it.
    fn connect(
        &self,
        runtime: &Runtime,
    ) -> impl Future<Output = Result<Self::Connection, StreamError>>;

    /// True when the connection can be given to the next user, as far as this end knows. Asked with each get and each return, on the thread
    /// of the user, so it must be quick.
    fn is_usable(&self, connection: &Self::Connection) -> bool;

    /// Asks the peer whether the connection still works. The pool sets the time limit, and gives up a connection that fails or takes too long. By default all
    /// is well.
    ///
    /// # Errors
    ///
    /// What is wrong.
    fn check(
        &self,
        connection: &Self::Connection,
    ) -> impl Future<Output = Result<(), StreamError>> {
        let _ = connection;
        std::future::ready(Ok(()))
    }

    /// Closes the connection. Its place in the pool is free when this is done, so it must not take for ever. By default it is dropped.
    fn close(&self, connection: Self::Connection, why: Retired) -> impl Future<Output = ()> {
        let _ = why;
        drop(connection);
        std::future::ready(())
    }
}

/// Why a connection left a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retired {
    /// It was lost or closed, or has data under way that nobody asked for.
    Broken,
    /// The peer did not answer the check.
    CheckFailed,
    /// Its user gave it up, or panicked.
    Discarded,
    /// It lived for as long as it may.
    Expired,
    /// It was idle for as long as it may be, or was not needed where its place was, to ask an ejected endpoint.
    Idle,
    /// The pool was made smaller.
    Resized,
    /// The pool drains or is closed.
    Closed,
    /// Its user keeps it, and it lives on outside of the pool.
    Taken,
}

impl Retired {
    /// Every cause, in the order of its number.
    pub(super) const ALL: [Self; 8] = [
        Self::Broken,
        Self::CheckFailed,
        Self::Discarded,
        Self::Expired,
        Self::Idle,
        Self::Resized,
        Self::Closed,
        Self::Taken,
    ];

    /// As a label of metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::CheckFailed => "check_failed",
            Self::Discarded => "discarded",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::Resized => "resized",
            Self::Closed => "closed",
            Self::Taken => "taken",
        }
    }
}

impl fmt::Display for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "it was broken",
            Self::CheckFailed => "its check failed",
            Self::Discarded => "its user gave it up",
            Self::Expired => "it was old",
            Self::Idle => "it was idle",
            Self::Resized => "the pool was made smaller",
            Self::Closed => "the pool was closed",
            Self::Taken => "its user keeps it",
        })
    }
}

/// Bare channels. One with frames that nobody took is not usable: they would be taken for the answer to another question.
impl Recipe for Chain {
    type Connection = Channel;

    fn endpoint(&self) -> &str {
        self.endpoint().text()
    }

    async fn connect(&self, runtime: &Runtime) -> Result<Channel, StreamError> {
        let chain = self.clone().runtime(runtime.clone());
        Self::connect(&chain).await
    }

    fn is_usable(&self, channel: &Channel) -> bool {
        channel.is_quiet()
    }

    async fn close(&self, channel: Channel, why: Retired) {
        if why == Retired::CheckFailed {
            // It answers nothing, so it will not answer our end either.
            channel.abort();
        }
        // A failure to flush is no news for a channel that is given up.
        let _ = channel.close().await;
    }
}
