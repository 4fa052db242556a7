//! [`EncryptConfig`]: keys and settings of an encrypted channel.

use std::{sync::Arc, time::Duration};

use super::{
    aead::Backend,
    handshake::{self, MAX_LABEL},
    terms::Terms,
};
pub use crate::codec::pulse::{Liveness, MIN_SILENCE};
use crate::{error::StreamError, key::Key, limits::FOR_EVER};

/// Smallest [`EncryptConfig::max_record`], in bytes: with less, most of what travels would be overhead.
pub const MIN_RECORD: usize = 1024;
/// Largest [`EncryptConfig::max_record`], in bytes.
pub const MAX_RECORD: usize = 64_000;
/// Keys that an accepting end may hold at once.
pub const MAX_KEYS: usize = 4;

/// When a direction's key is replaced: after whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RekeyAfter {
    /// So many records. 2^20 by default.
    pub records: u64,
    /// So many bytes. 1 GiB by default.
    pub bytes: u64,
    /// So much time. 15 minutes by default; it happens with the first record after that.
    pub time: Duration,
}

impl Default for RekeyAfter {
    fn default() -> Self {
        Self {
            records: 1 << 20,
            bytes: 1 << 30,
            time: Duration::from_secs(15 * 60),
        }
    }
}

impl RekeyAfter {
    /// Sets [`records`](Self::records), at least 1.
    #[must_use]
    pub fn records(mut self, records: u64) -> Self {
        self.records = records.max(1);
        self
    }

    /// Sets [`bytes`](Self::bytes), at least 1.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes.max(1);
        self
    }

    /// Sets [`time`](Self::time).
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }
}

/// Keys and settings of an encrypted channel: a recipe for any number of connections.
///
/// Both ends need the same key and the same label. All else is either told to the peer inside the handshake or
/// concerns one end alone.
#[derive(Clone, Debug)]
pub struct EncryptConfig {
    pub(super) keys: Vec<Arc<Key>>,
    label: String,
    pub(super) max_record: usize,
    pub(super) rekey: RekeyAfter,
    pub(super) liveness: Option<Liveness>,
    pub(super) handshake_timeout: Duration,
    features: u32,
    required: u32,
    pub(super) backend: Backend,
}

impl EncryptConfig {
    /// Default settings with this key, a `Key` or an `Arc<Key>`.
    pub fn new(key: impl Into<Arc<Key>>) -> Self {
        Self {
            keys: vec![key.into()],
            label: String::new(),
            max_record: 16_384,
            rekey: RekeyAfter::default(),
            liveness: Some(Liveness::default()),
            handshake_timeout: Duration::from_secs(5),
            features: 0,
            required: 0,
            backend: Backend::default(),
        }
    }

    /// Adds a key that is accepted, too, so that keys can be changed one end after the other. A dialling end uses
    /// the first key only.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` for a fifth key: each costs a stranger nothing, and us a try.
    pub fn also_accept(mut self, key: impl Into<Arc<Key>>) -> Result<Self, StreamError> {
        if self.keys.len() == MAX_KEYS {
            let what = format!("an encrypted channel has at most {MAX_KEYS} keys");
            return Err(StreamError::misuse(what));
        }
        self.keys.push(key.into());
        Ok(self)
    }

    /// Sets what the two ends must call their application alike. Empty by default.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` for more than 255 bytes.
    pub fn label(mut self, label: impl Into<String>) -> Result<Self, StreamError> {
        self.label = label.into();
        if self.label.len() > MAX_LABEL {
            let got = self.label.len();
            let what = format!("a label of {got} bytes is above the limit of {MAX_LABEL}");
            return Err(StreamError::misuse(what));
        }
        Ok(self)
    }

    /// Sets the largest body of a record, in bytes, for both directions: [`MIN_RECORD`] to [`MAX_RECORD`], 16,384 by
    /// default. The smaller one of the two ends counts.
    ///
    /// Larger records cost a little less; nothing of a record can be used before all of it has come.
    #[must_use]
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.max_record = bytes.clamp(MIN_RECORD, MAX_RECORD);
        self
    }

    /// Sets when this end replaces the key with which it sends.
    #[must_use]
    pub fn rekey_after(mut self, rekey: RekeyAfter) -> Self {
        self.rekey = rekey;
        self
    }

    /// Sets how a dead peer is noticed, or with `None` that it is not; on by default.
    #[must_use]
    pub fn liveness(mut self, liveness: impl Into<Option<Liveness>>) -> Self {
        self.liveness = liveness.into();
        self
    }

    /// Sets how long the handshake may take. 5 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout.min(FOR_EVER);
        self
    }

    /// Sets the feature bits that this end offers and those without which it refuses the peer (which are offered,
    /// too). None by default. The lowest eight are this crate's own: [`Layers`](crate::Layers) need what is meant by theirs at both ends.
    /// What the others mean is up to the application.
    #[must_use]
    pub fn features(mut self, offered: u32, required: u32) -> Self {
        self.features = offered | required;
        self.required = required;
        self
    }

    /// Offers these features, too, and refuses a peer without them.
    pub(crate) fn needing(mut self, features: u32) -> Self {
        self.features |= features;
        self.required |= features;
        self
    }

    /// Sets who does the arithmetic: the fastest there is by default.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    pub(super) fn prologue(&self) -> Vec<u8> {
        handshake::prologue(handshake::VERSION, &self.label)
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            max_record: self.max_record,
            silence: self.liveness.map(|liveness| liveness.silence()),
            features: self.features,
            required: self.required,
        }
    }
}
