//! The two signals that end a program, SIGTERM and SIGINT.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Failure;

/// They are caught from the moment this is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        let catch = |kind| signal(kind).map_err(|error| Failure::Unavailable(error.to_string()));
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// The next signal, by its number.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// Waits for the work, or ends the process at the next signal, with the status that a shell gives to those whom it killed. The work
    /// is dropped before, so that it takes away what it has left about.
    pub(crate) async fn unless<R>(&mut self, work: impl Future<Output = R>) -> R {
        self.unless_after(work, async {}).await
    }

    /// As [`unless`](Self::unless), and the process ends when this last thing is done, too.
    pub(crate) async fn unless_after<R>(
        &mut self,
        work: impl Future<Output = R>,
        last: impl Future<Output = ()>,
    ) -> R {
        let number = {
            tokio::select! {
                result = work => return result,
                number = self.next() => number,
            }
        };
        last.await;
        std::process::exit(128 + number)
    }
}
