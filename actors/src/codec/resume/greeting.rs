//! [`Greeting`]: what a client says first on a link, before anybody knows which session it belongs to.

use bytes::{Bytes, BytesMut};

use super::{
    Refusal,
    wire::{Attach, Decoder, Hello, Item, Message, Reason, SessionId},
};
use crate::{error::StreamError, unit::Chunk};

/// Reads a HELLO, and a NEW or an ATTACH behind it.
#[derive(Debug, Default)]
pub struct Greeting {
    decoder: Decoder,
    hello: Option<Hello>,
}

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub(super) hello: Hello,
    pub(super) attach: Option<Attach>,
}

impl Request {
    /// The session that is to go on over this link; none for a new one.
    pub fn session(&self) -> Option<SessionId> {
        self.attach.map(|attach| attach.session)
    }

    /// What a client is told whose session is not there.
    pub fn refuse_unknown() -> Bytes {
        refusal(Reason::Unknown)
    }

    /// What a client is told whose session does not go on over this link.
    pub fn refuse(why: Refusal) -> Bytes {
        refusal(match why {
            Refusal::Stranger => Reason::Unknown,
            Refusal::Impossible => Reason::Fault,
        })
    }

    /// What a client is told that wants a new session of a server that will stop.
    pub fn refuse_new() -> Bytes {
        refusal(Reason::Going)
    }

    /// What a client is told that came over a link like none that is allowed.
    pub fn refuse_link() -> Bytes {
        refusal(Reason::Refused)
    }
}

fn refusal(reason: Reason) -> Bytes {
    let mut bytes = BytesMut::new();
    let hello = Hello {
        features: 0,
        silence: 0,
    };
    Message::Hello(hello).encode(&mut bytes);
    Message::Gone(reason as u8).encode(&mut bytes);
    bytes.freeze()
}

impl Greeting {
    /// Takes what was read; gives the request once it is whole.
    ///
    /// # Errors
    ///
    /// `PeerMisbehaved`, when it is none, or when something came behind it: a client waits for the answer.
    pub fn take(&mut self, chunk: &Chunk) -> Result<Option<Request>, StreamError> {
        let mut request = None;
        for piece in chunk.pieces() {
            let mut piece = piece.clone().into_bytes();
            while let Some(item) = self
                .decoder
                .next(&mut piece)
                .map_err(|bad| StreamError::peer(bad.to_string()))?
            {
                let (hello, attach) = match (self.hello, item) {
                    (None, Item::Message(Message::Hello(hello))) => {
                        self.hello = Some(hello);
                        continue;
                    }
                    (Some(hello), Item::Message(Message::New)) => (hello, None),
                    (Some(hello), Item::Message(Message::Attach(attach))) => (hello, Some(attach)),
                    _ => return Err(StreamError::peer("it does not ask for a session")),
                };
                if request.replace(Request { hello, attach }).is_some() {
                    return Err(StreamError::peer("it asks for two sessions at once"));
                }
            }
        }
        if request.is_some() && self.decoder.is_inside() {
            return Err(StreamError::peer("it goes on before it has an answer"));
        }
        Ok(request)
    }
}
