//! Exceptions, both ways and over every kind of stream.

use rpyc::{Error, Exception, RemoteError, Service, brine::Value};

use crate::{
    streams,
    support::{assert_alive, python_client, serve, soon},
};

fn remote(error: Error) -> RemoteError {
    match error {
        Error::Remote(error) => error,
        other => panic!("{other:?} is not the peer's exception"),
    }
}

async fn raised(client: &rpyc::Connection, name: &str, args: Value) -> RemoteError {
    let args = args.as_tuple().expect("arguments are a tuple").to_vec();
    let result = soon(client.call::<Value>(name, &args[..])).await;
    remote(result.expect_err("it raises"))
}

#[tokio::test]
async fn exceptions_of_python() {
    streams::to_python(python_raises).await;
}

async fn python_raises(client: &rpyc::Connection) {
    let error = raised(client, "fail", ("on purpose",).into()).await;
    assert!(error.is_builtin("ValueError"));
    assert_eq!(error.args(), [Value::from("on purpose")]);
    assert_eq!(error.to_string(), "ValueError: on purpose");
    let traceback = error.traceback().expect("Python tells where");
    assert!(
        traceback.contains("exposed_fail") && traceback.contains("raise ValueError(message)"),
        "{traceback}"
    );

    for class in [
        "TypeError",
        "KeyError",
        "IndexError",
        "ZeroDivisionError",
        "MemoryError",
        "AssertionError",
        "RuntimeError",
        "SystemExit",
        "Exception",
        "UnicodeError",
    ] {
        let error = raised(client, "fail_with", (class, 1, "two", Value::None).into()).await;
        assert!(error.is_builtin(class), "{error}");
        assert_eq!(error.args(), [1.into(), "two".into(), Value::None]);
    }

    let error = raised(client, "fail_custom", (7,).into()).await;
    assert_eq!((error.module(), error.class()), ("__main__", "CustomError"));
    assert_eq!(error.args(), [Value::from("custom"), 7.into()]);
    assert_eq!(error.find_attr("code"), Some(&7.into()));

    let error = raised(client, "fail_to_open", ("/no/such/file",).into()).await;
    assert!(error.is_builtin("FileNotFoundError"), "{error}");
    assert_eq!(error.find_attr("errno"), Some(&2.into()));
    assert_eq!(
        error.find_attr("strerror"),
        Some(&"No such file or directory".into())
    );
    assert_eq!(error.find_attr("filename"), Some(&"/no/such/file".into()));

    let error = raised(client, "fail_nested", Value::Tuple(Vec::new())).await;
    assert!(error.is_builtin("RuntimeError"));
    let traceback = error.traceback().expect("Python tells where");
    assert!(
        traceback.contains("KeyError: 'inner'") && traceback.contains("RuntimeError: outer"),
        "{traceback}"
    );

    let result = soon(client.call::<Value>("fail_with", ("StopIteration",))).await;
    assert!(matches!(result, Err(Error::StopIteration)), "{result:?}");

    let error = raised(client, "no_such_name", Value::Tuple(Vec::new())).await;
    assert!(error.is_builtin("AttributeError"), "{error}");
    let error = raised(client, "add", (1,).into()).await;
    assert!(error.is_builtin("TypeError"), "{error}");
    let error = remote(
        soon(client.getattr::<Value>("__class__"))
            .await
            .expect_err("it is private"),
    );
    assert!(error.is_builtin("AttributeError"), "{error}");

    assert_alive(client).await;
}

fn failing() -> Service {
    Service::new("Failing")
        .function("add", |a: i64, b: i64| a + b)
        .function("value", || {
            Err::<(), _>(Exception::value_error("on purpose"))
        })
        .function("key", || Err::<(), _>(Exception::key_error(7.into())))
        .function("os", || {
            Err::<(), _>(Exception::os_error(
                2,
                "No such file or directory",
                Some("/no/such".into()),
            ))
        })
        .function("stop", || Err::<(), _>(Exception::stop_iteration()))
        .function("custom", || {
            let error = Exception::new("shop.errors", "OutOfStock", vec!["tea".into(), 3.into()]);
            Err::<(), _>(error.attr("left", 3.into()))
        })
        .function("told", || {
            Err::<(), _>(Exception::runtime_error("short").with_traceback("far away\n"))
        })
        .async_function("late", || async {
            tokio::task::yield_now().await;
            Err::<(), _>(Exception::timeout_error("too late"))
        })
        .blocking_function("blocked", || {
            Err::<(), _>(Exception::not_implemented_error("not yet"))
        })
}

#[tokio::test]
async fn exceptions_of_rust() {
    let checks = r#"
def raised(name, *args, **kwargs):
    try:
        getattr(conn.root, name)(*args, **kwargs)
    except BaseException as error:
        return error
    raise AssertionError(name)

e = raised("value")
assert isinstance(e, ValueError) and e.args == ("on purpose",), e
assert str(e).startswith("on purpose\n\n========= Remote Traceback (1) ========="), str(e)
e = raised("key")
assert isinstance(e, KeyError) and e.args == (7,), e
e = raised("os")
assert isinstance(e, FileNotFoundError), type(e)
assert (e.errno, e.strerror, e.filename) == (2, "No such file or directory", "/no/such"), e.__dict__
assert str(e).startswith("[Errno 2] No such file or directory: '/no/such'"), str(e)
assert type(raised("stop")) is StopIteration
e = raised("custom")
assert type(e).__name__ == "shop.errors.OutOfStock", type(e)
assert e.args == ("tea", 3) and e.left == 3, e.__dict__
assert "far away" in str(raised("told"))
assert isinstance(raised("late"), TimeoutError)
assert isinstance(raised("blocked"), NotImplementedError)
assert isinstance(raised("add", 1), TypeError)
assert isinstance(raised("add", 1, 2, 3), TypeError)
assert isinstance(raised("add", 1, "b"), TypeError)
assert isinstance(raised("add", 1, c=2), TypeError)
assert isinstance(raised("no_such_name"), AttributeError)
assert conn.root.__doc__ is None and conn.root.add.__doc__ is None
assert "WARNING" not in str(raised("value"))
assert conn.root.add(1, 2) == 3
conn.close()
"#;
    streams::of_python(failing, checks).await;
}

/// An exception that Python's code raised and Rust's code let through arrives as what it was.
#[tokio::test]
async fn an_exception_passes_through_both() {
    let service =
        Service::new("Through").async_function("through", |function: rpyc::Netref| async move {
            match function.call::<Value>(()).await {
                Ok(value) => Ok(value),
                Err(Error::Remote(error)) => Err(error.into_exception()),
                Err(error) => Err(Exception::runtime_error(error.to_string())),
            }
        });
    let (_server, port) = serve(service).await;
    let checks = r#"
def fails():
    raise PermissionError(13, "no", "/secret")
try:
    conn.root.through(fails)
except PermissionError as error:
    assert (error.errno, error.strerror, error.filename) == (13, "no", "/secret"), error.__dict__
    assert "in fails" in str(error), str(error)
else:
    raise AssertionError
conn.close()
"#;
    python_client(port, checks).await;
}
