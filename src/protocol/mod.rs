//! The RPyC protocol without input and output: envelopes, boxing, references, exceptions.
//!
//! A [`Protocol`] is the state of one end of a connection. It stands between frames and calls: requests and answers are written
//! into a buffer, one message at a time, and each received message is handed in as the payload of its frame. It knows no socket, no
//! runtime and no clock; a deadline comes in as an `Instant`.
//!
//! # One lock
//!
//! The host keeps it behind one mutex together with its output. A caller locks it, has its request written, appends it to the
//! output and unlocks, so that sequence numbers match the order on the wire. No method waits, and none runs code of the host while it
//! works, but for the methods of [`Export`] and [`Pack`]; what the host's destructors do is its own business: objects and waiters that are
//! done with are handed out, to be dropped outside of the lock.
//!
//! # References
//!
//! Every reference that arrives is counted, and given back by [`Protocol::release`] and [`Protocol::poll_release`]. A reference is
//! an [`Item::Theirs`] in what [`Protocol::handle_frame`] returns; those in answers that nobody waits for any more, and in messages
//! that are refused, are given back by the protocol itself.
//!
//! A host sends the DELs directly behind its next request, in the same write, or alone when nothing else is to be sent for a while.
//! *Before* a request, the answer to the DEL would be a small packet in front of the one that is waited for, which stock Python's Nagle
//! algorithm holds back for 40 ms.
//!
//! # Example
//!
//! A call from one end to the other, without a network:
//!
//! ```
//! use bytes::BytesMut;
//! use rpyc::{brine::Value, protocol::{Ask, Export, Incoming, Item, Limits, Ours, Protocol, Request}};
//!
//! #[derive(Clone)]
//! struct Root;
//!
//! impl Export for Root {
//!     fn identity(&self) -> usize { 1 }
//!     fn class_name(&self) -> &str { "builtins.object" }
//!     fn class_id(&self) -> i64 { 1 }
//! }
//!
//! let mut client = Protocol::<&str, Root>::new(Limits::default());
//! let mut server = Protocol::<&str, Root>::new(Limits::default());
//! let mut out = BytesMut::new();
//!
//! client.request(&Ask::get_root(), "waiter", None, &mut out)?;
//! let Incoming::Request { seq, .. } = server.handle_frame(out.split().freeze())? else { panic!() };
//! server.reply(&seq, &Ours(&Root), &mut out)?;
//! let Incoming::Answer { result, .. } = client.handle_frame(out.split().freeze())? else { panic!() };
//! let Ok(Item::Theirs(root)) = result else { panic!() };
//!
//! client.request(&Ask::call_attr(&root, "add", (1, 2), ()), "waiter", None, &mut out)?;
//! let Incoming::Request { seq, request } = server.handle_frame(out.split().freeze())? else { panic!() };
//! assert!(matches!(request, Request::CallAttr { name, args, .. } if name == "add" && args.len() == 2));
//! server.reply(&seq, &3, &mut out)?;
//! let Incoming::Answer { result, .. } = client.handle_frame(out.split().freeze())? else { panic!() };
//! assert!(matches!(result, Ok(Item::Value(Value::Int(3)))));
//!
//! client.release(&root, 1);
//! assert!(client.poll_release(&mut out));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ask;
mod boxing;
mod dialect;
mod error;
mod exception;
mod exports;
mod handler;
mod idpack;
mod imports;
mod incoming;
mod limits;
mod message;
mod pack;
mod pending;
mod request;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

pub use ask::Ask;
pub use boxing::{Item, Refusal};
pub use dialect::Dialect;
pub use error::{CallError, SendError};
pub use exception::{Exception, RemoteError};
pub use exports::Export;
pub use handler::Handler;
pub use idpack::{IdPack, NAMES_WITHOUT_INSPECT, spares_inspect};
pub use incoming::{Incoming, Stats};
pub use limits::Limits;
pub use message::{ProtocolError, Seq};
pub use pack::{ByName, Ours, Pack, PackTuple, Packer};
pub use request::Request;

use crate::brine::{self, Reader, Value};
use boxing::{Fault, Unpacker};
use exports::Exports;
use imports::Imports;
use message::Kind;
use pending::{Pending, Taken};

/// One end of one connection. `W` is what waits for an answer, `T` an object of ours that the peer may refer to.
#[derive(Debug)]
pub struct Protocol<W, T> {
    limits: Limits,
    pending: Pending<W>,
    exports: Exports<T>,
    imports: Imports,
    /// What is spoken, once one of the two has said something.
    dialect: Option<Dialect>,
    /// No more requests may be sent.
    closed: bool,
    /// Scratch: the references in the message being read and in the one being written. Empty between calls.
    received: Vec<IdPack>,
    given: Vec<i64>,
    tag: usize,
}

impl<W, T: Export> Protocol<W, T> {
    /// The state of a new connection. Both ends begin alike: there is no handshake.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            pending: Pending::new(),
            exports: Exports::new(limits.references),
            imports: Imports::new(limits.references),
            dialect: None,
            closed: false,
            received: Vec::new(),
            given: Vec::new(),
            tag: 0,
            limits,
        }
    }

    /// Sets what [`Packer::tag`] gives, so that a host can tell whether a reference belongs to this connection: on another one its
    /// name may be that of another object.
    #[must_use]
    pub const fn tagged(mut self, tag: usize) -> Self {
        self.tag = tag;
        self
    }

    /// Sets what is spoken. Without it whoever speaks first decides; this end speaks that of RPyC 6.
    #[must_use]
    pub const fn speaking(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// What is spoken; if nothing was said yet, from now on that of RPyC 6.
    fn spoken(&mut self) -> Dialect {
        *self.dialect.get_or_insert_default()
    }

    /// Appends a request to `out`, as one payload, and returns its number.
    ///
    /// The answer comes out of [`handle_frame`](Self::handle_frame) with the waiter, unless [`expire`](Self::expire) or
    /// [`abandon`](Self::abandon) gives that back before.
    ///
    /// # Errors
    ///
    /// A [`SendError`]; the waiter is then dropped.
    pub fn request<P: PackTuple<T>>(
        &mut self,
        ask: &Ask<P>,
        waiter: W,
        deadline: Option<Instant>,
        out: &mut BytesMut,
    ) -> Result<u64, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let limit = self.limits.pending;
        if self.pending.open() >= limit {
            return Err(SendError::TooManyPending { limit });
        }
        let start = out.len();
        message::begin_request(out, self.spoken(), self.pending.next_seq(), ask.handler());
        self.finish_box(start, ask.args(), out)?;
        Ok(self.pending.push(Some(waiter), deadline))
    }

    /// Appends the answer to a request of the peer.
    ///
    /// # Errors
    ///
    /// A [`SendError`]: the peer still waits, so send it an [`exception`](Self::exception) instead.
    pub fn reply<P: Pack<T> + ?Sized>(
        &mut self,
        seq: &Seq,
        result: &P,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let start = out.len();
        let begun = message::begin_answer(out, self.spoken(), Kind::Reply, seq);
        if let Err(error) = begun {
            out.truncate(start);
            return Err(Refusal::Limit(error).into());
        }
        self.finish_box(start, result, out)
    }

    /// Appends the box that ends a message which starts at `start`.
    fn finish_box<P: Pack<T> + ?Sized>(
        &mut self,
        start: usize,
        content: &P,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let depth = self.limits.values.depth;
        let mut packer = Packer::new(out, &mut self.exports, &mut self.given, depth, self.tag);
        let mut written = content.put_box(&mut packer).map_err(SendError::from);
        let (limit, got) = (self.limits.message_bytes, out.len() - start);
        if written.is_ok() && got > limit {
            written = Err(SendError::TooLarge { limit, got });
        }
        if written.is_err() {
            out.truncate(start);
            for instance in &self.given {
                // Whoever wanted to send the object still has it, so nothing ends here.
                let _ = self.exports.take_back_id(*instance, 1);
            }
        }
        self.given.clear();
        written
    }

    /// Appends an exception as the answer to a request of the peer.
    ///
    /// This cannot fail: if the exception itself cannot be sent, a `RuntimeError` that says so goes in its place.
    pub fn exception(&mut self, seq: &Seq, exception: &Exception, out: &mut BytesMut) {
        let start = out.len();
        let (limit, dialect) = (self.limits.message_bytes, self.spoken());
        let mut write = |exception: &Exception| {
            let written = message::begin_answer(out, dialect, Kind::Exception, seq)
                .and_then(|()| exception.encode(out));
            let got = out.len() - start;
            let written = written.and(if got <= limit {
                Ok(())
            } else {
                let what = "bytes of a message";
                Err(brine::BrineError::LimitExceeded { what, limit, got })
            });
            if written.is_err() {
                out.truncate(start);
            }
            written
        };
        if let Err(refused) = write(exception) {
            // The text of the replacement is short, and the number was read within the same limits it is written with. Should the
            // limits be so small that even this does not fit, then nothing is sent.
            let _ = write(&exception.without_details(&refused));
        }
    }

    /// Appends a CLOSE request, once; no further requests may be sent. The peer answers by ending the stream.
    pub fn close(&mut self, out: &mut BytesMut) {
        if self.closed {
            return;
        }
        self.closed = true;
        message::begin_request(out, self.spoken(), self.pending.next_seq(), Handler::Close);
        // An empty tuple by value, (1, ()).
        out.put_slice(&[pack::PAIR, 0x51, 0x02]);
        self.pending.push(None, None);
    }

    /// Takes a received payload, and says what it means.
    ///
    /// # Errors
    ///
    /// A [`ProtocolError`] if the peer cannot be understood any more: close the connection. What belongs to one message only, such as a
    /// wrong argument, is no error here.
    pub fn handle_frame(&mut self, mut payload: Bytes) -> Result<Incoming<W, T>, ProtocolError> {
        if payload.is_empty() {
            return Ok(Incoming::Nothing);
        }
        let (dialect, kind) = Dialect::take_from(&mut payload)?;
        match (dialect, *self.dialect.get_or_insert(dialect)) {
            (Dialect::Rpyc5, Dialect::Rpyc6) => return Err(ProtocolError::OlderDialect),
            (Dialect::Rpyc6, Dialect::Rpyc5) => return Err(ProtocolError::NewerDialect),
            _ => {}
        }
        let what = kind.name();
        let broken = |source| ProtocolError::Brine { what, source };

        let mut reader = Reader::new(&payload, &self.limits.values);
        if dialect == Dialect::Rpyc6 {
            match reader.tuple_len() {
                Ok(2) => {}
                Ok(_) | Err(brine::BrineError::Unexpected { .. }) => {
                    return Err(ProtocolError::NotAPair { what });
                }
                Err(source) => return Err(broken(source)),
            }
        }
        let seq = reader.value().map_err(broken)?;
        let incoming = match kind {
            Kind::Request => self.handle_request(seq, &mut reader),
            Kind::Reply => self.handle_reply(&seq, &mut reader),
            Kind::Exception => self.handle_exception(&seq, &mut reader),
        };
        incoming.map_err(broken)
    }

    fn handle_request(
        &mut self,
        seq: Value,
        reader: &mut Reader<'_>,
    ) -> Result<Incoming<W, T>, brine::BrineError> {
        let mut unpacker = self.unpacker();
        let decoded = request::decode(&mut unpacker, reader);
        if decoded.is_err() {
            unpacker.give_back();
        }
        self.received.clear();
        let seq = Seq(seq);
        match decoded {
            Ok(Some(request)) => Ok(Incoming::Request { seq, request }),
            Ok(None) => Ok(Incoming::Close),
            Err(Fault::Fatal(error)) => Err(error),
            Err(Fault::Refused(refusal)) => Ok(Incoming::BadRequest {
                seq,
                exception: refusal.to_exception(),
            }),
        }
    }

    fn handle_reply(
        &mut self,
        seq: &Value,
        reader: &mut Reader<'_>,
    ) -> Result<Incoming<W, T>, brine::BrineError> {
        let mut unpacker = self.unpacker();
        let result = match unpacker.item(reader) {
            Ok(item) => Ok(item),
            Err(fault) => {
                unpacker.give_back();
                match fault {
                    Fault::Fatal(error) => return Err(error),
                    Fault::Refused(refusal) => Err(CallError::BadAnswer(refusal)),
                }
            }
        };
        let incoming = self.answer(seq, result);
        if matches!(incoming, Incoming::Late) {
            self.unpacker().give_back();
        }
        self.received.clear();
        Ok(incoming)
    }

    fn handle_exception(
        &mut self,
        seq: &Value,
        reader: &mut Reader<'_>,
    ) -> Result<Incoming<W, T>, brine::BrineError> {
        let body = match reader.value().map_err(Fault::from) {
            Ok(body) => RemoteError::decode(body).map_err(Refusal::NotAnException),
            Err(Fault::Refused(refusal)) => Err(refusal),
            Err(Fault::Fatal(error)) => return Err(error),
        };
        let error = match body {
            Ok(error) if error.is_builtin("StopIteration") => CallError::StopIteration,
            Ok(error) => CallError::Remote(error),
            Err(refusal) => CallError::BadAnswer(refusal),
        };
        Ok(self.answer(seq, Err(error)))
    }

    /// Finds who waits for an answer.
    fn answer(&mut self, seq: &Value, result: Result<Item<T>, CallError>) -> Incoming<W, T> {
        let Some(seq) = seq.as_int().and_then(|seq| u64::try_from(seq).ok()) else {
            return Incoming::Late;
        };
        match self.pending.take(seq) {
            Taken::Waiter(waiter) => Incoming::Answer {
                seq,
                waiter,
                result,
            },
            Taken::Unwanted | Taken::Unknown => Incoming::Late,
        }
    }

    fn unpacker(&mut self) -> Unpacker<'_, T> {
        Unpacker {
            exports: &mut self.exports,
            imports: &mut self.imports,
            received: &mut self.received,
        }
    }

    /// Notes that `count` references to an object of the peer are no longer used, to be given back by
    /// [`poll_release`](Self::poll_release).
    ///
    /// One for each [`Item::Theirs`] that was received; more than were received are not counted.
    pub fn release(&mut self, id: &IdPack, count: u64) {
        self.imports.release(id, count);
    }

    /// [`release`](Self::release) for every reference in an item that will not be used.
    pub fn release_item(&mut self, item: &Item<T>) {
        match item {
            Item::Theirs(id) => self.release(id, 1),
            Item::Tuple(items) => items.iter().for_each(|item| self.release_item(item)),
            Item::Value(_) | Item::Ours(_) => {}
        }
    }

    /// Whether there are references to give back.
    #[must_use]
    pub fn has_releases(&self) -> bool {
        !self.closed && self.imports.has_due()
    }

    /// Appends one DEL request, if there are references to give back, as one payload; returns whether it did. Its answer is
    /// [`Incoming::Late`].
    ///
    /// Call it until it returns `false`, directly after a request was written (see [the module](self)).
    pub fn poll_release(&mut self, out: &mut BytesMut) -> bool {
        if self.closed || self.pending.open() >= self.limits.pending {
            return false;
        }
        let Some((id, count)) = self.imports.next_due() else {
            return false;
        };
        message::begin_request(out, self.spoken(), self.pending.next_seq(), Handler::Del);
        // (2, ((3, id), (1, count)))
        out.put_slice(&[pack::PAIR, 0x52, pack::PAIR, pack::PAIR, 0x53]);
        out.put_slice(id.wire());
        out.put_slice(&[pack::PAIR, 0x51]);
        brine::put_uint(out, count);
        self.pending.push(None, None);
        true
    }

    /// Stops waiting for an answer and returns the waiter. `None` if there was an answer already, or no such call.
    ///
    /// The peer is not told: RPyC has no message for it. When the answer comes it is [`Incoming::Late`].
    pub fn abandon(&mut self, seq: u64) -> Option<W> {
        self.pending.abandon(seq)
    }

    /// When to call [`expire`](Self::expire): no later than the earliest deadline, perhaps earlier. `None` while no call has one.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending.poll_timeout()
    }

    /// Abandons every call whose deadline is `now` or earlier, and returns their numbers and waiters, oldest first.
    #[must_use = "the waiters must be told"]
    pub fn expire(&mut self, now: Instant) -> Vec<(u64, W)> {
        self.pending.expire(now)
    }

    /// Ends the connection: every waiter, oldest first, and every object the peer referred to. All of them should be dropped, and
    /// the waiters told, outside of the lock.
    #[must_use = "the waiters must be told"]
    pub fn end(&mut self) -> (Vec<(u64, W)>, Vec<T>) {
        self.closed = true;
        self.imports = Imports::new(self.limits.references);
        (self.pending.drain(), self.exports.drain())
    }

    /// How much the connection holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            pending: self.pending.open(),
            exported: self.exports.len(),
            imported: self.imports.len(),
            refused: 0,
        }
    }
}
