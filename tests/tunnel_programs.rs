//! Software that nobody here wrote, through `rpyc tunnel` in each of its ways: it must not notice.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemons.rs"]
mod daemons;
#[path = "support/programs.rs"]
mod programs;
#[path = "support/python.rs"]
mod python;
#[path = "support/run.rs"]
mod run;
#[path = "support/tunnels.rs"]
mod tunnels;

use std::{
    io::{Read, Write},
    process::Command,
};

use programs::{Postgres, iperf3, printed, redis};
use python::{Peer, Script, run_script};
use tunnels::{Tunnel, Way, Ways};

/// A tunnel to a port, in each way.
fn each_way(ways: &Ways, target: u16, check: impl Fn(&Way, &Tunnel)) {
    for way in &ways.all {
        let tunnel = way.tunnel(&format!("tcp://127.0.0.1:{target}"));
        check(way, &tunnel);
        for end in [&tunnel.client, &tunnel.server] {
            assert!(!end.said().contains("WARN"), "{}: {}", way.name, end.said());
        }
    }
}

#[test]
fn redis_does_not_notice() {
    let ways = Ways::new();
    let Some((server, benchmark)) = redis(&ways.folder.path("")) else {
        return;
    };
    each_way(&ways, server.port, |way, tunnel| {
        let mut command = Command::new(&benchmark);
        let port = tunnel.client.port().to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "--csv"]);
        command.args(["-n", "4000", "-c", "40", "-P", "8", "-d", "512"]);
        command.args(["-t", "ping,set,get,incr,lpush,lrange_100,mset"]);
        let table = printed(command);
        // A head, and a line for each test and its variants.
        assert!(table.lines().count() >= 9, "{}: {table}", way.name);
        assert!(
            table.contains("\"SET\"") && !table.contains("rror"),
            "{}: {table}",
            way.name
        );
        // A value larger than all buffers, and back.
        let value: Vec<u8> = (0..5_000_000_u32)
            .map(|number| (number / 7) as u8)
            .collect();
        let mut socket = tunnel.connect();
        let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", value.len());
        socket.write_all(head.as_bytes()).expect("sent");
        socket.write_all(&value).expect("sent");
        socket
            .write_all(b"\r\n*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n")
            .expect("sent");
        let head = format!("+OK\r\n${}\r\n", value.len());
        let mut answer = vec![0; head.len() + value.len() + 2];
        socket.read_exact(&mut answer).expect("it comes");
        assert_eq!(String::from_utf8_lossy(&answer[..head.len()]), head);
        assert!(answer[head.len()..].starts_with(&value), "{}", way.name);
    });
}

#[test]
fn postgresql_does_not_notice() {
    let ways = Ways::new();
    let Some(postgres) = Postgres::start(&ways.folder.path("")) else {
        return;
    };
    each_way(&ways, postgres.server.port, |way, tunnel| {
        let port = tunnel.client.port();
        postgres.bench(port, &["--initialize", "--quiet", "--scale", "1"]);
        let said = postgres.bench(
            port,
            &[
                "--client",
                "8",
                "--transactions",
                "40",
                "--protocol",
                "prepared",
            ],
        );
        let expected = "number of transactions actually processed: 320/320";
        assert!(said.contains(expected), "{}: {said}", way.name);
        // A connection for each transaction.
        let said = postgres.bench(
            port,
            &[
                "--connect",
                "--select-only",
                "--client",
                "4",
                "--transactions",
                "20",
            ],
        );
        let expected = "number of transactions actually processed: 80/80";
        assert!(said.contains(expected), "{}: {said}", way.name);
    });
}

#[test]
fn iperf3_does_not_notice() {
    let ways = Ways::new();
    let Some((server, client)) = iperf3(&ways.folder.path("")) else {
        return;
    };
    each_way(&ways, server.port, |way, tunnel| {
        let port = tunnel.client.port().to_string();
        // Not `--bidir`: iperf3 tells its two connections apart by the order in which the server accepts them, which no tunnel keeps.
        for more in [&["--parallel", "4"][..], &["--reverse"]] {
            let mut command = Command::new(&client);
            command.args(["--client", "127.0.0.1", "--port", &port, "--json"]);
            // It ends when the last byte was sent, and what is under way then is not counted as received.
            command.args(["--bytes", "40M", "--len", "64K"]).args(more);
            let result: serde_json::Value = serde_json::from_str(&printed(command)).expect("JSON");
            let bytes = |which: &str| result["end"][which]["bytes"].as_u64();
            assert_eq!(
                result["error"],
                serde_json::Value::Null,
                "{}: {result}",
                way.name
            );
            assert!(
                bytes("sum_sent") >= Some(40 << 20),
                "{} {more:?}: {result}",
                way.name
            );
            assert!(
                bytes("sum_received") > Some(1 << 20),
                "{} {more:?}: {result}",
                way.name
            );
        }
    });
}

#[test]
fn pythons_rpyc_does_not_notice() {
    let ways = Ways::new();
    let server = Peer::start(Script::File("server.py"), &[]);
    let checks = |port: &str| {
        let output = run_script(Script::File("client.py"), &["127.0.0.1", port]);
        let (out, err) = (run::text(&output.stdout), run::text(&output.stderr));
        assert!(output.status.success(), "{out}{err}");
        out
    };
    let expected = checks(server.ready());
    assert_eq!(expected.lines().count(), 35, "every check of client.py");
    each_way(&ways, server.port(), |way, tunnel| {
        let seen = checks(&tunnel.client.port().to_string());
        for (seen, expected) in seen.lines().zip(expected.lines()) {
            assert_eq!(seen, expected, "{}", way.name);
        }
        assert_eq!(
            seen.lines().count(),
            expected.lines().count(),
            "{}",
            way.name
        );
    });
}
