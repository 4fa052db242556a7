//! Files from one end to the other, in pieces.
//!
//! A few lines of Python at the peer read and write at offsets, so that several pieces are under way at once and their order does
//! not matter. Files of this end are read and written by a thread, never by whoever drives the future.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesOrdered};
use rpyc_actors::STREAM_CHUNK_SIZE;

use super::local::{Reader, Writer};
use crate::{connection::Connection, error::Error, netref::Netref, object::Object};

/// Defines what is needed at the peer without leaving it in the namespace, and gives one of its names.
macro_rules! define {
    ($name:literal) => {
        concat!(
            "(lambda scope: (exec(r'''",
            include_str!("transfer.py"),
            "''', scope), scope['",
            $name,
            "'])[1])({'__name__': 'rpyc_transfer'})"
        )
    };
}

const UPLOAD: &str = define!("upload");
const DOWNLOAD: &str = define!("download");

/// Pieces under way at a time: enough to keep a link with some delay busy, and few enough to be forgotten about.
const WINDOW: usize = 8;
const PIECE: u64 = STREAM_CHUNK_SIZE as u64;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that have arrived at the other end.
    pub done: u64,
    /// Bytes that the file had in the beginning.
    pub total: u64,
}

/// Why a file was not transferred.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The peer raised, or is not there any more. A file that the peer does not find is a `FileNotFoundError` in here.
    #[error(transparent)]
    Call(#[from] Error),
    /// The file on this end cannot be read or written.
    #[error("{}: {source}", path.display())]
    Local {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
}

impl TransferError {
    pub(super) fn local(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Local {
            path: path.into(),
            source: source.into(),
        }
    }
}

/// Copies a file of this end to the peer, in pieces of [`STREAM_CHUNK_SIZE`]. Gives the number of bytes.
///
/// The peer writes beside the final name, with `.part` at the end, and renames when all has arrived: a file that was there stays as it is
/// until then, and its permissions stay for good. What is broken off is removed by the peer when the connection ends.
/// `progress` is told the total first, and then of each piece. Each piece has the connection's deadline.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use rpyc::classic;
///
/// let conn = classic::connect("localhost", classic::DEFAULT_PORT).await?;
/// let size = classic::upload(&conn, "report.pdf", "/tmp/report.pdf", |progress| {
///     println!("{} of {}", progress.done, progress.total);
/// })
/// .await?;
/// # drop(size);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// A [`TransferError`]; nothing has changed under the final name then.
///
/// # Cancellation
///
/// As an error.
pub async fn upload(
    connection: &Connection,
    local: impl Into<PathBuf>,
    remote: &str,
    mut progress: impl FnMut(Progress),
) -> Result<u64, TransferError> {
    let (mut file, total) = Reader::open(local.into()).await?;
    let [Object::Netref(temporary), Object::Netref(pieces)] =
        open(connection, UPLOAD, remote).await?
    else {
        return Err(bad_answer("two references").into());
    };
    let (mut sent, mut done) = (0, 0);
    progress(Progress { done, total });
    let mut under_way = FuturesOrdered::new();
    loop {
        let piece = match under_way.len() {
            WINDOW.. => None,
            _ => file.next().await?,
        };
        match piece {
            Some(piece) => {
                under_way.push_back(write(&pieces, sent, piece.clone()));
                sent += piece.len() as u64;
            }
            None => match under_way.next().await {
                Some(written) => {
                    done += written?;
                    progress(Progress { done, total });
                }
                None => break,
            },
        }
    }
    temporary.call_method::<()>("finish", ()).await?;
    Ok(done)
}

async fn write(pieces: &Netref, offset: u64, piece: Bytes) -> Result<u64, Error> {
    let count = piece.len() as u64;
    pieces
        .call_method::<()>("write_at", (offset, piece))
        .await?;
    Ok(count)
}

/// Copies a file of the peer to this end, in pieces of [`STREAM_CHUNK_SIZE`]. Gives the number of bytes.
///
/// It is written beside the final name and renamed when all has arrived; what is broken off is removed. A file that was there stays as
/// it is until then, and its permissions stay for good. `progress` is told the total first, and then of each piece. Each piece has
/// the connection's deadline.
///
/// # Errors
///
/// A [`TransferError`]; nothing has changed under the final name then.
///
/// # Cancellation
///
/// As an error. The wait until the file beside is gone takes no longer than the write of a piece.
pub async fn download(
    connection: &Connection,
    remote: &str,
    local: impl Into<PathBuf>,
    mut progress: impl FnMut(Progress),
) -> Result<u64, TransferError> {
    let [Object::Netref(pieces), Object::Value(total)] = open(connection, DOWNLOAD, remote).await?
    else {
        return Err(bad_answer("a reference and a size").into());
    };
    let total = total.as_int().and_then(|total| u64::try_from(total).ok());
    let total = total.ok_or_else(|| bad_answer("a size"))?;
    let mut writer = Writer::create(local.into());
    let (mut asked, mut done) = (0, 0);
    progress(Progress { done, total });
    let mut under_way = FuturesOrdered::new();
    loop {
        while under_way.len() < WINDOW && (asked <= total || under_way.is_empty()) {
            under_way.push_back(read(&pieces, asked));
            asked += PIECE;
        }
        let Some(piece) = under_way.next().await else {
            break;
        };
        let piece = piece?;
        let count = piece.len() as u64;
        if count > PIECE {
            return Err(bad_answer("a piece of the size that was asked for").into());
        }
        if count > 0 {
            writer.write(piece).await?;
            done += count;
            progress(Progress { done, total });
        }
        // Only the end of a file is shorter.
        if count < PIECE {
            break;
        }
    }
    writer.finish().await?;
    Ok(done)
}

async fn read(pieces: &Netref, offset: u64) -> Result<Bytes, Error> {
    pieces.call_method("read_at", (offset, PIECE)).await
}

/// Opens a file at the peer, in two trips. What comes has the connection's deadline for each call.
async fn open(connection: &Connection, how: &str, path: &str) -> Result<[Object; 2], Error> {
    let timeout = connection.timeout();
    let open: Netref = connection.eval(how).await?;
    let opened: Vec<Object> = open.with_timeout(timeout).call((path,)).await?;
    let patient = |object| match object {
        Object::Netref(netref) => Object::Netref(netref.with_timeout(timeout)),
        other => other,
    };
    let opened = opened.into_iter().map(patient).collect::<Vec<_>>();
    <[Object; 2]>::try_from(opened).map_err(|_| bad_answer("two objects"))
}

fn bad_answer(wanted: &'static str) -> Error {
    crate::brine::ConvertError::other(wanted, "something else").into()
}

#[cfg(test)]
mod tests {
    /// It stands between such quotes.
    #[test]
    fn the_helper_fits_its_quotes() {
        let text = include_str!("transfer.py");
        assert!(!text.contains("'''") && !text.contains('\\'));
    }
}
