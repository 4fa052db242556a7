//! With which status it ends, and why.

use super::*;

#[test]
fn a_wrong_command_line_ends_with_2() {
    for args in [
        &[][..],
        &["no-such-command"],
        &["call"],
        &["call", "tcp://127.0.0.1:1"],
        &["call", "tcp://127.0.0.1:1", "f", "--kw", "novalue"],
        &["call", "tcp://127.0.0.1:1", "f", "--timeout", "soon"],
        &["call", "tpc://127.0.0.1:1", "f"],
        &["call", "tcp://127.0.0.1", "f"],
        &["ping", "exec:"],
        &["ping", "tcp://127.0.0.1:1", "--count", "0"],
        &["serve"],
        &["serve", "--listen", "exec:true"],
        &["serve", "--listen", "stdio:", "tcp://127.0.0.1:0"],
    ] {
        let text = refused(2, args);
        assert!(!text.is_empty(), "{args:?}");
    }
    for (endpoint, reason) in [
        ("tpc://h:1", "unknown scheme"),
        ("exec:true", "only tcp://"),
    ] {
        let text = refused(2, &["serve", "--listen", endpoint]);
        let words = format!("rpyc: cannot listen on {endpoint}: {reason}");
        assert!(text.starts_with(&words), "{text}");
    }
}

#[test]
fn listening_for_other_machines_takes_a_word() {
    for endpoint in [
        "tcp://0.0.0.0:0",
        "tcp://[::]:0",
        "tcp://192.0.2.1:1",
        "tcp://example.com:1",
    ] {
        let text = refused(2, &["serve", "--listen", "tcp://127.0.0.1:0", endpoint]);
        assert!(
            text.contains(endpoint) && text.contains("--insecure"),
            "{text}"
        );
    }
    let server = Served::start(&["tcp://0.0.0.0:0"], &["--insecure"]);
    let reachable = format!("tcp://127.0.0.1:{}", server.port());
    assert_eq!(printed(&["call", &reachable, "add", "1", "2"]), "3");
}

#[test]
fn sessions_over_plain_tcp_take_a_word() {
    let plain = "tcp://127.0.0.1:0";
    let resume = ["--layer", "resume"];
    for words in [
        &["serve", "--listen", plain][..],
        &["call", "tcp://127.0.0.1:1", "add", "1", "2"],
        &["ping", "tcp://127.0.0.1:1"],
    ] {
        let text = refused(2, &[words, &resume].concat());
        assert!(
            text.contains("take them over") && text.contains("resume:insecure"),
            "{text}"
        );
    }
    let layers = ["--layer", "resume:insecure"];
    let server = Served::start(&[plain], &layers);
    let call = ["call", server.endpoint(), "add", "1", "2"];
    assert_eq!(printed(&[&call[..], &layers].concat()), "3");
}

#[test]
fn no_connection_or_a_lost_one_ends_with_69() {
    // A port that was just free; nobody else is asked to take it.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let closed = format!("tcp://{}", free.local_addr().expect("an address"));
    drop(free);
    let text = refused(69, &["call", &closed, "add", "1", "2"]);
    assert!(
        text.starts_with(&format!("rpyc: cannot connect to {closed}: ")),
        "{text}"
    );
    refused(69, &["ping", &closed]);
    refused(69, &["call", "unix:/no/such/socket", "add"]);
    refused(69, &["call", "exec:/no/such/program", "add"]);
    refused(69, &["call", "exec:true", "add"]);
    let text = refused(69, &["call", "exec:sh -c 'exit 7'", "add"]);
    assert!(text.contains("exit status: 7"), "{text}");
    let python = Peer::start(Script::File("server.py"), &[]);
    let text = refused(
        69,
        &[
            "call",
            &format!("tcp://127.0.0.1:{}", python.ready()),
            "exit",
        ],
    );
    assert!(text.contains("may have run"), "{text}");
    let server = Served::on_tcp();
    let text = refused(69, &["serve", "--listen", server.endpoint()]);
    assert!(
        text.starts_with(&format!("rpyc: cannot listen on {}: ", server.endpoint())),
        "{text}"
    );
}

#[test]
fn where_one_endpoint_cannot_be_listened_on_no_other_is_left_behind() {
    let path = SocketPath::new("left");
    let text = refused(
        69,
        &[
            "serve",
            "--listen",
            &path.endpoint(),
            "unix:/no/such/folder/s",
        ],
    );
    assert!(text.contains("unix:/no/such/folder/s"), "{text}");
    assert!(!path.0.exists());
}

#[test]
fn no_answer_in_time_ends_with_124() {
    let server = Served::on_tcp();
    let start = Instant::now();
    refused(
        124,
        &[
            "call",
            server.endpoint(),
            "sleep",
            "20",
            "--timeout",
            "200ms",
        ],
    );
    // Somebody who listens, but says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent = format!("tcp://{}", listener.local_addr().expect("an address"));
    let text = refused(124, &["call", &silent, "add", "--timeout", "200ms"]);
    assert!(text.contains("may have run"), "{text}");
    refused(124, &["ping", &silent, "--timeout", "200ms"]);
    // Without a connection nothing was asked.
    let silent = format!("{}?verify=insecure", silent.replace("tcp:", "tls:"));
    for command in [&["call", &silent, "add"][..], &["ping", &silent]] {
        let text = refused(124, &[command, &["--timeout", "200ms"]].concat());
        assert_eq!(text, "rpyc: no connection within 200ms\n");
    }
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn terminate_lets_running_calls_finish() {
    for signal in ["TERM", "INT"] {
        let path = SocketPath::new(&format!("drain-{signal}"));
        let mut server = Served::start(&[&path.endpoint()], &["-v"]);
        let endpoint = server.endpoint().to_owned();
        let call = std::thread::spawn(move || printed(&["call", &endpoint, "sleep", "0.5"]));
        server.logs.until("sleeping");
        server.signal(signal);
        assert_eq!(call.join().expect("the call gets its answer"), "0.5");
        assert_eq!(end_of(&mut server.child).code(), Some(0));
        assert!(server.lines.next().is_none(), "nothing else is printed");
        assert!(!path.0.exists(), "the socket's file is gone");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Served::start(&["tcp://127.0.0.1:0"], &["-v", "--drain", "1m"]);
    let endpoint = server.endpoint().to_owned();
    let call = std::thread::spawn(move || refused(69, &["call", &endpoint, "sleep", "25"]));
    server.logs.until("sleeping");
    server.signal("TERM");
    server.logs.until("draining");
    let start = Instant::now();
    server.signal("TERM");
    assert_eq!(end_of(&mut server.child).code(), Some(143));
    assert!(start.elapsed() < Duration::from_secs(5));
    let text = call.join().expect("the call ends");
    assert!(text.contains("may have run"), "{text}");
}

#[test]
fn a_second_signal_leaves_no_file_behind() {
    // Sessions may come back while a server drains, so it listens until then.
    for round in 0..4 {
        let path = SocketPath::new(&format!("twice-{round}"));
        let layers = ["--layer", "resume"];
        let mut server = Served::start(&[&path.endpoint()], &[&["-v"], &layers[..]].concat());
        let endpoint = server.endpoint().to_owned();
        let call = [&["call", &endpoint, "sleep", "25"], &layers[..]].concat();
        let mut call = command(&call)
            .stderr(Stdio::null())
            .spawn()
            .expect("rpyc starts");
        server.logs.until("sleeping");
        server.signal("TERM");
        server.logs.until("draining");
        server.signal("TERM");
        let status = end_of(&mut server.child);
        // It would look for its server for a minute.
        call.kill().expect("it waits");
        call.wait().expect("it was killed");
        assert_eq!(status.code(), Some(143));
        assert!(!path.0.exists(), "round {round}: the socket's file stays");
    }
}

#[test]
fn calls_that_outlive_the_drain_are_cut_off() {
    let mut server = Served::start(&["tcp://127.0.0.1:0"], &["-v", "--drain", "200ms"]);
    let endpoint = server.endpoint().to_owned();
    let call = std::thread::spawn(move || refused(69, &["call", &endpoint, "sleep", "25"]));
    server.logs.until("sleeping");
    server.signal("TERM");
    server.logs.until("cut off after 200ms");
    assert_eq!(end_of(&mut server.child).code(), Some(0));
    call.join().expect("the call ends");
}
