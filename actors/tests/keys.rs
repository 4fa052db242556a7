//! Keys and the files they are kept in.
#![cfg(feature = "encrypt")]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use rpyc_actors::{Key, KeyError, StreamError};

/// A folder that is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rpyc-keys-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a fresh folder");
        Self(path)
    }

    /// A file with this content and mode.
    fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("room");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const DIGITS: &str = "00ff102132435465768798a9bacbdcedfe0f1e2d3c4b5a69788796a5b4c3d2e1";

/// The text that a key is saved as: the only way to see it.
fn saved(folder: &Folder, name: &str, key: &Key) -> String {
    let path = folder.0.join(name);
    key.save(&path).expect("a new file");
    fs::read_to_string(path).expect("our file")
}

#[test]
fn raw_bytes_and_digits_are_the_same_key() {
    let folder = Folder::new("forms");
    let raw: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&DIGITS[at..at + 2], 16).expect("digits"))
        .collect();
    let forms = [
        raw,
        DIGITS.into(),
        DIGITS.to_uppercase().into(),
        format!("{DIGITS}\n").into(),
        format!("{DIGITS}\r\n").into(),
    ];
    for (at, form) in forms.iter().enumerate() {
        let path = folder.file(&format!("key{at}"), form, 0o600);
        let key = Key::load(path).expect("a good key file");
        assert_eq!(
            saved(&folder, &format!("copy{at}"), &key),
            format!("{DIGITS}\n")
        );
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let folder = Folder::new("format");
    let mut bad_digit = DIGITS.to_owned();
    bad_digit.replace_range(40..41, "g");
    let forms: [&[u8]; 9] = [
        b"",
        b"\n",
        b"correct horse battery staple",
        &[0; 31],
        &[0; 33],
        &DIGITS.as_bytes()[..63],
        &format!("{DIGITS}0").into_bytes(),
        &format!("{DIGITS}\n\n").into_bytes(),
        bad_digit.as_bytes(),
    ];
    for (at, form) in forms.iter().enumerate() {
        let path = folder.file(&format!("key{at}"), form, 0o600);
        let error = Key::load(path).expect_err("no key");
        assert!(matches!(error, KeyError::Format), "{at}: {error}");
    }
    // A key with something behind it, however long.
    let path = folder.file("long", &vec![b'0'; 1 << 20], 0o600);
    assert!(matches!(Key::load(path), Err(KeyError::Format)));
}

#[test]
fn only_mode_0600_will_do() {
    let folder = Folder::new("mode");
    for mode in [0o644, 0o640, 0o604, 0o660, 0o602, 0o700, 0o4600, 0o400] {
        let path = folder.file("key", DIGITS.as_bytes(), mode);
        match Key::load(&path) {
            Err(KeyError::Mode {
                path: named,
                mode: seen,
            }) => {
                assert_eq!((named, seen), (path.clone(), mode));
            }
            // Without the right to read it we cannot even look, unless we are root.
            Err(KeyError::Io { .. }) => assert_eq!(mode & 0o400, 0),
            other => panic!("{mode:o}: {other:?}"),
        }
        fs::remove_file(path).expect("our file");
    }
}

#[test]
fn links_folders_pipes_and_nothing_are_refused() {
    let folder = Folder::new("kinds");
    let key = folder.file("key", DIGITS.as_bytes(), 0o600);
    let link = folder.0.join("link");
    symlink(&key, &link).expect("a new link");
    assert!(matches!(Key::load(&link), Err(KeyError::Link { path }) if path == link));

    assert!(matches!(
        Key::load(&folder.0),
        Err(KeyError::NotRegular { .. })
    ));
    assert!(matches!(
        Key::load("/dev/null"),
        Err(KeyError::NotRegular { .. })
    ));

    let pipe = folder.0.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    // Nobody writes to it: this must not wait.
    assert!(matches!(Key::load(&pipe), Err(KeyError::NotRegular { .. })));

    let missing = folder.0.join("missing");
    assert!(matches!(Key::load(&missing), Err(KeyError::Io { path, .. }) if path == missing));
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let folder = Folder::new("owner");
    let path = folder.file("key", DIGITS.as_bytes(), 0o600);
    let us = fs::metadata(&path).expect("our file").uid();
    if std::os::unix::fs::chown(&path, Some(us + 1), None).is_err() {
        // Only root may give a file away; then a file of root's is at hand for everybody else.
        let path = Path::new("/etc/passwd");
        let error = Key::load(path).expect_err("not ours");
        assert!(matches!(error, KeyError::Owner { owner: 0, .. }), "{error}");
        return;
    }
    match Key::load(&path) {
        Err(KeyError::Owner { owner, user, .. }) => assert_eq!((owner, user), (us + 1, us)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_saved_key_is_private_and_never_overwrites() {
    let folder = Folder::new("save");
    let path = folder.0.join("key");
    let key = Key::generate().expect("random bytes");
    key.save(&path).expect("a new file");
    let mode = fs::metadata(&path).expect("our file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let text = fs::read_to_string(&path).expect("our file");
    assert_eq!(text.len(), 65);
    let error = Key::generate()
        .expect("random bytes")
        .save(&path)
        .expect_err("it is there");
    assert!(
        error.to_string().contains(path.to_str().expect("text")),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&path).expect("our file"), text);
    Key::load(&path).expect("what was saved can be loaded");
    assert_ne!(
        saved(&folder, "other", &Key::generate().expect("random")),
        text
    );
}

#[test]
fn errors_say_what_to_do_and_never_show_the_content() {
    let folder = Folder::new("errors");
    let path = folder.file("key", DIGITS.as_bytes(), 0o644);
    let error = Key::load(path).expect_err("too open");
    assert!(
        error
            .to_string()
            .ends_with("has mode 0644: it must be 0600"),
        "{error}"
    );
    let path = folder.file("half", &DIGITS.as_bytes()[..40], 0o600);
    let error = StreamError::from(Key::load(path).expect_err("too short"));
    assert!(matches!(error, StreamError::Encryption(_)));
    assert!(!format!("{error} {error:?}").contains("0ff1"), "{error}");
}
