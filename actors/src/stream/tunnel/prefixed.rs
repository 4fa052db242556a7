//! A transport with bytes in front that were read too early.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    error::LossReason,
    stream::{Transport, transport::write_through},
};

/// `T`, whose first bytes are `prefix`.
pub(super) struct Prefixed<T> {
    prefix: Bytes,
    transport: T,
}

impl<T> Prefixed<T> {
    pub(super) fn new(prefix: Bytes, transport: T) -> Self {
        Self { prefix, transport }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buffer);
        }
        let count = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    write_through!(transport);
}

impl<T: Transport> Transport for Prefixed<T> {
    fn expect_more(&mut self) {
        self.transport.expect_more();
    }

    fn abort(&mut self) {
        self.transport.abort();
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<LossReason>> {
        self.transport.poll_end(cx)
    }
}
