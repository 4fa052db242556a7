//! Certificates and keys, from files or from text.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::error::TlsError;

/// Where certificates, or a key, are taken from: a file in PEM, or text in PEM. A path converts into it.
///
/// A file is read when the first connection needs it, and then kept: a new [`TlsConfig`](super::TlsConfig) reads it again.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// A file.
    File(PathBuf),
    /// The text itself.
    Text(Arc<[u8]>),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            // It may be a key.
            Self::Text(_) => f.write_str("Text([PEM])"),
        }
    }
}

impl From<&str> for Pem {
    fn from(path: &str) -> Self {
        Self::File(path.into())
    }
}

impl From<&Path> for Pem {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Pem {
    /// Text in PEM.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self::Text(text.as_ref().into())
    }

    /// For people: the file's path.
    pub(super) fn place(&self) -> Arc<str> {
        match self {
            Self::File(path) => path.display().to_string().into(),
            Self::Text(_) => "the given PEM text".into(),
        }
    }

    fn unusable(&self, what: impl fmt::Display) -> TlsError {
        TlsError::Pem {
            place: self.place(),
            what: what.to_string().into(),
        }
    }

    fn bytes(&self) -> Result<zeroize::Zeroizing<Vec<u8>>, TlsError> {
        match self {
            Self::Text(text) => Ok(text.to_vec().into()),
            Self::File(path) => match fs::read(path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(error) => Err(TlsError::File {
                    path: path.clone(),
                    source: Arc::new(error),
                }),
            },
        }
    }

    /// All certificates; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let bytes = self.bytes()?;
        let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.unusable("it holds no certificate in PEM")),
            Ok(found) => Ok(found),
            Err(error) => Err(self.unusable(error)),
        }
    }

    /// The first private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        match PrivateKeyDer::from_pem_slice(&self.bytes()?) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => Err(self
                .unusable("it holds no private key in PEM that is not protected by a pass phrase")),
            Err(error) => Err(self.unusable(error)),
        }
    }
}
