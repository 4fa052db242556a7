//! [`EncryptionError`]: what is not authentic, and what does not go together.

use std::sync::Arc;

use super::place;

/// Encrypted data is not authentic, or a key is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("encryption with {} failed: {what}", place(.endpoint))]
#[non_exhaustive]
pub struct EncryptionError {
    /// What is wrong.
    pub what: Arc<str>,
    /// The endpoint it came from.
    pub endpoint: Option<Arc<str>>,
    /// The ends hold the same key and do not go together, so a new connection cures nothing.
    pub is_refusal: bool,
}

impl EncryptionError {
    /// A fault in words.
    pub fn new(what: impl Into<Arc<str>>) -> Self {
        Self {
            what: what.into(),
            endpoint: None,
            is_refusal: false,
        }
    }

    /// The ends do not go together, in words.
    #[cfg(feature = "encrypt")]
    pub(crate) fn refusal(what: impl Into<Arc<str>>) -> Self {
        Self {
            is_refusal: true,
            ..Self::new(what)
        }
    }
}
