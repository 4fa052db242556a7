//! The seed's example of pipes: a pair of connected streams, and a service in a subprocess.
//!
//!     cargo run --example pipe_subprocess
//!
//! The peer is a Python RPyC server whose stream is its standard input and output. The example starts it, checks what it shows, and ends by
//! itself.

#[path = "../tests/support/python.rs"]
mod python;

use python::Script;
use rpyc::{
    Channel, Connection, Error, PipeStream, Service, VoidService, create_pipe_stream,
    stream::Address,
};

const PEER: &str = r#"
import os, sys
import rpyc
from rpyc.core.stream import PipeStream

class Greeter(rpyc.Service):
    def exposed_greet(self, show):
        show(f"Hello from subprocess {os.getpid()}")
        return os.getpid()

stream = PipeStream(os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0))
os.dup2(2, 1)  # what is printed by accident must not get into the stream
rpyc.connect_stream(stream, Greeter()).serve_all()
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Both ends in this process: each stream reads what the other one writes.
    let (left, right) = PipeStream::create_pair().await?;
    let adder = Service::new("Adder").function("add", |a: i64, b: i64| a + b);
    let server = Connection::new(Channel::new(right), adder);
    let client = Connection::new(Channel::new(left), VoidService);
    let sum: i64 = client.call("add", (1, 2)).await?;
    println!("pair        add(1, 2) = {sum}");
    assert_eq!(sum, 3);
    tokio::join!(client.close(), server.close());

    // The other end in a process of its own.
    let command = Script::Text(PEER).command(&[]);
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned());
    let pipe_stream = create_pipe_stream(words).await?;
    let Some(Address::Process(id)) = pipe_stream.peer_address().cloned() else {
        panic!("the stream leads to a process");
    };
    let conn = Connection::new(Channel::new(pipe_stream), VoidService);
    // A callback, which the subprocess calls before it answers.
    let show = rpyc::Function::new("show", |text: String| println!("subprocess  {text}"));
    let told: i64 = conn.call("greet", (show,)).await?;
    assert_eq!(told, i64::from(id));
    conn.close().await;
    println!("closed      and process {id} has ended");
    Ok(())
}
