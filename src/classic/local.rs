//! Files of this end, read and written by threads of their own: a disk may take its time.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    thread::JoinHandle,
};

use bytes::Bytes;
use rpyc_actors::STREAM_CHUNK_SIZE;
use tokio::sync::{mpsc, oneshot};

use super::TransferError;

/// Pieces between the thread and the transfer.
const AHEAD: usize = 4;

/// A file that is read.
pub(super) struct Reader {
    path: PathBuf,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
}

impl Reader {
    /// Opens a file, and says how large it is.
    pub(super) async fn open(path: PathBuf) -> Result<(Self, u64), TransferError> {
        let (opened, is_open) = oneshot::channel();
        let (sender, pieces) = mpsc::channel(AHEAD);
        let of_thread = path.clone();
        let read = move || {
            let open = File::open(&of_thread).and_then(|file| {
                let about = file.metadata()?;
                if about.is_dir() {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                Ok((file, about.len()))
            });
            let (mut file, size) = match open {
                Ok(open) => open,
                Err(error) => {
                    // Whoever went away misses nothing.
                    let _ = opened.send(Err(error));
                    return;
                }
            };
            let _ = opened.send(Ok(size));
            loop {
                let mut piece = Vec::with_capacity(STREAM_CHUNK_SIZE);
                let read = (&mut file)
                    .take(STREAM_CHUNK_SIZE as u64)
                    .read_to_end(&mut piece);
                let is_last = !matches!(read, Ok(1..));
                if !matches!(read, Ok(0))
                    && sender.blocking_send(read.map(|_| piece.into())).is_err()
                {
                    return;
                }
                if is_last {
                    return;
                }
            }
        };
        let failed = |error| TransferError::local(&path, error);
        thread(read).map_err(failed)?;
        let size = is_open
            .await
            .unwrap_or_else(|_| Err(gone()))
            .map_err(failed)?;
        Ok((Self { path, pieces }, size))
    }

    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, TransferError> {
        let piece = self.pieces.recv().await.transpose();
        piece.map_err(|error| TransferError::local(&self.path, error))
    }
}

/// A file that is written beside its final name. Dropped before [`finish`](Self::finish), it goes.
pub(super) struct Writer {
    path: PathBuf,
    /// `None` stands for the end.
    pieces: Option<mpsc::Sender<Option<Bytes>>>,
    written: oneshot::Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn create(path: PathBuf) -> Self {
        let (pieces, mut receiver) = mpsc::channel(AHEAD);
        let (done, written) = oneshot::channel();
        let of_thread = path.clone();
        let write = move || {
            // Whoever went away misses nothing.
            let _ = done.send(write(&of_thread, &mut receiver));
        };
        Self {
            path,
            pieces: Some(pieces),
            written,
            // Without a thread the first piece finds nobody, and says so.
            thread: thread(write).ok(),
        }
    }

    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), TransferError> {
        if let Some(pieces) = &self.pieces
            && pieces.send(Some(piece)).await.is_ok()
        {
            return Ok(());
        }
        // It does not listen any more: it failed.
        self.result().await
    }

    async fn result(&mut self) -> Result<(), TransferError> {
        let written = (&mut self.written).await.unwrap_or_else(|_| Err(gone()));
        written.map_err(|error| TransferError::local(&self.path, error))
    }

    /// Gives it its name.
    pub(super) async fn finish(mut self) -> Result<(), TransferError> {
        if let Some(pieces) = &self.pieces {
            // If it does not listen any more, it failed and says why.
            let _ = pieces.send(None).await;
        }
        self.result().await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing more to wait for. A panic of its own was reported already.
            let _ = thread.join();
        }
    }
}

fn write(path: &Path, pieces: &mut mpsc::Receiver<Option<Bytes>>) -> io::Result<()> {
    // A link stays one; what it leads to is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let before = path.metadata().ok();
    match &before {
        Some(before) if before.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Some(before) if !before.is_file() => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        _ => {}
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut prefix = name.to_owned();
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    #[cfg(unix)]
    {
        // As any new file has them, but for the bits that the user masks.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder.unwrap_or(Path::new(".")))?;
    if let Some(before) = before {
        file.as_file().set_permissions(before.permissions())?;
    }
    loop {
        match pieces.blocking_recv() {
            Some(Some(piece)) => file.write_all(&piece)?,
            Some(None) => break,
            None => return Err(gone()),
        }
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn thread(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("rpyc-file".into())
        .spawn(work)
}

fn gone() -> io::Error {
    io::Error::other("the transfer was broken off")
}
