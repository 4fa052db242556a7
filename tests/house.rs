//! The rules of the house that no lint can hold: what must not be written, and where.
//!
//! Each test reads the sources as text and fails with the file and line of every breach.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Modules that know bytes and values but neither sockets, clocks nor a runtime. The third column is where they are declared.
const SANS_IO: [(&str, &str, &str); 3] = [
    ("actors/src/codec", "actors/src/lib.rs", "codec"),
    ("src/brine", "src/lib.rs", "brine"),
    ("src/protocol", "src/lib.rs", "protocol"),
];

/// What stands above the `mod` line of each. The unit tests are exempt, since there is no first `Instant` but `now`.
const DENIES: &str =
    "#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]";

/// Names that would tie a sans-IO module to a runtime or a clock.
const RUNTIME: [&str; 4] = ["actix", "tokio", "Instant::now", "SystemTime::now"];

/// Calls that are wrong everywhere in the two packages, and what they do.
const NOWHERE: [(&str, &str); 5] = [
    (
        "do_send(",
        "drops silently when the actor is gone; use try_send",
    ),
    (
        "actix::io::",
        "has no backpressure on tokio 1 and loses data on stop",
    ),
    (
        "AtomicResponse",
        "stops the whole mailbox; two neighbours that ask each other hang",
    ),
    (
        "ctx.wait(",
        "stops the whole mailbox; two neighbours that ask each other hang",
    ),
    ("unsafe {", "is forbidden"),
];

#[test]
fn sans_io_modules_name_no_runtime_and_no_clock() {
    let mut breaches = String::new();
    for (folder, _, _) in SANS_IO {
        // The bench of two codecs back to back starts its virtual clock at some real instant.
        let files = rust_files(folder);
        let is_of_tests = |file: &Path| {
            file.ends_with("testing.rs")
                || file
                    .strip_prefix(root().join(folder))
                    .is_ok_and(|file| file.starts_with("tests"))
        };
        for file in files.iter().filter(|file| !is_of_tests(file)) {
            let text = read(file);
            for word in RUNTIME {
                note_each(
                    &mut breaches,
                    file,
                    above_tests(&text),
                    word,
                    "does not belong in a sans-IO module",
                );
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches}");
}

#[test]
fn sans_io_modules_deny_the_calls_that_clippy_lists() {
    for (_, lib, module) in SANS_IO {
        let text = read(&root().join(lib));
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let at = lines
            .iter()
            .position(|line| {
                line.strip_suffix(';')
                    .is_some_and(|line| line.ends_with(&format!("mod {module}")))
            })
            .unwrap_or_else(|| panic!("{lib} declares no module {module}"));
        let mut above = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        assert!(
            above.any(|line| *line == DENIES),
            "{lib}:{}: `{DENIES}` must stand above `mod {module}`",
            at + 1
        );
    }
}

#[test]
fn no_source_uses_the_refused_calls() {
    let mut breaches = String::new();
    for folder in ["src", "actors/src"] {
        for file in rust_files(folder) {
            let text = read(&file);
            for (word, why) in NOWHERE {
                note_each(&mut breaches, &file, &text, word, why);
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches}");
}

#[test]
fn there_is_one_parking_lot() {
    let lock = read(&root().join("Cargo.lock"));
    let copies = lock.matches("\nname = \"parking_lot\"\n").count();
    assert_eq!(
        copies, 1,
        "a second one means two kinds of guards; stay on the version that actix uses"
    );
}

#[test]
fn comments_are_not_code() {
    assert_eq!(code_of("//! names neither actix nor tokio"), "");
    assert_eq!(code_of("    let x = 1; // not tokio"), "    let x = 1;");
    assert_eq!(
        code_of(r#"let url = "tcp://host";"#),
        r#"let url = "tcp://host";"#
    );
}

/// Adds a line `file:line: word why` for each line of code in `file` that holds `word`.
fn note_each(breaches: &mut String, file: &Path, text: &str, word: &str, why: &str) {
    for (number, line) in text.lines().enumerate() {
        if code_of(line).contains(word) {
            let file = file.strip_prefix(root()).unwrap_or(file);
            writeln!(
                breaches,
                "{}:{}: `{word}` {why}",
                file.display(),
                number + 1
            )
            .expect("a String takes all text");
        }
    }
}

/// The part of a file above its unit tests, which stand last.
fn above_tests(text: &str) -> &str {
    text.find("\n#[cfg(test)]\nmod tests")
        .map_or(text, |at| &text[..at])
}

/// A line without its comment. A `//` counts only after a blank, so that an address in a string stays.
fn code_of(line: &str) -> &str {
    if line.trim_start().starts_with("//") {
        return "";
    }
    line.find(" //").map_or(line, |at| &line[..at])
}

/// Every `.rs` file below `folder`; a folder that is missing or holds none is an error, or a renamed folder would pass unseen.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
                .path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{folder} holds no Rust file");
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
