//! Anonymous pipes: [`PipeStream`].

use std::{
    io::{self, IoSlice},
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::unix::pipe,
};

use super::{ByteStream, StreamHandle, StreamInfo, Transport};
use crate::{
    error::{ConnectError, StreamError},
    runtime::Runtime,
    side::Side,
};

/// Two one-way halves as one transport. Shutting down drops the writing half, since that is how a pipe ends.
#[derive(Debug)]
pub(crate) struct Halves<R, W> {
    input: R,
    output: Option<W>,
}

impl<R, W> Halves<R, W> {
    pub(crate) fn new(input: R, output: W) -> Self {
        Self {
            input,
            output: Some(output),
        }
    }

    /// Drops the writing half.
    pub(crate) fn close_output(&mut self) {
        self.output = None;
    }
}

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for Halves<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_read(cx, buffer)
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Halves<R, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.output {
            Some(output) => Pin::new(output).poll_write(cx, data),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.output {
            Some(output) => Pin::new(output).poll_write_vectored(cx, slices),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.output
            .as_ref()
            .is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.output {
            Some(output) => Pin::new(output).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.close_output();
        Poll::Ready(Ok(()))
    }
}

impl Transport for Halves<pipe::Receiver, pipe::Sender> {}

/// The pipe stream of the seed: one pipe in, one pipe out.
#[derive(Clone, Debug)]
pub struct PipeStream(pub(super) StreamHandle);

super::handle::stream_kind!(PipeStream);

impl PipeStream {
    /// Joins the reading end of one pipe and the writing end of another.
    ///
    /// # Errors
    ///
    /// `Connect` when one of them is not a pipe, or is the wrong end of it.
    pub async fn new(
        input: impl Into<OwnedFd>,
        output: impl Into<OwnedFd>,
    ) -> Result<Self, StreamError> {
        let (input, output) = (input.into(), output.into());
        Self::start(
            input,
            output,
            "pipe:".into(),
            Runtime::try_current()?.arbiter(),
        )
        .await
    }

    /// Two streams, each of which reads what the other one writes. The second counts as the accepting end.
    ///
    /// # Errors
    ///
    /// `Connect` when the operating system gives no more pipes.
    pub async fn create_pair() -> Result<(Self, Self), StreamError> {
        let fail = |error: io::Error| StreamError::from(ConnectError::new("pipe:", error.into()));
        let (left_input, right_output) = io::pipe().map_err(fail)?;
        let (right_input, left_output) = io::pipe().map_err(fail)?;
        let runtime = Runtime::try_current()?;
        let left = Self::start(
            left_input.into(),
            left_output.into(),
            "pipe:left".into(),
            runtime.arbiter(),
        )
        .await?;
        let right = Self::start(
            right_input.into(),
            right_output.into(),
            "pipe:right".into(),
            runtime.arbiter(),
        )
        .await?;
        let right = Self(right.0.with_side(Side::Accepted));
        Ok((left, right))
    }

    async fn start(
        input: OwnedFd,
        output: OwnedFd,
        endpoint: Arc<str>,
        arbiter: &actix_rt::ArbiterHandle,
    ) -> Result<Self, StreamError> {
        let open = move || async move {
            let join = || {
                io::Result::Ok(Halves::new(
                    pipe::Receiver::from_owned_fd(input)?,
                    pipe::Sender::from_owned_fd(output)?,
                ))
            };
            match join() {
                Ok(halves) => Ok(Self(ByteStream::start(halves, StreamInfo::new(endpoint)))),
                Err(error) => Err(ConnectError::new(endpoint, error.into()).into()),
            }
        };
        Runtime::run_on(arbiter, open).await?
    }
}
