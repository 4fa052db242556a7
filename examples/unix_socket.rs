//! The seed's example of a unix socket: calls to a service on the same machine, without TCP.
//!
//!     cargo run --example unix_socket
//!
//! The peer is a Python `ThreadedServer` on a socket file. The example starts it, checks what it shows, and ends by itself.

#[path = "../tests/support/python.rs"]
mod python;

use python::{Peer, Script};
use rpyc::{Channel, Connection, Error, VoidService, create_unix_stream};

const PEER: &str = r#"
import os, sys
import rpyc
from rpyc.utils.server import ThreadedServer

class Files(rpyc.Service):
    def exposed_listdir(self, path):
        return tuple(sorted(os.listdir(path)))

server = ThreadedServer(Files(), socket_path=sys.argv[1])
server._listen()
print("READY", sys.argv[1], flush=True)
server.start()
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("rpyc-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("rpyc.sock");
    let peer = Peer::start(Script::Text(PEER), &[&path.display().to_string()]);

    let unix_stream = create_unix_stream(&path).await?;
    println!("stream  {}", unix_stream.endpoint());
    let channel = Channel::new(unix_stream);
    let conn = Connection::new(channel, VoidService);

    let shown = folder.display().to_string();
    let local_files: Vec<String> = conn.call("listdir", (shown,)).await?;
    println!("files   {local_files:?}");
    assert_eq!(local_files, ["rpyc.sock"]);

    conn.close().await;
    drop(peer);
    std::fs::remove_dir_all(&folder).expect("a folder of ours");
    Ok(())
}
