//! [`ByteStream`]: the one actor that owns a transport, whatever its kind.
//!
//! It has one I/O future. Each time it is polled it writes all that is pending in vectored writes, flushes when
//! nothing is left, and then reads *once*; what came is passed on and the future wakes itself, so that consumers
//! run on a warm cache before the next read. Only this folder touches file descriptors; nothing here knows what
//! the bytes mean.

mod buffered;
pub mod custom;
mod demand;
pub mod handle;
mod handlers;
mod layered;
mod monitored;
pub mod pipe;
pub mod process;
mod ring;
pub mod stdio;
pub mod tcp;
#[cfg(feature = "__tls")]
pub mod tls;
mod transport;
pub mod tunnel;
pub mod unix;

use std::{
    collections::VecDeque,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
    time::Duration,
};

use actix::{Actor, Message};
use bytes::{Buf, Bytes};
use tokio::{sync::oneshot, time::Sleep};

pub use buffered::{BufferRefused, BufferedStream};
use demand::Demand;
pub(crate) use handle::Door;
pub use handle::StreamHandle;
pub use monitored::MonitoredStream;
pub use transport::{Address, StreamInfo, Transport};

use crate::{
    credit::{BATCH_COST, Credit, Gate},
    error::{ConnectionLostError, LossReason, StreamError},
    event::{log_started, log_stopped},
    layer::Above,
    message::{Flush, Read},
    noted::Noted,
    piece::Piece,
    queue,
    unit::Chunk,
    work::{self, Work, WorkContext},
};

/// The part of a stream's credit that stands for what is not counted: a sixteenth.
const UNCOUNTED_SHARE: usize = 16;
/// Bytes of small chunks whose credit is noted together.
const SHARED_ENTRY: usize = 16 << 10;
/// Pieces that one vectored write takes.
const WRITE_PIECES: usize = 64;

/// Asks a stream that is not attached to a layer for exactly `count` bytes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ReadExact {
    pub(crate) count: usize,
    pub(crate) answer: oneshot::Sender<Result<Bytes, StreamError>>,
}

/// Gives back bytes of a read whose caller went away.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Unread(pub(crate) Bytes);

/// Flush, finish, wait for the peer's end, close.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CloseStream(pub(crate) oneshot::Sender<Result<(), StreamError>>);

/// Something to be dropped with the stream.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Keep(pub(crate) Box<dyn Send>);

/// Who takes what is read.
enum Consumer {
    /// Nobody yet: bytes are read as they are asked for.
    OnDemand(Box<Demand>),
    /// The layer above.
    Attached(Box<dyn Above<Chunk>>),
    /// Nobody any more: bytes are read and dropped until the peer's end.
    Discarding,
}

/// What became of one attempt to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadOnce {
    Pending,
    /// Less came than there was room for.
    Short,
    Full,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finishing {
    No,
    Wanted,
    Done,
}

/// The actor that owns the transport `T`.
pub struct ByteStream<T: Transport> {
    io: T,
    /// Whether the transport may have something to read.
    readiness: Noted,
    endpoint: Arc<str>,
    close_timeout: Duration,
    down_gate: Arc<Gate>,
    up_gate: Arc<Gate>,

    /// What is to be written, and the credit of each chunk of it with the bytes it has left.
    queue: VecDeque<Bytes>,
    owed: VecDeque<(usize, Credit)>,
    /// Bytes taken so far, and bytes written so far.
    accepted: u64,
    written: u64,
    needs_flush: bool,
    flushes: VecDeque<(u64, Flush)>,
    finishing: Finishing,
    write_error: Option<Box<StreamError>>,

    consumer: Consumer,
    /// The peer's end was seen, or reading failed.
    at_end: bool,
    /// The end was passed on.
    end_told: bool,
    read_error: Option<Box<StreamError>>,

    closing: Vec<CloseStream>,
    aborted: bool,
    kept: Option<Box<dyn Send>>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<T: Transport> ByteStream<T> {
    /// Starts the actor on the current arbiter, paused: it reads when it is asked to, or attached to a layer.
    ///
    /// # Panics
    ///
    /// Outside of an actix arbiter.
    pub fn start(io: T, info: StreamInfo) -> StreamHandle {
        // The rest is for memory that is not counted piece by piece: the ends of blocks, and the queue itself.
        let down_gate = Gate::new(info.limits.credit - info.limits.credit / UNCOUNTED_SHARE);
        let up_gate = Gate::new(info.limits.credit);
        let stream = Self {
            io,
            readiness: Noted::default(),
            endpoint: info.endpoint.clone(),
            close_timeout: info.limits.close_timeout,
            down_gate: down_gate.clone(),
            up_gate: up_gate.clone(),
            queue: VecDeque::new(),
            owed: VecDeque::new(),
            accepted: 0,
            written: 0,
            needs_flush: false,
            flushes: VecDeque::new(),
            finishing: Finishing::No,
            write_error: None,
            consumer: Consumer::OnDemand(Box::default()),
            at_end: false,
            end_told: false,
            read_error: None,
            closing: Vec::new(),
            aborted: false,
            kept: None,
            linger: None,
        };
        let address = work::start(stream);
        StreamHandle::new(address, info, down_gate, up_gate)
    }

    fn lost(&self, reason: LossReason) -> StreamError {
        ConnectionLostError::new(&self.endpoint, reason).into()
    }

    // ---- down ----

    fn poll_write(&mut self, cx: &mut TaskContext<'_>) {
        if self.write_error.is_some() {
            return;
        }
        if let Poll::Ready(Err(error)) = self.poll_write_all(cx) {
            self.fail_writing(self.lost(error.into()));
        }
    }

    fn poll_write_all(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let count = ready!(self.poll_write_once(cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
            self.needs_flush = true;
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.needs_flush = false;
        }
        while let Some((position, _)) = self.flushes.front()
            && *position <= self.written
        {
            if let Some((_, flush)) = self.flushes.pop_front() {
                flush.answer(Ok(()));
            }
        }
        if self.finishing == Finishing::Wanted {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.finishing = Finishing::Done;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_once(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        if self.queue.len() == 1 || !self.io.is_write_vectored() {
            return Pin::new(&mut self.io).poll_write(cx, &self.queue[0]);
        }
        let mut slices = [IoSlice::new(&[]); WRITE_PIECES];
        let count = self.queue.len().min(WRITE_PIECES);
        for (slice, piece) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(piece);
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, &slices[..count])
    }

    /// Notes the credit of `bytes` at the end of the queue. Small chunks share an entry: thousands of them may wait.
    fn owe(&mut self, bytes: usize, credit: Credit) {
        match self.owed.back_mut() {
            // What a codec sends on its own account has a gate of its own.
            Some((before, owed))
                if *before + bytes <= SHARED_ENTRY && Arc::ptr_eq(owed.gate(), credit.gate()) =>
            {
                *before += bytes;
                owed.merge(credit);
            }
            _ => queue::push(&mut self.owed, (bytes, credit)),
        }
    }

    /// Drops what the kernel took, and gives its credit back.
    fn advance(&mut self, count: usize) {
        self.written += count as u64;
        let mut left = count;
        while left > 0 {
            let Some(piece) = self.queue.front_mut() else {
                break;
            };
            if piece.len() > left {
                piece.advance(left);
                break;
            }
            left -= piece.len();
            self.queue.pop_front();
        }
        let mut left = count;
        while let Some((bytes, credit)) = self.owed.front_mut() {
            if *bytes > left {
                *bytes -= left;
                // What is above the cap weighs less than its bytes: that credit returns with the last of them.
                let spare = credit.amount().saturating_sub(*bytes);
                drop(credit.split(left.min(spare)));
                break;
            }
            left -= *bytes;
            self.owed.pop_front();
        }
        give_back_room(&mut self.queue);
        give_back_room(&mut self.owed);
    }

    fn fail_writing(&mut self, error: StreamError) {
        // Closed before any credit comes back, or somebody who waits would take it for what can never be sent.
        self.down_gate.close(error.clone());
        self.queue.clear();
        self.owed.clear();
        for (_, flush) in self.flushes.drain(..) {
            flush.answer(Err(error.clone()));
        }
        if let Consumer::Attached(above) = &self.consumer {
            above.write_failed(error.clone());
        }
        self.write_error = Some(error.into());
    }

    // ---- up ----

    fn wants_to_read(&self) -> bool {
        match &self.consumer {
            Consumer::OnDemand(demand) => demand.is_wanted(),
            Consumer::Attached(_) | Consumer::Discarding => true,
        }
    }

    fn poll_read(&mut self, cx: &mut TaskContext<'_>) {
        if !self.at_end && self.wants_to_read() && self.up_gate.poll_open(0, cx).is_ready() {
            // A short read emptied the socket: the second attempt only leaves our waker there, without a system call.
            // After a full one the next read waits until those above had their turn.
            if self.read_once(cx) == ReadOnce::Short && self.read_once(cx) != ReadOnce::Pending {
                cx.waker().wake_by_ref();
            }
        }
        if self.at_end
            && !self.end_told
            && let Poll::Ready(reason) = self.io.poll_end(cx)
        {
            self.tell_end(reason);
        }
    }

    fn read_once(&mut self, cx: &mut TaskContext<'_>) -> ReadOnce {
        let Self { readiness, io, .. } = self;
        match readiness.poll(cx, |cx| ring::poll_read(io, cx)) {
            Poll::Pending => ReadOnce::Pending,
            Poll::Ready(Ok(read)) if read.piece.is_empty() => {
                self.at_end = true;
                ReadOnce::Ended
            }
            Poll::Ready(Ok(read)) => {
                let is_short = read.is_short;
                self.deliver(read.piece, read.abandoned);
                if is_short && self.wants_to_read() {
                    return ReadOnce::Short;
                }
                cx.waker().wake_by_ref();
                ReadOnce::Full
            }
            Poll::Ready(Err(error)) => {
                self.at_end = true;
                self.read_error = Some(self.lost(error.into()).into());
                ReadOnce::Ended
            }
        }
    }

    fn deliver(&mut self, piece: Piece, abandoned: usize) {
        match &mut self.consumer {
            Consumer::Attached(above) => {
                let credit = self.up_gate.charge(piece.len() + abandoned + BATCH_COST);
                if above
                    .read(Read {
                        unit: piece.into(),
                        credit,
                    })
                    .is_err()
                {
                    self.consumer = Consumer::Discarding;
                }
            }
            Consumer::OnDemand(demand) => {
                demand.push(&piece);
                demand.serve();
            }
            Consumer::Discarding => {}
        }
    }

    fn tell_end(&mut self, reason: Option<LossReason>) {
        self.end_told = true;
        if self.read_error.is_none() {
            self.read_error = reason
                .map(|reason| self.lost(reason).into())
                .or_else(|| self.write_error.clone());
        }
        match &mut self.consumer {
            Consumer::Attached(above) => match self.read_error.as_deref() {
                Some(error) => above.lost(error.clone()),
                None => above.end(),
            },
            Consumer::OnDemand(demand) => {
                demand.end(&self.endpoint, self.read_error.as_deref().cloned());
                demand.serve();
            }
            Consumer::Discarding => {}
        }
    }

    // ---- the end of it all ----

    /// Works towards the end: all written, our direction finished, the peer's end seen, or patience gone.
    fn poll_close(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.finishing == Finishing::No {
            self.finishing = Finishing::Wanted;
            self.poll_write(cx);
        }
        if !matches!(self.consumer, Consumer::Discarding) {
            let before = std::mem::replace(&mut self.consumer, Consumer::Discarding);
            if let Consumer::Attached(above) = before {
                // Somebody closed the stream under a channel.
                above.lost(StreamError::Closed);
            }
            self.poll_read(cx);
        }
        if self.at_end && (self.finishing == Finishing::Done || self.write_error.is_some()) {
            return Poll::Ready(());
        }
        let linger = self
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.close_timeout)));
        linger.as_mut().poll(cx)
    }

    fn answer_close(&mut self) {
        let result = match self.write_error.as_deref() {
            Some(error) => Err(error.clone()),
            None if self.queue.is_empty() => Ok(()),
            None => Err(StreamError::TimedOut {
                what: "closing the stream",
                after: self.close_timeout,
            }),
        };
        for CloseStream(answer) in self.closing.drain(..) {
            let _ = answer.send(result.clone());
        }
    }
}

/// Shrinks a queue that was much longer once: many small pieces may have waited, and room for them is memory that no
/// credit counts.
fn give_back_room<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > 256 && queue.len() < queue.capacity() / 8 {
        queue.shrink_to(queue.capacity() / 4);
    }
}

impl<T: Transport> Actor for ByteStream<T> {
    type Context = WorkContext<Self>;

    fn started(&mut self, _: &mut WorkContext<Self>) {
        log_started::<Self>(&self.endpoint);
    }
}

impl<T: Transport> Drop for ByteStream<T> {
    fn drop(&mut self) {
        log_stopped::<Self>(&self.endpoint);
        self.answer_close();
        let error = self
            .write_error
            .as_deref()
            .cloned()
            .unwrap_or_else(|| self.lost(LossReason::ActorGone));
        self.down_gate.close(error.clone());
        self.up_gate.close(error.clone());
        if let Consumer::Attached(above) = &self.consumer
            && !self.end_told
        {
            above.lost(error);
        }
    }
}

impl<T: Transport> Work for ByteStream<T> {
    /// Input and output.
    fn work(&mut self, ctx: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.poll_write(cx);
        let is_going_on = !self.aborted && ctx.connected() && self.closing.is_empty();
        if is_going_on && ctx.visitor().is_some() {
            return Poll::Pending;
        }
        self.poll_read(cx);
        // A reset does not wait until the last handle is gone.
        if !(self.aborted && self.end_told) {
            if ctx.connected() && self.closing.is_empty() {
                return Poll::Pending;
            }
            ready!(self.poll_close(cx));
        }
        self.answer_close();
        // Handles that are left see a closed mailbox from here on.
        Poll::Ready(())
    }

    /// The transport panicked: it is not asked to close in good order.
    fn panicked(&mut self, reason: LossReason) {
        let error = self.lost(reason);
        self.fail_writing(error.clone());
        self.at_end = true;
        self.read_error = Some(error.into());
        self.tell_end(None);
    }
}
