//! Calls between Rust and Rust, and between Rust and Python, over each kind of stream.
#![cfg(feature = "rpc")]

#[path = "support/python.rs"]
mod python;

use python::{Peer, Script};
use rpyc::{
    Channel, Connection, Error, Exception, Netref, Server, Service, VoidService, brine::Str,
};

fn calculator() -> Service {
    Service::new("CalcService")
        .function("add", |a: i64, b: i64| a + b)
        .function("fail", |message: String| {
            Err::<(), _>(Exception::value_error(message))
        })
        .function_named(
            "describe",
            &["name", "greeting"],
            |name: String, greeting: Option<String>| {
                format!("{} {name}", greeting.as_deref().unwrap_or("hello"))
            },
        )
        .async_function("apply", |function: Netref, value: i64| async move {
            let result: i64 = function
                .call((value,))
                .await
                .map_err(|error| Exception::runtime_error(error.to_string()))?;
            Ok::<_, Exception>(result)
        })
        .constant("version", "1.0")
}

#[tokio::test]
async fn rust_calls_rust() {
    let server = Server::bind("tcp://127.0.0.1:0", calculator())
        .await
        .expect("a free port");
    let client = rpyc::connect("127.0.0.1", server.port().expect("TCP"))
        .await
        .expect("the server listens");
    assert_eq!(
        client.call::<i64>("add", (1, 2)).await.expect("an answer"),
        3
    );
    assert_eq!(
        client
            .getattr::<String>("version")
            .await
            .expect("a constant"),
        "1.0"
    );
    let greeting: String = client
        .call_kw("describe", ("Ann",), (("greeting", "bye"),))
        .await
        .expect("an answer");
    assert_eq!(greeting, "bye Ann");
    let error = client
        .call::<()>("fail", ("on purpose",))
        .await
        .expect_err("it raises");
    assert!(
        error
            .remote()
            .is_some_and(|error| error.is_builtin("ValueError")),
        "{error}"
    );
    let error = client
        .call::<i64>("add", (1,))
        .await
        .expect_err("one argument is missing");
    assert!(
        error
            .remote()
            .is_some_and(|error| error.is_builtin("TypeError")),
        "{error}"
    );
    let double = rpyc::Function::new("double", |value: i64| value * 2);
    assert_eq!(
        client
            .call::<i64>("apply", (double, 21))
            .await
            .expect("a callback"),
        42
    );
    client.close().await;
    assert!(matches!(
        client.call::<i64>("add", (1, 2)).await,
        Err(Error::NotSent(_))
    ));
    assert!(server.drain(std::time::Duration::from_secs(20)).await);
}

#[tokio::test]
async fn rust_calls_python() {
    let mut peer = Peer::start(Script::File("server.py"), &[]);
    let client = rpyc::connect("127.0.0.1", peer.port())
        .await
        .expect("the server listens");
    assert_eq!(
        client.call::<i64>("add", (1, 2)).await.expect("an answer"),
        3
    );
    let counter: Netref = client.call("counter", (40,)).await.expect("a reference");
    assert_eq!(
        counter
            .call_method::<i64>("increment", (2,))
            .await
            .expect("an answer"),
        42
    );
    let squares: Netref = client.call("generator", (10,)).await.expect("a reference");
    let mut items = squares.iterate::<i64>(4).await.expect("an iterator");
    let mut sum = 0;
    while let Some(item) = items.next().await.expect("no loss") {
        sum += item;
    }
    assert_eq!(sum, 285);
    let double = rpyc::Function::new("double", |value: i64| value * 2);
    assert_eq!(
        client
            .call::<i64>("callback", (double, 21))
            .await
            .expect("a callback"),
        42
    );
    client.ping().await.expect("an answer");
    client.close().await;
    peer.kill();
}

#[tokio::test]
async fn python_calls_rust() {
    let server = Server::bind("tcp://127.0.0.1:0", calculator())
        .await
        .expect("a free port");
    let port = server.port().expect("TCP").to_string();
    let checks = [
        "add",
        "ping",
        "dir_root",
        "service_name",
        "has_attributes",
        "getattr_with_default",
        "repr_of_root",
        "fail",
        "wrong_arity",
        "async_many",
        "close",
    ];
    let mut arguments = vec!["127.0.0.1", &port];
    arguments.extend(checks);
    let arguments: Vec<String> = arguments.into_iter().map(Into::into).collect();
    let output = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        python::run_script(Script::File("client.py"), &arguments)
    })
    .await
    .expect("no panic");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    // The status only says that each check came to its end.
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), checks.len(), "{text}");
    assert_eq!(lines[0]["value"], 3);
    for (line, check) in lines.iter().zip(checks) {
        let error = if check == "fail" { "ValueError" } else { "" };
        assert_eq!(line["error"].as_str().unwrap_or_default(), error, "{line}");
    }
}

#[tokio::test]
async fn a_channel_over_pipes_carries_calls() {
    let (left, right) = rpyc::PipeStream::create_pair().await.expect("pipes");
    let server = Connection::serve(Channel::new(left), calculator(), Default::default());
    let client = Connection::new(Channel::new(right), VoidService);
    assert_eq!(
        client.call::<i64>("add", (1, 2)).await.expect("an answer"),
        3
    );
    assert_eq!(
        client
            .call::<Str>("get_service_name", ())
            .await
            .expect("an answer"),
        Str::from_static("CALC")
    );
    client.close().await;
    server.ended().await;
}

/// What is asked for behind the root has not left before the root came.
#[tokio::test]
async fn a_call_whose_root_never_came_was_not_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a client");
        let mut byte = [0];
        std::io::Read::read_exact(&mut socket, &mut byte).expect("it asks for the root");
    });
    let client = rpyc::connect("127.0.0.1", port).await.expect("it listens");
    let error = client.call::<i64>("add", (1, 2)).await;
    assert!(matches!(error, Err(Error::NotSent(_))), "{error:?}");
    server.join().expect("it went");
}

/// A program without any runtime of its own.
#[test]
fn plain_threads_have_a_twin_of_everything() {
    let server = rpyc_actors::runtime::block_on(Server::bind("tcp://127.0.0.1:0", calculator()))
        .expect("a plain thread")
        .expect("a free port");
    let port = server.port().expect("TCP");
    let client = rpyc::connect_blocking("127.0.0.1", port).expect("the server listens");
    client.ping_blocking().expect("an answer");
    let version: String = client.getattr_blocking("version").expect("a constant");
    assert_eq!(version, "1.0");
    let sum: i64 = client.call_blocking("add", (1, 2)).expect("an answer");
    assert_eq!(sum, 3);
    let kwargs = (("greeting", "bye"),);
    let greeting: String = client
        .call_kw_blocking("describe", ("Ann",), kwargs)
        .expect("an answer");
    assert_eq!(greeting, "bye Ann");

    let root = client.root_blocking().expect("a root");
    let sum: i64 = root.call_method_blocking("add", (3, 4)).expect("an answer");
    assert_eq!(sum, 7);
    let describe: Netref = root.getattr_blocking("describe").expect("a function");
    let greeting: String = describe.call_blocking(("Bo",)).expect("an answer");
    assert_eq!(greeting, "hello Bo");
    let greeting: String = describe
        .call_kw_blocking(("Bo",), kwargs)
        .expect("an answer");
    assert_eq!(greeting, "bye Bo");
    let text = root.str_blocking().expect("an answer");
    let same = rpyc_actors::runtime::block_on(root.str()).expect("a plain thread");
    assert_eq!(text, same.expect("an answer"));
    let error = root.setattr_blocking("version", "2.0").expect_err("denied");
    assert!(
        error
            .remote()
            .is_some_and(|error| error.is_builtin("AttributeError")),
        "{error}"
    );
    client.close_blocking().expect("a plain thread");
    assert!(client.closed());
}

#[test]
fn blocking_twins_refuse_to_stop_an_arbiter() {
    actix::System::new().block_on(async {
        let refused = rpyc::connect_blocking("127.0.0.1", 1).expect_err("an arbiter");
        let Error::Stream(error) = &refused else {
            panic!("{refused}");
        };
        assert!(
            matches!(error, rpyc::StreamError::ApiMisuse { .. }),
            "{error}"
        );
    });
}
