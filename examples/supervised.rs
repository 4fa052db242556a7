//! A Python server is killed and started again; the same handle goes on.
//!
//!     cargo run --example supervised
//!
//! The supervisor tells what happens. Calls that are made while nobody is there wait; a call that was under way may have
//! run, and says so, unless its caller said that it may run twice. The example starts its own server, checks what it shows, and ends
//! by itself.

#[path = "../tests/support/python.rs"]
mod python;

use std::{net::TcpListener, time::Duration};

use python::{Peer, Script};
use rpyc::{
    Chain, ConnectionEvent, Endpoint, Error, SupervisedConnection, SupervisorConfig, TcpConfig,
    VoidService,
};

const SERVER: &str = r#"
import sys, time, rpyc
from rpyc.utils.server import ThreadedServer

class SlowService(rpyc.Service):
    def exposed_double(self, value):
        time.sleep(0.5)
        return value * 2

server = ThreadedServer(SlowService, hostname="127.0.0.1", port=int(sys.argv[1]))
print("READY", server.port, flush=True)
server.start()
"#;

fn start(port: u16) -> Peer {
    Peer::start(Script::Text(SERVER), &[&port.to_string()])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut server = start(port);

    let chain = Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()));
    let connection = SupervisedConnection::new(&chain, VoidService, SupervisorConfig::default());
    let mut events = connection.events();
    let watching = tokio::spawn(async move {
        let (mut losses, mut attempts) = (0, 0);
        while let Some(event) = events.next().await {
            match event {
                ConnectionEvent::Connected { generation, .. } => {
                    println!("event   connected, generation {generation}");
                }
                ConnectionEvent::Lost(error) => {
                    losses += 1;
                    println!("event   {error}");
                }
                ConnectionEvent::Retrying { .. } => attempts += 1,
                ConnectionEvent::Restored { downtime, .. } => {
                    println!("event   restored after {downtime:?} and {attempts} attempts");
                }
                other => println!("event   {other:?}"),
            }
        }
        losses
    });

    let doubled: i64 = connection.call("double", (21,)).await?;
    println!("call    double(21) = {doubled}");
    assert_eq!(doubled, 42);

    let call = |connection: SupervisedConnection, value: i64| {
        tokio::spawn(async move { connection.call::<i64>("double", (value,)).await })
    };
    let once = call(connection.clone(), 1);
    let again = call(connection.idempotent(), 2);
    tokio::time::sleep(Duration::from_millis(200)).await;
    println!("server  killed, with two calls under way");
    server.kill();
    server.wait();

    let error = once.await?.expect_err("its server was killed");
    println!("call    double(1): {error}");
    assert!(matches!(error, Error::MayHaveRun(_)));

    let waiting = call(connection.clone(), 3);
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("server  started again");
    let _server = start(port);
    println!("call    double(2) = {}, sent again", again.await??);
    println!("call    double(3) = {}, which had waited", waiting.await??);

    connection.close().await;
    // Or more: whoever dials at once may still get into the queue of a server that is being killed.
    assert!(watching.await? >= 1, "a loss");
    Ok(())
}
