//! A Rust server and peers that send what they should not: the error has a name, that connection ends cleanly or lives on, and all others do.

mod requests;

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use flate2::{Compression, write::ZlibEncoder};
use rpyc::{Connection, Endpoint, Server, ServerConfig, Service, brine::Value};

use crate::{
    raw::{self, Raw, framed, message, nothing},
    support::{assert_alive, assert_serves, connect, serve, soon, until},
};

/// A server that notes why each connection ended, and one good connection to it.
struct Victim {
    server: Server,
    port: u16,
    good: Connection,
    reasons: Arc<Mutex<Vec<String>>>,
}

fn calculator(reasons: &Arc<Mutex<Vec<String>>>) -> Service {
    let reasons = reasons.clone();
    Service::new("Victim")
        .function("add", |a: i64, b: i64| a + b)
        .function("echo", |value: rpyc::Object| value)
        .on_disconnect(move |connection| {
            let reason = connection.end_reason().expect("it is over");
            reasons.lock().expect("no panic").push(reason.to_string());
        })
}

impl Victim {
    async fn new() -> Self {
        let reasons = Arc::default();
        let (server, port) = serve(calculator(&reasons)).await;
        let good = connect(port).await;
        assert_alive(&good).await;
        Self {
            server,
            port,
            good,
            reasons,
        }
    }

    async fn with_frames_up_to(bytes: usize) -> Self {
        let reasons = Arc::default();
        let endpoint: Endpoint = "tcp://127.0.0.1:0".parse().expect("an endpoint");
        let endpoint = endpoint.limits(rpyc::Limits::default().max_frame(bytes));
        let server = Server::bind_with(&[endpoint], calculator(&reasons), ServerConfig::default())
            .await
            .expect("a free port");
        let port = server.port().expect("TCP");
        let good = connect(port).await;
        Self {
            server,
            port,
            good,
            reasons,
        }
    }

    /// Sends bytes; the connection ends, for a reason in these words that names the peer's address.
    async fn ends(&self, bytes: &[u8], words: &[&str]) {
        let mut peer = Raw::connect(self.port).await;
        let address = peer.socket.local_addr().expect("it is connected");
        peer.bytes(bytes).await;
        self.ends_peer(peer, &address.to_string(), words).await;
    }

    async fn ends_peer(&self, mut peer: Raw, address: &str, words: &[&str]) {
        // Whatever is answered before, the stream ends.
        while soon(peer.next()).await.is_some() {}
        drop(peer);
        until(|| self.reasons.lock().expect("no panic").len() == 1).await;
        let reason = self.reasons.lock().expect("no panic").remove(0);
        for word in words.iter().chain([&address]) {
            assert!(reason.contains(word), "{word:?} is not in {reason:?}");
        }
        assert_alive(&self.good).await;
        assert_serves(self.port).await;
        until(|| self.server.connections() == 1).await;
        until(|| self.reasons.lock().expect("no panic").len() == 1).await;
        self.reasons.lock().expect("no panic").clear();
    }

    /// Sends one request, which is answered with an exception in these words; the connection lives on.
    async fn refuses(&self, payload: &[u8], words: &[&str]) {
        let mut peer = Raw::connect(self.port).await;
        let root = soon(peer.root()).await;
        peer.frame(payload).await;
        let (kind, _, body) = soon(peer.next()).await.expect("an answer");
        assert_eq!(kind, 3, "{body}");
        let text = body.to_string();
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text}");
        }
        peer.call(99, &root, "add", (1, 2).into()).await;
        let answer = soon(peer.next()).await.expect("an answer");
        assert_eq!(answer, (2, 99.into(), (1, 3).into()));
        drop(peer);
        until(|| self.server.connections() == 1).await;
        self.reasons.lock().expect("no panic").clear();
        assert_alive(&self.good).await;
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

/// A request with these arguments, which stand there as bytes.
fn request_with(boxed_args: &[u8]) -> Vec<u8> {
    // (0, (PING, …))
    let mut payload = vec![1, 0x11, 0x50, 0x11, 0x51];
    payload.extend_from_slice(boxed_args);
    payload
}

#[tokio::test]
async fn frames_above_the_limit() {
    let victim = Victim::new().await;
    victim
        .ends(
            &[0xff, 0xff, 0xff, 0xff, 0],
            &["frame of 4294967295 bytes", "limit of 67108864"],
        )
        .await;
    victim
        .ends(
            &[0x04, 0, 0, 1, 0],
            &["frame of 67108865 bytes", "limit of 67108864"],
        )
        .await;
    victim
        .ends(
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            &["frame of 1195725856 bytes", "limit of 67108864"],
        )
        .await;
    victim
        .ends(
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            &["frame of 369295618 bytes"],
        )
        .await;
    let small = Victim::with_frames_up_to(10_000).await;
    let frame = framed(0, &vec![1; 10_001]);
    small
        .ends(&frame, &["frame of 10001 bytes", "limit of 10000"])
        .await;
}

#[tokio::test]
async fn truncated_frames() {
    let victim = Victim::new().await;
    for bytes in [
        &[0_u8, 0][..],
        &[0, 0, 0, 10, 0],
        &[0, 0, 0, 10, 0, 1, 2, 3],
    ] {
        let mut peer = Raw::connect(victim.port).await;
        let address = peer
            .socket
            .local_addr()
            .expect("it is connected")
            .to_string();
        peer.bytes(bytes).await;
        tokio::io::AsyncWriteExt::shutdown(&mut peer.socket)
            .await
            .expect("it is connected");
        let got = format!("{} of", bytes.len());
        victim
            .ends_peer(peer, &address, &["the stream ended after", &got])
            .await;
    }
}

#[tokio::test]
async fn broken_compression() {
    let victim = Victim::new().await;
    victim
        .ends(
            &framed(1, b"this is no zlib stream"),
            &["compressed data", "not a zlib stream"],
        )
        .await;
    let whole = deflated(&vec![7; 100_000]);
    victim
        .ends(
            &framed(1, &whole[..whole.len() / 2]),
            &["compressed data", "cut short"],
        )
        .await;
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 0xff;
    victim
        .ends(&framed(1, &damaged), &["compressed data"])
        .await;
    victim.ends(&framed(1, b""), &["compressed data"]).await;
}

#[tokio::test]
async fn a_bomb() {
    let victim = Victim::new().await;
    // 100 MB in 500 kB.
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..100 {
        encoder.write_all(&zeros).expect("memory takes all");
    }
    let bomb = encoder.finish().expect("memory takes all");
    assert!(bomb.len() < 2 << 20);
    victim
        .ends(&framed(1, &bomb), &["inflated frame", "limit of 67108864"])
        .await;
    let small = Victim::with_frames_up_to(100_000).await;
    small
        .ends(
            &framed(1, &deflated(&vec![0; 100_001])),
            &["inflated frame of 100001 bytes", "limit of 100000"],
        )
        .await;
}

#[tokio::test]
async fn what_is_no_message() {
    let victim = Victim::new().await;
    victim
        .ends(&framed(0, b"garbage"), &["unknown message type 103"])
        .await;
    victim
        .ends(&framed(0, b"\x00"), &["unknown message type 0"])
        .await;
    victim
        .ends(&framed(0, b"\x04\x11\x50\x00"), &["unknown message type 4"])
        .await;
    // As of 5.x, (4, 0, 0); and a request of 6, (0, (GETROOT, (1, ()))), before the same of 5.
    victim
        .ends(
            &framed(0, b"\x12\x54\x50\x50"),
            &["unknown message type 18"],
        )
        .await;
    let mut both = framed(0, b"\x01\x11\x50\x11\x53\x11\x51\x02");
    both.extend(framed(0, b"\x12\x51\x50\x11\x53\x11\x51\x02"));
    victim.ends(&both, &["rpyc 5"]).await;
    victim
        .ends(&framed(0, &[0; 40]), &["RPYC_BIND_THREADS"])
        .await;
    victim.ends(&framed(0, b"\x01"), &["request"]).await;
    victim
        .ends(&framed(0, b"\x01\x00"), &["a request is not a pair"])
        .await;
    victim
        .ends(
            &framed(0, b"\x01\x12\x50\x51\x52"),
            &["a request is not a pair"],
        )
        .await;
    victim
        .ends(
            &framed(0, b"\x01\x11\x50\xff"),
            &["a request cannot be decoded", "0xff"],
        )
        .await;
    victim
        .ends(
            &framed(0, b"\x02\x11\x50\x07"),
            &["a reply cannot be decoded", "0x07"],
        )
        .await;
    victim
        .ends(
            &framed(0, b"\x03\x11\x50\x0f\xff\xff\xff\xff"),
            &["a exception cannot be decoded"],
        )
        .await;
}

/// What is above a limit for values. Whether the message can be answered or not, the connection is told.
#[tokio::test]
async fn values_above_the_limits() {
    let victim = Victim::new().await;
    // 100,000 tuples inside each other.
    let mut nested = vec![0x10; 100_000];
    nested.push(0x02);
    let mut payload = vec![0x11, 0x51];
    payload.extend_from_slice(&nested);
    over_the_limit(&victim, &request_with(&payload), "depth").await;
    // The same as the whole message.
    let mut bare = vec![1];
    bare.extend_from_slice(&nested);
    victim.ends(&framed(0, &bare), &["a request"]).await;
    // As the number of the request, which cannot be repeated.
    let mut numbered = vec![1, 0x11];
    numbered.extend_from_slice(&nested);
    victim
        .ends(
            &framed(0, &numbered),
            &["a request cannot be decoded", "64"],
        )
        .await;

    over_the_limit(
        &victim,
        &request_with(b"\x11\x51\x15\xff\xff\xff\xff\x50\x50"),
        "4294967293 more",
    )
    .await;
    let mut digits = b"\x11\x51\x10\x17\x00\x00\x27\x10".to_vec();
    digits.extend_from_slice(&[b'9'; 10_000]);
    over_the_limit(&victim, &request_with(&digits), "4300").await;
}

/// Either an exception or the end; with the limit in its words.
async fn over_the_limit(victim: &Victim, payload: &[u8], word: &str) {
    let mut peer = Raw::connect(victim.port).await;
    let address = peer
        .socket
        .local_addr()
        .expect("it is connected")
        .to_string();
    peer.frame(payload).await;
    match soon(peer.next()).await {
        Some((3, _, body)) => {
            let text = body.to_string();
            assert!(text.contains(word), "{word:?} is not in {text}");
            let root = soon(peer.root()).await;
            peer.call(1, &root, "add", (1, 2).into()).await;
            assert_eq!(soon(peer.next()).await.expect("an answer").0, 2);
            drop(peer);
            until(|| victim.server.connections() == 1).await;
            victim.reasons.lock().expect("no panic").clear();
        }
        Some(other) => panic!("{other:?}"),
        None => victim.ends_peer(peer, &address, &[word]).await,
    }
    assert_alive(&victim.good).await;
}

/// A peer that closes with CLOSE, one that closes without, and one that says more after CLOSE.
#[tokio::test]
async fn ordinary_ends() {
    let victim = Victim::new().await;
    let close = message(1, 0.into(), (2, (1, nothing())).into());
    victim.ends(&framed(0, &close), &["the stream ended"]).await;
    let more = [framed(0, &close), framed(0, b"garbage")].concat();
    victim.ends(&more, &[]).await;
    // An empty frame means nothing.
    let mut peer = Raw::connect(victim.port).await;
    peer.bytes(&framed(0, b"")).await;
    soon(peer.root()).await;
}
