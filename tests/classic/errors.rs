//! What goes wrong: in Python's words where Python raised, and in ours where the server went away.

use std::time::Duration;

use rpyc::{Error, RemoteError, StreamError, Value, classic::Remote};

use crate::{
    peer::{Transport, over_tcp, session, soon},
    python::RPYC,
};

fn raised(result: Result<impl std::fmt::Debug, Error>) -> RemoteError {
    match result {
        Err(Error::Remote(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn exceptions_come_with_all_that_python_sends() -> Result<(), Error> {
    let session = over_tcp().await;
    let conn = &session.connection;
    let error = raised(conn.eval::<i64>("no_such_name").await);
    assert!(error.is_builtin("NameError"));
    assert_eq!(error.args(), ["name 'no_such_name' is not defined".into()]);
    assert_eq!(error.find_attr("name"), Some(&"no_such_name".into()));

    let error = raised(conn.eval::<i64>("1 +").await);
    assert!(error.is_builtin("SyntaxError"));
    assert_eq!(error.find_attr("lineno"), Some(&1.into()));
    assert_eq!(error.find_attr("text"), Some(&"1 +".into()));
    assert!(raised(conn.execute("if True").await).is_builtin("SyntaxError"));

    assert!(raised(conn.module("no_such_module").await).is_builtin("ModuleNotFoundError"));
    let os = conn.module("os").await?;
    assert!(raised(os.get::<Value>("path.no_such").await).is_builtin("AttributeError"));
    let error = raised(os.call::<Value>("stat", ("/no/such/file",)).await);
    assert!(error.is_builtin("FileNotFoundError"));
    assert_eq!(error.find_attr("errno"), Some(&2.into()));
    assert_eq!(error.find_attr("filename"), Some(&"/no/such/file".into()));
    assert!(raised(conn.namespace().await?.item::<Value>("nothing").await).is_builtin("KeyError"));

    conn.execute(
        "class Broken(Exception):\n    pass\n\
         def fail():\n    error = Broken('a', 7)\n    error.code = 3\n    raise error",
    )
    .await?;
    let error = raised(conn.eval::<Value>("fail()").await);
    // The namespace has no __name__, so Python takes that of its builtins.
    assert_eq!((error.module(), error.class()), ("builtins", "Broken"));
    assert_eq!(error.args(), ["a".into(), 7.into()]);
    assert_eq!(error.find_attr("code"), Some(&3.into()));
    let traceback = error.traceback().expect("Python sends it");
    assert!(
        traceback.contains("in fail") && traceback.contains("Broken: ('a', 7)"),
        "{traceback}"
    );

    // What contains itself has no copy.
    let endless: Remote = conn.eval("(lambda l: (l.append(l), l)[1])([])").await?;
    assert!(raised(endless.fetch::<Value>().await).is_builtin("RecursionError"));
    // Nor has what is nested deeper than the limit; the connection lives on.
    let deep = conn.eval::<Value>("eval('[' * 80 + ']' * 80)").await;
    assert!(matches!(deep, Err(Error::BadAnswer(_))), "{deep:?}");
    assert_eq!(conn.eval::<i64>("1 + 1").await?, 2);
    soon(conn.close()).await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_classic_says_so() -> Result<(), Error> {
    let service = rpyc::Service::new("Plain").function("add", |a: i64, b: i64| a + b);
    let server = rpyc::Server::bind("tcp://127.0.0.1:0", service).await?;
    let port = server.port().expect("TCP");
    let conn = rpyc::classic::connect("127.0.0.1", port).await?;
    let error = raised(conn.eval::<i64>("1").await);
    assert!(error.is_builtin("AttributeError"));
    assert_eq!(error.args(), ["cannot access 'eval'".into()]);
    // It is asked again the next time.
    assert!(raised(conn.eval::<i64>("1").await).is_builtin("AttributeError"));
    assert_eq!(conn.call::<i64>("add", (1, 2)).await?, 3);
    soon(conn.close()).await;
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_told_from_one_that_refuses() {
    for transport in Transport::ALL {
        let session = session(transport, RPYC).await;
        let conn = &session.connection;
        let ready: i64 = soon(conn.eval("1")).await.expect("an answer");
        assert_eq!(ready, 1);
        let gone = soon(conn.execute("__import__('os')._exit(3)")).await;
        assert!(
            matches!(gone, Err(Error::MayHaveRun(_))),
            "{transport:?}: {gone:?}"
        );
        let after = soon(conn.eval::<i64>("1")).await;
        assert!(
            matches!(after, Err(Error::NotSent(_))),
            "{transport:?}: {after:?}"
        );
        let reason = conn.end_reason();
        assert!(
            matches!(reason, Some(StreamError::ConnectionLost(_))),
            "{transport:?}: {reason:?}"
        );
    }
}

/// Root, helper and call have one deadline in all.
#[tokio::test]
async fn a_deadline_counts_the_helper_in() -> Result<(), Error> {
    let session = over_tcp().await;
    let conn = session
        .connection
        .clone()
        .with_timeout(Duration::from_millis(300));
    let late = soon(conn.eval::<()>("__import__('time').sleep(2)")).await;
    assert!(
        matches!(late, Err(Error::TimedOut(after)) if after == Duration::from_millis(300)),
        "{late:?}"
    );
    assert_eq!(session.connection.eval::<i64>("1").await?, 1);
    soon(session.connection.close()).await;
    Ok(())
}
