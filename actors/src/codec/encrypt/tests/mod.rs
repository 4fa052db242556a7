//! Evidence for the encrypted channel, without sockets: published vectors, hostile links, a virtual clock.

mod hostile;
mod peers;
mod records;
mod timers;
mod traffic;
mod vectors;

use std::sync::Arc;

use super::{
    Backend, Encrypt, EncryptConfig, MAX_KEYS,
    aead::Cipher,
    config::{Liveness, MAX_RECORD, MIN_RECORD, MIN_SILENCE, RekeyAfter},
    engine::MESSAGES,
    handshake::{Handshake, VERSION, prologue},
    record::{Kind, Opener, RECORD_OVERHEAD, SEALED_OVERHEAD, Sealer},
    terms::Terms,
};
use crate::{
    codec::testing::{Bench, Side as End},
    error::{LossReason, StreamError},
    event::ConnectionEvent,
    key::Key,
    side::Side,
    unit::Chunk,
};

type Pair = Bench<Encrypt, Encrypt>;

/// Every implementation that was built in.
const BACKENDS: &[Backend] = &[
    Backend::Portable,
    #[cfg(feature = "ring")]
    Backend::Ring,
];

fn key(of: u8) -> Arc<Key> {
    Arc::new(Key::new([of; 32]))
}

/// Default settings with one key, and without timers.
fn config() -> EncryptConfig {
    EncryptConfig::new(key(1)).liveness(None)
}

fn dialler(config: &EncryptConfig) -> Encrypt {
    Encrypt::new(config, Side::Dialled, Key::new([2; 32]))
}

fn acceptor(config: &EncryptConfig) -> Encrypt {
    Encrypt::new(config, Side::Accepted, Key::new([3; 32]))
}

/// The dialling end on the left, the accepting one on the right; not a byte was sent yet.
fn pair(left: &EncryptConfig, right: &EncryptConfig) -> Pair {
    Bench::new(dialler(left), acceptor(right))
}

/// A pair after its handshake.
fn open_pair(left: &EncryptConfig, right: &EncryptConfig) -> Pair {
    let mut pair = pair(left, right);
    pair.run();
    assert!(is_established(&pair.left) && is_established(&pair.right));
    pair
}

fn is_established(end: &End<Encrypt>) -> bool {
    end.events()
        .iter()
        .any(|event| matches!(event, ConnectionEvent::Established { .. }))
}

fn chunk(bytes: &[u8]) -> Chunk {
    bytes::Bytes::copy_from_slice(bytes).into()
}

/// What an end delivered since it was asked last.
fn text(end: &mut End<Encrypt>) -> Vec<u8> {
    let units = end.received().into_iter();
    units.flatten().flat_map(|piece| piece.to_vec()).collect()
}

/// What an end has sent since it was asked last; nobody else gets it.
fn sent(end: &mut End<Encrypt>) -> Vec<u8> {
    // Any input makes an end give out what it has.
    end.flush();
    end.wire().drain(..).collect()
}

/// The units of `u16 length | that many bytes`, each with its length.
fn units(mut wire: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    while let Some(head) = wire.first_chunk::<2>() {
        let (unit, rest) = wire.split_at(2 + usize::from(u16::from_be_bytes(*head)));
        units.push(unit.to_vec());
        wire = rest;
    }
    units
}

#[track_caller]
fn assert_encryption_error(end: &End<Encrypt>) {
    let failure = end.failure();
    assert!(
        matches!(failure, Some(StreamError::Encryption(_))),
        "{failure:?}"
    );
}

#[track_caller]
fn assert_lost(end: &End<Encrypt>) {
    let failure = end.failure();
    assert!(
        matches!(failure, Some(StreamError::ConnectionLost(_))),
        "{failure:?}"
    );
}

/// A peer made by hand, which can do what [`Encrypt`] never does.
struct HandMade {
    sealing: Cipher,
    opening: Cipher,
    sealed: u64,
    opened: u64,
}

impl HandMade {
    /// Dials an end with this payload in its hello, and proves itself with nothing yet.
    fn dial(end: &mut End<Encrypt>, payload: &[u8]) -> Self {
        let prologue = prologue(VERSION, "");
        let mut handshake = Handshake::new(Side::Dialled, &prologue, &key(1), &Key::new([9; 32]));
        end.read(chunk(&unit(&handshake.write(payload))));
        let answer = sent(end);
        assert_eq!(end.failure().map(ToString::to_string), None);
        handshake.read(&answer[2..]).expect("a good answer");
        Self::new(handshake)
    }

    /// Answers an end's hello with this payload.
    fn answer(end: &mut End<Encrypt>, payload: &[u8]) -> Self {
        let hello = sent(end);
        let prologue = prologue(VERSION, "");
        let (mut handshake, _) =
            Handshake::accept(&prologue, &[key(1)], &Key::new([9; 32]), &hello[2..])
                .expect("a good hello");
        end.read(chunk(&unit(&handshake.write(payload))));
        Self::new(handshake)
    }

    fn new(handshake: Handshake) -> Self {
        let secrets = handshake.secrets();
        Self {
            sealing: Cipher::new(Backend::Portable, &secrets.sending),
            opening: Cipher::new(Backend::Portable, &secrets.receiving),
            sealed: 0,
            opened: 0,
        }
    }

    /// A record of any kind and body.
    fn record(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut text = vec![kind];
        text.extend_from_slice(body);
        let tag = self.sealing.seal(self.sealed, &mut text);
        self.sealed += 1;
        text.extend_from_slice(&tag);
        unit(&text)
    }

    /// Kind and body of each record.
    fn open(&mut self, wire: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let open = |unit: Vec<u8>| {
            let mut sealed = unit[2..].to_vec();
            self.opening
                .open(self.opened, &mut sealed, 0)
                .expect("the next record of this connection");
            self.opened += 1;
            sealed.truncate(sealed.len() - 16);
            (sealed[0], sealed[1..].to_vec())
        };
        units(wire).into_iter().map(open).collect()
    }
}

fn unit(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short unit");
    [&length.to_be_bytes()[..], content].concat()
}

/// The terms of an end with default settings and without timers.
fn terms() -> Terms {
    config().terms()
}
