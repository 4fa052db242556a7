//! For what stands on a channel, as a layer does on the one below it, and lives on the same thread: a relay.
//!
//! What comes up is handed to it, and it hands what goes down to the channel's actor: inbox and outbox are for handles, who
//! may be anywhere.

use std::sync::Arc;

use super::{
    Channel,
    outbox::{Control, Pushed},
};
use crate::{
    credit::{BATCH_COST, Gate},
    error::StreamError,
    layer::Above,
    message::{Flush, Write},
    unit::Frames,
};

impl Channel {
    /// The gate of what goes down.
    pub(crate) fn down_gate(&self) -> &Arc<Gate> {
        &self.shared.down_gate
    }

    /// Frames, and how they end, go to `above` from now on; what waits to be received comes first. Handles receive nothing more.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` when there is a unique receiver; otherwise why the channel is gone.
    pub(crate) fn attach(&self, above: Box<dyn Above<Frames>>) -> Result<(), StreamError> {
        self.shared.inbox.claim()?;
        let attach = Control::Attach(above);
        let attached = self.shared.outbox.control(attach);
        attached.map_err(|(_, error)| error)
    }

    /// Sends a batch without waiting, behind all that was sent before; `owed` bytes of memory are in use for it.
    ///
    /// # Errors
    ///
    /// Why nothing can be sent any more.
    pub(crate) fn write(&self, frames: Frames, owed: usize) -> Result<(), StreamError> {
        let outbox = &self.shared.outbox;
        let gate = &self.shared.down_gate;
        if let Some(error) = gate.closed() {
            return Err(error);
        }
        let mut write = Some(Write {
            unit: frames,
            credit: gate.charge(owed + BATCH_COST),
        });
        if outbox.is_idle()
            && let Some((_, mail)) = self.shared.head.get()
            && mail.give(&mut write)
        {
            return Ok(());
        }
        let Some(Write { mut unit, credit }) = write else {
            return Ok(());
        };
        match outbox.push(&mut unit, credit.into_amount(), gate) {
            Pushed::Done(_) => Ok(()),
            _ => Err(outbox.refusal()),
        }
    }

    /// Asks for a flush, whose answer comes where [`Flush::new`] said.
    pub(crate) fn start_flush(&self, flush: Flush) -> Result<(), StreamError> {
        self.shared
            .outbox
            .control(Control::Flush(flush))
            .map_err(|(_, error)| error)
    }
}
