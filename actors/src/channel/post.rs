//! For what stands on a channel: actors, and protocols that send under a lock of their own.

use bytes::{Bytes, BytesMut};

use super::{
    Channel, Sending, Subscribe,
    outbox::{Control, Pushed},
};
use crate::{
    credit::Credit,
    error::{StreamError, WriteError},
    message::Flush,
    unit::{COPY_LIMIT, FRAME_OVERHEAD, Frames},
};

impl Channel {
    /// Takes credit, waiting in line: for a [`Write`](crate::message::Write) to [`address`](Self::address), or
    /// for [`post`](Self::post).
    ///
    /// # Errors
    ///
    /// When the channel is closed or lost.
    ///
    /// # Cancellation
    ///
    /// As [`Gate::acquire`](crate::credit::Gate::acquire).
    pub async fn reserve(&self, bytes: usize) -> Result<Credit, StreamError> {
        self.shared.down_gate.acquire(bytes).await
    }

    /// Takes credit if that needs no waiting.
    pub fn try_reserve(&self, bytes: usize) -> Option<Credit> {
        self.shared.down_gate.try_acquire(bytes)
    }

    /// Credit that nobody was asked for, for what must not wait, such as the answer to a peer that waits for it.
    pub fn overdraw(&self, bytes: usize) -> Credit {
        self.shared.down_gate.charge(bytes)
    }

    /// Sends all of `payload` as one frame, with credit that was reserved before. Never waits, so that it can be called
    /// under a lock; the credit is re-weighed to what the frame takes.
    ///
    /// Returns the frame's number, for [`has_left`](Self::has_left).
    ///
    /// # Errors
    ///
    /// When the channel is closed or lost, or the frame is above the limit. The payload is then left as it was.
    pub fn post(&self, payload: &mut BytesMut, mut credit: Credit) -> Result<u64, StreamError> {
        if self.is_too_large(payload.len()) {
            return Err(self.too_large(payload.len()));
        }
        let gate = &self.shared.down_gate;
        credit.set((payload.len() + FRAME_OVERHEAD).min(gate.cap()));
        let owed = credit.into_amount();
        let pushed = if payload.len() <= COPY_LIMIT {
            let pushed = self.shared.outbox.push(&mut &payload[..], owed, gate);
            if pushed != Pushed::Refused {
                payload.clear();
            }
            pushed
        } else {
            let mut frame = payload.split().freeze();
            let pushed = self.shared.outbox.push(&mut frame, owed, gate);
            if pushed == Pushed::Refused {
                *payload = frame.into();
            }
            pushed
        };
        match pushed {
            Pushed::Done(number) => Ok(number),
            _ => Err(self.shared.outbox.refusal()),
        }
    }

    /// Frames accepted so far, which is the number of the last one.
    pub fn accepted(&self) -> u64 {
        self.shared.outbox.appended()
    }

    /// True when the frame with this number left the outbox: from then on the peer may see it.
    pub fn has_left(&self, number: u64) -> bool {
        self.shared.outbox.has_taken(number)
    }

    /// Puts no two frames into one TLS record from now on, which costs a system call a frame; nothing on other streams.
    ///
    /// For peers that ask the socket whether more has come, as Python's RPyC does: what their TLS has decrypted already
    /// is not seen there, so a second frame of a record would wait for whatever comes next.
    pub fn separate_frames(&self) {
        if self.shared.info.has_records() {
            // A channel that is gone sends nothing.
            let _ = self.shared.outbox.control(Control::SeparateFrames);
        }
    }

    /// Has the transport acknowledge at once what came. Only a hint, for whoever waits for a frame of a peer that may hold it back until
    /// the one before is acknowledged, as Nagle's algorithm does.
    pub fn expect_more(&self) {
        // A channel that is gone has nothing to acknowledge.
        let _ = self.shared.outbox.control(Control::ExpectMore);
    }

    /// Has layers that hold frames back for a batch let go of them, because somebody waits for what they bring. Without such
    /// a layer it does nothing; it never waits.
    pub fn pass_on(&self) {
        if self.shared.gathers {
            // A flush that nobody listens to. A channel that is gone has nothing to let go of.
            let _ = self.shared.outbox.control(Control::Flush(Flush::new().0));
        }
    }

    /// Sends one frame that no layer compresses: see [`Frames::uncompressed`].
    ///
    /// # Errors
    ///
    /// As [`send_batch`](Self::send_batch).
    ///
    /// # Cancellation
    ///
    /// As [`send`](Self::send).
    pub fn send_plain(&self, frame: impl Into<Bytes>) -> Sending<'_, WriteError<Frames>> {
        self.send_batch(Frames::single(frame.into()).uncompressed())
    }

    /// Sends all frames and facts to actors from now on, beginning with the frames that wait in the inbox.
    ///
    /// # Errors
    ///
    /// When the channel is closed or lost.
    pub fn subscribe(&self, subscription: Subscribe) -> Result<(), StreamError> {
        self.shared
            .outbox
            .control(Control::Subscribe(subscription))
            .map_err(|(_, error)| error)
    }
}
