//! [`BufferedStream`]: small writes joined, and reads ahead.

use super::StreamHandle;
use crate::{
    codec::{Buffer, BufferConfig},
    error::{BufferOverflowError, StreamError},
};

/// The buffered stream of the seed: a stream on another one.
///
/// Small writes that come while the stream's actor is busy go on together, joined in pieces of up to the size of the buffer;
/// larger ones go straight through. Nothing waits, so [`flush`](StreamHandle::flush) is not needed for the data to
/// go; as on any stream it tells when the data has gone. Up to the size of the buffer is read before it is asked for,
/// and what one read of the operating system brings with it.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{BufferedStream, Channel, SocketStream};
///
/// let stream = SocketStream::connect("localhost", 12345).await?;
/// let channel = Channel::new(BufferedStream::new(stream, 32768)?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct BufferedStream(StreamHandle);

super::handle::stream_kind!(BufferedStream);

impl BufferedStream {
    /// Buffers `stream` with so many bytes; the seed's default is [`DEFAULT_BUFFER_SIZE`](crate::DEFAULT_BUFFER_SIZE).
    ///
    /// # Errors
    ///
    /// With the stream, which is as it was: when `buffer_size` is above the stream's
    /// [`Limits::max_buffer`](crate::Limits::max_buffer), 1 MiB unless raised.
    pub fn new(stream: impl Into<StreamHandle>, buffer_size: usize) -> Result<Self, BufferRefused> {
        let stream = stream.into();
        match BufferConfig::within(buffer_size, &stream.info().limits) {
            Ok(config) => Ok(Self(stream.layered_ahead(Buffer::new(config), buffer_size))),
            Err(reason) => Err(BufferRefused { stream, reason }),
        }
    }
}

/// A buffer that was not made: why, and the stream it was for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the stream is not buffered")]
#[non_exhaustive]
pub struct BufferRefused {
    /// The stream, of which nothing is lost.
    pub stream: StreamHandle,
    /// Why it is not buffered.
    #[source]
    pub reason: BufferOverflowError,
}

impl From<BufferRefused> for StreamError {
    fn from(refused: BufferRefused) -> Self {
        refused.reason.into()
    }
}
