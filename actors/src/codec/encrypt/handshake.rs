//! The handshake: Noise `NNpsk0_25519_ChaChaPoly_BLAKE2s`, two messages, by snow.
//!
//! snow is given its one random value, the ephemeral secret, from outside, and is left once both messages are through:
//! records are sealed here.

use std::sync::Arc;

use snow::{
    Builder, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::{CryptoResolver, DefaultResolver},
    types::{Cipher, Dh, Hash, Random},
};
use zeroize::Zeroizing;

use super::aead::{CIPHER_KEY, TAG};
use crate::{
    key::{KEY_SIZE, Key},
    side::Side,
};

/// The suite as Noise writes it.
pub(super) const SUITE: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// The protocol that the prologue names.
const PROTOCOL: &str = "rpyc-encrypted-channel";
/// The version of this protocol that the prologue names.
pub(super) const VERSION: u8 = 1;
/// Bytes of a message besides its payload: the ephemeral public key and the tag.
pub(super) const MESSAGE_OVERHEAD: usize = 32 + TAG;
/// Longest label, in bytes.
pub(super) const MAX_LABEL: usize = 255;

/// What both ends must agree on without being told: protocol, version, suite, application label.
pub(super) fn prologue(version: u8, label: &str) -> Vec<u8> {
    let mut prologue = Vec::new();
    let mut name = |text: &str, version: Option<u8>| {
        prologue.push(u8::try_from(text.len()).expect("names are short, and labels are cut"));
        prologue.extend_from_slice(text.as_bytes());
        prologue.extend(version);
    };
    name(PROTOCOL, Some(version));
    name(SUITE, None);
    name(label, None);
    prologue
}

/// A message of the handshake is not what the holder of the same key would have sent to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger;

/// One end's handshake under way.
pub(super) struct Handshake {
    noise: Box<HandshakeState>,
    side: Side,
}

/// What a handshake gives.
pub(super) struct Secrets {
    /// Seals what this end sends.
    pub(super) sending: Zeroizing<[u8; CIPHER_KEY]>,
    /// Opens what this end receives.
    pub(super) receiving: Zeroizing<[u8; CIPHER_KEY]>,
    /// The handshake hash.
    pub(super) binding: [u8; 32],
}

impl Handshake {
    pub(super) fn new(side: Side, prologue: &[u8], key: &Key, ephemeral: &Key) -> Self {
        let made = "a suite that snow was built with, and a key of the right size";
        let resolver = Given(Zeroizing::new(*ephemeral.bytes()));
        let builder = Builder::with_resolver(SUITE.parse().expect(made), Box::new(resolver))
            .psk(0, key.bytes())
            .and_then(|builder| builder.prologue(prologue))
            .expect(made);
        let noise = match side {
            Side::Dialled => builder.build_initiator(),
            Side::Accepted => builder.build_responder(),
        };
        Self {
            noise: Box::new(noise.expect(made)),
            side,
        }
    }

    /// Takes the first message with the first of `keys` that opens it.
    pub(super) fn accept(
        prologue: &[u8],
        keys: &[Arc<Key>],
        ephemeral: &Key,
        message: &[u8],
    ) -> Result<(Self, Vec<u8>), Stranger> {
        keys.iter()
            .find_map(|key| {
                let mut handshake = Self::new(Side::Accepted, prologue, key, ephemeral);
                let payload = handshake.read(message).ok()?;
                Some((handshake, payload))
            })
            .ok_or(Stranger)
    }

    /// This end's message.
    pub(super) fn write(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut message = vec![0; payload.len() + MESSAGE_OVERHEAD];
        let length = self
            .noise
            .write_message(payload, &mut message)
            .expect("it is this end's turn, and the ephemeral secret is used once");
        message.truncate(length);
        message
    }

    /// The payload of the other end's message.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, Stranger> {
        let mut payload = vec![0; message.len()];
        let length = self
            .noise
            .read_message(message, &mut payload)
            .map_err(|_| Stranger)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The keys and the hash, after both messages.
    pub(super) fn secrets(mut self) -> Secrets {
        let (from_dialler, to_dialler) = self.noise.dangerously_get_raw_split();
        let (from_dialler, to_dialler) = (Zeroizing::new(from_dialler), Zeroizing::new(to_dialler));
        let mut binding = [0; 32];
        binding.copy_from_slice(self.noise.get_handshake_hash());
        let (sending, receiving) = match self.side {
            Side::Dialled => (from_dialler, to_dialler),
            Side::Accepted => (to_dialler, from_dialler),
        };
        Secrets {
            sending,
            receiving,
            binding,
        }
    }
}

/// snow's own primitives, with a random source that gives the ephemeral secret.
struct Given(Zeroizing<[u8; KEY_SIZE]>);

impl CryptoResolver for Given {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// A random source that is good for one value.
struct Once(Option<Zeroizing<[u8; KEY_SIZE]>>);

impl Random for Once {
    fn try_fill_bytes(&mut self, wanted: &mut [u8]) -> Result<(), snow::Error> {
        match self.0.take() {
            Some(secret) if secret.len() == wanted.len() => {
                wanted.copy_from_slice(&*secret);
                Ok(())
            }
            _ => Err(snow::Error::Rng),
        }
    }
}
