//! What a stream does with each message. The work itself is the I/O future's.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll},
};

use actix::Handler;

use super::{
    ByteStream, CloseStream, Consumer, Finishing, Keep, ReadExact, Transport, Unread,
    demand::became_a_channel,
};
use crate::{
    error::{LossReason, StreamError},
    message::{Abort, Attach, Detach, ExpectMore, Finish, Flush, Write},
    queue,
    unit::Chunk,
    work::WorkContext,
};

impl<T: Transport> ByteStream<T> {
    /// Writes what came if nothing stands before it, as an answer mostly does. Gives back what is to wait in the queue.
    fn write_at_once(
        &mut self,
        message: Write<Chunk>,
        ctx: &mut WorkContext<Self>,
    ) -> Option<Write<Chunk>> {
        let is_idle = self.queue.is_empty() && !self.needs_flush && self.flushes.is_empty();
        let (true, Some(waker), [piece]) = (is_idle, ctx.visitor(), message.unit.pieces()) else {
            return Some(message);
        };
        let mut cx = TaskContext::from_waker(waker);
        match Pin::new(&mut self.io).poll_write(&mut cx, piece) {
            Poll::Ready(Ok(count)) if count == piece.len() => {
                self.accepted += count as u64;
                self.written += count as u64;
                self.needs_flush = !matches!(
                    Pin::new(&mut self.io).poll_flush(&mut cx),
                    Poll::Ready(Ok(()))
                );
                if !self.needs_flush && self.finishing == Finishing::No {
                    ctx.settle();
                }
                None
            }
            Poll::Ready(Ok(count)) if count > 0 => {
                self.put_in_line(message);
                self.advance(count);
                None
            }
            Poll::Ready(Err(error)) => {
                self.fail_writing(self.lost(error.into()));
                None
            }
            // What takes nothing is asked again, and told by whoever asks.
            Poll::Ready(Ok(_)) | Poll::Pending => Some(message),
        }
    }

    fn put_in_line(&mut self, Write { mut unit, credit }: Write<Chunk>) {
        self.accepted += unit.len() as u64;
        self.owe(unit.len(), credit);
        match unit.take_only() {
            Some(piece) => queue::push(&mut self.queue, piece.into_kept()),
            None => self.queue.extend(unit.into_kept()),
        }
    }
}

impl<T: Transport> Handler<Write<Chunk>> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, message: Write<Chunk>, ctx: &mut WorkContext<Self>) {
        if self.write_error.is_none()
            && let Some(message) = self.write_at_once(message, ctx)
        {
            self.put_in_line(message);
        }
    }
}

impl<T: Transport> Handler<Finish> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, _: Finish, _: &mut WorkContext<Self>) {
        if self.finishing == Finishing::No {
            self.finishing = Finishing::Wanted;
        }
    }
}

impl<T: Transport> Handler<Flush> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, flush: Flush, _: &mut WorkContext<Self>) {
        match self.write_error.as_deref() {
            Some(error) => flush.answer(Err(error.clone())),
            None => self.flushes.push_back((self.accepted, flush)),
        }
    }
}

impl<T: Transport> Handler<Abort> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, _: Abort, _: &mut WorkContext<Self>) {
        self.io.abort();
        self.aborted = true;
        let error = self.lost(LossReason::Aborted);
        self.at_end = true;
        self.read_error.get_or_insert_with(|| error.clone().into());
        if self.write_error.is_none() {
            self.fail_writing(error);
        }
    }
}

impl<T: Transport> Handler<ExpectMore> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, _: ExpectMore, _: &mut WorkContext<Self>) {
        self.io.expect_more();
    }
}

impl<T: Transport> Handler<Attach<Chunk>> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, Attach(above): Attach<Chunk>, _: &mut WorkContext<Self>) {
        let before = std::mem::replace(&mut self.consumer, Consumer::Discarding);
        match before {
            Consumer::OnDemand(demand) => {
                let (surplus, waiting) = demand.hand_over();
                for answer in waiting {
                    // Whoever asked may have gone.
                    let _ = answer.send(Err(became_a_channel()));
                }
                self.consumer = Consumer::Attached(above);
                if !surplus.is_empty() {
                    self.deliver(surplus.into(), 0);
                }
            }
            Consumer::Attached(before) => {
                before.hand_over(&*above);
                self.consumer = Consumer::Attached(above);
            }
            Consumer::Discarding => self.consumer = Consumer::Attached(above),
        }
        // What ended before is told to whoever came now.
        self.end_told = false;
    }
}

impl<T: Transport> Handler<ReadExact> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, request: ReadExact, _: &mut WorkContext<Self>) {
        match &mut self.consumer {
            Consumer::OnDemand(demand) => {
                demand.ask(request);
                demand.serve();
            }
            Consumer::Attached(_) => {
                let _ = request.answer.send(Err(StreamError::misuse(
                    "the stream is part of a channel: read from that",
                )));
            }
            Consumer::Discarding => {
                let _ = request.answer.send(Err(StreamError::Closed));
            }
        }
    }
}

impl<T: Transport> Handler<Unread> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, Unread(bytes): Unread, _: &mut WorkContext<Self>) {
        if let Consumer::OnDemand(demand) = &mut self.consumer {
            demand.put_back(&bytes);
            demand.serve();
        }
    }
}

impl<T: Transport> Handler<CloseStream> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, message: CloseStream, _: &mut WorkContext<Self>) {
        self.down_gate.close(StreamError::Closed);
        self.closing.push(message);
    }
}

impl<T: Transport> Handler<Keep> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, message: Keep, _: &mut WorkContext<Self>) {
        self.kept = Some(message.0);
    }
}

impl<T: Transport> Handler<Detach> for ByteStream<T> {
    type Result = ();

    fn handle(&mut self, _: Detach, _: &mut WorkContext<Self>) {
        // The end begins when the last address is dropped, which the neighbour does next.
        self.consumer = Consumer::Discarding;
    }
}
