//! The layers that come with this crate, for [`Layers`]: by methods, and as text ([`LayerSpec`]).

mod spec;

use crate::{
    chain::Layers,
    codec::{
        Batch, BatchConfig, Buffer, BufferConfig, Compress, CompressConfig, Heartbeat, Liveness,
        Monitor,
    },
    monitor::{At, Monitors},
};

pub use spec::{LayerError, LayerSpec};

impl Layers {
    /// Adds compression, and the understanding of what it writes. A second one compresses nothing again.
    #[must_use]
    pub fn compress(mut self, config: CompressConfig) -> Self {
        let inflation = config.inflation(self.inflation.max_frame);
        self.inflation.snappy |= inflation.snappy;
        self.inflation.max_ratio = self.inflation.max_ratio.or(inflation.max_ratio);
        self.push_frames(move |_| Compress::new(config))
    }

    /// Adds batching.
    #[must_use]
    pub fn batch(mut self, config: BatchConfig) -> Self {
        self.gathers = true;
        self.push_frames(move |_| Batch::new(config))
    }

    /// Adds a buffer, below the framing.
    #[must_use]
    pub fn buffer(self, config: BufferConfig) -> Self {
        self.push_bytes(move |_| Buffer::new(config))
    }

    /// Adds signs of life, directly below the framing; the peer must be configured alike. On an encrypted channel they are there
    /// already. Empty frames cannot be sent then.
    #[must_use]
    pub fn liveness(self, liveness: Liveness) -> Self {
        self.push_bytes(move |_| Heartbeat::new(liveness))
    }

    /// Counts frames that pass here, for `monitors`; each connection by itself.
    #[must_use]
    pub fn monitor_channel(self, monitors: &Monitors) -> Self {
        let monitors = monitors.clone();
        self.push_frames(move |stream| Monitor::new(monitors.tally(stream, At::Channel)))
    }

    /// Counts bytes that pass here, below the framing, for `monitors`; each connection by itself.
    #[must_use]
    pub fn monitor_stream(self, monitors: &Monitors) -> Self {
        let monitors = monitors.clone();
        self.push_bytes(move |stream| Monitor::new(monitors.tally(stream, At::Stream)))
    }
}
