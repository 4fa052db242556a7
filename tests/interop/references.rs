//! References: what stays where it is, how it is used from the other end, and that it is given back.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rpyc::{Connection, Error, Function, Netref, Object, Service, brine::Value};

use crate::support::{assert_alive, connect, python_client, python_server, serve, soon, until};

/// Waits until the Python server holds nothing for this client but its root and what is named.
async fn gives_all_back(client: &Connection, left: i64) {
    soon(async {
        loop {
            // The answer is computed in order, behind all DELs that were sent before.
            let held: i64 = client.call("held", ()).await.expect("an answer");
            if held == left {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// The root, which the connection holds for its whole life.
const ROOT: i64 = 1;

#[tokio::test]
async fn objects_of_python_are_used_and_given_back() {
    let server = python_server();
    let client = connect(server.port()).await;
    {
        let counter: Netref = soon(client.call("counter", (40,)))
            .await
            .expect("a reference");
        assert_eq!(counter.class_name(), "__main__.Counter");
        let sum: i64 = soon(counter.call_method("increment", (1,)))
            .await
            .expect("an answer");
        assert_eq!(sum, 41);
        let sum: i64 = soon(counter.call_method_kw("increment", (), (("by", 1),)))
            .await
            .expect("an answer");
        assert_eq!(sum, 42);
        assert_eq!(
            soon(counter.getattr::<i64>("value"))
                .await
                .expect("an answer"),
            42
        );
        let bound: Netref = soon(counter.getattr("get")).await.expect("a method");
        assert_eq!(soon(bound.call::<i64>(())).await.expect("an answer"), 42);
        // It goes there and comes back as itself.
        let same: Netref = soon(client.call("echo", (counter.clone(),)))
            .await
            .expect("a reference");
        assert_eq!(
            soon(same.call_method::<i64>("get", ()))
                .await
                .expect("an answer"),
            42
        );
        let error = soon(counter.setattr("value", 1))
            .await
            .expect_err("Python refuses that by default");
        assert!(
            error
                .remote()
                .is_some_and(|error| error.is_builtin("AttributeError")),
            "{error}"
        );

        let list: Netref = soon(client.call("get_list", ()))
            .await
            .expect("a reference");
        assert_eq!(list.class_name(), "builtins.list");
        assert_eq!(
            soon(list.call_method::<i64>("__len__", ()))
                .await
                .expect("an answer"),
            4
        );
        assert_eq!(
            soon(list.call_method::<String>("__getitem__", (1,)))
                .await
                .expect("an answer"),
            "two"
        );
        assert_eq!(
            soon(list.str()).await.expect("an answer"),
            "[1, 'two', 3.0, None]"
        );
        assert_eq!(
            soon(list.repr()).await.expect("an answer"),
            "[1, 'two', 3.0, None]"
        );
        assert!(
            soon(list.dir())
                .await
                .expect("an answer")
                .contains(&"append".into())
        );
        let items: Vec<Value> = soon(list.next_items(10)).await.expect("items");
        assert_eq!(items, [1.into(), "two".into(), 3.0.into(), Value::None]);

        let dict: Netref = soon(client.call("get_dict", ()))
            .await
            .expect("a reference");
        assert_eq!(
            soon(dict.call_method::<i64>("__getitem__", ("two",)))
                .await
                .expect("an answer"),
            2
        );
        let error = soon(dict.call_method::<i64>("__getitem__", ("three",)))
            .await
            .expect_err("no such key");
        assert!(
            error
                .remote()
                .is_some_and(|error| error.is_builtin("KeyError")),
            "{error}"
        );
        let mut keys = soon(dict.iterate::<String>(1)).await.expect("an iterator");
        let mut found = Vec::new();
        while let Some(key) = soon(keys.next()).await.expect("no loss") {
            found.push(key);
        }
        assert_eq!(found, ["one", "two"]);
    }
    gives_all_back(&client, ROOT).await;
    assert_eq!(client.stats().imported, 1, "only the root is held");
    soon(client.close()).await;
}

#[tokio::test]
async fn generators_are_read_in_chunks() {
    let server = python_server();
    let client = connect(server.port()).await;
    for chunk in [1, 3, 10, 1_000] {
        let generator: Netref = soon(client.call("generator", (10,)))
            .await
            .expect("a reference");
        let mut items = soon(generator.iterate::<i64>(chunk))
            .await
            .expect("an iterator");
        let mut found = Vec::new();
        while let Some(item) = soon(items.next()).await.expect("no loss") {
            found.push(item);
        }
        assert_eq!(found, [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]);
        // At its end it stays.
        assert_eq!(soon(items.next()).await.expect("no loss"), None);
    }
    let generator: Netref = soon(client.call("generator", (2,)))
        .await
        .expect("a reference");
    for expected in [0, 1] {
        let item: i64 = soon(generator.call_method("__next__", ()))
            .await
            .expect("an item");
        assert_eq!(item, expected);
    }
    let end = soon(generator.call_method::<i64>("__next__", ())).await;
    assert!(matches!(end, Err(Error::StopIteration)), "{end:?}");
    drop(generator);
    gives_all_back(&client, ROOT).await;
    soon(client.close()).await;
}

#[tokio::test]
async fn references_inside_tuples_are_counted_one_by_one() {
    let server = python_server();
    let client = connect(server.port()).await;
    let shared: Netref = soon(client.call("shared_counter", ()))
        .await
        .expect("a reference");
    for _ in 0..10 {
        let many: Object = soon(client.call("echo", ((1, shared.clone(), (shared.clone(), "x")),)))
            .await
            .expect("an answer");
        let Object::Tuple(items) = many else {
            panic!("{many:?} is no tuple with references")
        };
        assert!(matches!(&items[0], Object::Value(Value::Int(1))));
        assert!(matches!(&items[1], Object::Netref(_)));
    }
    gives_all_back(&client, ROOT + 1).await;
    drop(shared);
    let many: Object = soon(client.call("instances", (1_000,)))
        .await
        .expect("references");
    assert_eq!(client.stats().imported, 1_001);
    drop(many);
    gives_all_back(&client, ROOT).await;
    soon(client.close()).await;
}

/// Nobody makes a request afterwards, so the DELs have to go by themselves.
#[tokio::test]
async fn references_are_given_back_without_another_request() {
    let server = python_server();
    let client = connect(server.port()).await;
    let counter: Netref = soon(client.call("counter", ())).await.expect("a reference");
    let pending = || client.stats();
    drop(counter);
    until(|| pending().imported == 1 && pending().pending == 0).await;
    soon(client.close()).await;
}

/// The answer to a DEL must not hold back the next one: stock Python's Nagle algorithm waits for its acknowledgement, which the kernel
/// delays by 40 ms.
#[tokio::test]
async fn giving_back_does_not_slow_down_the_calls_behind_it() {
    let server = python_server();
    let client = connect(server.port()).await;
    assert_alive(&client).await;
    let start = Instant::now();
    for number in 0..50 {
        let counter: Netref = soon(client.call("counter", (number,)))
            .await
            .expect("a reference");
        let next: i64 = soon(counter.call_method("increment", ()))
            .await
            .expect("an answer");
        assert_eq!(next, number + 1);
    }
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1_500), "it took {took:?}");
    soon(client.close()).await;
}

/// So do those in an answer that came too late, or for which nobody waits any more.
#[tokio::test]
async fn references_of_a_late_answer_are_given_back() {
    let server = python_server();
    let client = connect(server.port()).await;
    assert_alive(&client).await;
    let (sender, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(Some(gate)));
    // Python answers with a function of its own once our callback has returned.
    let wait = Function::with_call("wait", move |_| {
        let gate = gate.clone();
        async move {
            if let Some(gate) = gate.lock().await.take() {
                let _ = gate.await;
            }
            Ok(Value::from(1))
        }
    });
    let slow: Netref = soon(client.call("sink", (wait,)))
        .await
        .expect("a function");
    assert_eq!(client.stats().imported, 2);
    let impatient = client.clone().with_timeout(Duration::from_millis(100));
    // The argument is computed by our callback, and the answer is a new object each time.
    let late =
        soon(impatient.call::<Netref>("callback", (rpyc_counter_after(slow.clone()), 1))).await;
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
    sender.send(()).expect("the callback waits");
    drop(slow);
    until(|| {
        let stats = client.stats();
        stats.imported == 1 && stats.pending == 0
    })
    .await;
    gives_all_back(&client, ROOT).await;
    soon(client.close()).await;
}

/// A function of ours that calls Python's and then gives back what it was given: a reference.
fn rpyc_counter_after(slow: Netref) -> Function {
    Function::with_call("after", move |_| {
        let slow = slow.clone();
        async move {
            slow.call::<Value>((0,))
                .await
                .map_err(|error| rpyc::Exception::runtime_error(error.to_string()))?;
            Ok(Object::Netref(slow))
        }
    })
}

#[tokio::test]
async fn an_abandoned_call_gives_its_references_back() {
    let server = python_server();
    let client = connect(server.port()).await;
    assert_alive(&client).await;
    for _ in 0..20 {
        // Started, so that it is sent, and dropped before or while the answer comes.
        let call = client.call::<Object>("instances", (50,));
        tokio::select! {
            biased;
            _ = call => panic!("no answer can be there at once"),
            () = std::future::ready(()) => {}
        }
    }
    until(|| {
        let stats = client.stats();
        stats.imported == 1 && stats.pending == 0
    })
    .await;
    gives_all_back(&client, ROOT).await;
    soon(client.close()).await;
}

#[tokio::test]
async fn functions_of_rust_are_given_back_by_python() {
    let server = python_server();
    let client = connect(server.port()).await;
    let function = Function::new("double", |value: i64| value * 2);
    let alive = Arc::new(());
    let watched = Arc::downgrade(&alive);
    let counted = Function::new("counted", move |value: i64| {
        let _ = &alive;
        value + 1
    });
    soon(client.call::<()>("keep", (function.clone(),)))
        .await
        .expect("an answer");
    soon(client.call::<()>("keep", (counted,)))
        .await
        .expect("an answer");
    let both: Vec<i64> = soon(client.call("call_kept", (20,)))
        .await
        .expect("an answer");
    assert_eq!(both, [40, 21]);
    assert_eq!(client.stats().exported, 2);
    // One that comes back is the same function again.
    let same: Object = soon(client.call("echo", (function.clone(),)))
        .await
        .expect("an answer");
    assert!(matches!(same, Object::Function(_)), "{same:?}");
    soon(client.call::<()>("forget", ()))
        .await
        .expect("an answer");
    until(|| client.stats().exported == 0).await;
    until(|| watched.strong_count() == 0).await;
    soon(client.close()).await;
}

/// What a request refers to is given back, even if it is one that is refused.
#[tokio::test]
async fn a_server_gives_back_the_references_in_refused_requests() {
    let connections = Arc::new(Mutex::new(Vec::<Connection>::new()));
    let seen = connections.clone();
    let service = Service::new("Refusing")
        .function("add", |a: i64, b: i64| a + b)
        .function("take", |_: Object| ())
        .constant("version", "1.0")
        .on_connect(move |connection| {
            seen.lock().expect("no panic").push(connection.clone());
            Ok(())
        });
    let (_server, port) = serve(service).await;
    let checks = r#"
from rpyc.core import consts
class Thing:
    pass
def refused(call, *args):
    try:
        call(*args)
    except (TypeError, AttributeError, ValueError):
        return
    raise AssertionError
root = conn.root
take, add = root.take, root.add
for _ in range(10):
    take(Thing())
    refused(take, Thing(), Thing())
    refused(add, Thing(), 1)
    refused(conn.sync_request, consts.HANDLE_CALLATTR, root, "no_such_name", (Thing(),), ())
    refused(conn.sync_request, consts.HANDLE_CALLATTR, root, "version", (Thing(),), ())
    refused(conn.sync_request, consts.HANDLE_CALL, root, (Thing(),), ())
    refused(conn.sync_request, consts.HANDLE_SETATTR, root, "x", Thing())
    refused(conn.sync_request, consts.HANDLE_HASH, Thing())
    refused(conn.sync_request, consts.HANDLE_PICKLE, Thing(), 2)
    refused(conn.sync_request, consts.HANDLE_CTXEXIT, root, Thing())
    refused(conn.sync_request, consts.HANDLE_BUFFITER, Thing(), 1)
    conn.sync_request(consts.HANDLE_REPR, Thing())
    conn.sync_request(consts.HANDLE_CMP, root, Thing(), "__eq__")
    conn.sync_request(consts.HANDLE_PING, Thing())
until = time.monotonic() + 20
while conn._local_objects._dict:
    assert time.monotonic() < until, list(conn._local_objects._dict)
    conn.ping()
    conn.serve(0.01)
del take, add, root
conn.close()
"#;
    python_client(port, checks).await;
    let connection = connections.lock().expect("no panic")[0].clone();
    assert_eq!(connection.stats().imported, 0);
}

/// A reference means something on its own connection only.
#[tokio::test]
async fn a_reference_of_another_connection_is_refused() {
    let service = Service::new("Two")
        .function("add", |a: i64, b: i64| a + b)
        .function("first", || Object::Function(Function::new("first", || 1)))
        .function("second", || Object::Function(Function::new("second", || 2)))
        .function("echo", |value: Object| value);
    let (_server, port) = serve(service).await;
    let (one, two) = (connect(port).await, connect(port).await);
    let first: Netref = soon(one.call("first", ())).await.expect("a function");
    let second: Netref = soon(two.call("second", ())).await.expect("a function");
    let wrong = soon(two.call::<Object>("echo", (first.clone(),))).await;
    assert!(matches!(wrong, Err(Error::Unsendable(_))), "{wrong:?}");
    let wrong = soon(second.call::<Object>((("nested", first),))).await;
    assert!(matches!(wrong, Err(Error::Unsendable(_))), "{wrong:?}");
    let same: Netref = soon(two.call("echo", (second,)))
        .await
        .expect("its own reference");
    assert_eq!(soon(same.call::<i64>(())).await.expect("an answer"), 2);
    assert_alive(&two).await;
}

/// What came as an [`Object`] can be passed on as one, whatever is in it.
#[tokio::test]
async fn objects_with_references_are_passed_on() {
    let server = python_server();
    let client = connect(server.port()).await;
    let list: Netref = soon(client.call("get_list", ())).await.expect("a list");
    let service: Arc<Service> = Arc::new(Service::new("Passed").constant("mark", 7));
    let object = Object::Tuple(vec![
        1.into(),
        Object::Netref(list.clone()),
        Object::Tuple(vec![
            Object::Function(Function::new("double", |value: i64| value * 2)),
            Object::Root(service.clone()),
            Object::Tuple(vec![2.into()]),
        ]),
    ]);
    let back: Vec<Object> = soon(client.call("echo", (&object,)))
        .await
        .expect("an answer");
    let [
        Object::Value(one),
        Object::Netref(same),
        Object::Tuple(inner),
    ] = &back[..]
    else {
        panic!("{back:?}")
    };
    assert_eq!((one, same.class_name()), (&1.into(), "builtins.list"));
    // A tuple of values only came back as the value that it is.
    let [
        Object::Function(double),
        Object::Root(root),
        Object::Value(two),
    ] = &inner[..]
    else {
        panic!("{inner:?}")
    };
    assert_eq!((double.name(), two), (&"double".into(), &(2,).into()));
    assert!(Arc::ptr_eq(root, &service));
    let items: Vec<i64> = soon(client.call("callback_many", (&inner[0], 3)))
        .await
        .expect("an answer");
    assert_eq!(items, [0, 2, 4]);
    // As arguments of any number, too.
    let seen: Vec<Object> = soon(client.call("kwargs", &back[..]))
        .await
        .expect("an answer");
    assert!(
        matches!(&seen[0], Object::Tuple(args) if args.len() == 3),
        "{seen:?}"
    );
    soon(client.close()).await;
}
