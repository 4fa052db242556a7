//! A child process's stdin and stdout as a stream.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    process::{ExitStatus, Stdio},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::oneshot,
    task::JoinHandle,
    time::Sleep,
};

use super::{
    Address, ByteStream, StreamHandle, StreamInfo, Transport,
    pipe::{Halves, PipeStream},
    transport::write_through,
};
use crate::{
    error::{ConnectError, ConnectFailure, LossReason, StreamError},
    limits::Limits,
    runtime::Runtime,
};

/// How long a child whose stdin was closed may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a child may live on after its stdout ended, for the end to be told with its exit status.
const STATUS_AFTER_END: Duration = Duration::from_secs(1);
/// How long the exit status of a child that failed waits for the rest of its stderr.
const LOG_AFTER_EXIT: Duration = Duration::from_millis(200);
/// Bytes of one line of a child's stderr that are logged.
const MAX_LOG_LINE: usize = 4096;
/// Lines of a child's stderr that are noted.
const SAID_LINES: usize = 4;

/// The pipes of a child; dropping them lets the child end, and reaps it.
pub(super) struct ChildPipes {
    pipes: Halves<ChildStdout, ChildStdin>,
    status: oneshot::Receiver<ExitStatus>,
    told: Option<Option<LossReason>>,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Kills the child when used; when dropped, the child has [`PATIENCE`] to end by itself.
    kill: Option<oneshot::Sender<()>>,
}

impl AsyncRead for ChildPipes {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipes).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ChildPipes {
    write_through!(pipes);
}

impl Transport for ChildPipes {
    fn abort(&mut self) {
        if let Some(kill) = self.kill.take() {
            // Fails only when the child was reaped already.
            let _ = kill.send(());
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<LossReason>> {
        if self.told.is_none() {
            let status = match Pin::new(&mut self.status).poll(cx) {
                Poll::Ready(status) => status.ok(),
                Poll::Pending => {
                    let waiting = self
                        .waiting
                        .get_or_insert_with(|| Box::pin(tokio::time::sleep(STATUS_AFTER_END)));
                    ready!(waiting.as_mut().poll(cx));
                    None
                }
            };
            self.told = Some(
                status
                    .filter(|status| !status.success())
                    .map(LossReason::ProcessExited),
            );
        }
        Poll::Ready(self.told.clone().flatten())
    }
}

/// The last lines that a child wrote to its stderr.
#[derive(Clone, Debug, Default)]
pub(super) struct Said(Arc<Mutex<VecDeque<String>>>);

impl Said {
    fn note(&self, line: &str) {
        let mut lines = self.0.lock();
        if lines.len() == SAID_LINES {
            lines.pop_front();
        }
        lines.push_back(line.into());
    }

    /// In one line.
    pub(super) fn text(&self) -> String {
        let lines = self.0.lock();
        lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Starts a command as a stream on the current arbiter.
pub(crate) fn open(
    command: &[String],
    endpoint: &Arc<str>,
    limits: Limits,
) -> Result<StreamHandle, StreamError> {
    let (pipes, id) = spawn(command, Said::default())
        .map_err(|reason| ConnectError::new(endpoint.clone(), reason))?;
    let info = StreamInfo {
        peer: Some(Address::Process(id)),
        limits,
        ..StreamInfo::new(endpoint.clone())
    };
    Ok(ByteStream::start(pipes, info))
}

/// Starts a command on the current arbiter, and gives its number, too.
pub(super) fn spawn(command: &[String], said: Said) -> Result<(ChildPipes, u32), ConnectFailure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(ConnectFailure::Endpoint("no command is named".into()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| ConnectFailure::Spawn {
            program: program.clone(),
            source: Arc::new(error),
        })?;
    let (Some(input), Some(output), Some(errors)) =
        (child.stdout.take(), child.stdin.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the child has no pipes").into());
    };
    let id = child.id().unwrap_or_default();
    let (told, status) = oneshot::channel();
    let (kill, killed) = oneshot::channel();
    let logged = actix_rt::spawn(log(errors, program.clone(), id, said));
    actix_rt::spawn(reap(child, killed, told, logged));
    let pipes = ChildPipes {
        pipes: Halves::new(input, output),
        status,
        told: None,
        waiting: None,
        kill: Some(kill),
    };
    Ok((pipes, id))
}

/// Waits for the child, so that it never stays as a zombie.
async fn reap(
    mut child: Child,
    killed: oneshot::Receiver<()>,
    told: oneshot::Sender<ExitStatus>,
    logged: JoinHandle<()>,
) {
    let status = tokio::select! {
        status = child.wait() => status,
        asked = killed => {
            let patience = if asked.is_ok() { Duration::ZERO } else { PATIENCE };
            match tokio::time::timeout(patience, child.wait()).await {
                Ok(status) => status,
                Err(_) => {
                    if let Err(error) = child.start_kill() {
                        tracing::warn!(%error, "a child cannot be killed");
                    }
                    child.wait().await
                }
            }
        }
    };
    if status.as_ref().is_ok_and(|status| !status.success()) {
        // What it said last is often why. A grandchild may hold its stderr open, so this has an end.
        let _ = tokio::time::timeout(LOG_AFTER_EXIT, logged).await;
    }
    match status {
        // Nobody waits for the status of a stream that was closed.
        Ok(status) => drop(told.send(status)),
        Err(error) => tracing::warn!(%error, "a child's exit status is lost"),
    }
}

/// Passes the child's stderr to the log, line by line, and notes the last ones.
async fn log(errors: ChildStderr, program: String, id: u32, said: Said) {
    use tokio::io::AsyncReadExt;
    let mut lines = BufReader::new(errors);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut lines)
            .take(MAX_LOG_LINE as u64)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                said.note(line);
                tracing::warn!(target: "rpyc_actors::child", program, id, "{line}");
            }
        }
    }
}

/// Starts a command and talks to its stdin and stdout: the seed's factory.
///
/// The child is reaped whatever happens; its exit status is the reason of the loss when it is not 0; its
/// stderr goes to the log. Closing the stream closes its stdin, and a child that lives on for 5 s is killed.
///
/// # Errors
///
/// `Connect` when the command cannot be started.
pub async fn create_pipe_stream<S: Into<String>>(
    cmd_args: impl IntoIterator<Item = S>,
) -> Result<PipeStream, StreamError> {
    let command: Vec<String> = cmd_args.into_iter().map(Into::into).collect();
    let endpoint: Arc<str> = format!("exec:{}", command.join(" ")).into();
    let start = move || async move { open(&command, &endpoint, Limits::default()) };
    Runtime::run_on(Runtime::try_current()?.arbiter(), start)
        .await?
        .map(PipeStream)
}
