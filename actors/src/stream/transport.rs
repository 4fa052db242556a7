//! What a stream is made of: a [`Transport`], and what is known about it.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{error::LossReason, limits::Limits, side::Side};

/// Something that carries bytes both ways.
///
/// What a transport has besides reading and writing, with defaults for those that have nothing.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + 'static {
    /// More of a unit is under way; acknowledge at once what came.
    fn expect_more(&mut self) {}

    /// Arranges that dropping the transport resets the connection.
    fn abort(&mut self) {}

    /// Called after the peer's end: the reason, if the end was not an orderly one.
    fn poll_end(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<LossReason>> {
        let _ = cx;
        Poll::Ready(None)
    }
}

/// The methods of an [`AsyncWrite`] that passes everything on to a field.
macro_rules! write_through {
    ($field:tt) => {
        write_through!(@write $field);

        fn is_write_vectored(&self) -> bool {
            self.$field.is_write_vectored()
        }
    };
    // Pieces stay apart, as whoever handed them over wants them.
    ($field:tt, one piece at a time) => {
        write_through!(@write $field);

        fn is_write_vectored(&self) -> bool {
            false
        }
    };
    (@write $field:tt) => {
        fn poll_write(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            data: &[u8],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            ::std::pin::Pin::new(&mut self.$field).poll_write(cx, data)
        }

        fn poll_write_vectored(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
            slices: &[::std::io::IoSlice<'_>],
        ) -> ::std::task::Poll<::std::io::Result<usize>> {
            ::std::pin::Pin::new(&mut self.$field).poll_write_vectored(cx, slices)
        }

        fn poll_flush(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<::std::io::Result<()>> {
            ::std::pin::Pin::new(&mut self.$field).poll_flush(cx)
        }

        fn poll_shutdown(
            mut self: ::std::pin::Pin<&mut Self>,
            cx: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<::std::io::Result<()>> {
            ::std::pin::Pin::new(&mut self.$field).poll_shutdown(cx)
        }
    };
}

pub(super) use write_through;

impl Transport for Box<dyn Transport> {
    fn expect_more(&mut self) {
        (**self).expect_more();
    }

    fn abort(&mut self) {
        (**self).abort();
    }

    fn poll_end(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<LossReason>> {
        (**self).poll_end(cx)
    }
}

/// Where a stream leads, and what bounds it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamInfo {
    /// The endpoint in the form in which it was given.
    pub endpoint: Arc<str>,
    /// The address of this end, where the transport has one.
    pub local: Option<Address>,
    /// The address of the peer, where the transport has one.
    pub peer: Option<Address>,
    /// Which end this is. [`Side::Dialled`] unless a listener accepted the stream or somebody said so.
    pub side: Side,
    /// The user at the other end, where the operating system says so: on unix sockets.
    pub peer_user: Option<u32>,
    /// What bounds the stream and the channel above it.
    pub limits: Limits,
    /// What TLS's handshake established, on streams that speak it.
    #[cfg(feature = "__tls")]
    pub tls: Option<Arc<super::tls::TlsInfo>>,
}

impl StreamInfo {
    /// True when what is written together may come to the peer as one record.
    pub(crate) fn has_records(&self) -> bool {
        #[cfg(feature = "__tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "__tls"))]
        false
    }

    /// A stream to `endpoint` with default limits and no addresses.
    pub fn new(endpoint: impl Into<Arc<str>>) -> Self {
        Self {
            endpoint: endpoint.into(),
            local: None,
            peer: None,
            side: Side::default(),
            peer_user: None,
            limits: Limits::default(),
            #[cfg(feature = "__tls")]
            tls: None,
        }
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// An address of one end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Tcp(std::net::SocketAddr),
    /// The path of a unix socket; empty for an unnamed one.
    Unix(std::path::PathBuf),
    /// A child process.
    Process(u32),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Process(id) => write!(f, "process {id}"),
        }
    }
}
