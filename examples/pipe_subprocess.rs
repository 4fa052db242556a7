//! The seed's example of pipes: a pair of connected streams, and a classic server in a subprocess.
//!
//!     cargo run --example pipe_subprocess
//!
//! The peer is Python's `rpyc_classic` whose stream is its standard input and output. The example starts it, has it execute Python, checks
//! what it shows, and ends by itself.

#[path = "../tests/support/python.rs"]
mod python;

use std::sync::mpsc;

use python::Script;
use rpyc::{
    Channel, ClassicService, Connection, Error, Function, PipeStream, Service, VoidService,
    create_pipe_stream, stream::Address,
};

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
    let command = Script::File("classic.py").command(&["--stdio"]);
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned());
    let pipe_stream = create_pipe_stream(words).await?;
    let Some(Address::Process(id)) = pipe_stream.peer_address().cloned() else {
        panic!("the stream leads to a process");
    };
    let conn = Connection::new(Channel::new(pipe_stream), ClassicService);
    // Its standard output is the stream, so what is executed there prints through a function of this end.
    let (sender, printed) = mpsc::channel();
    let print = Function::new("print", move |text: String| {
        println!("subprocess  {text}");
        // Nobody listens any more when this end has failed.
        let _ = sender.send(text);
    });
    conn.namespace().await?.set_item("print", print).await?;
    conn.execute("import os\nprint(f'Hello from subprocess {os.getpid()}')")
        .await?;
    let printed: Vec<String> = printed.try_iter().collect();
    assert_eq!(printed, [format!("Hello from subprocess {id}")]);
    conn.close().await;
    println!("closed      and process {id} has ended");
    Ok(())
}
