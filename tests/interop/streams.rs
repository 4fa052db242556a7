//! The same over every kind of stream: TCP, a unix socket, and a child's standard input and output.

use rpyc::{Channel, Connection, Server, Service, VoidService, protocol::Limits};

use crate::{
    python::{Peer, Script, script_path, venv_python},
    support::{
        blocking, connect, python_client, python_program, python_server, serve, socket_path, soon,
    },
};

/// Asks a server.py on each kind of stream.
pub(crate) async fn to_python(check: impl AsyncFn(&Connection)) {
    let server = python_server();
    let client = connect(server.port()).await;
    check(&client).await;
    soon(client.close()).await;

    let path = socket_path();
    let text = path.to_str().expect("the path is UTF-8");
    let server = Peer::start(Script::File("server.py"), &["--unix", text]);
    let client = soon(rpyc::connect_endpoint(&format!("unix:{}", server.ready())))
        .await
        .expect("the server listens");
    check(&client).await;
    soon(client.close()).await;
    drop(server);
    // The server was killed, so its socket file is ours to remove.
    let _ = std::fs::remove_file(path);

    let script = script_path("server.py");
    let script = script.to_str().expect("the path is UTF-8");
    let stream = soon(rpyc::create_pipe_stream(
        python_child(&[script, "--stdio"]).await,
    ))
    .await
    .expect("it starts");
    let client = Connection::new(Channel::new(stream), VoidService);
    check(&client).await;
    soon(client.close()).await;
}

/// Serves a Python client on each kind of stream, side by side. It has `rpyc`, `sys`, `time` and `conn`, and closes `conn` in the end.
pub(crate) async fn of_python(service: impl Fn() -> Service, text: &str) {
    let (_server, port) = serve(service()).await;
    let path = socket_path();
    let path = path.to_str().expect("the path is UTF-8");
    let _server_there = Server::bind(&format!("unix:{path}"), service())
        .await
        .expect("nobody else listens there");
    let connect = format!("conn = rpyc.utils.factory.unix_connect({path:?})");
    tokio::join!(
        python_client(port, text),
        python_program(&connect, text),
        of_a_child(service(), text)
    );
}

/// Serves a Python that is our child, over its standard input and output.
async fn of_a_child(service: Service, text: &str) {
    let command = python_child(&["-c", CHILD, text]).await;
    let stream = soon(rpyc::create_pipe_stream(command))
        .await
        .expect("it starts");
    let connection = Connection::serve(Channel::new(stream), service, Limits::default());
    soon(connection.ended()).await;
    let reason = connection.end_reason().expect("it is over").to_string();
    // What it said before is in the log.
    assert!(!reason.contains("exit status"), "{reason}");
}

#[tokio::test]
#[should_panic(expected = "exit status: 1")]
async fn a_child_that_fails_is_noticed() {
    let service = Service::new("Calculator").function("add", |a: i64, b: i64| a + b);
    of_a_child(service, "assert conn.root.add(1, 2) == 4\nconn.close()").await;
}

/// Its standard output belongs to the protocol. Whatever is raised ends it before it closes the connection in good order.
const CHILD: &str = "
import os, rpyc, sys, time, traceback
conn = rpyc.connect_stdpipes()
try:
    exec(sys.argv[1])
except BaseException:
    traceback.print_exc()
    os._exit(1)
";

async fn python_child(args: &[&str]) -> Vec<String> {
    let python = blocking(venv_python).await;
    let python = python.to_str().expect("the path is UTF-8");
    let words = [&[python, "-I", "-u"], args].concat();
    words.into_iter().map(str::to_owned).collect()
}
