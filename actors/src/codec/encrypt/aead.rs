//! ChaCha20-Poly1305 behind one seam: the same bytes from two implementations.
//!
//! No data is authenticated beside the text, and the nonce is Noise's: four zero bytes and a little-endian counter
//! (Noise specification, revision 34, section 12, "ChaChaPoly").

use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit};
use zeroize::Zeroizing;

/// Bytes that sealing adds.
pub(super) const TAG: usize = 16;

/// Bytes of a cipher key.
pub(super) const CIPHER_KEY: usize = 32;

/// The nonce that only rekeying uses.
const REKEY_NONCE: u64 = u64::MAX;

/// Who does the arithmetic. The bytes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// The `chacha20poly1305` crate: always there.
    Portable,
    /// ring, which is written in assembly for common processors.
    #[cfg(feature = "ring")]
    Ring,
}

impl Default for Backend {
    /// The fastest there is.
    fn default() -> Self {
        #[cfg(feature = "ring")]
        return Self::Ring;
        #[cfg(not(feature = "ring"))]
        Self::Portable
    }
}

/// What was opened is not what was sealed with this key and nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forged;

/// One direction's key.
pub(super) enum Cipher {
    Portable(ChaCha20Poly1305),
    #[cfg(feature = "ring")]
    Ring(Box<ring::aead::LessSafeKey>),
}

impl Cipher {
    pub(super) fn new(backend: Backend, key: &[u8; CIPHER_KEY]) -> Self {
        match backend {
            Backend::Portable => Self::Portable(ChaCha20Poly1305::new(key.into())),
            #[cfg(feature = "ring")]
            Backend::Ring => {
                let key = ring::aead::UnboundKey::new(&ring::aead::CHACHA20_POLY1305, key)
                    .expect("a key of 32 bytes is what this cipher takes");
                Self::Ring(Box::new(ring::aead::LessSafeKey::new(key)))
            }
        }
    }

    /// Seals `text` in place and gives the tag that belongs behind it.
    pub(super) fn seal(&self, counter: u64, text: &mut [u8]) -> [u8; TAG] {
        self.seal_with(nonce(counter), &[], text)
    }

    /// Opens what `memory` holds behind `from`, text and tag; the text comes to lie in the front of it.
    ///
    /// After an error what `memory` holds is of no use.
    pub(super) fn open(&self, counter: u64, memory: &mut [u8], from: usize) -> Result<(), Forged> {
        self.open_with(nonce(counter), &[], memory, from)
    }

    pub(super) fn seal_with(&self, nonce: [u8; 12], beside: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let fits = "a record is far below the 256 GiB that one nonce is good for";
        match self {
            Self::Portable(cipher) => cipher
                .encrypt_in_place_detached(&nonce.into(), beside, text)
                .expect(fits)
                .into(),
            #[cfg(feature = "ring")]
            Self::Ring(key) => {
                let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
                let tag = key
                    .seal_in_place_separate_tag(nonce, ring::aead::Aad::from(beside), text)
                    .expect(fits);
                let mut bytes = [0; TAG];
                bytes.copy_from_slice(tag.as_ref());
                bytes
            }
        }
    }

    pub(super) fn open_with(
        &self,
        nonce: [u8; 12],
        beside: &[u8],
        memory: &mut [u8],
        from: usize,
    ) -> Result<(), Forged> {
        match self {
            Self::Portable(cipher) => {
                let sealed = &mut memory[from..];
                let (text, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(Forged)?;
                let tag = *tag;
                cipher
                    .decrypt_in_place_detached(&nonce.into(), beside, text, &tag.into())
                    .map_err(|_| Forged)?;
                if from > 0 {
                    let end = memory.len() - TAG;
                    memory.copy_within(from..end, 0);
                }
                Ok(())
            }
            #[cfg(feature = "ring")]
            Self::Ring(key) => {
                let nonce = ring::aead::Nonce::assume_unique_for_key(nonce);
                key.open_within(nonce, ring::aead::Aad::from(beside), memory, from..)
                    .map(drop)
                    .map_err(|_| Forged)
            }
        }
    }

    /// The key that follows this one: Noise's REKEY, the first 32 bytes of 32 sealed zeros (section 4.2).
    pub(super) fn next(&self) -> Self {
        let mut key = Zeroizing::new([0; CIPHER_KEY]);
        self.seal(REKEY_NONCE, &mut *key);
        Self::new(self.backend(), &key)
    }

    fn backend(&self) -> Backend {
        match self {
            Self::Portable(_) => Backend::Portable,
            #[cfg(feature = "ring")]
            Self::Ring(_) => Backend::Ring,
        }
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}
