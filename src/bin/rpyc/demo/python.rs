//! The two lines with which to try it from Python, and what they print where there is a Python with rpyc.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::paint::Paint;
use crate::{Failure, output};

/// The port that RPyC's own documentation uses.
const PORT: u16 = 18861;
/// How long a Python may take.
const PYTHON_WITHIN: Duration = Duration::from_secs(3);
/// How long the server may take to listen.
const SERVER_WITHIN: Duration = Duration::from_secs(2);

pub(crate) async fn show(program: &str, paint: Paint) -> Result<(), Failure> {
    paint.heading("Try it from Python", "with two lines in a shell")?;
    paint.progress("looking for a Python with rpyc")?;
    let python = find().await;
    let server = match &python {
        Some(_) => serve(program).await,
        None => None,
    };
    paint.progress("")?;
    let port = server.as_ref().map_or(PORT, |server| server.port);
    let interpreter = python
        .as_ref()
        .map_or("python3".into(), |python| shown(&python.path));
    let script = format!("import rpyc; print(rpyc.connect(\"127.0.0.1\", {port}).root.add(1, 2))");
    let serve_line = format!(
        "{} serve --listen tcp://127.0.0.1:{port} &",
        shown(Path::new(program))
    );
    let python_line = format!("{interpreter} -c '{script}'");
    if let (Some(python), Some(server)) = (python, server) {
        output::line(format!("   {} {serve_line}", paint.green("$")))?;
        output::line(format!("   {}", server.line))?;
        output::line(format!("   {} {python_line}", paint.green("$")))?;
        match run(&python.path, &script).await {
            Some(done) => {
                let text = if done.status.success() {
                    done.stdout
                } else {
                    done.stderr
                };
                for line in String::from_utf8_lossy(&text).lines() {
                    output::line(format!("   {}", paint.bold(&output::clean(line))))?;
                }
            }
            None => output::line("   (no answer in time)")?,
        }
        output::line("")?;
        let what = format!(
            "   Both lines were just run, with Python's rpyc {}.",
            python.version
        );
        output::line(paint.dim(&what))?;
    } else {
        output::line(format!("   {} {serve_line}", paint.green("$")))?;
        output::line(format!("   {} {python_line}", paint.green("$")))?;
        output::line("")?;
        let what = "   Not run: no Python with rpyc was found here. RPYC_PYTHON can name one.";
        output::line(paint.dim(what))?;
    }
    Ok(())
}

/// A Python that has rpyc.
struct Python {
    path: PathBuf,
    version: String,
}

/// The one that `RPYC_PYTHON` names, that of the tests, or the first on the search path.
async fn find() -> Option<Python> {
    let named = std::env::var_os("RPYC_PYTHON").filter(|named| !named.is_empty());
    let candidates = [
        named.map(PathBuf::from),
        of_the_tests(),
        Some("python3".into()),
    ];
    for path in candidates.into_iter().flatten() {
        if let Some(done) = run(&path, "import rpyc; print(rpyc.__version__)").await
            && done.status.success()
        {
            let version = output::clean(String::from_utf8_lossy(&done.stdout).trim());
            return Some(Python { path, version });
        }
    }
    None
}

/// The virtual environment that the tests make below cargo's target directory.
fn of_the_tests() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    // Cargo marks its target directory as not worth a backup.
    let target = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())?;
    Some(target.join("python/rpyc-6.0.2/bin/python")).filter(|python| python.is_file())
}

async fn run(python: &Path, script: &str) -> Option<Output> {
    let mut command = Command::new(python);
    command
        .args(["-c", script])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    tokio::time::timeout(PYTHON_WITHIN, command.output())
        .await
        .ok()?
        .ok()
}

/// A server that was started as the first line says; it ends with this value.
struct Served {
    port: u16,
    line: String,
    _child: Child,
    _lines: Lines<BufReader<ChildStdout>>,
}

/// Starts it on the port of the documentation, or on a free one if that is taken.
async fn serve(program: &str) -> Option<Served> {
    for port in [PORT, 0] {
        let mut child = Command::new(program)
            .args(["serve", "--listen", &format!("tcp://127.0.0.1:{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(child.stdout.take()?).lines();
        let first = tokio::time::timeout(SERVER_WITHIN, lines.next_line()).await;
        if let Ok(Ok(Some(line))) = first
            && let Some((_, port)) = line.rsplit_once(':')
            && let Ok(port) = port.parse()
        {
            return Some(Served {
                port,
                line,
                _child: child,
                _lines: lines,
            });
        }
    }
    None
}

/// A path as one would type it here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    shown_from(&here, path)
}

fn shown_from(here: &Path, path: &Path) -> String {
    let shown = match path.strip_prefix(here) {
        // A program in this very folder: without a slash, a shell looks elsewhere.
        Ok(rest) if rest.components().count() == 1 => Path::new(".").join(rest),
        Ok(rest) => rest.to_owned(),
        Err(_) => path.to_owned(),
    };
    let shown = shown.display().to_string();
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+".contains(char);
    if shown.chars().all(is_plain) {
        shown
    } else {
        format!("'{}'", shown.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_a_shell_takes_them() {
        let shown = |path: &str| shown_from(Path::new("/home/me"), Path::new(path));
        assert_eq!(shown("/home/me/target/debug/rpyc"), "target/debug/rpyc");
        assert_eq!(shown("/home/me/rpyc"), "./rpyc");
        assert_eq!(shown("/usr/bin/rpyc"), "/usr/bin/rpyc");
        assert_eq!(shown("python3"), "python3");
        assert_eq!(shown("/my programs/rpyc"), "'/my programs/rpyc'");
        assert_eq!(shown("/it's/$HOME/rpyc"), r"'/it'\''s/$HOME/rpyc'");
    }
}
