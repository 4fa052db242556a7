//! [`Key`]: the pre-shared key of an [`EncryptedChannel`](crate::EncryptedChannel), and the files it is kept in.
//!
//! Never a pass phrase: nothing here stretches a weak secret into a strong one.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags},
    process::geteuid,
};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{EncryptionError, StreamError};

/// Bytes of a key.
pub const KEY_SIZE: usize = 32;

/// The permission bits that a key's file has, and no other.
const FILE_MODE: u32 = 0o600;

/// A pre-shared key: 32 bytes from a good random source.
///
/// Whoever holds it can pose as either end, so it goes only where both ends are trusted alike. It is overwritten when
/// it is dropped, is never printed, and cannot be cloned: share it as `Arc<Key>`.
///
/// ```
/// let key = rpyc_actors::Key::generate()?;
/// assert_eq!(format!("{key:?}"), "[key]");
/// # Ok::<(), rpyc_actors::KeyError>(())
/// ```
pub struct Key(Zeroizing<[u8; KEY_SIZE]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// A key that cannot be had, or cannot be kept.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The operating system refused.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The name is that of a symbolic link, which somebody else may point elsewhere.
    #[error("key file {path} is a symbolic link")]
    Link {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, a pipe, a device.
    #[error("key file {path} is not a regular file")]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// The file belongs to somebody else.
    #[error("key file {path} belongs to user {owner}, not to user {user}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who this process runs as.
        user: u32,
    },
    /// The permission bits are not `0600`.
    #[error("key file {path} has mode {mode:04o}: it must be 0600")]
    Mode {
        /// The file.
        path: PathBuf,
        /// The permission bits it has.
        mode: u32,
    },
    /// What was given is neither 32 bytes nor 64 hexadecimal digits.
    #[error("a key is 32 bytes, raw or as 64 hexadecimal digits, and this is neither")]
    Format,
    /// The operating system gave no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(Arc<str>),
}

impl From<KeyError> for StreamError {
    fn from(error: KeyError) -> Self {
        EncryptionError::new(error.to_string()).into()
    }
}

impl Key {
    /// Takes 32 bytes as the key; the caller sees to it that they came from a good random source.
    pub fn new(bytes: [u8; KEY_SIZE]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh key from the operating system's random source.
    ///
    /// # Errors
    ///
    /// `Random`, when there is none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_SIZE]);
        getrandom::fill(&mut *bytes).map_err(|error| KeyError::Random(error.to_string().into()))?;
        Ok(Self(bytes))
    }

    /// Reads a key as it stands in a file: 32 bytes, or 64 hexadecimal digits with or without a line feed.
    ///
    /// # Errors
    ///
    /// `Format`.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        if let Ok(raw) = <[u8; KEY_SIZE]>::try_from(text) {
            return Ok(Self::new(raw));
        }
        let digits = text.strip_suffix(b"\n").unwrap_or(text);
        let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
        if digits.len() != 2 * KEY_SIZE {
            return Err(KeyError::Format);
        }
        let mut bytes = Zeroizing::new([0; KEY_SIZE]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(KeyError::Format);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Ok(Self(bytes))
    }

    /// Reads a key from a file: a regular file, no symbolic link, owned by this process's user, mode 0600.
    ///
    /// What is checked is the file that was opened, so nobody can exchange it in between.
    ///
    /// # Errors
    ///
    /// One of [`KeyError`], naming the file and what is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        let fail = |error: io::Error| failure(path, error);
        // Without NONBLOCK opening a pipe would wait for a writer.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::LOOP => KeyError::Link { path: path.into() },
            error => fail(error.into()),
        })?;
        let mut file = File::from(opened);
        let found = file.metadata().map_err(fail)?;
        if !found.is_file() {
            return Err(KeyError::NotRegular { path: path.into() });
        }
        let user = geteuid().as_raw();
        if found.uid() != user {
            return Err(KeyError::Owner {
                path: path.into(),
                owner: found.uid(),
                user,
            });
        }
        let mode = found.permissions().mode() & 0o7777;
        if mode != FILE_MODE {
            return Err(KeyError::Mode {
                path: path.into(),
                mode,
            });
        }
        // One byte more than the longest form, so that a longer file is seen to be one.
        let mut text = Zeroizing::new([0; 2 * KEY_SIZE + 3]);
        let mut length = 0;
        while length < text.len() {
            match file.read(&mut text[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Self::parse(&text[..length])
    }

    /// Writes the key to a file that must not exist yet, with mode 0600, as 64 hexadecimal digits and a line feed.
    ///
    /// # Errors
    ///
    /// `Io`, naming the file; a file that is there stays as it is.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let path = path.as_ref();
        let mut text = Zeroizing::new([b'\n'; 2 * KEY_SIZE + 1]);
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0.iter()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        let write = || {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(path)?;
            // A umask may have taken bits away.
            file.set_permissions(PermissionsExt::from_mode(FILE_MODE))?;
            file.write_all(&*text)?;
            file.sync_all()
        };
        write().map_err(|error| failure(path, error))
    }

    /// The bytes, for the handshake.
    pub(crate) fn bytes(&self) -> &[u8; KEY_SIZE] {
        &self.0
    }
}

impl From<[u8; KEY_SIZE]> for Key {
    fn from(mut bytes: [u8; KEY_SIZE]) -> Self {
        let key = Self::new(bytes);
        bytes.zeroize();
        key
    }
}

fn failure(path: &Path, error: io::Error) -> KeyError {
    KeyError::Io {
        path: path.into(),
        source: Arc::new(error),
    }
}
