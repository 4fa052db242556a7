//! Every kind of value, both ways, compared down to the bits.

use num_bigint::BigInt;
use rpyc::{Channel, Connection, Service, VoidService, brine::Value};

use crate::{
    python::{Peer, Script, script_path, venv_python},
    support::{
        blocking, connect, python_client, python_program, python_server, serve, socket_path, soon,
    },
};

fn text(text: impl Into<String>) -> Value {
    text.into().into()
}

fn float(bits: u64) -> Value {
    Value::Float(f64::from_bits(bits))
}

fn numbers(count: i64) -> Value {
    Value::tuple((0..count).map(Value::from))
}

fn slice(start: impl Into<Value>, stop: impl Into<Value>, step: impl Into<Value>) -> Value {
    Value::Slice(Box::new([start.into(), stop.into(), step.into()]))
}

fn complex(re: f64, im: f64) -> Value {
    Value::Complex { re, im }
}

fn bytes(bytes: impl Into<Vec<u8>>) -> Value {
    Value::Bytes(bytes.into().into())
}

fn tuple(items: impl IntoIterator<Item = Value>) -> Value {
    Value::tuple(items)
}

fn set(items: impl IntoIterator<Item = Value>) -> Value {
    Value::FrozenSet(items.into_iter().collect())
}

/// `SAMPLES` of tests/support/server.py.
fn samples() -> Vec<Value> {
    let two = BigInt::from(2);
    let ten = BigInt::from(10);
    let nothing = || Value::Tuple(Vec::new());
    let none = || Value::None;
    vec![
        Value::None,
        true.into(),
        false.into(),
        Value::NotImplemented,
        Value::Ellipsis,
        0.into(),
        1.into(),
        (-1).into(),
        (-48).into(),
        (-49).into(),
        159.into(),
        160.into(),
        (1_i64 << 31).into(),
        (-(1_i64 << 31)).into(),
        i64::MAX.into(),
        two.pow(63).into(),
        i64::MIN.into(),
        Value::from(-two.pow(63) - 1),
        two.pow(64).into(),
        ten.pow(254).into(),
        (-ten.pow(254)).into(),
        ten.pow(255).into(),
        BigInt::from(3).pow(5000).into(),
        0.0.into(),
        (-0.0).into(),
        1.5.into(),
        (-2.25).into(),
        float(1),
        f64::MAX.into(),
        f64::INFINITY.into(),
        f64::NEG_INFINITY.into(),
        float(0x7ff8_0000_0000_0000),
        float(0xfff8_0000_0000_0001),
        float(0x7ffc_0000_dead_beef),
        complex(1.5, -2.5),
        complex(-0.0, 0.0),
        complex(f64::INFINITY, 1e-300),
        text(""),
        text("a"),
        text("\0"),
        text("four"),
        text("fives"),
        text("é€😀"),
        text("\u{feff}\u{202e}\u{ffff}\u{10ffff}"),
        text("x".repeat(255)),
        text("é".repeat(128)),
        text("y".repeat(256)),
        bytes(b""),
        bytes(b"\0"),
        bytes(b"\xff\xfe"),
        bytes(b"abc"),
        bytes(b"abcd"),
        bytes(b"abcde"),
        bytes((0..=255).collect::<Vec<u8>>()),
        bytes(vec![b'z'; 255]),
        bytes(vec![b'z'; 70_000]),
        nothing(),
        tuple([1.into()]),
        tuple([nothing()]),
        (1, (2, (3, (4, (5, nothing()))))).into(),
        numbers(5),
        numbers(255),
        numbers(256),
        tuple([
            none(),
            true.into(),
            text("a"),
            bytes(b"b"),
            1.0.into(),
            tuple([2.into()]),
        ]),
        slice(none(), none(), none()),
        slice(1, 2, 3),
        slice(-1, none(), two.pow(70)),
        slice(text("a"), (1, 2), none()),
        set([]),
        set([1.into()]),
        set([1.into(), text("a"), bytes(b"b"), none(), (2, 3).into()]),
        set([set([1.into(), 2.into()]), set([])]),
    ]
}

/// What Python makes of ours, what we make of Python's, and each there and back.
pub(crate) async fn exchange_with_python(client: &Connection) {
    let ours = samples();
    let wrong: Vec<i64> = soon(client.call("wrong_samples", &ours[..]))
        .await
        .expect("an answer");
    assert!(
        wrong.is_empty(),
        "Python found others than were sent: {wrong:?}"
    );
    let theirs: Vec<Value> = soon(client.call("samples", ())).await.expect("an answer");
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert!(theirs.same_bits(ours), "{theirs} is not {ours}");
    }
    for value in ours {
        let back: Value = soon(client.call("echo", (value.clone(),)))
            .await
            .expect("an answer");
        assert!(back.same_bits(&value), "{back} is not {value}");
    }
}

#[tokio::test]
async fn values_to_and_from_python_over_tcp() {
    let server = python_server();
    let client = connect(server.port()).await;
    exchange_with_python(&client).await;
    soon(client.close()).await;
}

#[tokio::test]
async fn values_to_and_from_python_over_a_unix_socket() {
    let path = socket_path();
    let server = Peer::start(
        Script::File("server.py"),
        &["--unix", path.to_str().expect("the path is UTF-8")],
    );
    let client = soon(rpyc::connect_endpoint(&format!("unix:{}", server.ready())))
        .await
        .expect("the server listens");
    exchange_with_python(&client).await;
    soon(client.close()).await;
    drop(server);
    // The server was killed, so its socket file is ours to remove.
    let _ = std::fs::remove_file(path);
}

#[tokio::test]
async fn values_to_and_from_a_python_child() {
    let python = blocking(venv_python).await;
    let command = [
        python.to_str().expect("the path is UTF-8").to_owned(),
        "-I".into(),
        "-u".into(),
        script_path("server.py")
            .to_str()
            .expect("the path is UTF-8")
            .into(),
        "--stdio".into(),
    ];
    let stream = soon(rpyc::create_pipe_stream(command.clone()))
        .await
        .expect("it starts");
    let client = Connection::new(Channel::new(stream), VoidService);
    exchange_with_python(&client).await;
    soon(client.close()).await;
    // The same by name.
    let client = soon(rpyc::connect_endpoint(&format!(
        "exec:{}",
        command.join(" ")
    )))
    .await
    .expect("it starts");
    let sum: i64 = soon(client.call("add", (1, 2))).await.expect("an answer");
    assert_eq!(sum, 3);
    soon(client.close()).await;
}

/// Checks on a Python client's side, with the samples of server.py, which is also a module.
pub(crate) fn checks() -> String {
    format!(
        r#"
import importlib.util
spec = importlib.util.spec_from_file_location("server", {:?})
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)
theirs = conn.root.samples()
assert len(theirs) == len(server.SAMPLES)
for a, b in zip(theirs, server.SAMPLES):
    assert server.exactly(a) == server.exactly(b), (a, b)
    assert server.exactly(conn.root.echo(b)) == server.exactly(b), b
assert conn.root.wrong_samples(*server.SAMPLES) == ()
conn.close()
"#,
        script_path("server.py")
    )
}

pub(crate) fn sampler() -> Service {
    Service::new("Sampler")
        .function("samples", || Value::Tuple(samples()))
        .function("echo", |value: Value| value)
        .expose(rpyc::Function::with_call(
            "wrong_samples",
            |call| async move {
                let mut wrong = Vec::new();
                for (index, (object, sample)) in call.args.into_iter().zip(samples()).enumerate() {
                    match object {
                        rpyc::Object::Value(value) if value.same_bits(&sample) => {}
                        _ => wrong.push(Value::from(index as i64)),
                    }
                }
                Ok(Value::Tuple(wrong))
            },
        ))
}

#[tokio::test]
async fn values_of_a_python_client_over_tcp() {
    let (_server, port) = serve(sampler()).await;
    python_client(port, &checks()).await;
}

#[tokio::test]
async fn values_of_a_python_client_over_a_unix_socket() {
    let path = socket_path();
    let path = path.to_str().expect("the path is UTF-8");
    let server = rpyc::Server::bind(&format!("unix:{path}"), sampler())
        .await
        .expect("nobody else listens there");
    let connect = format!("conn = rpyc.utils.factory.unix_connect({path:?})");
    python_program(&connect, &checks()).await;
    assert!(server.drain(std::time::Duration::from_secs(20)).await);
}

#[tokio::test]
async fn what_has_a_rust_type_arrives_as_that() {
    let server = python_server();
    let client = connect(server.port()).await;
    let echo = async |value: Value| -> Value {
        soon(client.call("echo", (value,)))
            .await
            .expect("an answer")
    };
    let nested: (Option<i64>, Vec<(String, f64)>, bool) =
        soon(client.call("echo", ((None::<i64>, [("a", 1.5), ("b", -0.5)], true),)))
            .await
            .expect("an answer");
    assert_eq!(
        nested,
        (None, vec![("a".into(), 1.5), ("b".into(), -0.5)], true)
    );
    assert!(echo(u64::MAX.into()).await.same_bits(&u64::MAX.into()));
    soon(client.close()).await;
}
