//! The command `rpyc` over TLS and through tunnels.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemons.rs"]
mod daemons;
#[path = "support/python.rs"]
mod python;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Output, Stdio},
};

use certificates::{Ca, Folder, Pair, has_openssl};
use daemons::Daemon;
use python::{Peer, Script, run_script};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rpyc");

/// A command that ends by itself: its own time-out is far below a hang.
fn run(args: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(args).stdin(Stdio::null());
    command.output().expect("the command can be started")
}

fn printed(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim_end()
        .to_owned()
}

/// Runs a command that must fail with this status, and gives what it said.
fn refused(status: i32, args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// A running `rpyc serve`, and the port it listens on.
struct Served {
    child: Child,
    port: u16,
}

impl Served {
    fn start(listen: &str) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", listen])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the command can be started");
        let mut line = String::new();
        let out = child.stdout.take().expect("stdout is piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let scheme = listen.split("://").next().expect("a scheme");
        let start = format!("listening on {scheme}://");
        assert!(line.starts_with(&start), "{line:?}");
        let (_, port) = line.trim().rsplit_once(':').expect("a port");
        let port = port.parse().expect("a port");
        Self { child, port }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // One that ended needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tls(port: u16, settings: &[&str]) -> String {
    format!("tls://localhost:{port}?{}", settings.join("&"))
}

struct Certificates {
    ca: String,
    server: Pair,
    client: Pair,
    stranger: Pair,
}

impl Certificates {
    fn new(folder: &Folder) -> Self {
        let ca = Ca::new(folder, "ca");
        Self {
            server: ca.issue("server", &["localhost"]),
            client: ca.issue("client", &[]),
            stranger: Ca::new(folder, "other").issue("stranger", &[]),
            ca: ca.setting(),
        }
    }

    /// A server that wants certificates, on all addresses: that takes no further word.
    fn serve(&self) -> Served {
        let settings = [&self.server.settings()[..], &self.ca].join("&");
        Served::start(&format!("tls://0.0.0.0:0?{settings}"))
    }
}

#[test]
fn call_ping_and_serve_speak_tls() {
    let folder = Folder::new();
    let all = Certificates::new(&folder);
    let server = all.serve();
    let good = tls(server.port, &[&all.ca, &all.client.settings()]);
    assert_eq!(printed(&["call", &good, "add", "1", "2"]), "3");
    assert!(printed(&["ping", &good, "--count", "3"]).starts_with("3 round trips"));
    let without = refused(
        69,
        &["call", &tls(server.port, &[&all.ca]), "add", "1", "2"],
    );
    assert!(without.contains("CertificateRequired"), "{without}");
    let stranger = tls(server.port, &[&all.ca, &all.stranger.settings()]);
    let stranger = refused(69, &["call", &stranger, "add", "1", "2"]);
    assert!(stranger.contains("UnknownCA"), "{stranger}");
    let distrustful = refused(
        69,
        &[
            "call",
            &tls(server.port, &[&all.client.settings()]),
            "add",
            "1",
            "2",
        ],
    );
    assert!(distrustful.contains("TLS: "), "{distrustful}");
    // It lives on.
    assert_eq!(printed(&["call", &good, "add", "1", "2"]), "3");
}

#[test]
fn python_is_at_either_end() {
    if !has_openssl() {
        return;
    }
    let folder = Folder::new();
    let all = Certificates::new(&folder);
    let server = all.serve();
    let shown = |path: &std::path::Path| path.display().to_string();
    let (key, certificate) = (shown(&all.client.key), shown(&all.client.certificate));
    let ca = all.ca.strip_prefix("ca=").expect("a setting");
    let text = "import rpyc, sys\nport, key, certificate, ca = sys.argv[1:]\n\
                conn = rpyc.ssl_connect('localhost', int(port), keyfile=key, certfile=certificate, ca_certs=ca)\n\
                print(conn.root.upper('from python'))";
    let port = server.port.to_string();
    let output = run_script(Script::Text(text), &[&port, &key, &certificate, ca]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "FROM PYTHON\n",
        "{output:?}"
    );

    let plain = folder.openssl("plain");
    let (certificate, key) = (shown(&plain.certificate), shown(&plain.key));
    let peer = Peer::start(
        Script::File("server.py"),
        &["--certfile", &certificate, "--keyfile", &key],
    );
    let own = format!("ca={certificate}");
    assert_eq!(
        printed(&[
            "call",
            &tls(peer.port(), &[&own, "verify=ca"]),
            "add",
            "1",
            "2"
        ]),
        "3"
    );
    let pin = format!("verify=pin:{}", plain.fingerprint());
    assert_eq!(
        printed(&["call", &tls(peer.port(), &[&pin]), "add", "1", "2"]),
        "3"
    );
    let strict = refused(69, &["call", &tls(peer.port(), &[&own]), "add", "1", "2"]);
    assert!(strict.contains("verify=ca"), "it says what helps: {strict}");
}

#[test]
fn listening_for_other_machines_takes_certificates_of_clients() {
    let folder = Folder::new();
    let all = Certificates::new(&folder);
    let (own, ca) = (all.server.settings(), &all.ca);
    for more in ["", "&verify=insecure&clients=required"] {
        let listen = format!("tls://0.0.0.0:0?{own}{more}");
        let said = refused(2, &["serve", "--listen", &listen]);
        assert!(said.contains("whoever connects can call"), "{said}");
    }
    let listen = format!("tls://0.0.0.0:0?{own}&{ca}&clients=optional");
    assert!(refused(2, &["serve", "--listen", &listen]).contains("--insecure"));
    drop(Served::start(&format!("tls://127.0.0.1:0?{own}")));
    let mismatch = format!(
        "tls://127.0.0.1:0?cert={}&key={}",
        all.server.certificate.display(),
        all.client.key.display()
    );
    let said = refused(69, &["serve", "--listen", &mismatch]);
    assert!(
        said.contains("does not belong to the certificate"),
        "{said}"
    );
}

#[test]
fn calls_go_through_tunnels() {
    let folder = Folder::new();
    let all = Certificates::new(&folder);
    let here = folder.path("");
    let (secure, plain) = (all.serve(), Served::start("tcp://127.0.0.1:0"));
    let (Some(socks), Some(http), Some(ssh)) = (
        Daemon::microsocks(&here, Some(("me", "secret"))),
        Daemon::tinyproxy(&here, None),
        Daemon::sshd(&here),
    ) else {
        return;
    };
    // The user's ssh, as far as this test is concerned.
    let config = ssh.ssh_config(&here, "user");
    let bin = folder.path("bin");
    fs::create_dir(&bin).expect("a folder");
    let wrapper = bin.join("ssh");
    let text = format!(
        "#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n",
        config.display()
    );
    fs::write(&wrapper, text).expect("a file");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("a file of ours");
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for via in [
        format!("socks5://me:secret@127.0.0.1:{}", socks.port),
        format!("http://127.0.0.1:{}", http.port),
        "ssh://tunnel".into(),
    ] {
        let via = format!("via={via}");
        for endpoint in [
            format!("tcp://127.0.0.1:{}?{via}", plain.port),
            tls(secure.port, &[&all.ca, &all.client.settings(), &via]),
        ] {
            let output = Command::new(PROGRAM)
                .args(["call", &endpoint, "add", "1", "2"])
                .env("PATH", &path)
                .output()
                .expect("the command can be started");
            assert!(output.status.success(), "{endpoint}: {output:?}");
            assert_eq!(output.stdout, b"3\n", "{endpoint}");
        }
    }
    let wrong = format!(
        "tcp://127.0.0.1:{}?via=socks5://me:wrong@127.0.0.1:{}",
        plain.port, socks.port
    );
    let said = refused(69, &["call", &wrong, "add", "1", "2"]);
    assert!(
        said.contains("refused the login") && !said.contains("wrong"),
        "{said}"
    );
}
