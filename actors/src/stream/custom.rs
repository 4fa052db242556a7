//! Any transport: a factory that runs on the arbiter, or a ready-made one.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ByteStream, StreamHandle, StreamInfo, Transport, transport::write_through};
use crate::{error::StreamError, limits::Limits, runtime::Runtime};

/// A transport that is nothing but readable and writable.
struct Plain<T>(T);

impl<T: AsyncRead + Unpin> AsyncRead for Plain<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Plain<T> {
    write_through!(0);
}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Transport for Plain<T> {}

/// Starts a stream over `io`, on the current arbiter.
pub(crate) fn start<T: AsyncRead + AsyncWrite + Unpin + 'static>(
    io: T,
    endpoint: Arc<str>,
    limits: Limits,
) -> StreamHandle {
    ByteStream::start(Plain(io), StreamInfo::new(endpoint).limits(limits))
}

impl StreamHandle {
    /// Makes a stream of a ready-made transport.
    ///
    /// The actor runs on an arbiter of its own choice, but `io` stays bound to the reactor it was made on: that
    /// runtime must live as long as the stream, and every readiness crosses threads. [`open_with`](Self::open_with)
    /// has neither drawback.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` when the arbiter has stopped.
    pub async fn from_io<T>(endpoint: impl Into<Arc<str>>, io: T) -> Result<Self, StreamError>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let endpoint = endpoint.into();
        let open = move || async move { start(io, endpoint, Limits::default()) };
        Runtime::run_on(Runtime::try_current()?.arbiter(), open).await
    }

    /// Makes a stream of the transport that `factory` gives; it runs on the arbiter of the stream.
    ///
    /// # Errors
    ///
    /// What the factory raised; `ApiMisuse` when the arbiter has stopped.
    ///
    /// # Cancellation
    ///
    /// The factory's future is dropped.
    pub async fn open_with<T, F>(
        endpoint: impl Into<Arc<str>>,
        factory: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Self, StreamError>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
        F: Future<Output = Result<T, StreamError>> + 'static,
    {
        let endpoint = endpoint.into();
        let open = move || async move { Ok(start(factory().await?, endpoint, Limits::default())) };
        Runtime::run_on(Runtime::try_current()?.arbiter(), open).await?
    }
}
