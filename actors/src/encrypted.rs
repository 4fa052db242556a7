//! [`EncryptedChannel`], and the layer of a recipe that makes one.

use std::sync::Arc;

use crate::{
    chain::Layers,
    channel::Channel,
    codec::{Encrypt, EncryptConfig},
    handshakes::Handshakes,
    key::Key,
    stream::StreamHandle,
};

pub use crate::handshakes::HandshakeStats;

/// A channel whose two ends share a key: nobody else can read, change or make what travels.
///
/// Every connection and direction has fresh keys, so that a key which leaks later opens nothing that was recorded
/// before. A peer with another key, label or version is refused: the accepting end's frames end with `Encryption`, and
/// the dialling end sees the connection lost. Whoever holds the key can pose as either end.
///
/// What is sent before the handshake is done waits for it, as does a flush. It is used as the [`Channel`] it is.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{EncryptedChannel, Key, SocketStream};
///
/// let stream = SocketStream::connect("localhost", 12345).await?;
/// let channel = EncryptedChannel::new(stream, Key::load("/etc/service.key")?);
/// channel.send("for the holder of the key").await?;
/// channel.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct EncryptedChannel(Channel);

impl EncryptedChannel {
    /// Frames over a stream, encrypted with a `Key` or an `Arc<Key>` and default settings.
    ///
    /// The end that [dialled](crate::Side) begins the handshake; a ready-made socket that somebody accepted is told so
    /// by [`StreamHandle::with_side`]. If the arbiter of the stream has stopped, the channel
    /// is there but closed.
    ///
    /// # Panics
    ///
    /// When the operating system has no random bytes.
    pub fn new(stream: impl Into<StreamHandle>, key: impl Into<Arc<Key>>) -> Self {
        Self::with_config(stream, EncryptConfig::new(key))
    }

    /// [`new`](Self::new) with settings.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with_config(stream: impl Into<StreamHandle>, config: EncryptConfig) -> Self {
        Self(Layers::new().encrypt(config).channel(stream))
    }

    /// The channel, to be handed on.
    pub fn into_channel(self) -> Channel {
        self.0
    }
}

impl std::ops::Deref for EncryptedChannel {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.0
    }
}

impl From<EncryptedChannel> for Channel {
    fn from(channel: EncryptedChannel) -> Self {
        channel.0
    }
}

/// Connections that may shake hands at once, by default.
const MAX_HANDSHAKES: usize = 512;

impl Layers {
    /// Adds encryption, below the layers of bytes added before: what those give out is sealed.
    ///
    /// The handshake tells the peer of [`snappy`](crate::codec::CompressConfig::snappy) and of [`resume`](Self::resume), wherever they were
    /// added: a peer without them is refused, as one that has them is where they are not (`Encryption`, at both ends).
    ///
    /// Of the connections that [`accept`](Self::accept) is given, 512 may shake hands at once ([`max_handshakes`](Self::max_handshakes)).
    ///
    /// The actors of a connection end with a panic when the operating system has no random bytes for it.
    #[must_use]
    pub fn encrypt(mut self, config: EncryptConfig) -> Self {
        self.seal();
        self.handshakes
            .get_or_insert_with(|| Handshakes::new(MAX_HANDSHAKES));
        self.push_agreeing(move |stream, needed| {
            let ephemeral = Key::generate().expect("the operating system gives random bytes");
            Encrypt::new(&config.clone().needing(needed), stream.side(), ephemeral)
        })
    }

    /// Sets how many connections that [`accept`](Self::accept) is given may shake hands at once, with the encryption added before; clones
    /// made from here on count together. A newcomer above that pushes out the oldest of the address that has most
    /// ([`PushedOut`](crate::error::LossReason::PushedOut)). With sessions, [`ResumeConfig`](crate::codec::ResumeConfig) says it.
    #[must_use]
    pub fn max_handshakes(mut self, count: usize) -> Self {
        if let Some(handshakes) = &mut self.handshakes {
            *handshakes = Handshakes::new(count);
        }
        self
    }

    /// What is known of those handshakes; all zero without encryption, and with sessions.
    pub fn handshakes(&self) -> HandshakeStats {
        let handshakes = self.handshakes.as_ref();
        handshakes.map_or_else(HandshakeStats::default, |handshakes| handshakes.stats())
    }
}
