//! This process's own stdin and stdout as a stream.
//!
//! Terminals, files and pipes are all possible there, and not all of them can be polled. So two plain threads copy
//! between them and a socket pair, whose other end is an ordinary stream.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream as StdUnixStream},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
    sync::oneshot,
};

use super::{ByteStream, StreamHandle, StreamInfo, Transport};
use crate::{
    error::{ConnectError, StreamError},
    limits::Limits,
};

/// The polled end of the socket pair.
struct Standard {
    socket: UnixStream,
    /// Resolves when all that was written reached stdout.
    written: oneshot::Receiver<()>,
}

impl AsyncRead for Standard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Standard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        // An error says that the thread ended, which is as good.
        let _ = ready!(Pin::new(&mut self.written).poll(cx));
        Poll::Ready(Ok(()))
    }
}

impl Transport for Standard {}

/// Takes over stdin and stdout, on the current arbiter.
pub(crate) fn open(endpoint: &Arc<str>, limits: Limits) -> Result<StreamHandle, StreamError> {
    start(endpoint, limits)
        .map_err(|error| ConnectError::new(endpoint.clone(), error.into()).into())
}

fn start(endpoint: &Arc<str>, limits: Limits) -> io::Result<StreamHandle> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let socket = UnixStream::from_std(ours)?;
    let mut from_input = theirs.try_clone()?;
    let mut to_output = theirs;
    let (done, written) = oneshot::channel();
    thread::Builder::new()
        .name("rpyc-stdin".into())
        .spawn(move || {
            let result = copy(&mut input, &mut from_input);
            tracing::debug!(?result, "stdin ended");
            // The stream may be gone before stdin is.
            let _ = from_input.shutdown(Shutdown::Write);
        })?;
    thread::Builder::new()
        .name("rpyc-stdout".into())
        .spawn(move || {
            if let Err(error) = copy(&mut to_output, &mut output) {
                tracing::debug!(%error, "stdout is gone");
                let _ = to_output.shutdown(Shutdown::Read);
            }
            let _ = done.send(());
        })?;
    Ok(ByteStream::start(
        Standard { socket, written },
        StreamInfo::new(endpoint.clone()).limits(limits),
    ))
}

/// Bytes that are copied at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

/// Copies until the end, through memory.
///
/// `io::copy` would have the kernel splice, and that holds the lock of a pipe it writes to for as long as it waits for
/// the next byte: whoever reads from that pipe hangs, even if it asked not to wait.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&piece[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
