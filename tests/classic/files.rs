//! Files to the peer and back.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rpyc::{
    Error, STREAM_CHUNK_SIZE,
    classic::{self, Progress, TransferError},
};
use sha2::{Digest, Sha256};

use crate::{
    peer::{Transport, over_tcp, session, soon},
    python::RPYC,
};

/// A folder of the test's own. Both ends are on this machine, so it is the peer's, too.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder can be made"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("the path is UTF-8")
            .to_owned()
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).expect("it can be written");
        self.path(name)
    }

    /// The names of all that is in it, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("it is there");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry
                .expect("it can be read")
                .file_name()
                .into_string()
                .expect("UTF-8")
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }
}

/// Bytes that no compression shrinks, and no two pieces of which are alike.
fn noise(count: usize) -> Vec<u8> {
    let blocks = (0..count.div_ceil(32)).flat_map(|block| Sha256::digest(block.to_be_bytes()));
    blocks.take(count).collect()
}

fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).expect("a file") == fs::read(b).expect("a file")
}

/// A progress callback, and what it was told.
fn recorder(told: &mut Vec<Progress>) -> impl FnMut(Progress) {
    |progress| told.push(progress)
}

fn check_progress(told: &[Progress], size: usize) {
    let size = size as u64;
    let first = told.first().expect("the total is told first");
    let last = told.last().expect("the end is told");
    assert_eq!((first.done, last.done), (0, size));
    assert!(told.iter().all(|progress| progress.total == size));
    assert!(told.windows(2).all(|two| two[0].done < two[1].done));
    assert_eq!(
        told.len() as u64,
        1 + size.div_ceil(STREAM_CHUNK_SIZE as u64)
    );
}

#[tokio::test]
async fn files_of_every_size_go_there_and_back() -> Result<(), TransferError> {
    let session = over_tcp().await;
    let folder = Folder::new();
    let piece = STREAM_CHUNK_SIZE;
    for size in [0, 1, piece - 1, piece, piece + 1, 3 * piece, 20 * piece + 7] {
        let here = folder.file("here", &noise(size));
        let (there, back) = (folder.text("there"), folder.path("back"));
        let mut told = Vec::new();
        let sent = soon(classic::upload(
            &session.connection,
            &here,
            &there,
            recorder(&mut told),
        ));
        assert_eq!(sent.await?, size as u64);
        check_progress(&told, size);
        assert!(same(&here, Path::new(&there)), "{size} bytes up");
        told.clear();
        let came = soon(classic::download(
            &session.connection,
            &there,
            &back,
            recorder(&mut told),
        ));
        assert_eq!(came.await?, size as u64);
        check_progress(&told, size);
        assert!(same(&here, &back), "{size} bytes down");
    }
    // Nothing but these is left, and no reference but those that the connection holds.
    assert_eq!(folder.names(), ["back", "here", "there"]);
    soon(session.connection.close()).await;
    Ok(())
}

#[tokio::test]
async fn a_large_file_goes_over_every_transport() -> Result<(), TransferError> {
    let folder = Folder::new();
    let here = folder.file("here", &noise(10_000_000));
    for transport in Transport::ALL {
        let session = session(transport, RPYC).await;
        let (there, back) = (folder.text("there"), folder.path("back"));
        soon(classic::upload(&session.connection, &here, &there, |_| {})).await?;
        soon(classic::download(
            &session.connection,
            &there,
            &back,
            |_| {},
        ))
        .await?;
        assert!(
            same(&here, Path::new(&there)) && same(&here, &back),
            "{transport:?}"
        );
        soon(session.connection.close()).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_was_there_keeps_its_permissions_and_its_links() -> Result<(), TransferError> {
    let session = over_tcp().await;
    let folder = Folder::new();
    let new = folder.file("new", b"new");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    for name in ["up", "down"] {
        let old = folder.file(name, b"old text");
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).expect("it is ours");
        std::os::unix::fs::symlink(&old, folder.path("link")).expect("a new name");
        if name == "up" {
            soon(classic::upload(
                &session.connection,
                &new,
                &folder.text("link"),
                |_| {},
            ))
            .await?;
        } else {
            let (from, to) = (folder.text("new"), folder.path("link"));
            soon(classic::download(&session.connection, &from, to, |_| {})).await?;
        }
        assert!(same(&new, &old));
        assert_eq!(mode(&old), 0o640);
        assert!(
            fs::symlink_metadata(folder.path("link"))
                .expect("it is there")
                .is_symlink()
        );
        fs::remove_file(folder.path("link")).expect("it is ours");
    }
    // A new one has those of any new file.
    soon(classic::download(
        &session.connection,
        &folder.text("new"),
        folder.path("fresh"),
        |_| {},
    ))
    .await?;
    assert_eq!(
        mode(&folder.path("fresh")),
        mode(&folder.file("other", b""))
    );
    soon(session.connection.close()).await;
    Ok(())
}

fn raised(result: Result<u64, TransferError>) -> String {
    match result {
        Err(TransferError::Call(Error::Remote(error))) => error.class().to_owned(),
        other => panic!("{other:?}"),
    }
}

fn refused_here(result: Result<u64, TransferError>) -> std::io::ErrorKind {
    match result {
        Err(TransferError::Local { source, .. }) => source.kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_cannot_be_transferred_is_refused_and_nothing_is_left() {
    let session = over_tcp().await;
    let conn = &session.connection;
    let folder = Folder::new();
    let here = folder.file("here", b"text");
    fs::create_dir(folder.path("sub")).expect("it can be made");
    let up = async |from: &Path, to: &str| soon(classic::upload(conn, from, to, |_| {})).await;
    let down = async |from: &str, to: &Path| soon(classic::download(conn, from, to, |_| {})).await;

    assert_eq!(
        raised(down(&folder.text("none"), &folder.path("to")).await),
        "FileNotFoundError"
    );
    assert_eq!(
        raised(down(&folder.text("sub"), &folder.path("to")).await),
        "IsADirectoryError"
    );
    assert_eq!(
        raised(up(&here, &folder.text("none/to")).await),
        "FileNotFoundError"
    );
    assert_eq!(
        raised(up(&here, &folder.text("sub")).await),
        "IsADirectoryError"
    );
    assert_eq!(raised(up(&here, "/dev/null").await), "OSError");

    use std::io::ErrorKind;
    let from = folder.text("here");
    assert_eq!(
        refused_here(up(&folder.path("none"), "x").await),
        ErrorKind::NotFound
    );
    assert_eq!(
        refused_here(up(&folder.path("sub"), "x").await),
        ErrorKind::IsADirectory
    );
    assert_eq!(
        refused_here(down(&from, &folder.path("none/to")).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        refused_here(down(&from, &folder.path("sub")).await),
        ErrorKind::IsADirectory
    );
    assert_eq!(
        refused_here(down(&from, Path::new("/dev/null")).await),
        ErrorKind::InvalidInput
    );

    assert_eq!(folder.names(), ["here", "sub"]);
    assert_eq!(conn.eval::<i64>("6 * 7").await.expect("it lives"), 42);
    soon(conn.close()).await;
}

/// Waits until nothing is in the folder but these.
async fn until_only(folder: &Folder, names: &[&str]) {
    soon(async {
        while folder.names() != names {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_lost_leaves_the_old_file_and_no_other() {
    for up in [true, false] {
        let session = over_tcp().await;
        let (conn, folder) = (&session.connection, Folder::new());
        let (from, to) = (
            folder.file("from", &noise(5_000_000)),
            folder.file("to", b"old"),
        );
        let mut pieces = 0;
        let progress = |_: Progress| {
            pieces += 1;
            if pieces == 5 {
                conn.abort();
            }
        };
        let result = if up {
            soon(classic::upload(conn, from, &folder.text("to"), progress)).await
        } else {
            soon(classic::download(conn, &folder.text("from"), &to, progress)).await
        };
        assert!(
            matches!(
                result,
                Err(TransferError::Call(
                    Error::MayHaveRun(_) | Error::NotSent(_)
                ))
            ),
            "{result:?}"
        );
        assert_eq!(fs::read(to).expect("it stays"), b"old");
        // That of the peer goes when the peer has seen the end.
        until_only(&folder, &["from", "to"]).await;
    }
}

#[tokio::test]
async fn a_transfer_that_is_dropped_leaves_nothing() {
    for up in [true, false] {
        let session = over_tcp().await;
        let folder = Folder::new();
        folder.file("from", &noise(5_000_000));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut sender = Some(sender);
        let progress = |progress: Progress| {
            if progress.done > 0
                && let Some(sender) = sender.take()
            {
                let _ = sender.send(());
            }
        };
        let (from, to) = (folder.text("from"), folder.text("to"));
        let transfer = async {
            if up {
                classic::upload(&session.connection, from, &to, progress).await
            } else {
                classic::download(&session.connection, &from, to, progress).await
            }
        };
        tokio::select! {
            biased;
            _ = receiver => {}
            result = transfer => panic!("{result:?}"),
        }
        until_only(&folder, &["from"]).await;
        // The connection is as good as before.
        assert_eq!(
            session
                .connection
                .eval::<i64>("6 * 7")
                .await
                .expect("it lives"),
            42
        );
        soon(session.connection.close()).await;
    }
}
