//! [`Message`] and [`Decoder`]: what two ends of a session say to each other, as bytes.
//!
//! `docs/PROTOCOL.md` has the tables and vectors. All numbers are big-endian.

use bytes::{BufMut, Bytes, BytesMut};

/// Largest number of bytes of the stream in one DATA.
pub(super) const MAX_DATA: usize = 16 << 10;
/// Kind and length.
pub(super) const HEAD: usize = 3;
/// What stands before the bytes of a DATA: head and offset.
pub(super) const DATA_HEAD: usize = HEAD + 8;
/// What stands before the bytes of a RUN: head, offset and count.
pub(super) const RUN_HEAD: usize = DATA_HEAD + 4;
/// Longest body of a message that is not DATA.
const MAX_BODY: usize = 64;
/// The first bytes of a HELLO: a peer that speaks something else is noticed at once.
const MAGIC: [u8; 4] = *b"rpyR";
/// The version of this protocol.
pub(super) const VERSION: u8 = 1;
/// The bit among a HELLO's features of whoever takes RUN.
pub(super) const TAKES_RUNS: u32 = 1;

/// What finds a session.
pub(super) type SessionId = [u8; 16];
/// What proves that a server did not forget.
pub(super) type Incarnation = [u8; 16];
/// A keyed hash.
pub(super) type Proof = [u8; 32];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Hello = 1,
    New = 2,
    NewOk = 3,
    Attach = 4,
    Attached = 5,
    Gone = 6,
    Data = 7,
    Ack = 8,
    Ping = 9,
    Pong = 10,
    GoAway = 11,
    Fin = 12,
    FinOk = 13,
    Run = 14,
}

/// What an end says first on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// [`TAKES_RUNS`]; the other bits have no meaning yet: sent as 0, read past.
    pub(super) features: u32,
    /// Milliseconds of silence after which this end takes the other for dead; 0 for never.
    pub(super) silence: u32,
}

/// The server's word for a new session. Whoever knows the secret can go on with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NewOk {
    pub(super) session: SessionId,
    pub(super) secret: [u8; 32],
    pub(super) incarnation: Incarnation,
}

impl std::fmt::Debug for NewOk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewOk")
    }
}

/// A client's wish to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attach {
    pub(super) session: SessionId,
    pub(super) epoch: u64,
    pub(super) received_to: u64,
    pub(super) proof: Proof,
}

/// A server's leave to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) received_to: u64,
    pub(super) credit: u32,
    pub(super) proof: Proof,
}

/// Why a session is over, as GONE says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reason {
    /// Never heard of, or not any more.
    Unknown = 1,
    /// Not over a link like this.
    Refused = 2,
    /// Given up by the application.
    Aborted = 3,
    /// The other end sent what cannot be.
    Fault = 4,
    /// This server will stop, and begins nothing new.
    Going = 5,
}

impl Hello {
    /// The most bytes of the stream that whoever says this takes in one message.
    pub(super) fn longest(&self) -> usize {
        if self.features & TAKES_RUNS != 0 {
            u32::MAX as usize
        } else {
            MAX_DATA
        }
    }
}

/// All that is not bytes of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Hello(Hello),
    New,
    NewOk(NewOk),
    Attach(Attach),
    Attached(Attached),
    Gone(u8),
    /// All up to here has come, and so many bytes more may be sent.
    Ack {
        received_to: u64,
        credit: u32,
    },
    Ping,
    Pong,
    GoAway {
        received_to: u64,
    },
    /// The stream of this direction has so many bytes.
    Fin {
        offset: u64,
    },
    FinOk,
}

impl Message {
    pub(super) fn encode(&self, to: &mut BytesMut) {
        let at = to.len();
        to.put_bytes(0, HEAD);
        let kind = match *self {
            Self::Hello(hello) => {
                to.put_slice(&MAGIC);
                to.put_u8(VERSION);
                to.put_u32(hello.features);
                to.put_u32(hello.silence);
                Kind::Hello
            }
            Self::New => Kind::New,
            Self::NewOk(new) => {
                to.put_slice(&new.session);
                to.put_slice(&new.secret);
                to.put_slice(&new.incarnation);
                Kind::NewOk
            }
            Self::Attach(attach) => {
                to.put_slice(&attach.session);
                to.put_u64(attach.epoch);
                to.put_u64(attach.received_to);
                to.put_slice(&attach.proof);
                Kind::Attach
            }
            Self::Attached(attached) => {
                to.put_u64(attached.received_to);
                to.put_u32(attached.credit);
                to.put_slice(&attached.proof);
                Kind::Attached
            }
            Self::Gone(reason) => {
                to.put_u8(reason);
                Kind::Gone
            }
            Self::Ack {
                received_to,
                credit,
            } => {
                to.put_u64(received_to);
                to.put_u32(credit);
                Kind::Ack
            }
            Self::Ping => Kind::Ping,
            Self::Pong => Kind::Pong,
            Self::GoAway { received_to } => {
                to.put_u64(received_to);
                Kind::GoAway
            }
            Self::Fin { offset } => {
                to.put_u64(offset);
                Kind::Fin
            }
            Self::FinOk => Kind::FinOk,
        };
        let length = to.len() - at - HEAD;
        to[at] = kind as u8;
        to[at + 1..at + HEAD].copy_from_slice(&length16(length));
    }

    /// Reads a body of the length that its kind must have.
    fn decode(kind: Kind, body: &[u8]) -> Result<Self, BadMessage> {
        let mut body = Body(body);
        Ok(match kind {
            Kind::Hello => {
                if body.take::<4>() != MAGIC {
                    return Err(BadMessage::Magic);
                }
                let [version] = body.take();
                if version != VERSION {
                    return Err(BadMessage::Version(version));
                }
                Self::Hello(Hello {
                    features: u32::from_be_bytes(body.take()),
                    silence: u32::from_be_bytes(body.take()),
                })
            }
            Kind::New => Self::New,
            Kind::NewOk => Self::NewOk(NewOk {
                session: body.take(),
                secret: body.take(),
                incarnation: body.take(),
            }),
            Kind::Attach => Self::Attach(Attach {
                session: body.take(),
                epoch: u64::from_be_bytes(body.take()),
                received_to: u64::from_be_bytes(body.take()),
                proof: body.take(),
            }),
            Kind::Attached => Self::Attached(Attached {
                received_to: u64::from_be_bytes(body.take()),
                credit: u32::from_be_bytes(body.take()),
                proof: body.take(),
            }),
            Kind::Gone => Self::Gone(body.take::<1>()[0]),
            Kind::Ack => Self::Ack {
                received_to: u64::from_be_bytes(body.take()),
                credit: u32::from_be_bytes(body.take()),
            },
            Kind::Ping => Self::Ping,
            Kind::Pong => Self::Pong,
            Kind::GoAway => Self::GoAway {
                received_to: u64::from_be_bytes(body.take()),
            },
            Kind::Fin => Self::Fin {
                offset: u64::from_be_bytes(body.take()),
            },
            Kind::FinOk | Kind::Data | Kind::Run => Self::FinOk,
        })
    }
}

/// What stands before `length` bytes of the stream from `offset` on: the head of a DATA as long as one takes them, else of a RUN.
pub(super) fn encode_data_head(offset: u64, length: usize, to: &mut BytesMut) {
    if length <= MAX_DATA {
        to.put_u8(Kind::Data as u8);
        to.put_slice(&length16(length + 8));
        to.put_u64(offset);
    } else {
        let count = u32::try_from(length).expect("no message is longer than `Hello::longest`");
        to.put_u8(Kind::Run as u8);
        to.put_slice(&length16(RUN_HEAD - HEAD));
        to.put_u64(offset);
        to.put_u32(count);
    }
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length)
        .expect("no message of ours is longer than MAX_DATA + 8")
        .to_be_bytes()
}

/// A body whose length was checked.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .expect("lengths are checked before bodies are read");
        self.0 = rest;
        *taken
    }
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        const ALL: [Kind; 14] = [
            Kind::Hello,
            Kind::New,
            Kind::NewOk,
            Kind::Attach,
            Kind::Attached,
            Kind::Gone,
            Kind::Data,
            Kind::Ack,
            Kind::Ping,
            Kind::Pong,
            Kind::GoAway,
            Kind::Fin,
            Kind::FinOk,
            Kind::Run,
        ];
        ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }

    /// True when a body may have this length.
    fn takes(self, length: usize) -> bool {
        let exact = match self {
            Self::Data => return (9..=MAX_DATA + 8).contains(&length),
            Self::New | Self::Ping | Self::Pong | Self::FinOk => 0,
            Self::Gone => 1,
            Self::GoAway | Self::Fin => 8,
            Self::Ack | Self::Run => 12,
            Self::Hello => 13,
            Self::Attached => 44,
            Self::NewOk | Self::Attach => MAX_BODY,
        };
        length == exact
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadMessage {
    #[error("it does not speak of sessions")]
    Magic,
    #[error("it speaks version {0} of sessions, and this end {VERSION}")]
    Version(u8),
    #[error("there is no message of kind {0}")]
    Kind(u8),
    #[error("a message of kind {kind} has no body of {length} bytes")]
    Length { kind: u8, length: usize },
    #[error("a message lies behind the end of all numbers")]
    Offset,
    #[error("a message brings no bytes of the stream")]
    Empty,
}

/// A message, or a part of a DATA or RUN as it came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Data { offset: u64, bytes: Bytes },
    Message(Message),
}

/// Finds messages in what was read. Bytes of the stream are not copied and not waited for; at most the head and body of
/// one other message are kept.
#[derive(Debug)]
pub(super) struct Decoder {
    kept: [u8; HEAD + MAX_BODY],
    have: usize,
    /// Of a DATA or RUN under way: where its next byte belongs, and how many are to come.
    offset: u64,
    left: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            kept: [0; HEAD + MAX_BODY],
            have: 0,
            offset: 0,
            left: 0,
        }
    }
}

impl Decoder {
    /// The next item, which is taken from `piece`; none when more has to come first.
    pub(super) fn next(&mut self, piece: &mut Bytes) -> Result<Option<Item>, BadMessage> {
        loop {
            if piece.is_empty() {
                return Ok(None);
            }
            if self.left > 0 {
                let bytes = piece.split_to(piece.len().min(self.left));
                let offset = self.offset;
                self.offset += bytes.len() as u64;
                self.left -= bytes.len();
                return Ok(Some(Item::Data { offset, bytes }));
            }
            if !self.fill(HEAD, piece) {
                return Ok(None);
            }
            let (kind, length) = self.head()?;
            let whole = match kind {
                Kind::Data => DATA_HEAD,
                _ => HEAD + length,
            };
            if !self.fill(whole, piece) {
                return Ok(None);
            }
            self.have = 0;
            let mut body = Body(&self.kept[HEAD..whole]);
            let (offset, count) = match kind {
                Kind::Data => (body.take(), length - 8),
                Kind::Run => (body.take(), u32::from_be_bytes(body.take()) as usize),
                _ => {
                    let message = Message::decode(kind, body.0)?;
                    return Ok(Some(Item::Message(message)));
                }
            };
            let offset = u64::from_be_bytes(offset);
            if count == 0 {
                return Err(BadMessage::Empty);
            }
            self.left = count;
            // No later sum of offset and length can go wrong.
            if offset.checked_add(self.left as u64).is_none() {
                return Err(BadMessage::Offset);
            }
            self.offset = offset;
        }
    }

    /// True when what came last ended inside a message.
    pub(super) fn is_inside(&self) -> bool {
        self.have > 0 || self.left > 0
    }

    /// Copies from `piece` until there are `whole` bytes.
    fn fill(&mut self, whole: usize, piece: &mut Bytes) -> bool {
        if self.have < whole {
            let more = piece.split_to(piece.len().min(whole - self.have));
            self.kept[self.have..self.have + more.len()].copy_from_slice(&more);
            self.have += more.len();
        }
        self.have >= whole
    }

    /// Kind and length of the message whose head was kept, which go together.
    fn head(&self) -> Result<(Kind, usize), BadMessage> {
        let byte = self.kept[0];
        let length = usize::from(u16::from_be_bytes([self.kept[1], self.kept[2]]));
        let kind = Kind::of(byte).ok_or(BadMessage::Kind(byte))?;
        if !kind.takes(length) {
            return Err(BadMessage::Length { kind: byte, length });
        }
        Ok((kind, length))
    }
}
