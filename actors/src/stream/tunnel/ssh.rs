//! `ssh -W`: the user's own ssh, with its configuration, keys and known hosts.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Tunnel, TunnelError};
use crate::{
    error::{ConnectFailure, LossReason},
    stream::{
        Address, Transport,
        process::{self, ChildPipes, Said},
        transport::write_through,
    },
};

/// The pipes of an `ssh`. It is reaped, and killed if it lives on, as any child of a stream.
struct Ssh {
    pipes: ChildPipes,
    proxy: Arc<str>,
    said: Said,
}

/// Starts `ssh`. It does not say when it has reached the target, so a refusal is told as the reason of the loss.
///
/// It never asks: whatever it would ask for is a refusal (`BatchMode`).
pub(super) fn start(
    command: &[String],
    proxy: &Arc<str>,
    destination: &str,
    port: Option<u16>,
    target: &str,
    patience: Duration,
) -> Result<Tunnel, ConnectFailure> {
    // OpenSSH reads an `int`.
    let seconds = patience.as_secs().clamp(1, i32::MAX as u64);
    let mut words = command.to_vec();
    let limit = format!("ConnectTimeout={seconds}");
    words.extend(["-o", "BatchMode=yes", "-o", &limit].map(String::from));
    if let Some(port) = port {
        words.extend(["-p".into(), port.to_string()]);
    }
    // Behind `--`, nothing is taken for an option.
    words.extend(["-W", target, "--", destination].map(String::from));
    let said = Said::default();
    let (pipes, id) = process::spawn(&words, said.clone())?;
    let ssh = Ssh {
        pipes,
        proxy: proxy.clone(),
        said,
    };
    Ok(Tunnel {
        transport: Box::new(ssh),
        local: None,
        process: Some(Address::Process(id)),
    })
}

impl AsyncRead for Ssh {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipes).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Ssh {
    write_through!(pipes);
}

impl Transport for Ssh {
    fn abort(&mut self) {
        self.pipes.abort();
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<LossReason>> {
        let reason = ready!(self.pipes.poll_end(cx));
        Poll::Ready(reason.map(|reason| match reason {
            LossReason::ProcessExited(status) => LossReason::Tunnel(TunnelError::Ssh {
                proxy: self.proxy.clone(),
                status,
                said: self.said.text().into(),
            }),
            other => other,
        }))
    }
}
