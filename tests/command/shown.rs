//! What it shows: help, logs and the demo.

use super::*;

#[test]
fn help_shows_examples() {
    for args in [
        &["--help"][..],
        &["call", "--help"],
        &["ping", "--help"],
        &["serve", "--help"],
        &["demo", "--help"],
    ] {
        let help = printed(args);
        assert!(help.contains("Examples:\n  "), "{help}");
        assert!(!help.contains("sink"), "{help}");
    }
    assert_eq!(
        printed(&["--version"]),
        concat!("rpyc ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn logs_go_to_standard_error_when_asked_for() {
    let server = Served::on_tcp();
    let output = run(&["-v", "call", server.endpoint(), "add", "1", "2"]);
    assert_eq!(text(&output.stdout), "3\n");
    assert!(
        text(&output.stderr).contains("DEBUG rpyc_actors::life: started"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_demo_shows_it_all_in_time() {
    // Its path leaves no room for the name of a socket.
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("x".repeat(120));
    std::fs::create_dir(&place).expect("a folder");
    let start = Instant::now();
    let output = command(&["demo"])
        .env("RPYC_PYTHON", python::venv_python())
        .env("XDG_RUNTIME_DIR", place)
        .output()
        .expect("the command can be started");
    let elapsed = start.elapsed();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    assert_eq!(err, "");
    assert!(elapsed < Duration::from_secs(15), "{elapsed:?}");
    for part in [
        "ByteStream<TcpStream>",
        "Layer<Tap>",
        "Head",
        "Serving",
        "length",
        "flag",
        "seq",
        "handler  8, CallAttr",
        "box",
        "the value 3",
        "add(1, 2) = 3",
        "7 of 7 actors have stopped",
        "calls",
        "per second",
        "p50",
        "p99",
        "MB/s",
        "TCP",
        "unix socket",
        "subprocess",
        "64 B frames",
        "1 KiB frames",
        "64 KiB frames",
        "1 MiB frames",
        "█",
        "Frames through every layer",
        "cut 4 ",
        "20001 of 20001 frames came back, each once and in order, over 5 connections",
        "serve --listen tcp://127.0.0.1:",
        "rpyc.connect(\"127.0.0.1\"",
        "\n   3\n",
        "rpyc 6.0.2",
    ] {
        assert!(out.contains(part), "{part:?} is missing:\n{out}");
    }
    let layers = [
        ("none", Some(100..=100)),
        ("zlib:6", Some(5..=40)),
        ("snappy", Some(10..=60)),
        ("batch:20,50ms", Some(100..=100)),
        ("buffer:32768", Some(100..=100)),
        ("monitor", Some(100..=100)),
        ("encrypt", Some(100..=103)),
        ("TLS", None),
    ];
    for (layer, travelled) in layers {
        let mut rows = out.lines().map(str::split_whitespace);
        let row = rows.find_map(|mut words| (words.next() == Some(layer)).then_some(words));
        let words: Vec<&str> = row
            .unwrap_or_else(|| panic!("no {layer}:\n{out}"))
            .collect();
        // What it does in words, then numbers, then a bar.
        let mut numbers = words.iter().rev().skip(1);
        assert_eq!(
            numbers.next(),
            Some(&"32"),
            "{layer}: not all came back\n{out}"
        );
        if let Some(expected) = travelled {
            let share = numbers.next().and_then(|share| share.strip_suffix('%'));
            let share: u32 = share.and_then(|share| share.parse().ok()).expect("a share");
            assert!(expected.contains(&share), "{layer}: {share} %\n{out}");
        }
        for what in ["megabytes", "frames"] {
            let rate: u64 = numbers
                .next()
                .and_then(|rate| rate.replace(',', "").parse().ok())
                .unwrap_or_else(|| panic!("{layer}: no {what}\n{out}"));
            assert!(rate > 0, "{layer}: no {what}\n{out}");
        }
    }
    assert!(!out.contains('\x1b'), "colour is for terminals");
    for line in out
        .lines()
        .filter(|line| !line.contains("-c 'import") && !line.contains("serve --listen"))
    {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
