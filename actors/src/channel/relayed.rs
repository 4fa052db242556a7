//! For what drives a channel by polling it, without a task that waits: a relay.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    Channel, Receiver,
    inbox::State,
    outbox::{Control, Pushed},
};
use crate::{
    credit::Gate,
    error::StreamError,
    message::{Flush, Read},
    unit::{COPY_LIMIT, FRAME_OVERHEAD, Frames},
};

impl Channel {
    /// The gate of what goes down.
    pub(crate) fn down_gate(&self) -> &Arc<Gate> {
        &self.shared.down_gate
    }

    /// Sends all of `frame` without waiting. A frame that is not copied keeps memory besides its own alive, and pays for
    /// that, too: it takes all of `extra`.
    pub(crate) fn forward(&self, frame: &mut Bytes, extra: &mut usize) -> Result<(), StreamError> {
        if self.is_too_large(frame.len()) {
            return Err(self.too_large(frame.len()));
        }
        let mut owed = frame.len() + FRAME_OVERHEAD;
        if frame.len() > COPY_LIMIT {
            owed += std::mem::take(extra);
        }
        let gate = &self.shared.down_gate;
        gate.overdraw(owed);
        match self.shared.outbox.push(frame, owed, gate) {
            Pushed::Done(_) => Ok(()),
            _ => Err(self.shared.outbox.refusal()),
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

impl Receiver {
    /// The next batch with its credit, `None` at the peer's end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Result<Option<Read<Frames>>, StreamError>> {
        let shared = self.shared();
        shared.urging(shared.inbox.poll(cx, State::take_batch))
    }
}
