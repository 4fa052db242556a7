//! What `get` and `put` share: the connection, the progress bar, and an end by signal that leaves nothing behind.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rpyc::{
    ClassicService, Connection,
    classic::{Progress, TransferError},
};

use crate::{
    Failure, output,
    peer::{self, Peer},
    signals::Signals,
};

/// `local` is what a file of this end is that cannot be used.
pub(crate) async fn run(
    peer: &Peer,
    remote: &str,
    local: fn(String) -> Failure,
    transfer: impl AsyncFnOnce(&Connection, &mut dyn FnMut(Progress)) -> Result<u64, TransferError>,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let work = async {
        let connection = peer.connect_in_time(ClassicService).await?;
        let bar = bar(remote);
        let mut progress = |progress: Progress| {
            bar.set_length(progress.total.max(progress.done));
            bar.set_position(progress.done);
        };
        let done = transfer(&connection, &mut progress).await;
        bar.finish_and_clear();
        done.map_err(|error| match error {
            TransferError::Call(error) => error.into(),
            other => local(other.to_string()),
        })?;
        peer::close(&connection).await;
        Ok(())
    };
    signals.unless(work).await
}

/// A bar on a terminal, and nothing where standard error is something else.
fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {binary_bytes:>10}/{binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4}",
    );
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.with_message(output::clean(name))
}
