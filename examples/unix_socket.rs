//! The seed's example of a unix socket: calls to a service on the same machine, without TCP.
//!
//!     cargo run --example unix_socket
//!
//! The peer is a classic server, a Python `ThreadedServer(SlaveService, socket_path=…)`: its modules are used as if they were here. The example
//! starts it, checks what it shows, and ends by itself.

#[path = "../tests/support/python.rs"]
mod python;

use python::{Peer, Script};
use rpyc::{Channel, ClassicService, Connection, Error, create_unix_stream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let folder = std::env::temp_dir().join(format!("rpyc-example-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("rpyc.sock");
    let peer = Peer::start(
        Script::File("classic.py"),
        &["--unix", &path.display().to_string()],
    );

    let unix_stream = create_unix_stream(&path).await?;
    println!("stream  {}", unix_stream.endpoint());
    let channel = Channel::new(unix_stream);
    let conn = Connection::new(channel, ClassicService);

    let shown = folder.display().to_string();
    let os = conn.module("os").await?;
    let local_files: Vec<String> = os.call("listdir", (shown,)).await?;
    println!("files   {local_files:?}");
    assert_eq!(local_files, ["rpyc.sock"]);

    conn.close().await;
    drop(peer);
    std::fs::remove_dir_all(&folder).expect("a folder of ours");
    Ok(())
}
