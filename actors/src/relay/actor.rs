//! [`Relaying`]: the actor between a stream and a channel.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use actix::{Actor, Handler};
use bytes::BytesMut;
use tokio::sync::oneshot;

use super::{
    Leg, MAX_PIECE, RelayError, Relayed,
    above::{Above, ChannelEnded},
};
use crate::{
    channel::Channel,
    credit::Gate,
    error::{ConnectionLostError, LossReason, StreamError},
    event::{log_started, log_stopped},
    layer::{Below, Gone},
    message::{End, Flush, Lost, Read, Tell, Write, WriteFailed},
    stream::StreamHandle,
    unit::{COPY_LIMIT, Chunk, FRAME_OVERHEAD, Frames, FramesBuilder},
    work::{Work, WorkContext},
};

/// Frames of a batch that become pieces as they are.
const FEW: usize = 64;
/// In larger batches, frames up to this size are copied together: a piece costs memory that no credit counts, several times
/// what a byte does that travels alone, and one vectored write takes no more than `FEW` of them.
const SMALL: usize = 512;

/// How far one direction is.
enum Flow {
    /// Bytes may come.
    Open,
    /// The end was passed on, and what came before it is under way.
    Flushing(oneshot::Receiver<Result<(), StreamError>>),
    /// All of it reached the kernel.
    Done,
}

impl Flow {
    /// Ready once the end was passed on and everything is written.
    fn poll_flushed(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), StreamError>> {
        if let Self::Flushing(flushed) = self {
            let result = ready!(Pin::new(flushed).poll(cx));
            // Without an answer the leg is gone.
            result.unwrap_or(Err(StreamError::Closed))?;
            *self = Self::Done;
        }
        match self {
            Self::Done => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// The neighbour above the stream, and the user of the channel.
pub(super) struct Relaying {
    endpoint: Arc<str>,
    stream: Box<dyn Below<Chunk>>,
    /// Where those wait who have something for the stream, and for the channel.
    stream_gate: Arc<Gate>,
    channel_gate: Arc<Gate>,
    channel: Channel,

    /// What was read of the stream, and that nothing more comes.
    read: VecDeque<Read<Chunk>>,
    has_ended: bool,
    /// What came of the channel, and why nothing more does.
    received: VecDeque<Read<Frames>>,
    channel_ended: Option<StreamError>,
    to_channel: Flow,
    to_stream: Flow,

    carried: Relayed,
    answer: Option<oneshot::Sender<Relayed>>,
}

impl Relaying {
    pub(super) fn new(
        stream: StreamHandle,
        channel: Channel,
        answer: oneshot::Sender<Relayed>,
    ) -> Self {
        Self {
            endpoint: stream.info().endpoint.clone(),
            stream: stream.below(),
            stream_gate: stream.gates().0.clone(),
            channel_gate: channel.down_gate().clone(),
            channel,
            read: VecDeque::new(),
            has_ended: false,
            received: VecDeque::new(),
            channel_ended: None,
            to_channel: Flow::Open,
            to_stream: Flow::Open,
            carried: Relayed {
                to_channel: 0,
                to_stream: 0,
                result: Ok(()),
            },
            answer: Some(answer),
        }
    }

    fn lost_channel(&self, reason: LossReason) -> StreamError {
        ConnectionLostError::new(&self.channel.endpoint().into(), reason).into()
    }

    fn fail(&mut self, leg: Leg, reason: StreamError) {
        if self.carried.result.is_ok() {
            self.carried.result = Err(RelayError { leg, reason });
        }
    }

    // ---- from the stream into the channel ----

    fn poll_to_channel(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), StreamError>> {
        if self.to_channel.is_open() {
            while !self.read.is_empty() {
                ready!(self.channel_gate.poll_open(0, cx));
                if let Some(read) = self.read.pop_front() {
                    self.send(read)?;
                }
            }
            if !self.has_ended {
                return Poll::Pending;
            }
            // Whoever is next learns of the end by this frame. The transport's own end has to wait until all is
            // written: a channel of which both directions have ended does not wait long for a slow peer.
            let end = Frames::copied(&[]);
            self.channel.write(end, FRAME_OVERHEAD)?;
            let (flush, flushed) = Flush::new();
            self.channel.start_flush(flush)?;
            self.to_channel = Flow::Flushing(flushed);
        }
        ready!(self.to_channel.poll_flushed(cx))?;
        self.channel.finish()?;
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, Read { unit, credit }: Read<Chunk>) -> Result<(), StreamError> {
        self.carried.to_channel += unit.len() as u64;
        // The memory of a whole read stays in use as long as a frame of it does.
        let kept = credit.amount().saturating_sub(unit.len());
        let max_piece = self.channel.limits().max_frame.clamp(1, MAX_PIECE);
        let (frames, owed) = frames_of(unit, max_piece, kept);
        self.channel.write(frames, owed)?;
        // Only now may the stream read on.
        drop(credit);
        Ok(())
    }

    // ---- from the channel into the stream ----

    fn poll_to_stream(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), (Leg, StreamError)>> {
        while self.to_stream.is_open() {
            ready!(self.stream_gate.poll_open(0, cx));
            let Some(read) = self.received.pop_front() else {
                // Behind all that came before it.
                return match self.channel_ended.take() {
                    Some(reason) => Poll::Ready(Err((Leg::Channel, reason))),
                    None => Poll::Pending,
                };
            };
            self.deliver(read)?;
        }
        self.to_stream.poll_flushed(cx).map_err(on(Leg::Stream))
    }

    /// Writes a batch, and passes the end on that may be behind it.
    fn deliver(&mut self, read: Read<Frames>) -> Result<(), (Leg, StreamError)> {
        let (chunk, is_last) = pieces_of(read.unit).map_err(on(Leg::Channel))?;
        let mut passed = Ok(());
        if !chunk.is_empty() {
            self.carried.to_stream += chunk.len() as u64;
            let write = Write {
                credit: self.stream_gate.charge(read.credit.amount()),
                unit: chunk,
            };
            passed = self.stream.write(write);
        }
        // Only now may the channel read on.
        drop(read.credit);
        if is_last {
            let (flush, flushed) = Flush::new();
            passed = passed
                .and_then(|()| self.stream.finish())
                .and_then(|()| self.stream.flush(flush));
            self.to_stream = Flow::Flushing(flushed);
        }
        passed.map_err(|Gone| (Leg::Stream, self.gone()))
    }

    fn gone(&self) -> StreamError {
        let lost = || ConnectionLostError::new(&self.endpoint, LossReason::ActorGone).into();
        self.stream_gate.closed().unwrap_or_else(lost)
    }
}

/// What was read as frames, and the memory that is in use for them, of which `kept` besides the bytes that are not copied.
fn frames_of(mut unit: Chunk, max_piece: usize, kept: usize) -> (Frames, usize) {
    if unit.len() <= max_piece
        && let Some(piece) = unit.take_only()
    {
        match Frames::around(piece) {
            Ok(frames) => {
                let owed = frames.wire_len() + kept;
                return (frames, owed);
            }
            Err(piece) => unit = piece.into(),
        }
    }
    let mut builder = FramesBuilder::new();
    let mut owed = 0;
    for mut piece in unit {
        while !piece.is_empty() {
            let frame = piece.split_to(piece.len().min(max_piece));
            if frame.len() > COPY_LIMIT {
                owed = kept;
            }
            builder.push(frame);
        }
    }
    let frames = builder.take();
    owed += frames.wire_len();
    (frames, owed)
}

/// The bytes of a batch, and whether the direction ends with it.
fn pieces_of(mut frames: Frames) -> Result<(Chunk, bool), StreamError> {
    if let Some(frame) = frames.take_only() {
        let is_last = frame.is_empty();
        return Ok((frame.into(), is_last));
    }
    let is_many = frames.len() > FEW;
    let (mut chunk, mut joined) = (Chunk::new(), BytesMut::new());
    let mut is_last = false;
    for frame in frames {
        if is_last {
            let what = "bytes came behind the end of the direction";
            return Err(StreamError::peer(what));
        }
        is_last = frame.is_empty();
        if is_many && frame.len() <= SMALL {
            joined.extend_from_slice(&frame);
            continue;
        }
        chunk.push(joined.split().freeze());
        chunk.push(frame);
    }
    chunk.push(joined.freeze());
    Ok((chunk, is_last))
}

fn on(leg: Leg) -> impl Fn(StreamError) -> (Leg, StreamError) {
    move |reason| (leg, reason)
}

impl Actor for Relaying {
    type Context = WorkContext<Self>;

    fn started(&mut self, ctx: &mut WorkContext<Self>) {
        log_started::<Self>(&self.endpoint);
        let above = Above(ctx.work_address());
        if let Err(reason) = self.channel.attach(Box::new(above)) {
            self.fail(Leg::Channel, reason);
        } else if self.stream.attach(Box::new(ctx.work_address())).is_err() {
            self.fail(Leg::Stream, self.gone());
        }
    }
}

impl Work for Relaying {
    fn work(&mut self, _: &mut WorkContext<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.carried.result.is_ok()
            && !self.to_channel.is_done()
            && let Poll::Ready(Err(reason)) = self.poll_to_channel(cx)
        {
            self.fail(Leg::Channel, reason);
        }
        if self.carried.result.is_ok()
            && let Poll::Ready(Err((leg, reason))) = self.poll_to_stream(cx)
        {
            self.fail(leg, reason);
        }
        if self.carried.result.is_err() || self.to_channel.is_done() && self.to_stream.is_done() {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn panicked(&mut self, reason: LossReason) {
        let error = ConnectionLostError::new(&self.endpoint, reason);
        self.fail(Leg::Channel, error.into());
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        log_stopped::<Self>(&self.endpoint);
        let is_whole = self.to_channel.is_done() && self.to_stream.is_done();
        if !is_whole {
            // Also when this actor panicked, or its arbiter stopped.
            self.channel.abort();
            self.stream.abort();
        }
        self.stream.detach();
        if let Some(answer) = self
            .answer
            .take()
            .filter(|_| is_whole || self.carried.result.is_err())
        {
            // Nobody may be left who wants to know.
            let _ = answer.send(self.carried.clone());
        }
    }
}

impl Handler<Read<Chunk>> for Relaying {
    type Result = ();

    fn handle(&mut self, message: Read<Chunk>, ctx: &mut WorkContext<Self>) {
        let is_next = self.read.is_empty() && self.to_channel.is_open();
        if !(is_next && self.carried.result.is_ok() && self.channel_gate.is_open()) {
            self.read.push_back(message);
            return;
        }
        match self.send(message) {
            Ok(()) => ctx.settle(),
            Err(reason) => self.fail(Leg::Channel, reason),
        }
    }
}

impl Handler<End> for Relaying {
    type Result = ();

    fn handle(&mut self, _: End, _: &mut WorkContext<Self>) {
        self.has_ended = true;
    }
}

impl Handler<Lost> for Relaying {
    type Result = ();

    fn handle(&mut self, Lost(reason): Lost, _: &mut WorkContext<Self>) {
        self.fail(Leg::Stream, reason);
    }
}

impl Handler<WriteFailed> for Relaying {
    type Result = ();

    fn handle(&mut self, WriteFailed(reason): WriteFailed, _: &mut WorkContext<Self>) {
        self.fail(Leg::Stream, reason);
    }
}

impl Handler<Tell> for Relaying {
    type Result = ();

    fn handle(&mut self, _: Tell, _: &mut WorkContext<Self>) {
        // Plain streams have nothing to tell.
    }
}

impl Handler<Read<Frames>> for Relaying {
    type Result = ();

    fn handle(&mut self, message: Read<Frames>, ctx: &mut WorkContext<Self>) {
        let is_next = self.received.is_empty() && self.to_stream.is_open();
        if !(is_next && self.carried.result.is_ok() && self.stream_gate.is_open()) {
            self.received.push_back(message);
            return;
        }
        match self.deliver(message) {
            Ok(()) if self.to_stream.is_open() => ctx.settle(),
            Ok(()) => {}
            Err((leg, reason)) => self.fail(leg, reason),
        }
    }
}

impl Handler<ChannelEnded> for Relaying {
    type Result = ();

    fn handle(&mut self, ChannelEnded(reason): ChannelEnded, _: &mut WorkContext<Self>) {
        let cut = || self.lost_channel(LossReason::EndOfStream);
        match reason {
            // The other direction cannot go on.
            Some(reason) if !self.to_channel.is_done() => self.fail(Leg::Channel, reason),
            // Behind both ends the channel has done its part, and may go.
            reason => {
                let reason = reason.unwrap_or_else(cut);
                self.channel_ended.get_or_insert(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn many_small_frames_become_few_pieces() {
        let large = Bytes::from(vec![7; 5000]);
        let small = |byte: u8| (0..20_000).map(move |_| Bytes::copy_from_slice(&[byte]));
        let all = small(1).chain([large.clone()]).chain(small(2));
        let frames: Frames = all.chain([Bytes::new()]).collect();
        let (chunk, is_last) = pieces_of(frames).expect("nothing behind the end");
        assert!(is_last);
        let expected = [&[1; 20_000][..], &large, &[2; 20_000]].concat();
        assert!(chunk.pieces().concat() == expected);
        assert!(chunk.pieces().len() < 10, "{}", chunk.pieces().len());
    }
}
