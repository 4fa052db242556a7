//! Modules, attributes, calls, copies and references.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use rpyc::{
    Connection, Error, Function, Netref, Object, Value,
    classic::{self, Remote},
};

use crate::{
    peer::{Transport, over_tcp, session, soon},
    python::{RPYC, RPYC_5, Version},
};

/// What the seed's examples do, and a little of everything else.
async fn tour(conn: &Connection) -> Result<(), Error> {
    // conn.modules.os.listdir("/")
    let os = conn.module("os").await?;
    let mut files: Vec<String> = os.call("listdir", ("/",)).await?;
    files.sort();
    assert!(files.iter().any(|name| name == "tmp"), "{files:?}");
    let list: Remote = os.call("listdir", ("/",)).await?;
    assert_eq!(
        (list.netref().class_name(), list.size().await?),
        ("builtins.list", files.len())
    );
    list.call::<()>("sort", ()).await?;
    assert_eq!(list.fetch::<Vec<String>>().await?, files);
    assert_eq!(list.item::<String>(0).await?, files[0]);

    // Nested attributes.
    assert_eq!(os.call::<String>("path.join", ("a", "b")).await?, "a/b");
    assert_eq!(os.get::<String>("path.sep").await?, "/");
    let path: Remote = os.get("path").await?;
    assert_eq!(path.call::<String>("basename", ("/x/y",)).await?, "y");
    assert_eq!(
        conn.module("os.path").await?.get::<String>("sep").await?,
        "/"
    );

    // execute, eval, the namespace.
    conn.execute("x = 20\ndef double(n, *, times=2):\n    return n * times")
        .await?;
    assert_eq!(conn.eval::<i64>("double(x) + 2").await?, 42);
    let namespace = conn.namespace().await?;
    namespace.set_item("x", 5).await?;
    assert_eq!(conn.eval::<i64>("x").await?, 5);
    let double: Remote = namespace.item("double").await?;
    assert_eq!(double.invoke_kw::<i64>((7,), (("times", 3),)).await?, 21);
    assert!(namespace.contains("double").await?);

    // Builtins, keyword arguments.
    let builtins = conn.builtins().await?;
    let sorted: Vec<i64> = builtins
        .call_kw("sorted", ((3, 1, 2),), (("reverse", true),))
        .await?;
    assert_eq!(sorted, [3, 2, 1]);
    Ok(())
}

async fn tours(version: Version) {
    for transport in Transport::ALL {
        let session = session(transport, version).await;
        if let Err(error) = soon(tour(&session.connection)).await {
            panic!("{transport:?}: {error}");
        }
        soon(session.connection.close()).await;
    }
}

#[tokio::test]
async fn a_tour_over_every_transport() {
    tours(RPYC).await;
}

#[tokio::test]
async fn a_tour_of_rpyc_5_over_every_transport() {
    tours(RPYC_5).await;
}

#[tokio::test]
async fn copies_are_as_deep_as_they_can_be() -> Result<(), Error> {
    let session = over_tcp().await;
    let conn = &session.connection;
    let table: HashMap<String, Vec<(i64, Option<f64>)>> =
        conn.eval("{'a': [(1, None), [2, 2.5]], 'b': []}").await?;
    assert_eq!(table["a"], [(1, None), (2, Some(2.5))]);
    assert!(table["b"].is_empty());
    let set: BTreeSet<String> = conn.eval("{'b', 'a'}").await?;
    assert_eq!(set.into_iter().collect::<String>(), "ab");
    assert_eq!(conn.eval::<Bytes>("bytearray(b'ab')").await?, "ab");
    assert_eq!(
        conn.eval::<Bytes>("memoryview(b'abcdef')[::2]").await?,
        "ace"
    );
    assert_eq!(conn.eval::<Vec<i64>>("range(3)").await?, [0, 1, 2]);
    let views: (Vec<String>, Vec<i64>, Vec<(String, i64)>) = conn
        .eval("(lambda d: (d.keys(), d.values(), d.items()))({'x': 1})")
        .await?;
    assert_eq!(views, (vec!["x".into()], vec![1], vec![("x".into(), 1)]));
    // Subclasses of the simple types travel as those.
    conn.execute(
        "import collections, enum\n\
         class Color(enum.IntEnum):\n    RED = 1\n\
         class Name(str):\n    pass\n\
         Point = collections.namedtuple('Point', 'x y')\n\
         order = collections.OrderedDict(z=1, a=2)",
    )
    .await?;
    let [red, name, point, order]: [Value; 4] = conn
        .eval("(Color.RED, Name('n'), Point(1, 2), order)")
        .await?;
    assert_eq!((red, name), (1.into(), "n".into()));
    assert_eq!(point, (1, 2).into());
    assert_eq!(order, (("z", 1), ("a", 2)).into());
    let env: BTreeMap<String, String> = conn.eval("__import__('os').environ").await?;
    assert!(env.contains_key("PATH"));
    // The same as what Python's own client would get.
    let list: Object = conn.eval("[1]").await?;
    assert!(matches!(list, Object::Netref(_)), "{list:?}");
    // As far as there is a copy, and a reference where there is none.
    let list: Remote = conn.eval("[1, [2], {3: object()}]").await?;
    let Object::Tuple(items) = list.fetch().await? else {
        panic!("not a tuple")
    };
    assert!(
        matches!(&items[1], Object::Value(Value::Tuple(two)) if *two == [2.into()]),
        "{items:?}"
    );
    let Object::Tuple(pairs) = &items[2] else {
        panic!("{items:?}")
    };
    let Object::Tuple(pair) = &pairs[0] else {
        panic!("{pairs:?}")
    };
    assert!(matches!(&pair[1], Object::Netref(object) if object.class_name() == "builtins.object"));
    let error = conn
        .eval::<Value>("(1, object())")
        .await
        .expect_err("no value");
    assert!(matches!(error, Error::Convert(_)), "{error}");
    soon(conn.close()).await;
    Ok(())
}

/// One trip each, whatever the size: what is counted are the frames that came.
#[tokio::test]
async fn a_copy_takes_one_trip() -> Result<(), Error> {
    let session = over_tcp().await;
    let conn = &session.connection;
    conn.execute("numbers = list(range(100_000)); table = {n: str(n) for n in numbers}")
        .await?;
    // The helper is there from now on.
    conn.eval::<i64>("1").await?;
    let frames = || conn.channel().stats().frames_received;
    let before = frames();
    let numbers: Vec<i64> = conn.eval("numbers").await?;
    assert_eq!((numbers.len(), frames() - before), (100_000, 1));
    let table: BTreeMap<i64, String> = conn.eval("table").await?;
    assert_eq!((&*table[&77_777], frames() - before), ("77777", 2));
    let os = conn.module("os").await?;
    let before = frames();
    let entries: Vec<String> = os.call("listdir", ("/",)).await?;
    assert!(!entries.is_empty());
    assert_eq!(frames() - before, 1);
    soon(conn.close()).await;
    Ok(())
}

#[tokio::test]
async fn references_are_arguments_too() -> Result<(), Error> {
    let session = over_tcp().await;
    let conn = &session.connection;
    let builtins = conn.builtins().await?;
    let list: Remote = conn.eval("[3, 1, 2]").await?;
    assert_eq!(
        builtins.call::<Vec<i64>>("sorted", (&list,)).await?,
        [1, 2, 3]
    );
    list.call::<()>("append", (list.clone(),)).await?;
    assert!(
        conn.eval::<Remote>("print")
            .await?
            .netref()
            .repr()
            .await?
            .contains("print")
    );
    // An object that came as such, and a function of ours as a callback.
    let object: Object = conn.eval("[1, 2]").await?;
    let negate = Function::new("negate", |value: i64| -value);
    let sorted: Vec<i64> = builtins
        .call_kw("sorted", (object,), (("key", negate),))
        .await?;
    assert_eq!(sorted, [2, 1]);
    // An attribute of an instance, and of a module.
    conn.execute("class Thing:\n    pass\nthing = Thing()\nthing.inner = Thing()")
        .await?;
    let thing: Remote = conn.eval("thing").await?;
    thing.set("size", 3).await?;
    thing.set("inner.size", 4).await?;
    assert_eq!(
        conn.eval::<(i64, i64)>("(thing.size, thing.inner.size)")
            .await?,
        (3, 4)
    );
    let names = thing.netref().dir().await?;
    assert!(names.iter().any(|name| name == "size"), "{names:?}");
    // Iterating over a reference.
    let squares: Netref = conn.eval("(n * n for n in range(10))").await?;
    let mut items = squares.iterate::<i64>(3).await?;
    let mut sum = 0;
    while let Some(item) = items.next().await? {
        sum += item;
    }
    assert_eq!(sum, 285);
    // All is given back in the end.
    drop((builtins, list, thing, squares, items));
    soon(conn.close()).await;
    Ok(())
}

#[tokio::test]
async fn modules_are_looked_for_without_an_error() -> Result<(), Error> {
    let session = over_tcp().await;
    let conn = &session.connection;
    assert!(conn.has_module("xml.dom").await?);
    assert!(!conn.has_module("no_such_module").await?);
    assert!(!conn.has_module("no_such.module").await?);
    soon(conn.close()).await;
    Ok(())
}

#[tokio::test]
async fn connecting_takes_one_call() -> Result<(), Error> {
    let session = over_tcp().await;
    let served = session.served.as_ref().expect("a server");
    let conn = classic::connect("127.0.0.1", served.peer.port()).await?;
    assert_eq!(conn.eval::<i64>("6 * 7").await?, 42);
    soon(conn.close()).await;
    let conn = classic::connect_endpoint(&session.endpoint.to_string()).await?;
    assert_eq!(conn.eval::<i64>("6 * 7").await?, 42);
    soon(conn.close()).await;
    Ok(())
}
