//! An unmodified Python client cannot tell a Rust server from a Python one.

use std::time::Duration;

use rpyc::{Exception, Function, Object, Service, brine::Value};
use serde_json::Value as Json;

use crate::{
    python::{Peer, RPYC, RPYC_5, Script, Version, run_within, script_path},
    streams,
    support::{PATIENCE, blocking, python_client, python_server, serve, socket_path},
};

/// What server.py offers, as far as client.py uses it.
pub(crate) fn calculator() -> Service {
    Service::new("CalcService")
        .alias("test")
        .expose(Function::with_call(
            "add",
            |call| async move { add(call.args) },
        ))
        .function("echo", |value: Value| value)
        .function_named("upper", &["text"], |text: String| text.to_uppercase())
        .async_function("sleep", async |seconds: Value| {
            let time = match &seconds {
                Value::Int(seconds) => *seconds as f64,
                Value::Float(seconds) => *seconds,
                _ => return Err(Exception::type_error("seconds must be a number")),
            };
            tokio::time::sleep(Duration::from_secs_f64(time)).await;
            Ok(seconds)
        })
        .function("blob", |count: usize| bytes::Bytes::from(vec![0; count]))
        .function("fail", |message: String| {
            Err::<(), _>(Exception::value_error(message))
        })
}

/// What Python's `+` does for what client.py adds.
fn add(args: Vec<Object>) -> Result<Value, Exception> {
    let values: Result<Vec<Value>, _> = args.into_iter().map(Object::into_value).collect();
    let values = values.map_err(|error| Exception::type_error(error.to_string()))?;
    let [a, b] = <[Value; 2]>::try_from(values).map_err(|values| {
        Exception::type_error(format!("add() takes 2 arguments, not {}", values.len()))
    })?;
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::from(num_bigint::BigInt::from(a) + b),
        (Value::BigInt(a), Value::Int(b)) => Value::from(*a + b),
        (Value::Float(a), Value::Int(b)) => Value::Float(a + b as f64),
        (Value::Str(a), Value::Str(b)) => Value::from(format!("{a}{b}")),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&a[..], &b[..]].concat().into()),
        (Value::Tuple(mut a), Value::Tuple(b)) => {
            a.extend(b);
            Value::Tuple(a)
        }
        (a, b) => {
            let what = format!(
                "unsupported operand type(s) for +: '{}' and '{}'",
                a.type_name(),
                b.type_name()
            );
            return Err(Exception::type_error(what));
        }
    })
}

fn lines(version: Version, args: Vec<String>) -> Vec<Json> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = run_within(
        PATIENCE,
        Script::File("client.py").command_of(version, &args),
    );
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    out.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

/// Where the two differ, and why that is meant.
fn is_meant(check: &str) -> bool {
    match check {
        // The text is the server's own: "'CalcService' object has no attribute …" in Python.
        "unknown_name" | "unknown_call" | "private_name" => true,
        _ => false,
    }
}

fn compare(version: Version, python: &[Json], rust: &[Json]) {
    assert!(
        python.len() > 30,
        "client.py has more checks than {}",
        python.len()
    );
    assert_eq!(python.len(), rust.len());
    for (python, rust) in python.iter().zip(rust) {
        let check = python["check"].as_str().expect("each line names its check");
        let (mut python, mut rust) = (python.clone(), rust.clone());
        if is_meant(check) {
            python["text"] = Json::Null;
            rust["text"] = Json::Null;
        }
        if check == "has_attributes" && version == RPYC_5 {
            // The last one asks a reference for its `__class__`, of which this client thinks without the server: it finds one for a
            // built-in name as ours, and none for the name of a class that it cannot import.
            python["value"][3] = Json::Null;
            rust["value"][3] = Json::Null;
        }
        assert_eq!(python, rust, "python is left, rust is right");
    }
}

#[tokio::test]
async fn a_python_client_finds_no_difference() {
    client_finds_no_difference(RPYC).await;
}

/// The client, and the server that the Rust one is compared with, are of this version.
pub(crate) async fn client_finds_no_difference(version: Version) {
    let (_server, port) = serve(calculator()).await;
    let (python, rust) = blocking(move || {
        let peer = Peer::spawn(Script::File("server.py").command_of(version, &[]));
        let at = |port: u16| vec!["127.0.0.1".to_owned(), port.to_string()];
        let python = std::thread::spawn({
            let args = at(peer.port());
            move || lines(version, args)
        });
        let rust = lines(version, at(port));
        (python.join().expect("no panic"), rust)
    })
    .await;
    compare(version, &python, &rust);
}

#[tokio::test]
async fn a_python_client_over_a_unix_socket_neither() {
    let path = socket_path();
    let path = path.to_str().expect("the path is UTF-8").to_owned();
    let _server = rpyc::Server::bind(&format!("unix:{path}"), calculator())
        .await
        .expect("nobody else listens there");
    let args = [
        "--unix",
        &path,
        "add",
        "echo_values",
        "sizes",
        "fail",
        "async_many",
        "close_with_calls_pending",
    ];
    let args = args.map(str::to_owned).to_vec();
    let lines = blocking(move || lines(RPYC, args)).await;
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["value"], 3);
    assert_eq!(lines[1]["value"]["wrong"], serde_json::json!([]));
    assert_eq!(lines[2]["value"], serde_json::json!([]));
    assert_eq!(lines[3]["error"], "ValueError");
}

#[tokio::test]
async fn values_of_python_come_back_over_every_kind_of_stream() {
    let folder = script_path("client.py").with_file_name("");
    let checks = format!(
        "
sys.path.insert(0, {folder:?})
import client
echoed = client.CHECKS['echo_values'](conn)
assert echoed['wrong'] == [], echoed
conn.close()
"
    );
    streams::of_python(calculator, &checks).await;
}

/// A server whose objects have names that Python knows is asked nothing about them: INSPECT costs a round trip for each kind.
#[tokio::test]
async fn a_python_client_never_has_to_inspect() {
    let checks = r#"
from rpyc.core import consts
inspects = 0
ask = rpyc.Connection._async_request
def asks(self, handler, *args, **kwargs):
    global inspects
    inspects += handler == consts.HANDLE_INSPECT
    return ask(self, handler, *args, **kwargs)
rpyc.Connection._async_request = asks

root = conn.root
assert root.add(1, 2) == 3 and "add" in dir(root)
assert hasattr(root, "add") and not hasattr(root, "no_such_name")
assert getattr(root, "no_such_name", 5) == 5
assert root.version == 7 and root.get_service_name() == "CALC"
add = root.add
assert callable(add) and rpyc.async_(add)(1, 2).value == 3 and rpyc.timed(add, 10)(1, 2).value == 3
str(root), repr(add), hash(add), add == root.add, bool(root)
try:
    root.fail("on purpose")
except ValueError:
    pass
conn.ping()
assert inspects == 0, inspects

# The counter counts: the root of a Python server has a class of its own.
conn.close()
other = rpyc.connect("127.0.0.1", PYTHON)
assert other.root.add(1, 2) == 3 and inspects == 1, inspects
other.close()
"#;
    let python = python_server();
    let checks = checks.replace("PYTHON", &python.port().to_string());
    let service = calculator().constant("version", 7);
    let (_server, port) = serve(service).await;
    python_client(port, &checks).await;
}
