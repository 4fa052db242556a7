//! [`MonitoredStream`]: a stream whose bytes are counted.

use std::ops::Deref;

use super::StreamHandle;
use crate::{
    codec::Monitor,
    monitor::{At, Meter, MonitorStats, Monitors},
};

/// The monitored stream of the seed: a stream on another one.
///
/// Its summary is logged when it ends; see [`monitor`](crate::monitor) for that and for metrics.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{Channel, MonitoredStream, SocketStream};
///
/// let stream = MonitoredStream::new(SocketStream::connect("localhost", 12345).await?);
/// let channel = Channel::new(stream.clone());
/// channel.send("hello").await?;
/// channel.close().await?;
/// println!("{}", stream.stats());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MonitoredStream {
    stream: StreamHandle,
    meter: Meter,
}

impl MonitoredStream {
    /// Counts for this process's [`Monitors::shared`].
    pub fn new(stream: impl Into<StreamHandle>) -> Self {
        Self::with_monitors(stream, &Monitors::shared())
    }

    /// Counts for a sum of your own.
    pub fn with_monitors(stream: impl Into<StreamHandle>, monitors: &Monitors) -> Self {
        let stream = stream.into();
        let tally = monitors.tally(&stream, At::Stream);
        let meter = tally.meter();
        let stream = stream.layered(Monitor::new(tally));
        Self { stream, meter }
    }

    /// What passed so far; also when the stream is closed.
    pub fn stats(&self) -> MonitorStats {
        self.meter.stats()
    }

    /// What reads the counts, without the stream.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }
}

impl Deref for MonitoredStream {
    type Target = StreamHandle;

    fn deref(&self) -> &StreamHandle {
        &self.stream
    }
}

impl From<MonitoredStream> for StreamHandle {
    fn from(stream: MonitoredStream) -> Self {
        stream.stream
    }
}
