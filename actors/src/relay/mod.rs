//! [`relay`]: a plain stream carried over a channel, and taken off again at the other end.
//!
//! ```text
//! program ─ stream ─ relay ─ channel ═══ layers ═══ channel ─ relay ─ stream ─ program
//! ```
//!
//! # Wire format
//!
//! What one read of the stream gave goes as frames of 1 to [`MAX_PIECE`] bytes (fewer if the channel's `max_frame` is
//! smaller), and frames say nothing but their bytes: any
//! split of the stream means the same. An empty frame ends a direction; nothing follows it. A channel that ends without one
//! was cut off, whatever its transport says, so nobody takes half of something for the whole.
//!
//! # Backpressure
//!
//! What was read of one leg keeps its credit until the other leg has credit for it, so a reader that is slow stops the
//! writer at the far end, and only in that direction. A relay holds no more than the legs' own limits allow.

mod above;
mod actor;

use std::{fmt, future::Future};

use tokio::sync::oneshot;

use self::actor::Relaying;
use crate::{
    channel::Channel,
    error::{ConnectionLostError, LossReason, StreamError},
    stream::StreamHandle,
    work,
};

/// Largest piece of the stream that goes as one frame, in bytes: with its head and its tail 64 KiB, which is what
/// a TLS session takes at once.
pub const MAX_PIECE: usize = (64 << 10) - crate::unit::FRAME_OVERHEAD;

/// One of the two sides of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Leg {
    /// The plain stream.
    Stream,
    /// The channel.
    Channel,
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Channel => "channel",
        })
    }
}

/// A relay that did not end in good order.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the {leg} failed: {reason}")]
#[non_exhaustive]
pub struct RelayError {
    /// The side that failed; the other one was reset for it.
    pub leg: Leg,
    /// Why.
    #[source]
    pub reason: StreamError,
}

/// What a relay carried, and how it ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Relayed {
    /// Bytes of the stream that went into the channel.
    pub to_channel: u64,
    /// Bytes of the channel that went into the stream.
    pub to_stream: u64,
    /// `Ok` when both directions ended and all of it reached the kernel.
    pub result: Result<(), RelayError>,
}

impl Relayed {
    fn failed(leg: Leg, reason: StreamError) -> Self {
        Self {
            to_channel: 0,
            to_stream: 0,
            result: Err(RelayError { leg, reason }),
        }
    }
}

/// Carries a stream over a channel whose other end is a relay, too, until both directions have ended.
///
/// The end of one direction is passed on at once, behind what came before it; the other direction goes on. A leg that is
/// lost or reset resets the other one (a unix socket has no reset: there it is the end of the stream). Both legs are closed
/// when this returns.
///
/// The actor that does it lives on the arbiter of the stream. Both legs had better be on that one, as they are when the second is
/// opened there: else each batch changes threads.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{Chain, Layers, Listener, ListenerConfig, Runtime, relay::relay};
///
/// let far_end = Chain::to("tcp://far.example:7000")?.layers(Layers::parse(["encrypt:/etc/tunnel.key"])?);
/// let carry = move |stream| {
///     let far_end = far_end.clone();
///     // Runs on the stream's arbiter, and so connects there, too.
///     actix_rt::spawn(async move {
///         if let Ok(channel) = far_end.connect().await {
///             println!("{:?}", relay(stream, channel).await);
///         }
///     });
/// };
/// let listener = Listener::bind(&"tcp://127.0.0.1:6379".parse()?, ListenerConfig::default(), carry).await?;
/// # drop(listener);
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
///
/// Both legs are reset, also when this is dropped before it was awaited.
pub fn relay(
    stream: impl Into<StreamHandle>,
    channel: impl Into<Channel>,
) -> impl Future<Output = Relayed> + Send + 'static {
    let legs = Legs {
        stream: stream.into(),
        channel: channel.into(),
        is_over: false,
    };
    legs.relay()
}

/// Both legs, reset by the drop of a relay that is not over.
struct Legs {
    stream: StreamHandle,
    channel: Channel,
    is_over: bool,
}

impl Legs {
    async fn relay(mut self) -> Relayed {
        let (answer, told) = oneshot::channel();
        let actor = Relaying::new(self.stream.clone(), self.channel.clone(), answer);
        drop(work::start_on(self.stream.arbiter(), move || actor));
        let gone = |_| {
            let lost =
                ConnectionLostError::new(&self.stream.info().endpoint, LossReason::ActorGone);
            Relayed::failed(Leg::Stream, lost.into())
        };
        let relayed = told.await.unwrap_or_else(gone);
        if relayed.result.is_ok() {
            // All was flushed: what failed now would have failed before.
            self.is_over = true;
            let _ = self.stream.close().await;
            let _ = self.channel.close().await;
        }
        relayed
    }
}

impl Drop for Legs {
    fn drop(&mut self) {
        if !self.is_over {
            self.stream.abort();
            self.channel.abort();
        }
    }
}
