//! `--layer` and keys.

use super::*;

#[test]
fn keygen_writes_a_key_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;

    let path = std::env::temp_dir().join(format!("rpyc-keygen-{}.key", std::process::id()));
    let name = path.to_str().expect("the path is UTF-8");
    let said = printed(&["keygen", name]);
    assert_eq!(said, format!("a new key is in {name}"));
    let content = std::fs::read_to_string(&path).expect("a new file");
    assert_eq!(content.trim_end().len(), 64);
    assert!(!said.contains(content.trim_end()));
    let mode = std::fs::metadata(&path)
        .expect("a new file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    rpyc::Key::load(&path).expect("a key that can be used");

    let refusal = refused(74, &["keygen", name]);
    assert!(
        refusal.contains(name) && refusal.contains("exists"),
        "{refusal}"
    );
    let again = std::fs::read_to_string(&path).expect("still there");
    assert_eq!(again, content, "a key is never overwritten");
    std::fs::remove_file(&path).expect("our file");
    refused(74, &["keygen", "/nowhere/at/all/key"]);
    refused(2, &["keygen"]);
}

#[test]
fn layers_stand_between_both_ends_and_python_reads_zlib() {
    let layers = [
        "--layer",
        "monitor:channel",
        "--layer",
        "batch:20,10s",
        "--layer",
        "snappy",
    ];
    let served = Served::start(&["tcp://127.0.0.1:0"], &layers);
    let endpoint = &served.endpoints[0];
    let mut args = vec!["call", endpoint, "blob", "100000"];
    args.extend(layers);
    let output = run(&args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.len() > 100_000, "{err}");
    assert!(
        err.contains("closed after") && err.contains("in 2 frames"),
        "{err}"
    );
    let ping = printed(&["ping", endpoint, "--layer", "batch:20,10s", "--count", "3"]);
    assert!(ping.starts_with("3 round trips"), "{ping}");

    let peer = Peer::start(Script::File("server.py"), &[]);
    let endpoint = format!("tcp://127.0.0.1:{}", peer.ready());
    let long = "all work and no play ".repeat(500);
    let echoed = printed(&[
        "call", &endpoint, "echo", &long, "--layer", "zlib:9", "--layer", "buffer",
    ]);
    assert_eq!(echoed, format!("'{long}'"));
}

#[test]
fn encryption_lets_in_who_has_the_key() {
    use std::os::unix::fs::PermissionsExt;

    let files = ["ours", "another"].map(|name| {
        let name = format!("rpyc-layer-{}-{name}.key", std::process::id());
        let path = std::env::temp_dir().join(name);
        printed(&["keygen", path.to_str().expect("the path is UTF-8")]);
        path
    });
    let [ours, another] = files
        .each_ref()
        .map(|path| format!("encrypt:{}", path.display()));
    let layers = ["--layer", "zlib", "--layer", &ours, "--layer", "buffer"];
    let served = Served::start(&["tcp://127.0.0.1:0"], &layers);
    let call = ["call", &served.endpoints[0], "add", "1", "2"];
    assert_eq!(printed(&[&call[..], &layers].concat()), "3");
    let with_ours = [&call[..], &["--layer", &ours]].concat();
    assert_eq!(
        printed(&with_ours),
        "3",
        "what does not show in the bytes need not be the same"
    );
    refused(69, &[&call[..], &["--layer", &another]].concat());
    // Other machines may connect, since they need the key, too.
    drop(Served::start(&["tcp://0.0.0.0:0"], &["--layer", &ours]));

    std::fs::set_permissions(&files[0], PermissionsExt::from_mode(0o644)).expect("our file");
    let words = refused(2, &with_ours);
    let name = files[0].display().to_string();
    assert!(words.contains(&name) && words.contains("644"), "{words}");
    for path in files {
        std::fs::remove_file(path).expect("our file");
    }
}

#[test]
fn layers_that_make_no_sense_are_a_wrong_command_line() {
    let mut args = vec![
        "ping",
        "tcp://127.0.0.1:1",
        "--layer",
        "buffer",
        "--layer",
        "zlib",
    ];
    let words = refused(2, &args);
    assert!(
        words.contains("zlib is a layer of frames and cannot stand below buffer"),
        "{words}"
    );
    args.truncate(2);
    for (layer, expected) in [
        ("zlib:10", "expected a number from 0 to 9"),
        (
            "gzip",
            "expected zlib, snappy, batch, liveness, encrypt, resume, buffer or monitor",
        ),
        ("buffer:2000000", "above the buffer limit of 1048576"),
    ] {
        let words = refused(2, &[&args[..], &["--layer", layer]].concat());
        assert!(words.contains(expected), "{words}");
    }
}
