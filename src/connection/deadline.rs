//! [`Deadline`]: until when a call may take, with all that has to be asked before it.

use std::time::{Duration, Instant};

use rpyc_actors::{Credit, Runtime, StreamError};
use tokio::sync::OnceCell;

use super::{Link, link::LocalItem};
use crate::{
    brine::ConvertError,
    error::Error,
    protocol::{Ask, IdPack, Item},
};

/// Credit that a call waits for when there is none. It is more than most calls need and goes back at once: with the estimate, the end of
/// one large frame would let in everybody who waits, each with a large frame perhaps.
const WAITING_ESTIMATE: usize = 256 << 10;

/// When a call ends at the latest, and how long that was when it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    after: Option<Duration>,
    at: Option<Instant>,
}

impl Deadline {
    /// From now on; `None` is never. A time too long for the clock is never, too.
    pub(crate) fn after(after: Option<Duration>) -> Self {
        let at = after.and_then(|after| Instant::now().checked_add(after));
        Self { after, at }
    }

    pub(super) fn at(self) -> Option<Instant> {
        self.at
    }

    pub(super) fn passed(self) -> Error {
        Error::TimedOut(self.after.unwrap_or_default())
    }

    /// Waits for something that keeps no deadline itself; `None` when this one passed. `link` says whose clock it is.
    async fn bound<R>(
        self,
        link: &Link,
        work: impl Future<Output = R>,
    ) -> Result<Option<R>, StreamError> {
        let Some(at) = self.at else {
            return Ok(Some(work.await));
        };
        let clock = Runtime::with_arbiters([link.channel.arbiter().clone()])?;
        Ok(tokio::select! {
            biased;
            done = work => Some(done),
            () = clock.sleep(at.saturating_duration_since(Instant::now())) => None,
        })
    }
}

impl Link {
    /// Waits in line until the peer, or the kernel, took some of what was sent before.
    pub(super) async fn wait_for_room(&self, deadline: Deadline) -> Result<Credit, Error> {
        let room = deadline.bound(self, self.channel.reserve(WAITING_ESTIMATE));
        let room = room.await?.unwrap_or_else(|| {
            Err(StreamError::TimedOut {
                what: "the wait for room to send",
                after: deadline.after.unwrap_or_default(),
            })
        });
        room.map_err(|error| Error::NotSent(self.end_reason().unwrap_or(error)))
    }

    /// The peer's root. It is asked for once, and then held for as long as the connection lasts.
    pub(crate) async fn root(&self, deadline: Deadline) -> Result<&IdPack, Error> {
        let ask = || self.ask_item(Ask::get_root(), deadline);
        self.once(&self.known().root, deadline, ask)
            .await
            .map_err(|error| match error {
                // To ask for the root changes nothing, and what it was asked for has not left.
                Error::MayHaveRun(error) if error.is_connection_lost() => Error::NotSent(error),
                error => error,
            })
    }

    /// A reference that the connection asks for once. Whoever comes while it is asked for waits no longer than its own deadline.
    pub(crate) async fn once<'a, F>(
        &'a self,
        cell: &'a OnceCell<IdPack>,
        deadline: Deadline,
        ask: impl FnOnce() -> F,
    ) -> Result<&'a IdPack, Error>
    where
        F: Future<Output = Result<LocalItem, Error>>,
    {
        if let Some(known) = cell.get() {
            return Ok(known);
        }
        let asking = cell.get_or_try_init(|| async {
            match ask().await? {
                Item::Theirs(id) => Ok(id),
                other => {
                    self.give_back(&other);
                    let got = match other {
                        Item::Value(value) => value.type_name(),
                        _ => "object",
                    };
                    Err(ConvertError::other("a reference", got).into())
                }
            }
        });
        let asked = deadline.bound(self, asking).await?;
        asked.unwrap_or_else(|| Err(deadline.passed()))
    }
}
