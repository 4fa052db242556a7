//! A server that drains waits for all whom it has let in, also before it knows who they are.
#![cfg(all(feature = "rpc", feature = "tls"))]

#[path = "support/certificates.rs"]
mod certificates;

use std::{net::TcpStream, sync::Arc, time::Duration};

use certificates::{Ca, Folder};
use rpyc::{Server, ServerConfig, Service};
use tokio::{sync::Semaphore, task::JoinHandle};

/// Longer than anything here takes unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("hangs: {what}"),
    }
}

async fn serve(endpoint: &str, config: ServerConfig) -> (Server, u16) {
    let endpoint = endpoint.parse().expect("an endpoint");
    let service = Service::new("Idle");
    let server = Server::bind_with(&[endpoint], service, config).await;
    let server = server.expect("a free port");
    let port = server.port().expect("TCP");
    (server, port)
}

async fn accepts_one(server: &Server) {
    within("accepting", async {
        while server.listeners()[0].stats().accepted == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Longer than a drain takes that waits for nobody.
async fn goes_on(draining: &JoinHandle<bool>) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!draining.is_finished(), "somebody is left");
}

#[tokio::test]
async fn a_peer_that_still_authenticates_is_waited_for() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let config = ServerConfig::default().authenticator(move |_| {
        let opened = opened.clone();
        async move {
            opened.acquire().await.expect("it stays open").forget();
            Ok(())
        }
    });
    let (server, port) = serve("tcp://127.0.0.1:0", config).await;
    let client = within("connecting", rpyc::connect("127.0.0.1", port)).await;
    let client = client.expect("it listens");
    accepts_one(&server).await;
    let draining = tokio::spawn(server.drain(PATIENCE * 2));
    goes_on(&draining).await;
    gate.add_permits(1);
    assert!(within("the drain", draining).await.expect("no panic"));
    within("the end", client.ended()).await;
}

#[tokio::test]
async fn a_handshake_of_tls_is_waited_for() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let pair = ca.issue("server", &["localhost"]);
    let endpoint = format!("tls://127.0.0.1:0?{}&handshake_timeout=2m", pair.settings());
    let (server, port) = serve(&endpoint, ServerConfig::default()).await;
    let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    accepts_one(&server).await;
    let draining = tokio::spawn(server.drain(PATIENCE * 2));
    goes_on(&draining).await;
    // Nothing comes of it.
    drop(client);
    assert!(within("the drain", draining).await.expect("no panic"));
}
