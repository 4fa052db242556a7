//! The seed's TLS example: a stream with a client certificate, a channel on top of it, a connection on top of that.
//!
//!     cargo run --example ssl_stream
//!
//! The peer is a Python server with rpyc's `SSLAuthenticator`, which wants a certificate of each client. The example makes the certificates,
//! starts the peer, checks what it shows, and ends by itself.

#[path = "../tests/support/certificates.rs"]
mod certificates;
#[path = "../tests/support/python.rs"]
mod python;

use certificates::{Ca, Folder};
use python::{Peer, Script};
use rpyc::{Channel, Connection, Error, VoidService, create_ssl_stream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let client = ca.issue("client", &[]);
    let paths = [&server.certificate, &server.key, &ca.certificate];
    let [certificate, key, trusted] = paths.map(|path| path.display().to_string());
    let options = [
        "--certfile",
        &certificate,
        "--keyfile",
        &key,
        "--cafile",
        &trusted,
    ];
    let peer = Peer::start(Script::File("server.py"), &options);

    let ssl_stream = create_ssl_stream(
        "localhost",
        peer.port(),
        Some(&client.key),
        Some(&client.certificate),
        Some(&ca.certificate),
    )
    .await?;
    let tls = ssl_stream.tls().expect("the stream speaks TLS").clone();
    let shown = tls.peer.expect("a server has a certificate");
    println!("stream  {} with {}", tls.version, tls.cipher);
    println!("server  {} {:?}", shown.subject(), shown.alt_names());
    assert_eq!(shown.alt_names(), ["DNS:localhost"]);

    let channel = Channel::new(ssl_stream);
    let conn = Connection::new(channel, VoidService);
    let sum: i64 = conn.call("add", (20, 22)).await?;
    println!("call    add(20, 22) = {sum}");
    assert_eq!(sum, 42);
    let name: String = conn.call("peer", ()).await?;
    println!("call    the server knows this client as {name:?}");
    assert_eq!(name, "client");
    conn.close().await;

    // Without the CA the server is nobody in particular, and without a certificate the client is.
    let port = peer.port();
    let stranger =
        create_ssl_stream("localhost", port, None, None, Some(&server.certificate)).await;
    println!(
        "refused {}",
        stranger.expect_err("a server's certificate is no CA's")
    );
    let anonymous = create_ssl_stream("localhost", port, None, None, Some(&ca.certificate)).await?;
    // In TLS 1.3 the server looks at the client's certificate after the client has finished: the first read tells.
    println!(
        "refused {}",
        anonymous
            .read(1)
            .await
            .expect_err("the client has no certificate")
    );
    Ok(())
}
