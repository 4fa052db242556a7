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
    task::{Context, Poll, Waker, ready},
    thread,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

use super::{ByteStream, StreamHandle, StreamInfo, Transport};
use crate::{
    error::{ConnectError, StreamError},
    limits::Limits,
    side::Side,
};

/// Bytes that one of the threads copies at once.
const COPY_SIZE: usize = 64 << 10;

/// The polled end of the socket pair.
struct Standard {
    socket: UnixStream,
    /// Bytes given to the socket.
    sent: u64,
    output: Arc<Mutex<Output>>,
}

/// How far the thread behind stdout has come.
#[derive(Default)]
struct Output {
    written: u64,
    is_gone: bool,
    waker: Option<Waker>,
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
        let count = ready!(Pin::new(&mut self.socket).poll_write(cx, data))?;
        self.sent += count as u64;
        Poll::Ready(Ok(count))
    }

    /// Ready when all of it is in stdout: what is only in the socket pair is lost with this process.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.output.lock();
        if output.written >= self.sent {
            return Poll::Ready(Ok(()));
        }
        if output.is_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        output.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
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
    let progress = Arc::new(Mutex::new(Output::default()));
    thread::Builder::new()
        .name("rpyc-stdin".into())
        .spawn(move || {
            let result = copy(&mut input, &mut from_input, |_| {});
            tracing::debug!(?result, "stdin ended");
            // The stream may be gone before stdin is.
            let _ = from_input.shutdown(Shutdown::Write);
        })?;
    let standard = Standard {
        socket,
        sent: 0,
        output: progress.clone(),
    };
    thread::Builder::new()
        .name("rpyc-stdout".into())
        .spawn(move || {
            let advance = |count| {
                let mut progress = progress.lock();
                progress.written += count;
                progress.waker.take()
            };
            let result = copy(&mut to_output, &mut output, |count| {
                advance(count).into_iter().for_each(Waker::wake);
            });
            if let Err(error) = result {
                tracing::debug!(%error, "stdout is gone");
                let _ = to_output.shutdown(Shutdown::Read);
            }
            progress.lock().is_gone = true;
            advance(0).into_iter().for_each(Waker::wake);
        })?;
    let info = StreamInfo::new(endpoint.clone()).limits(limits);
    // Whoever started this process is the one that called.
    Ok(ByteStream::start(standard, info).with_side(Side::Accepted))
}

/// Copies to the end, and reports every piece.
///
/// Not `io::copy`: on Linux that splices, which holds the lock of a pipe while it waits for room, and whoever writes to
/// that pipe then hangs in the kernel, non-blocking or not. Two processes that echo each other stood still for ever.
fn copy(from: &mut impl Read, to: &mut impl Write, mut report: impl FnMut(u64)) -> io::Result<()> {
    let mut buffer = vec![0; COPY_SIZE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                report(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
