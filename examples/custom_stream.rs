//! The seed's custom stream: TLS with a token before the first frame, both halves of it, and what becomes of a wrong token.
//!
//!     cargo run --example custom_stream
//!
//! `CustomSecureStream` of the seed is an endpoint with an exchange here: a recipe, so a connection that was lost is made again, token and
//! all. At the end a transport of the caller's own takes the place of TLS. The example starts its own peers, checks what it shows, and ends by
//! itself.

#[path = "../tests/support/certificates.rs"]
mod certificates;

use std::{path::Path, sync::Arc};

use certificates::{Ca, Folder};
use rpyc::{
    Chain, Connection, Endpoint, Error, Server, ServerConfig, Service, StreamError, StreamHandle,
    TlsConfig, VoidService, error::ConnectError,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const TOKEN: &str = "secret_token";
const ACCEPTED: &[u8] = b"AUTH_OK";
const REFUSED: &[u8] = b"AUTH_NO";

/// The client's half: the token, and the answer to it. `read` gives exactly as many bytes as it is asked for.
async fn present(stream: StreamHandle, token: Arc<str>) -> Result<(), StreamError> {
    stream.write(token.to_string()).await?;
    match &stream.read(ACCEPTED.len()).await?[..] {
        ACCEPTED => Ok(()),
        _ => Err(StreamError::peer("authentication failed")),
    }
}

/// The server's half. Its error closes the connection, and no frame of it is read.
async fn demand(stream: StreamHandle) -> Result<(), StreamError> {
    let token = stream.read(TOKEN.len()).await?;
    // Takes as long for a token that is almost right: its length of time would tell how much of it is.
    let differs = token
        .iter()
        .zip(TOKEN.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    if differs != 0 {
        stream.write(REFUSED).await?;
        return Err(StreamError::peer("it has another token"));
    }
    stream.write(ACCEPTED).await?;
    Ok(())
}

/// `CustomSecureStream(host, port, auth_token)` of the seed, as a recipe.
fn custom_secure_stream(host: &str, port: u16, ca: &Path, auth_token: &str) -> Endpoint {
    let token: Arc<str> = auth_token.into();
    Endpoint::tls(host, port, TlsConfig::default().ca(ca))
        .opening(move |stream| present(stream, token.clone()))
}

async fn serve(endpoint: Endpoint) -> Result<Server, Error> {
    let service = Service::new("Calculator").function("add", |a: i64, b: i64| a + b);
    let config = ServerConfig::default().authenticator(demand);
    Server::bind_with(&[endpoint], service, config).await
}

/// A transport of one's own. It runs where the connection lives, each time one is made.
async fn dial(port: u16) -> Result<TcpStream, StreamError> {
    let work = async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.write_all(TOKEN.as_bytes()).await?;
        let mut answer = [0; ACCEPTED.len()];
        socket.read_exact(&mut answer).await?;
        std::io::Result::Ok((socket, answer))
    };
    match work.await {
        Ok((socket, answer)) if answer == ACCEPTED => Ok(socket),
        Ok(_) => Err(StreamError::peer("authentication failed")),
        Err(error) => Err(ConnectError::new("mine:", error.into()).into()),
    }
}

async fn add(chain: &Chain) -> Result<i64, Error> {
    let conn = Connection::new(chain.connect().await?, VoidService);
    let sum = conn.call("add", (1, 2)).await?;
    conn.close().await;
    Ok(sum)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let own = ca.issue("server", &["localhost"]);
    let config = TlsConfig::default().certificate(own.certificate.as_path(), own.key.as_path());
    let server = serve(Endpoint::tls("127.0.0.1", 0, config)).await?;
    let port = server.port().expect("it listens on TCP");

    let chain = Chain::new(custom_secure_stream(
        "localhost",
        port,
        &ca.certificate,
        TOKEN,
    ));
    for attempt in 1..=2 {
        let sum = add(&chain).await?;
        println!("token     accepted, connection {attempt}: add(1, 2) = {sum}");
        assert_eq!(sum, 3);
    }

    let chain = Chain::new(custom_secure_stream(
        "localhost",
        port,
        &ca.certificate,
        "wrong_token!",
    ));
    let error = add(&chain).await.expect_err("another token");
    println!("refused   {error}");
    assert!(
        error
            .to_string()
            .ends_with("misbehaved: authentication failed")
    );

    // The same exchange over a transport that the caller made.
    let plain = serve("tcp://127.0.0.1:0".parse()?).await?;
    let port = plain.port().expect("it listens on TCP");
    let chain = Chain::new(Endpoint::custom("mine:", move || dial(port)));
    for attempt in 1..=2 {
        let sum = add(&chain).await?;
        println!(
            "{}     connection {attempt}: add(1, 2) = {sum}",
            chain.endpoint()
        );
        assert_eq!(sum, 3);
    }
    Ok(())
}
