//! Calls inside of calls, in both directions.

use rpyc::{Connection, Exception, Function, Netref, Object, Service, brine::Value};

use crate::support::{connect, python_client, python_server, serve, soon};

fn failed(error: rpyc::Error) -> Exception {
    match error {
        rpyc::Error::Remote(error) => error.into_exception(),
        other => Exception::runtime_error(other.to_string()),
    }
}

#[tokio::test]
async fn python_calls_back_while_rust_waits() {
    let server = python_server();
    let client = connect(server.port()).await;
    let double = Function::new("double", |value: i64| value * 2);
    let result: i64 = soon(client.call("callback", (double.clone(), 21)))
        .await
        .expect("an answer");
    assert_eq!(result, 42);
    let many: Vec<i64> = soon(client.call("callback_many", (double.clone(), 100)))
        .await
        .expect("an answer");
    assert_eq!(many, (0..100).map(|i| i * 2).collect::<Vec<_>>());
    let many: Vec<i64> = soon(client.call("callback_async", (double, 100)))
        .await
        .expect("an answer");
    assert_eq!(many, (0..100).map(|i| i * 2).collect::<Vec<_>>());
    let fails = Function::new("fails", |_: i64| {
        Err::<i64, _>(Exception::key_error("gone".into()))
    });
    let error = soon(client.call::<i64>("callback", (fails, 1)))
        .await
        .expect_err("it raises");
    assert!(
        error
            .remote()
            .is_some_and(|error| error.is_builtin("KeyError")),
        "{error}"
    );
    soon(client.close()).await;
}

/// Rust calls Python, which calls Rust, which calls Python…
fn descend(client: Connection) -> Function {
    Function::with_call("descend", move |call| {
        let client = client.clone();
        async move {
            let Some(Object::Value(Value::Int(depth))) = call.args.into_iter().next() else {
                return Err(Exception::type_error("a depth is an int"));
            };
            let sum: i64 = client
                .call("descend", (descend(client.clone()), depth))
                .await
                .map_err(failed)?;
            Ok(Value::from(sum))
        }
    })
}

#[tokio::test]
async fn calls_nest_from_rust_through_python() {
    let server = python_server();
    let client = connect(server.port()).await;
    let sum: i64 = soon(client.call("descend", (descend(client.clone()), 20)))
        .await
        .expect("an answer");
    assert_eq!(sum, 20);
    // Python's function around ours, called from here.
    let add_one: Netref = soon(client.call("sink", (Function::new("double", |x: i64| x * 2),)))
        .await
        .expect("a function");
    let five: i64 = soon(add_one.call((2,))).await.expect("an answer");
    assert_eq!(five, 5);
    soon(client.close()).await;
}

fn calling_back() -> Service {
    Service::new("Back")
        .function("add", |a: i64, b: i64| a + b)
        .async_function("apply", |function: Netref, value: Value| async move {
            function.call::<Value>((value,)).await.map_err(failed)
        })
        .blocking_function("apply_blocking", |function: Netref, value: Value| {
            rpyc::runtime::block_on(function.call::<Value>((value,)))
                .map_err(|error| Exception::runtime_error(error.to_string()))?
                .map_err(failed)
        })
        .async_function("apply_both", |function: Netref, value: i64| async move {
            let (one, two) = tokio::join!(
                function.call::<i64>((value,)),
                function.call::<i64>((value + 1,))
            );
            Ok::<_, Exception>((one.map_err(failed)?, two.map_err(failed)?))
        })
}

#[tokio::test]
async fn rust_calls_back_while_python_waits() {
    let (_server, port) = serve(calling_back()).await;
    let checks = r#"
apply, apply_both = conn.root.apply, conn.root.apply_both
assert apply(lambda x: x * 2, 21) == 42
assert apply(str.upper, "abc") == "ABC"
assert apply(len, (1, 2, 3)) == 3
assert apply_both(lambda x: x * 2, 1) == (2, 4)
def descend(depth):
    return 0 if depth == 0 else apply(descend, depth - 1) + 1
assert apply(descend, 20) == 20
def calls_again(x):
    return conn.root.add(x, 1) + conn.root.add(x, 2)
assert apply(calls_again, 1) == 5
assert apply_both(calls_again, 1) == (5, 7)
conn.close()
"#;
    python_client(port, checks).await;
}

/// A function that blocks in a thread of its own waits as well as one that is a future.
#[tokio::test]
async fn blocking_functions_call_back_too() {
    let (_server, port) = serve(calling_back()).await;
    let checks = r#"
apply = conn.root.apply_blocking
assert apply(lambda x: x * 2, 21) == 42
assert apply(lambda x: conn.root.add(x, 1), 1) == 2
def descend(depth):
    return 0 if depth == 0 else apply(descend, depth - 1) + 1
assert apply(descend, 10) == 10
conn.close()
"#;
    python_client(port, checks).await;
}

/// Endless recursion ends with an exception, not with a wait.
#[tokio::test]
async fn nesting_is_limited() {
    let (_server, port) = serve(calling_back()).await;
    let checks = r#"
apply = conn.root.apply
deepest = 0
def descend(depth):
    global deepest
    deepest = max(deepest, depth)
    return apply(descend, depth + 1)
start = time.monotonic()
try:
    apply(descend, 0)
except RecursionError:
    pass
else:
    raise AssertionError
assert 60 <= deepest <= 70, deepest
assert time.monotonic() - start < 20
assert conn.root.add(1, 2) == 3
conn.close()
"#;
    python_client(port, checks).await;
}
