//! TLS streams between two of ours: identities, ends, volume, resumption.
#![cfg(any(feature = "tls", feature = "aws-lc-rs"))]

#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod support;
#[path = "support/tls.rs"]
mod tls;

use std::{fs, time::Duration};

use bytes::Bytes;
use certificates::{Ca, Folder, has_openssl};
use rpyc_actors::{
    Chain, Channel, Endpoint, Limits, SocketStream, StreamError, TlsConfig, create_ssl_stream,
    error::LossReason,
    stream::{
        StreamHandle,
        tls::{ClientCertificates, Pem, TlsVersion, Verify},
    },
};
use support::{Random, within};
use tls::{listen, own, pair, pair_with, trusting};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
};

async fn exchange(near: &StreamHandle, far: &StreamHandle) {
    within("an exchange", async {
        near.write("question").await.expect("written");
        assert_eq!(&far.read(8).await.expect("read")[..], b"question");
        far.write("answer").await.expect("written");
        assert_eq!(&near.read(6).await.expect("read")[..], b"answer");
    })
    .await;
}

#[tokio::test]
async fn both_versions_carry_bytes_and_say_what_they_are() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost", "127.0.0.1"]);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let (near, far) = pair_with(trusting(&ca), own(&server).version(version)).await;
        exchange(&near, &far).await;
        for stream in [&near, &far] {
            let tls = stream.tls().expect("a TLS stream");
            assert_eq!(tls.version, version);
            assert!(tls.cipher.starts_with("TLS"), "{}", tls.cipher);
            assert_eq!(tls.name.as_deref(), Some("localhost"));
            assert!(!tls.resumed);
        }
        let shown = near
            .tls()
            .expect("TLS")
            .peer
            .as_ref()
            .expect("a certificate");
        assert_eq!(shown.subject(), "CN=server");
        assert_eq!(shown.alt_names(), ["DNS:localhost", "IP:127.0.0.1"]);
        assert!(far.tls().expect("TLS").peer.is_none());
    }
}

#[tokio::test]
async fn the_seeds_factory_takes_files_and_the_text_takes_settings() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let client = ca.issue("client", &["client.example"]);
    // A file that holds both, as Python's ssl takes it.
    let both = folder.path("both.pem");
    let texts = [&client.key, &client.certificate].map(|path| fs::read(path).expect("PEM"));
    fs::write(&both, texts.concat()).expect("a file");
    let (listener, mut accepted) = listen(own(&server).ca(ca.certificate.as_path())).await;
    let port = listener.port().expect("a port");
    let ca_file = Some(ca.certificate.as_path());
    for (key, certificate) in [
        (Some(client.key.as_path()), client.certificate.as_path()),
        (None, both.as_path()),
    ] {
        let opening = create_ssl_stream("localhost", port, key, Some(certificate), ca_file);
        let near = within("connecting", opening).await.expect("a server");
        let far = accepted.recv().await.expect("a client");
        exchange(&near, &far).await;
    }
    let text = format!(
        "tls://localhost:{port}?{}&{}",
        ca.setting(),
        client.settings()
    );
    let near = within("connecting", Chain::to(&text).expect("an endpoint").open())
        .await
        .expect("a server");
    let far = accepted.recv().await.expect("a client");
    exchange(&near, &far).await;
    assert_eq!(near.endpoint(), text);
    let error = create_ssl_stream("localhost", port, Some(&client.key), None, None).await;
    assert!(matches!(error, Err(StreamError::ApiMisuse(_))), "{error:?}");
}

#[tokio::test]
async fn a_listener_learns_who_its_client_is() {
    if !has_openssl() {
        return;
    }
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let client = ca.issue("client", &["client.example", "::1"]);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let with = trusting(&ca).certificate(client.certificate.as_path(), client.key.as_path());
        let server = own(&server).ca(ca.certificate.as_path()).version(version);
        assert!(server.requires_clients());
        let (near, far) = pair_with(with, server).await;
        exchange(&near, &far).await;
        // A channel knows it as well.
        let far = Channel::new(far);
        let peer = far.tls().expect("TLS").peer.clone().expect("a certificate");
        assert!(peer.is_verified());
        assert_eq!(peer.subject(), "CN=client");
        assert_eq!(peer.alt_names(), ["DNS:client.example", "IP:::1"]);
        let printed = client.fingerprint().replace(':', "").to_lowercase();
        assert_eq!(peer.fingerprint().to_string(), printed);
        assert_eq!(peer.chain().next(), Some(peer.der()));
        let contains = |part: &[u8]| peer.der().windows(part.len()).any(|run| run == part);
        assert!(contains(peer.subject_der()));
        assert!(contains(peer.alt_names_der().expect("names")));
    }
}

#[tokio::test]
async fn optional_client_certificates_are_optional() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let client = ca.issue("client", &[]);
    let listening = own(&server)
        .ca(ca.certificate.as_path())
        .clients(ClientCertificates::Optional);
    assert!(!listening.requires_clients());
    let (near, far) = pair_with(trusting(&ca), listening.clone()).await;
    exchange(&near, &far).await;
    assert!(far.tls().expect("TLS").peer.is_none());
    let with = trusting(&ca).certificate(client.certificate.as_path(), client.key.as_path());
    let (near, far) = pair_with(with, listening).await;
    exchange(&near, &far).await;
    assert!(far.tls().expect("TLS").peer.is_some());
}

#[tokio::test]
async fn a_certificate_of_plain_openssl_is_trusted_in_three_ways() {
    if !has_openssl() {
        return;
    }
    let folder = Folder::new();
    let server = folder.openssl("server");
    let ways = [
        (Verify::Ca, true),
        (
            Verify::Pin(vec![server.fingerprint().parse().expect("a pin")]),
            true,
        ),
        (Verify::DangerousInsecure, false),
    ];
    for (verify, is_verified) in ways {
        let client = TlsConfig::default()
            .ca(server.certificate.as_path())
            .verify(verify.clone());
        let (near, far) = pair_with(client, own(&server)).await;
        exchange(&near, &far).await;
        let peer = near
            .tls()
            .expect("TLS")
            .peer
            .clone()
            .expect("a certificate");
        assert_eq!(peer.is_verified(), is_verified, "{verify:?}");
        assert_eq!(peer.subject(), "CN=server");
        assert!(peer.alt_names().is_empty());
    }
    // The same for clients, who have no name to compare.
    let client = folder.openssl("client");
    let near = TlsConfig::default()
        .ca(server.certificate.as_path())
        .verify(Verify::Ca)
        .certificate(client.certificate.as_path(), client.key.as_path());
    let pinned = Verify::Pin(vec![client.fingerprint().parse().expect("a pin")]);
    for listening in [
        own(&server)
            .ca(client.certificate.as_path())
            .verify(Verify::Ca),
        own(&server).verify(pinned),
    ] {
        assert!(listening.requires_clients());
        let (near, far) = pair_with(near.clone(), listening).await;
        exchange(&near, &far).await;
        assert_eq!(
            far.tls()
                .expect("TLS")
                .peer
                .as_ref()
                .expect("one")
                .subject(),
            "CN=client"
        );
    }
}

#[tokio::test]
async fn a_ca_vouches_without_the_hosts_name_in_mode_ca() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["elsewhere.example"]);
    let (near, far) = pair_with(trusting(&ca).verify(Verify::Ca), own(&server)).await;
    exchange(&near, &far).await;
    // With the name that is in it, in full.
    let (near, far) = pair_with(trusting(&ca).name("elsewhere.example"), own(&server)).await;
    exchange(&near, &far).await;
    assert_eq!(
        far.tls().expect("TLS").name.as_deref(),
        Some("elsewhere.example")
    );
}

#[tokio::test]
async fn text_in_pem_is_as_good_as_files_and_is_not_shown() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let read = |path| Pem::text(fs::read(path).expect("PEM"));
    let listening = TlsConfig::default().certificate(read(&server.certificate), read(&server.key));
    assert!(!format!("{listening:?}").contains("BEGIN"));
    let (near, far) = pair_with(TlsConfig::default().ca(read(&ca.certificate)), listening).await;
    exchange(&near, &far).await;
}

#[tokio::test]
async fn sessions_are_resumed_with_the_same_config_only() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let client = ca.issue("client", &[]);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let listening = own(&server).ca(ca.certificate.as_path()).version(version);
        let (listener, mut accepted) = listen(listening).await;
        let port = listener.port().expect("a port");
        let config = trusting(&ca).certificate(client.certificate.as_path(), client.key.as_path());
        let endpoint = Endpoint::tls("localhost", port, config.clone());
        let mut resumed = Vec::new();
        for endpoint in [
            endpoint.clone(),
            endpoint,
            Endpoint::tls("localhost", port, config.verify(Verify::Full)),
        ] {
            let near = within("connecting", Chain::new(endpoint).open())
                .await
                .expect("a server");
            let far = accepted.recv().await.expect("a client");
            // The tickets come with the first bytes.
            exchange(&near, &far).await;
            let far_tls = far.tls().expect("TLS");
            assert_eq!(far_tls.resumed, near.tls().expect("TLS").resumed);
            let peer = far_tls.peer.as_ref().expect("also from a resumed session");
            assert_eq!(peer.subject(), "CN=client");
            resumed.push(far_tls.resumed);
            let (near, far) = tokio::join!(near.close(), far.close());
            near.and(far).expect("an orderly end");
        }
        assert_eq!(resumed, [false, true, false], "{version}");
    }
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let folder = Folder::new();
        let ca = Ca::new(&folder, "ca");
        let server = ca.issue("server", &["localhost"]);
        let (near, far) = pair_with(trusting(&ca), own(&server).version(version)).await;
        let (near, far) = (Channel::new(near), Channel::new(far));
        within("half-close", async {
            near.send("last question").await.expect("sent");
            near.finish().expect("open");
            assert_eq!(
                &far.recv().await.expect("read").expect("a frame")[..],
                b"last question"
            );
            assert!(far.recv().await.expect("an orderly end").is_none());
            // The other direction goes on.
            far.send(vec![7; 300_000]).await.expect("sent");
            far.finish().expect("open");
            assert_eq!(
                near.recv().await.expect("read").expect("a frame").len(),
                300_000
            );
            assert!(near.recv().await.expect("an orderly end").is_none());
            near.close().await.expect("closed");
            far.close().await.expect("closed");
        })
        .await;
    }
}

#[tokio::test]
async fn close_flushes_what_was_accepted() {
    let (near, far) = pair().await;
    let (near, far) = (Channel::new(near), Channel::new(far));
    within("closing", async {
        let reading = async {
            let mut count = 0;
            while let Some(frame) = far.recv().await.expect("no loss") {
                assert_eq!(frame.len(), 10_000);
                count += 1;
            }
            far.finish().expect("open");
            count
        };
        let writing = async {
            for _ in 0..500 {
                near.send(vec![1; 10_000]).await.expect("sent");
            }
            near.close().await.expect("all left");
        };
        let (count, ()) = tokio::join!(reading, writing);
        assert_eq!(count, 500);
    })
    .await;
}

#[tokio::test]
async fn an_abort_is_a_loss_at_the_peer() {
    let (near, far) = pair().await;
    near.abort();
    let error = within("the loss", far.read(1)).await.expect_err("a reset");
    assert!(error.is_connection_lost(), "{error}");
}

#[tokio::test]
async fn volume_goes_both_ways_at_once_and_arrives_as_it_was() {
    const FRAMES: u64 = 400;
    let (near, far) = pair().await;
    let (near, far) = (Channel::new(near), Channel::new(far));
    let send = |channel: Channel, seed| async move {
        let mut random = Random(seed);
        for _ in 0..FRAMES {
            let length = random.below(200_000);
            channel
                .send(content(&mut random, length))
                .await
                .expect("sent");
        }
        channel.flush().await.expect("flushed");
    };
    let receive = |channel: Channel, seed| async move {
        let mut random = Random(seed);
        for _ in 0..FRAMES {
            let length = random.below(200_000);
            let frame = channel.recv().await.expect("read").expect("a frame");
            assert!(frame == content(&mut random, length));
        }
    };
    within("volume", async {
        tokio::join!(
            send(near.clone(), 1),
            send(far.clone(), 2),
            receive(near.clone(), 2),
            receive(far.clone(), 1)
        );
    })
    .await;
}

fn content(random: &mut Random, length: usize) -> Bytes {
    let first = random.next();
    (0..length as u64)
        .map(|at| (first + at).to_le_bytes()[0])
        .collect()
}

#[tokio::test]
async fn a_peer_that_does_not_read_stops_the_sender() {
    let (near, _far) = pair().await;
    let near = Channel::new(near);
    let sending = async {
        loop {
            near.send(vec![0; 65_536]).await.expect("no loss");
        }
    };
    let stopped = tokio::time::timeout(Duration::from_millis(500), sending).await;
    assert!(stopped.is_err());
    // What the kernel and the far end took is bounded; the sender holds no more than its credit.
    assert!(near.stats().bytes_under_way <= Limits::default().credit as u64 + 65_542);
}

/// Carries bytes to `port`, until it is told to cut the way: then both sides see the end of TCP and none of TLS.
async fn relay(port: u16) -> (u16, tokio::sync::oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let own = listener.local_addr().expect("bound").port();
    let (cut, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("a server");
        let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
            (client.into_split(), server.into_split());
        let carry = async {
            tokio::join!(
                tokio::io::copy(&mut from_client, &mut to_server),
                tokio::io::copy(&mut from_server, &mut to_client)
            )
        };
        tokio::select! {
            _ = carry => {}
            _ = told => {}
        }
        let end = |mut half: OwnedWriteHalf| async move { half.shutdown().await };
        let _ = tokio::join!(end(to_client), end(to_server));
        // Without this, what still comes would be answered with a reset.
        let _ = from_client.read_to_end(&mut Vec::new()).await;
    });
    (own, cut)
}

#[tokio::test]
async fn an_end_without_close_notify_is_a_loss() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let (listener, mut accepted) = listen(own(&server).version(version)).await;
        let (port, cut) = relay(listener.port().expect("a port")).await;
        let near = within(
            "connecting",
            SocketStream::ssl_connect("localhost", port, trusting(&ca)),
        )
        .await
        .expect("a server");
        let far = Channel::new(accepted.recv().await.expect("a client"));
        let near = Channel::new(near);
        near.send("whole").await.expect("sent");
        // What came before the cut is delivered before it is told.
        assert_eq!(
            &within("a frame", far.recv())
                .await
                .expect("read")
                .expect("one")[..],
            b"whole"
        );
        cut.send(()).expect("the relay lives");
        for channel in [near, far] {
            match within("the cut", channel.recv()).await {
                Err(StreamError::ConnectionLost(error)) => {
                    assert!(matches!(error.reason, LossReason::CutOff), "{error}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
