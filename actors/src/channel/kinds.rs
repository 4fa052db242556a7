//! The channels of the seed by their names, each of them a [`Channel`] with one layer.

use std::{ops::Deref, time::Duration};

use super::{Channel, Down};
use crate::{
    chain::Layers,
    codec::{BatchConfig, CompressConfig, Monitor},
    layer::Layer,
    monitor::{At, Meter, MonitorStats, Monitors},
    stream::StreamHandle,
    work,
};

/// Makes a named kind of channel of a newtype around a [`Channel`].
macro_rules! channel_kind {
    ($name:ident) => {
        impl Deref for $name {
            type Target = Channel;

            fn deref(&self) -> &Channel {
                &self.0
            }
        }

        impl From<$name> for Channel {
            fn from(channel: $name) -> Self {
                channel.0
            }
        }
    };
}

/// A channel that compresses.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{CompressedChannel, SocketStream};
///
/// let stream = SocketStream::connect("remote-host", 12345).await?;
/// let channel = CompressedChannel::new(stream, 9);
/// channel.send(vec![b'a'; 100_000]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CompressedChannel(Channel);

channel_kind!(CompressedChannel);

impl CompressedChannel {
    /// Zlib at a level from 0, which never compresses, to 9; more counts as 9. The seed's default is
    /// [`DEFAULT_COMPRESSION_LEVEL`](crate::DEFAULT_COMPRESSION_LEVEL). Any RPyC can be the peer.
    pub fn new(stream: impl Into<StreamHandle>, compression_level: u32) -> Self {
        Self::with_config(stream, CompressConfig::zlib(compression_level))
    }

    /// Snappy, for a peer that has it, too.
    #[cfg(feature = "snappy")]
    pub fn snappy(stream: impl Into<StreamHandle>) -> Self {
        Self::with_config(stream, CompressConfig::snappy())
    }

    /// Compression with settings.
    pub fn with_config(stream: impl Into<StreamHandle>, config: CompressConfig) -> Self {
        Self(Layers::new().compress(config).channel(stream))
    }
}

/// A channel that holds small messages back for a moment, so that several go in one write.
///
/// Who waits is not delayed: a flush, a close, a call of RPyC, or somebody who waits for credit.
#[derive(Clone, Debug)]
pub struct BatchingChannel(Channel);

channel_kind!(BatchingChannel);

impl BatchingChannel {
    /// Waits for `batch_size` frames, or until the oldest has waited for `batch_timeout`. The seed's defaults are
    /// [`DEFAULT_BATCH_SIZE`](crate::DEFAULT_BATCH_SIZE) and [`DEFAULT_BATCH_TIMEOUT`](crate::DEFAULT_BATCH_TIMEOUT).
    pub fn new(
        stream: impl Into<StreamHandle>,
        batch_size: usize,
        batch_timeout: Duration,
    ) -> Self {
        let config = BatchConfig::default()
            .batch_size(batch_size)
            .batch_timeout(batch_timeout);
        Self(Layers::new().batch(config).channel(stream))
    }
}

/// A channel whose frames are counted.
#[derive(Clone, Debug)]
pub struct MonitoredChannel {
    channel: Channel,
    meter: Meter,
}

impl MonitoredChannel {
    /// Counts for this process's [`Monitors::shared`].
    pub fn new(stream: impl Into<StreamHandle>) -> Self {
        Self::with_monitors(stream, &Monitors::shared())
    }

    /// Counts for a sum of your own.
    pub fn with_monitors(stream: impl Into<StreamHandle>, monitors: &Monitors) -> Self {
        let stream = stream.into();
        let tally = monitors.tally(&stream, At::Channel);
        let meter = tally.meter();
        let channel = Channel::spawn(stream, false, move |stream| {
            let framing = work::start(Layer::of(Layers::new().framing(stream)));
            let monitor = Layer::start(Monitor::new(tally), Box::new(framing), stream);
            Down::Layers(Box::new(monitor))
        });
        Self { channel, meter }
    }

    /// What passed so far; also when the channel is closed. The channel's own counts are behind
    /// [`Channel::stats`].
    pub fn stats(&self) -> MonitorStats {
        self.meter.stats()
    }

    /// What reads the counts, without the channel.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Deref for MonitoredChannel {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

impl From<MonitoredChannel> for Channel {
    fn from(channel: MonitoredChannel) -> Self {
        channel.channel
    }
}
