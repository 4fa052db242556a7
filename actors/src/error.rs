//! [`StreamError`], the error of everything that moves bytes, and its named parts.
//!
//! All of it is `Clone`: one cause is told to many waiters.

mod encryption;

use std::{fmt, io, sync::Arc, time::Duration};

pub use self::encryption::EncryptionError;
#[cfg(feature = "__tls")]
pub use crate::stream::tls::TlsError;
pub use crate::stream::tunnel::TunnelError;

/// What can go wrong with a stream, a channel or a pool.
///
/// Variants are grouped by who must act: the network ([`ConnectionLost`](Self::ConnectionLost),
/// [`Connect`](Self::Connect)), the peer ([`PeerMisbehaved`](Self::PeerMisbehaved), [`LimitExceeded`](Self::LimitExceeded),
/// [`Compression`](Self::Compression), [`Encryption`](Self::Encryption)) or the caller
/// ([`BufferOverflow`](Self::BufferOverflow), [`Closed`](Self::Closed), [`ApiMisuse`](Self::ApiMisuse)).
// The tag takes a whole word on purpose: results of the hot path carry a frame where the error would be, and with
// a narrower tag they are moved in pieces that straddle the stores before them, which costs 20 ns a frame (seen).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[repr(u64)]
pub enum StreamError {
    /// The connection is gone.
    #[error(transparent)]
    ConnectionLost(#[from] ConnectionLostError),
    /// A buffer would have grown above the caller's own limit.
    #[error(transparent)]
    BufferOverflow(#[from] BufferOverflowError),
    /// Compressed data was not what it claimed to be.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// Encrypted data was not authentic, or a key was not usable.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// A connection could not be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Something from the peer is above a limit of ours.
    #[error("{what} of {got} bytes from {} is above the limit of {limit}", place(.endpoint))]
    LimitExceeded {
        /// What was too large.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
        /// What came or was claimed, in bytes.
        got: u64,
        /// The endpoint it came from.
        endpoint: Option<Arc<str>>,
    },
    /// The peer sent what the protocol does not allow.
    #[error("{} misbehaved: {what}", place(.endpoint))]
    PeerMisbehaved {
        /// What it did.
        what: Arc<str>,
        /// The endpoint it came from.
        endpoint: Option<Arc<str>>,
    },
    /// This end closed the channel or the stream before.
    #[error("already closed on this end")]
    Closed,
    /// Something took longer than its deadline.
    #[error("{what} took longer than {after:?}")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// The deadline that passed.
        after: Duration,
    },
    /// The operating system refuses the shared [`Runtime`](crate::Runtime) its threads or descriptors.
    #[error("{0}")]
    Runtime(Arc<io::Error>),
    /// The caller asked for what can never work.
    #[error("misuse: {0}")]
    ApiMisuse(Arc<str>),
}

fn place(endpoint: &Option<Arc<str>>) -> &str {
    endpoint.as_deref().unwrap_or("the peer")
}

impl StreamError {
    /// Names the endpoint in errors that were raised where it was not known.
    #[must_use]
    pub fn at(mut self, place: &Arc<str>) -> Self {
        match &mut self {
            Self::LimitExceeded { endpoint, .. } | Self::PeerMisbehaved { endpoint, .. } => {
                endpoint.get_or_insert_with(|| place.clone());
            }
            Self::Compression(error) => {
                error.endpoint.get_or_insert_with(|| place.clone());
            }
            Self::Encryption(error) => {
                error.endpoint.get_or_insert_with(|| place.clone());
            }
            Self::ConnectionLost(error) if error.endpoint.is_empty() => {
                error.endpoint = place.clone()
            }
            _ => {}
        }
        self
    }

    /// Numbers the connection, where a loss was raised below those who know which one it was.
    #[must_use]
    pub fn of_generation(mut self, number: u64) -> Self {
        if let Self::ConnectionLost(error) = &mut self {
            error.generation = number;
        }
        self
    }

    /// A fault of the peer in words.
    pub fn peer(what: impl Into<Arc<str>>) -> Self {
        Self::PeerMisbehaved {
            what: what.into(),
            endpoint: None,
        }
    }

    /// A fault of the caller in words.
    pub fn misuse(what: impl Into<Arc<str>>) -> Self {
        Self::ApiMisuse(what.into())
    }

    /// True when the transport ended without its own mark of an end.
    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(self, Self::ConnectionLost(error) if matches!(error.reason, LossReason::CutOff))
    }

    /// True when the ends do not go together, and will not the next time either.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Encryption(error) if error.is_refusal)
    }

    /// True when the connection is gone for a reason that a new connection may cure.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Self::ConnectionLost(_))
    }
}

/// A connection that was there is lost.
#[derive(Clone, Debug, thiserror::Error)]
#[error("connection to {endpoint} lost (generation {generation}): {reason}")]
#[non_exhaustive]
pub struct ConnectionLostError {
    /// The endpoint in the form in which it was given.
    pub endpoint: Arc<str>,
    /// Which connection of a supervised chain it was, counted from 1.
    pub generation: u64,
    /// Why it is lost.
    #[source]
    pub reason: LossReason,
}

impl ConnectionLostError {
    /// The loss of a connection that nobody supervises (generation 1).
    pub fn new(endpoint: &Arc<str>, reason: LossReason) -> Self {
        Self {
            endpoint: endpoint.clone(),
            generation: 1,
            reason,
        }
    }
}

/// Why a connection was lost.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// The operating system reported an error.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// The peer's stream ended where more was due.
    #[error("the stream ended after {got} of {due} bytes of {what}")]
    Truncated {
        /// What was cut short.
        what: &'static str,
        /// Bytes that came.
        got: u64,
        /// Bytes that were due.
        due: u64,
    },
    /// The peer's stream ended.
    #[error("the stream ended")]
    EndOfStream,
    /// The transport ended without its own mark of an end, such as TLS's close_notify.
    #[error("the stream ended without a close_notify, so what came may be cut short")]
    CutOff,
    /// TLS failed, or the peer refused it.
    #[cfg(feature = "__tls")]
    #[error("TLS: {0}")]
    Tls(#[source] TlsError),
    /// What carried the connection ended with a failure of its own.
    #[error("{0}")]
    Tunnel(#[source] TunnelError),
    /// The child process behind the stream ended.
    #[error("the child process ended with {0}")]
    ProcessExited(std::process::ExitStatus),
    /// The data path on this end failed.
    #[error("{0}")]
    Failed(#[source] Arc<StreamError>),
    /// Nothing came for so long that the peer counts as dead.
    #[error("nothing came for {after:?}")]
    Silent {
        /// How long this end had waited.
        after: Duration,
    },
    /// The peer gave the connection up, and said so.
    #[error("the peer closed the connection (reason {0})")]
    PeerClosed(u8),
    /// A resumable session cannot go on.
    #[error("the session is lost: {0}")]
    SessionLost(#[source] SessionLost),
    /// It had not shaken hands yet, as too many had not, and gave way to a newer one.
    #[error("too many peers shake hands, and this one had had its time")]
    PushedOut,
    /// This end aborted the connection.
    #[error("aborted on this end")]
    Aborted,
    /// Something of this end panicked: a codec, an actor or a handler. The text is the panic's.
    #[error("something of this end panicked: {0}")]
    Panicked(Arc<str>),
    /// An actor of the chain, or the runtime it ran on, is gone.
    #[error("the actors of this connection are gone")]
    ActorGone,
}

impl LossReason {
    /// True when something of this end panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }
}

impl From<io::Error> for LossReason {
    fn from(error: io::Error) -> Self {
        #[cfg(feature = "__tls")]
        if let Some(error) = TlsError::inside(&error) {
            return Self::Tls(error);
        }
        Self::Io(Arc::new(error))
    }
}

/// Why a resumable session cannot go on.
///
/// What was sent and not acknowledged may have reached the peer or not.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionLost {
    /// There was no connection for so long.
    #[error("there was no connection for {after:?}")]
    LingerOver {
        /// How long this end had waited.
        after: Duration,
    },
    /// The peer knows nothing of it: it was started again, had waited long enough, or had to make room.
    #[error("the peer does not know it any more")]
    Unknown,
    /// This end had too many sessions without a connection, and this was the one that had waited longest of those from the address that had most.
    #[error("it had to make room for others")]
    Evicted,
    /// The peer's application gave it up.
    #[error("the peer gave it up")]
    PeerAborted,
    /// The peer will stop, and begins no new session.
    #[error("the peer will stop, and begins no new session")]
    PeerGoing,
    /// The peer does not go on, for this reason of its own (see `docs/PROTOCOL.md`).
    #[error("the peer does not go on with it (reason {reason})")]
    PeerRefused {
        /// The reason as a number.
        reason: u8,
    },
    /// The peer sent what cannot be.
    #[error("{0}")]
    Fault(#[source] Arc<StreamError>),
}

/// A connection could not be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot connect to {endpoint}: {reason}")]
#[non_exhaustive]
pub struct ConnectError {
    /// The endpoint in the form in which it was given.
    pub endpoint: Arc<str>,
    /// What stood in the way.
    #[source]
    pub reason: ConnectFailure,
}

impl ConnectError {
    /// Joins an endpoint and the reason.
    pub fn new(endpoint: impl Into<Arc<str>>, reason: ConnectFailure) -> Self {
        Self {
            endpoint: endpoint.into(),
            reason,
        }
    }
}

/// What stood in the way of a connection.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectFailure {
    /// The host name has no address.
    #[error("host name {host:?} is not resolved: {source}")]
    Resolve {
        /// The name that was looked up.
        host: String,
        /// What the resolver said.
        source: Arc<io::Error>,
    },
    /// The operating system refused.
    #[error("{0}")]
    Io(#[source] Arc<io::Error>),
    /// No answer within the connect timeout.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The endpoint's text is not one we understand.
    #[error("{0}")]
    Endpoint(Arc<str>),
    /// The command could not be started.
    #[error("cannot start {program:?}: {source}")]
    Spawn {
        /// The program that was asked for.
        program: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// There is no TLS with the peer.
    #[cfg(feature = "__tls")]
    #[error("TLS: {0}")]
    Tls(#[source] TlsError),
    /// There is no way through the tunnel.
    #[error("{0}")]
    Tunnel(#[source] TunnelError),
    /// Something of this end panicked.
    #[error("{0}")]
    Panicked(#[source] LossReason),
    /// The opening hook refused the connection.
    #[error("the opening exchange failed: {0}")]
    Refused(#[source] Arc<StreamError>),
}

#[cfg(feature = "__tls")]
impl From<TlsError> for ConnectFailure {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl From<TunnelError> for ConnectFailure {
    fn from(error: TunnelError) -> Self {
        Self::Tunnel(error)
    }
}

impl From<io::Error> for ConnectFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// A buffer limit of the caller would be exceeded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {got} bytes is above the buffer limit of {limit}")]
#[non_exhaustive]
pub struct BufferOverflowError {
    /// What was asked for.
    pub what: &'static str,
    /// The limit, in bytes.
    pub limit: u64,
    /// What was asked for, in bytes.
    pub got: u64,
}

impl BufferOverflowError {
    /// A refusal of `got` bytes where `limit` is the most.
    pub fn new(what: &'static str, limit: usize, got: usize) -> Self {
        Self {
            what,
            limit: limit as u64,
            got: got as u64,
        }
    }
}

/// Compressed data could not be read, or data could not be compressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compressed data from {} is not usable: {what}", place(.endpoint))]
#[non_exhaustive]
pub struct CompressionError {
    /// What is wrong.
    pub what: Arc<str>,
    /// The endpoint it came from.
    pub endpoint: Option<Arc<str>>,
}

impl CompressionError {
    /// A fault in words.
    pub fn new(what: impl Into<Arc<str>>) -> Self {
        Self {
            what: what.into(),
            endpoint: None,
        }
    }
}

/// A refused write: the reason, and what was not sent.
///
/// A thin pointer, so that a write that succeeds returns in a register.
#[derive(Clone)]
pub struct WriteError<T>(Box<Unsent<T>>);

/// What a [`WriteError`] holds.
#[derive(Clone)]
#[non_exhaustive]
pub struct Unsent<T> {
    /// What was not sent.
    pub item: T,
    /// Why it was not sent.
    pub reason: StreamError,
}

impl<T> WriteError<T> {
    #[cold]
    pub(crate) fn new(item: T, reason: StreamError) -> Self {
        Self(Box::new(Unsent { item, reason }))
    }

    /// What was not sent.
    pub fn into_item(self) -> T {
        self.0.item
    }
}

impl<T> std::ops::Deref for WriteError<T> {
    type Target = Unsent<T>;

    fn deref(&self) -> &Unsent<T> {
        &self.0
    }
}

impl<T> fmt::Debug for WriteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteError")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Display for WriteError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not sent")
    }
}

impl<T> std::error::Error for WriteError<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

impl<T> From<WriteError<T>> for StreamError {
    fn from(error: WriteError<T>) -> Self {
        error.0.reason
    }
}
