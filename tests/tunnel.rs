//! `rpyc tunnel` as processes: what passes, how connections end, what is refused, and how it stops.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/files.rs"]
mod files;
#[path = "support/run.rs"]
mod run;
#[path = "support/tunnels.rs"]
mod tunnels;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use files::{send_file, take_file};
use run::refused;
use tunnels::{End, Target, Tunnel, Ways, bounded, connect, key};

fn is_reset(mut socket: &TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = socket.read_to_end(&mut rest);
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

fn read_exactly(mut socket: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).expect("it comes");
    bytes
}

fn read_all(mut socket: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).expect("an orderly end");
    all
}

/// A program at each end, connected through a tunnel.
fn connected(tunnel: &Tunnel, target: &Target) -> (TcpStream, TcpStream) {
    (tunnel.connect(), target.accept())
}

#[test]
fn one_direction_ends_and_the_other_goes_on() {
    let ways = Ways::new();
    for way in &ways.all {
        let target = Target::new();
        let tunnel = way.tunnel(&target.endpoint());
        let (mut near, mut far) = connected(&tunnel, &target);
        near.write_all(b"question").expect("sent");
        near.shutdown(Shutdown::Write).expect("ended");
        assert_eq!(read_all(&far), b"question", "{}", way.name);
        for _ in 0..3 {
            far.write_all(b"answer").expect("sent");
            assert_eq!(read_exactly(&near, 6), b"answer", "{}", way.name);
        }
        far.shutdown(Shutdown::Write).expect("ended");
        assert_eq!(read_all(&near), b"", "{}", way.name);
        let line = tunnel.client.says("both sides finished");
        assert!(line.contains("into_tunnel=8 out_of_tunnel=18"), "{line}");
        let line = tunnel.server.says("both sides finished");
        assert!(line.contains("into_tunnel=18 out_of_tunnel=8"), "{line}");
        // One line for each connection.
        assert_eq!(
            tunnel.client.said().lines().count(),
            1,
            "{}",
            tunnel.client.said()
        );
    }
}

#[test]
fn the_target_may_speak_first() {
    let ways = Ways::new();
    for way in &ways.all {
        let target = Target::new();
        let tunnel = way.tunnel(&target.endpoint());
        let (near, mut far) = connected(&tunnel, &target);
        far.write_all(b"220 ready\r\n").expect("sent");
        assert_eq!(read_exactly(&near, 11), b"220 ready\r\n", "{}", way.name);
    }
}

#[test]
fn a_refused_target_resets_the_program_and_is_told() {
    let ways = Ways::new();
    for way in &ways.all {
        let port = Target::new().port();
        let tunnel = way.tunnel(&format!("tcp://127.0.0.1:{port}"));
        assert!(is_reset(&tunnel.connect()), "{}", way.name);
        let line = tunnel.server.says("not carried");
        assert!(line.contains("WARN") && line.contains("refused"), "{line}");
        // The reset may come before the client's own connection is set up.
        let reset = ["the channel failed", "not carried"];
        tunnel.client.says_one_of(&reset);
    }
    let nobody = ways.plain().client(Target::new().port(), &[]);
    assert!(is_reset(&nobody.connect()));
    let line = nobody.says("not carried");
    assert!(
        line.contains("cannot connect to tcp://127.0.0.1:"),
        "{line}"
    );
}

#[test]
fn whoever_is_killed_nobody_takes_half_for_the_whole() {
    let ways = Ways::new();
    for way in &ways.all {
        let target = Target::new();
        // A program that resets.
        let tunnel = way.tunnel(&target.endpoint());
        let (mut near, far) = connected(&tunnel, &target);
        near.write_all(b"half").expect("sent");
        assert_eq!(read_exactly(&far, 4), b"half");
        let socket = socket2::SockRef::from(&near);
        socket
            .set_linger(Some(Duration::ZERO))
            .expect("TCP knows it");
        drop(near);
        assert!(is_reset(&far), "{}", way.name);
        tunnel.client.says("the stream failed");
        tunnel.server.says("the channel failed");
        // The server's end of the tunnel.
        let (near, mut far) = connected(&tunnel, &target);
        far.write_all(b"half").expect("sent");
        assert_eq!(read_exactly(&near, 4), b"half");
        tunnel.server.signal("KILL");
        assert!(is_reset(&near), "{}", way.name);
        // The client's.
        let tunnel = way.tunnel(&target.endpoint());
        let (mut near, far) = connected(&tunnel, &target);
        near.write_all(b"half").expect("sent");
        assert_eq!(read_exactly(&far, 4), b"half");
        tunnel.client.signal("KILL");
        assert!(is_reset(&far), "{}", way.name);
    }
}

#[test]
fn strangers_do_not_reach_the_target() {
    let ways = Ways::new();
    let target = Target::new();
    let server = ways.encrypt().server(&target.endpoint(), &[]);
    let stranger = key(&ways.folder, "stranger.key");
    let to = format!("tcp://127.0.0.1:{}", server.port());
    let client = End::start(&[
        "client",
        "--listen",
        "tcp://127.0.0.1:0",
        "--to",
        &to,
        "--layer",
        &stranger,
    ]);
    let mut near = client.connect();
    // What is not encrypted at all, what says nothing, and what has another key.
    let plain = connect(server.port());
    let silent = connect(server.port());
    (&plain).write_all(b"GET / HTTP/1.0\r\n\r\n").expect("sent");
    near.write_all(b"let me in").expect("sent");
    assert!(is_reset(&near));
    assert!(is_reset(&plain));
    let line = server.says("not carried");
    assert!(line.contains("WARN"), "{line}");
    drop(silent);
    server.says("the stream ended");

    let server = ways.tls().server(&target.endpoint(), &[]);
    let settings = format!("ca={}", ways.folder.path("ca.crt").display());
    let to = format!("tls://localhost:{}?{settings}", server.port());
    let client = End::start(&["client", "--listen", "tcp://127.0.0.1:0", "--to", &to]);
    assert!(is_reset(&client.connect()));
    server.says("a TLS handshake failed");
    assert!(target.is_idle());
}

#[test]
fn what_is_unsafe_is_refused() {
    let ways = Ways::new();
    let key = key(&ways.folder, "any.key");
    let tunnel = |words: &[&str]| refused(2, &[&["tunnel"], words].concat());
    let (near, far, all) = (
        "tcp://127.0.0.1:0",
        "tcp://192.0.2.1:7000",
        "tcp://0.0.0.0:0",
    );
    let said = tunnel(&["client", "--listen", all, "--to", far, "--layer", &key]);
    assert!(
        said.contains("refusing to listen on tcp://0.0.0.0:0") && said.contains("--insecure"),
        "{said}"
    );
    let said = tunnel(&["client", "--listen", near, "--to", far]);
    assert!(said.contains("nothing would be encrypted"), "{said}");
    let resume = ["--layer", "resume"];
    let said = tunnel(&[
        "client",
        "--listen",
        near,
        "--to",
        near,
        "--insecure-resume",
    ]);
    assert!(said.contains("of no use without --layer resume"), "{said}");
    let said = tunnel(
        &[
            &["client", "--listen", near, "--to", far, "--insecure-resume"],
            &resume[..],
        ]
        .concat(),
    );
    assert!(said.contains("nothing would be encrypted"), "{said}");
    for end in ["client", "server"] {
        let said = tunnel(&[&[end, "--listen", near, "--to", near], &resume[..]].concat());
        assert!(said.contains("take them over"), "{said}");
        assert!(said.contains("--insecure-resume"), "{said}");
    }
    let anybody = "tls://192.0.2.1:7000?verify=insecure";
    let said = tunnel(&["client", "--listen", near, "--to", anybody]);
    assert!(said.contains("could pose as the server"), "{said}");
    let said = tunnel(&["server", "--listen", near, "--to", far]);
    assert!(
        said.contains("refusing to connect to tcp://192.0.2.1:7000"),
        "{said}"
    );
    let said = tunnel(&["server", "--listen", all, "--to", near]);
    assert!(said.contains("nothing would be encrypted"), "{said}");
    let said = tunnel(&[
        "client",
        "--listen",
        near,
        "--to",
        far,
        "--layer",
        "encrypt:/nowhere",
    ]);
    assert!(said.contains("key file /nowhere"), "{said}");
    let said = tunnel(&["client", "--listen", "exec:true", "--to", near]);
    assert!(said.contains("cannot listen on exec:true"), "{said}");
    for end in ["client", "server"] {
        let said = tunnel(&[end, "--listen", near, "--to", "stdio:", "--insecure"]);
        assert!(said.contains("one standard input"), "{said}");
    }
    let taken = Target::new();
    let said = refused(
        69,
        &[
            "tunnel",
            "client",
            "--listen",
            &taken.endpoint(),
            "--to",
            near,
        ],
    );
    assert!(said.contains("cannot listen on"), "{said}");
    // Whoever wants it gets it.
    drop(End::start(&[
        "client",
        "--listen",
        all,
        "--to",
        anybody,
        "--insecure",
    ]));
    drop(End::start(&[
        "server",
        "--listen",
        all,
        "--to",
        far,
        "--insecure",
    ]));
    let open = End::start(&["server", "--listen", all, "--to", near, "--insecure"]);
    open.says("whoever connects reaches the target");
}

#[test]
fn a_drain_lets_connections_end() {
    let ways = Ways::new();
    let target = Target::new();
    let mut tunnel = ways.encrypt().tunnel(&target.endpoint());
    let (mut near, mut far) = connected(&tunnel, &target);
    near.write_all(b"x").expect("sent");
    assert_eq!(read_exactly(&far, 1), b"x");
    tunnel.client.signal("TERM");
    tunnel.client.says("draining");
    let port = tunnel.client.port();
    let until = Instant::now() + run::PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < until, "it goes on accepting");
        thread::sleep(Duration::from_millis(2));
    }
    // An attempt may have been carried before the listening ended: nobody is to wait for an answer to it.
    drop(target);
    // What was there goes on.
    far.write_all(b"still here").expect("sent");
    assert_eq!(read_exactly(&near, 10), b"still here");
    near.shutdown(Shutdown::Write).expect("ended");
    far.shutdown(Shutdown::Write).expect("ended");
    assert_eq!(tunnel.client.ended().code(), Some(0));
    assert!(!tunnel.client.said().contains("cut off"));
    tunnel.server.signal("INT");
    assert_eq!(tunnel.server.ended().code(), Some(0));
}

#[test]
fn a_drain_ends_in_time_and_a_second_signal_ends_at_once() {
    let ways = Ways::new();
    let target = Target::new();
    let server = ways.plain().server(&target.endpoint(), &[]);
    let mut client = ways.plain().client(server.port(), &["--drain", "200ms"]);
    let (near, far) = (client.connect(), target.accept());
    client.signal("TERM");
    assert_eq!(client.ended().code(), Some(0));
    assert!(is_reset(&near) && is_reset(&far));
    assert!(
        client
            .said()
            .contains("1 connections were cut off after 200ms"),
        "{}",
        client.said()
    );
    assert!(
        client.said().contains("aborted on this end"),
        "{}",
        client.said()
    );

    let mut client = ways.plain().client(server.port(), &["--drain", "1m"]);
    let (near, far) = (client.connect(), target.accept());
    client.signal("TERM");
    client.says("draining");
    client.signal("TERM");
    assert_eq!(client.ended().code(), Some(128 + 15));
    assert!(
        is_reset(&near) && is_reset(&far),
        "an end would say that all was carried"
    );
}

#[test]
fn what_is_still_being_connected_is_cut_off_by_a_reset() {
    // It accepts in the kernel, and never shakes hands.
    let silent = Target::new();
    let to = format!("tls://127.0.0.1:{}?verify=insecure", silent.port());
    let listen = "tcp://127.0.0.1:0";
    let mut client = End::start(&[
        "client", "--listen", listen, "--to", &to, "--drain", "200ms",
    ]);
    let (near, _shaking) = (client.connect(), silent.accept());
    client.signal("TERM");
    assert!(is_reset(&near), "an end without bytes would be an answer");
    assert_eq!(client.ended().code(), Some(0));
    let said = client.said();
    assert!(
        said.contains("1 connections were cut off after 200ms"),
        "{said}"
    );
}

#[test]
fn connections_above_a_limit_are_refused() {
    let ways = Ways::new();
    let target = Target::new();
    let server = ways.plain().server(&target.endpoint(), &[]);
    let client = ways
        .plain()
        .client(server.port(), &["--max-connections", "2"]);
    let first = (client.connect(), target.accept());
    let second = (client.connect(), target.accept());
    let mut third = client.connect();
    client.says("too many are alive");
    let read = third.read(&mut [0]);
    assert!(read.is_err() || read.is_ok_and(|count| count == 0));
    drop(first);
    client.says("carried");
    let again = (client.connect(), target.accept());
    drop((second, again));
    // None at all is a slip of the pen, and no tunnel.
    for limit in ["--max-connections", "--max-per-address"] {
        let near = "tcp://127.0.0.1:0";
        let said = refused(
            2,
            &[
                "tunnel", "client", "--listen", near, "--to", near, limit, "0",
            ],
        );
        assert!(said.contains(limit), "{said}");
    }
}

#[test]
fn unix_sockets_are_at_both_ends() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let ways = Ways::new();
    let [near, middle, far] = ["near", "middle", "far"].map(|name| ways.folder.path(name));
    let [from, through, to] = [&near, &middle, &far].map(|path| format!("unix:{}", path.display()));
    let target = UnixListener::bind(&far).expect("a free path");
    let server = End::start(&["server", "--listen", &through, "--to", &to]);
    let client = End::start(&["client", "--listen", &from, "--to", &through]);
    let mut program = UnixStream::connect(&near).expect("it listens");
    program.write_all(b"question").expect("sent");
    program.shutdown(Shutdown::Write).expect("ended");
    let (mut served, _) = target.accept().expect("it connects");
    let mut question = Vec::new();
    served.read_to_end(&mut question).expect("an orderly end");
    assert_eq!(question, b"question");
    drop((served, client, server));
}

/// Bytes of the file; the whole gibibyte with `RPYC_TUNNEL_BYTES=1073741824`, best in a release build.
fn file_size() -> u64 {
    let size = std::env::var("RPYC_TUNNEL_BYTES").ok();
    size.map_or(24 << 20, |size| size.parse().expect("a number of bytes"))
}

#[test]
fn files_arrive_whole_in_both_directions_at_once() {
    let ways = Ways::new();
    let size = file_size();
    for way in &ways.all {
        let target = Target::new();
        let tunnel = way.tunnel(&target.endpoint());
        let (near, far) = connected(&tunnel, &target);
        let began = Instant::now();
        let ends = [(&near, 7), (&far, 11)];
        let (sent, taken) = thread::scope(|scope| {
            let senders = ends.map(|(socket, seed)| {
                scope.spawn(move || {
                    let hash = send_file(socket, size, seed);
                    socket.shutdown(Shutdown::Write).expect("ended");
                    hash.expect("sent")
                })
            });
            let takers =
                ends.map(|(socket, _)| scope.spawn(move || take_file(socket).expect("an end")));
            (
                senders.map(|sender| sender.join().expect("no panic")),
                takers.map(|taker| taker.join().expect("no panic")),
            )
        });
        assert_eq!(taken[0], (sent[1], size), "{}", way.name);
        assert_eq!(taken[1], (sent[0], size), "{}", way.name);
        tunnel.client.says("both sides finished");
        let seconds = began.elapsed().as_secs_f64();
        println!("{}: {size} bytes each way in {seconds:.2} s", way.name);
    }
}

/// Connections at once; more with `RPYC_TUNNEL_CONNECTIONS=5000`, in a process that may have four descriptors for each.
fn connections() -> usize {
    let count = std::env::var("RPYC_TUNNEL_CONNECTIONS").ok();
    count.map_or(1_200, |count| count.parse().expect("a number"))
}

#[test]
fn thousands_of_connections_at_once() {
    let ways = Ways::new();
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        .expect("up to the maximum");
    for way in [ways.encrypt(), ways.tls()] {
        let target = Target::new();
        let tunnel = way.tunnel(&target.endpoint());
        let (port, count) = (tunnel.client.port(), connections());
        let began = Instant::now();
        // All of them, before any of them gets an answer.
        let accepting =
            thread::spawn(move || (0..count).map(|_| target.accept()).collect::<Vec<_>>());
        let near: Vec<TcpStream> = (0..count)
            .map(|number| {
                let mut socket = connect(port);
                socket.write_all(&number.to_be_bytes()).expect("sent");
                socket
            })
            .collect();
        let far = accepting.join().expect("no panic");
        for mut socket in &far {
            let number = read_exactly(socket, 8);
            socket.write_all(&number).expect("sent");
            bounded(socket);
        }
        for (number, socket) in near.iter().enumerate() {
            assert_eq!(read_exactly(socket, 8), number.to_be_bytes());
        }
        let seconds = began.elapsed().as_secs_f64();
        println!("{}: {count} connections in {seconds:.2} s", way.name);
        drop((near, far));
        let until = Instant::now() + run::PATIENCE;
        let carried = |end: &End| end.said().matches("carried").count();
        while carried(&tunnel.client) < count || carried(&tunnel.server) < count {
            assert!(Instant::now() < until, "connections are left");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(
            !tunnel.client.said().contains("WARN"),
            "{}",
            tunnel.client.said()
        );
    }
}
