//! Payloads of 1 byte to 20 MB, those that compress well and those that do not, both ways and over every kind of stream.

use bytes::Bytes;
use rpyc::{Connection, Service};
use sha2::{Digest, Sha256};

use crate::{
    streams,
    support::{python_client, serve, soon},
};

/// Around the threshold of compression, the pieces in which Python reads and writes, and a block of 64 KiB.
const SIZES: [usize; 17] = [
    0,
    1,
    255,
    256,
    2_999,
    3_000,
    3_001,
    3_020,
    63_900,
    63_994,
    63_995,
    64_000,
    64_100,
    65_535,
    65_536,
    65_537,
    1 << 20,
];
const LARGEST: usize = 20_000_000;

/// Bytes that do not compress, other ones for each seed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

async fn there_and_back(client: &Connection, payload: Vec<u8>) {
    let size = payload.len();
    let digest: Bytes = soon(client.call("digest", (Bytes::from(payload.clone()),)))
        .await
        .expect("an answer");
    assert_eq!(
        digest[..],
        Sha256::digest(&payload)[..],
        "{size} bytes there"
    );
    let back: Bytes = soon(client.call("echo", (Bytes::from(payload.clone()),)))
        .await
        .expect("an answer");
    assert!(back[..] == payload[..], "{size} bytes there and back");
}

#[tokio::test]
async fn payloads_to_and_from_python() {
    streams::to_python(async |client| {
        for size in SIZES {
            there_and_back(client, noise(size as u64, size)).await;
            there_and_back(client, vec![b'z'; size]).await;
        }
        there_and_back(client, vec![0; LARGEST]).await;
        there_and_back(client, noise(7, LARGEST)).await;
    })
    .await;
}

#[tokio::test]
async fn payloads_of_a_python_client() {
    let service = || {
        Service::new("Payloads")
            .function("echo", |value: rpyc::Value| value)
            .function("digest", |data: Bytes| {
                Bytes::from(Sha256::digest(&data).to_vec())
            })
    };
    let checks = format!(
        r#"
import hashlib, os
def check(data):
    assert conn.root.digest(data) == hashlib.sha256(data).digest(), len(data)
    assert conn.root.echo(data) == data, len(data)
for size in {SIZES:?}:
    check(os.urandom(size))
    check(b"z" * size)
check(bytes({LARGEST}))
check(os.urandom({LARGEST}))
check_text = "\u00e9" * 100_000
assert conn.root.echo(check_text) == check_text
conn.close()
"#
    );
    streams::of_python(service, &checks).await;
}

/// Python writes a frame above 64,000 bytes in pieces, and its kernel holds the last one back until the others are acknowledged, which
/// takes 40 ms unless the reader hurries (TCP_QUICKACK). The fastest quarter tells: a busy machine slows down some, a stall nearly all.
#[tokio::test]
async fn frames_in_pieces_do_not_stall() {
    let service = Service::new("Payloads").function("size", |data: Bytes| data.len());
    let (_server, port) = serve(service).await;
    let checks = r#"
import os
size, data, times = conn.root.size, os.urandom(70_000), []
for _ in range(40):
    start = time.monotonic()
    assert size(data) == len(data)
    times.append(time.monotonic() - start)
assert sorted(times)[10] < 0.03, sorted(times)
conn.close()
"#;
    python_client(port, checks).await;
}
