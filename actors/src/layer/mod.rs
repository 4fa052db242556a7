//! [`Layer`]: the actor between two neighbours that hosts a codec.
//!
//! Lifecycle, order, credit and failure are written here once; a codec adds only its own work. A chain comes apart from
//! the top: an actor that goes, for whatever reason, detaches the one below, which then goes, too.

mod hosted;
mod neighbour;

use std::task::{Context as TaskContext, Poll};

use actix::{Actor, Handler};

pub(crate) use self::{
    hosted::{Hosted, Upward},
    neighbour::{Above, Below, Gone},
};
use crate::{
    codec::Codec,
    error::LossReason,
    event::{log_started, log_stopped},
    mail::WorkAddr,
    message::{
        Abort, Attach, Detach, End, ExpectMore, Finish, Flush, Lost, Read, Tell, Write, WriteFailed,
    },
    stream::{CloseStream, StreamHandle},
    work::{self, Work, WorkContext},
};

/// The actor that hosts the codec `C`.
pub struct Layer<C: Codec> {
    hosted: Hosted<C>,
    above: Option<Box<dyn Above<C::Above>>>,
    /// The neighbour above is gone.
    detached: bool,
}

impl<C: Codec> Layer<C> {
    /// Starts the layer on the current arbiter, above `below` in the chain over `stream`.
    pub(crate) fn start(
        codec: C,
        below: Box<dyn Below<C::Below>>,
        stream: &StreamHandle,
    ) -> WorkAddr<Self> {
        work::start(Self::of(Hosted::new(codec, below, stream)))
    }

    /// Starts the layer on the arbiter of `stream`, from any thread. If that has stopped, the address is closed.
    pub(crate) fn start_on(
        codec: C,
        below: Box<dyn Below<C::Below>>,
        stream: &StreamHandle,
    ) -> WorkAddr<Self> {
        let hosted = Hosted::new(codec, below, stream);
        work::start_on(stream.arbiter(), move || Self::of(hosted))
    }

    /// The actor that hosts `hosted`, and is to be started.
    pub(crate) fn of(hosted: Hosted<C>) -> Self {
        Self {
            hosted,
            above: None,
            detached: false,
        }
    }
}

impl<C: Codec> Actor for Layer<C> {
    type Context = WorkContext<Self>;

    fn started(&mut self, _: &mut WorkContext<Self>) {
        log_started::<Self>(self.hosted.endpoint());
    }
}

impl<C: Codec> Drop for Layer<C> {
    fn drop(&mut self) {
        log_stopped::<Self>(self.hosted.endpoint());
        // Says something only when this actor panicked or its arbiter stopped.
        self.hosted.drop_above(&mut self.above);
        self.hosted.detach();
    }
}

impl<C: Codec> Work for Layer<C> {
    /// Gives out what the codec has.
    fn work(&mut self, _: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.hosted.drain(cx, &mut self.above);
        if self.detached || self.hosted.is_closed() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn panicked(&mut self, reason: LossReason) {
        self.hosted.panicked(reason, &mut self.above);
    }
}

impl<C: Codec> Handler<Attach<C::Above>> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Attach<C::Above>, ctx: &mut WorkContext<Self>) {
        let before = self.above.replace(message.0);
        if let (Some(before), Some(above)) = (before, &self.above) {
            // Something was built on what was read as a stream so far.
            before.hand_over(&**above);
            return;
        }
        // Only now may data come up.
        self.hosted.attach(Box::new(ctx.work_address()));
    }
}

impl<C: Codec> Handler<Write<C::Above>> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Write<C::Above>, ctx: &mut WorkContext<Self>) {
        if self.hosted.write(message) {
            ctx.settle();
        }
    }
}

impl<C: Codec> Handler<Read<C::Below>> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Read<C::Below>, ctx: &mut WorkContext<Self>) {
        if self.hosted.read(message, &mut self.above) {
            ctx.settle();
        }
    }
}

impl<C: Codec> Handler<Finish> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut WorkContext<Self>) {
        self.hosted.finish();
    }
}

impl<C: Codec> Handler<End> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut WorkContext<Self>) {
        self.hosted.end();
    }
}

impl<C: Codec> Handler<Flush> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Flush, _: &mut WorkContext<Self>) {
        self.hosted.flush(message);
    }
}

impl<C: Codec> Handler<CloseStream> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: CloseStream, _: &mut WorkContext<Self>) {
        self.hosted.close(message);
    }
}

impl<C: Codec> Handler<Abort> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: Abort, _: &mut WorkContext<Self>) {
        self.hosted.abort(&mut self.above);
    }
}

impl<C: Codec> Handler<Detach> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: Detach, _: &mut WorkContext<Self>) {
        self.detached = true;
        self.hosted.abandon();
    }
}

impl<C: Codec> Handler<ExpectMore> for Layer<C> {
    type Result = ();

    fn handle(&mut self, _: ExpectMore, _: &mut WorkContext<Self>) {
        self.hosted.expect_more();
    }
}

impl<C: Codec> Handler<Lost> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Lost, _: &mut WorkContext<Self>) {
        self.hosted.lost(message.0);
    }
}

impl<C: Codec> Handler<WriteFailed> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: WriteFailed, _: &mut WorkContext<Self>) {
        if let Some(above) = &self.above {
            above.write_failed(message.0);
        }
    }
}

impl<C: Codec> Handler<Tell> for Layer<C> {
    type Result = ();

    fn handle(&mut self, message: Tell, _: &mut WorkContext<Self>) {
        if let Some(above) = &self.above {
            above.tell(message);
        }
    }
}
