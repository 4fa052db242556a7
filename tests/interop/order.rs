//! Which requests wait for which, and how much may wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rpyc::{Connection, Error, Exception, Service, brine::Value};
use tokio::sync::Semaphore;

use crate::{
    raw::Raw,
    streams,
    support::{assert_serves, connect, python_client, serve, soon, until},
};

/// A service with functions that wait for the test.
fn gated(gate: &Arc<Semaphore>) -> Service {
    let (open, opened) = (gate.clone(), gate.clone());
    Service::new("Gated")
        .function("add", |a: i64, b: i64| a + b)
        .function("echo", |value: Value| value)
        .async_function("wait", move |number: i64| {
            let gate = open.clone();
            async move {
                gate.acquire().await.expect("it stays open").forget();
                number
            }
        })
        .blocking_function("wait_blocking", move |number: i64| {
            // As a thread does that waits for a disk.
            while opened
                .try_acquire()
                .map(tokio::sync::SemaphorePermit::forget)
                .is_err()
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            number
        })
        .async_function("sleep", |milliseconds: u64| async move {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            milliseconds
        })
}

#[tokio::test]
async fn a_slow_function_stops_only_its_own_connection() {
    for slow in ["wait", "wait_blocking"] {
        let gate = Arc::new(Semaphore::new(0));
        let (_server, port) = serve(gated(&gate)).await;
        let busy: Vec<Connection> = {
            let mut connections = Vec::new();
            for _ in 0..4 {
                connections.push(connect(port).await);
            }
            connections
        };
        let calls: Vec<_> = busy
            .iter()
            .map(|connection| {
                let connection = connection.clone();
                tokio::spawn(async move { connection.call::<i64>(slow, (1,)).await })
            })
            .collect();
        for connection in &busy {
            until(|| connection.stats().pending == 1 && connection.stats().imported == 1).await;
        }
        assert_serves(port).await;
        gate.add_permits(4);
        for call in calls {
            assert_eq!(soon(call).await.expect("no panic").expect("an answer"), 1);
        }
    }
}

/// Requests that come in one write: a slow one, then quick ones. Their answers as they come.
async fn answers(service: Service, gate: &Semaphore) -> Vec<i64> {
    let (_server, port) = serve(service).await;
    let mut raw = Raw::connect(port).await;
    let root = raw.root().await;
    raw.call(1, &root, "wait", (1,).into()).await;
    raw.call(2, &root, "add", (1, 1).into()).await;
    raw.call(3, &root, "add", (1, 2).into()).await;
    let mut order = Vec::new();
    let mut opened = false;
    while order.len() < 3 {
        let next = tokio::time::timeout(Duration::from_millis(200), raw.next()).await;
        match next {
            Ok(message) => order.push(message.expect("an answer").1.as_int().expect("a number")),
            Err(_) if !opened => {
                opened = true;
                gate.add_permits(1);
            }
            Err(_) => {}
        }
    }
    order
}

#[tokio::test]
async fn answers_come_in_order_unless_the_service_opts_out() {
    let gate = Arc::new(Semaphore::new(0));
    assert_eq!(soon(answers(gated(&gate), &gate)).await, [1, 2, 3]);
    let gate = Arc::new(Semaphore::new(0));
    assert_eq!(
        soon(answers(gated(&gate).concurrent(), &gate)).await,
        [2, 3, 1]
    );
}

#[tokio::test]
async fn many_requests_of_a_concurrent_service_run_side_by_side() {
    let gate = Arc::new(Semaphore::new(0));
    let (_server, port) = serve(gated(&gate).concurrent()).await;
    let client = connect(port).await;
    let calls: Vec<_> = (0..500)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<i64>("wait", (number,)).await })
        })
        .collect();
    until(|| client.stats().pending == 500).await;
    // One behind all those that wait.
    let sum: i64 = soon(client.call("add", (1, 2))).await.expect("an answer");
    assert_eq!(sum, 3);
    gate.add_permits(500);
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(
            soon(call).await.expect("no panic").expect("an answer"),
            number as i64
        );
    }
}

/// Beyond 1,024 requests that wait, others are refused at once; those that wait are served all the same.
#[tokio::test]
async fn too_many_waiting_requests_are_refused() {
    let gate = Arc::new(Semaphore::new(0));
    let (_server, port) = serve(gated(&gate)).await;
    let mut raw = Raw::connect(port).await;
    let root = raw.root().await;
    raw.call(1, &root, "wait", (1,).into()).await;
    for seq in 2..=1_035 {
        raw.call(seq, &root, "add", (1, 1).into()).await;
    }
    // One runs, 1,024 wait, ten are too many.
    for seq in 1_026..=1_035 {
        let (kind, number, body) = soon(raw.next()).await.expect("an answer");
        assert_eq!((kind, number), (3, Value::from(seq)));
        let text = body.to_string();
        assert!(
            text.contains("RuntimeError") && text.contains("1024"),
            "{text}"
        );
    }
    gate.add_permits(1);
    for seq in 1..=1_025 {
        let (kind, number, _) = soon(raw.next()).await.expect("an answer");
        assert_eq!((kind, number), (2, Value::from(seq)));
    }
    raw.call(1_036, &root, "add", (1, 1).into()).await;
    assert_eq!(soon(raw.next()).await.expect("an answer").0, 2);
}

/// A Python client whose `send` makes no progress for 3 s gives up. So a busy server reads on.
#[tokio::test]
async fn a_python_client_pipelines_64_megabytes_to_a_busy_server() {
    let gate = Arc::new(Semaphore::new(0));
    let (_server, port) = serve(gated(&gate)).await;
    let checks = r#"
import os
echo, wait = conn.root.echo, conn.root.wait
data = os.urandom(1_000_000)
first = rpyc.async_(wait)(1)
start = time.monotonic()
results = [rpyc.async_(echo)(data) for _ in range(80)]
assert time.monotonic() - start < 20
open_gate = rpyc.connect(conn._channel.stream.sock.getpeername()[0], conn._channel.stream.sock.getpeername()[1])
open_gate.root.open()
echoed = refused = 0
for result in results:
    try:
        assert result.value == data
        echoed += 1
    except RuntimeError as error:
        assert "too many requests" in str(error), error
        refused += 1
assert first.value == 1
# 64 MiB are queued and the rest is refused.
assert (echoed, refused) == (67, 13), (echoed, refused)
assert echo(b"still here") == b"still here"
conn.close()
"#;
    // The gate is opened by a function, on a connection of its own.
    let opener = gate.clone();
    let service = gated(&gate).function("open", move || opener.add_permits(1));
    let (_server, port) = {
        drop((_server, port));
        serve(service).await
    };
    python_client(port, checks).await;
}

/// Against a server that is not busy, all of them are answered, though nobody reads an answer before the last was sent.
#[tokio::test]
async fn a_python_client_pipelines_64_megabytes_to_an_idle_server() {
    let checks = r#"
import os
echo = rpyc.async_(conn.root.echo)
data = os.urandom(500_000)
results = [echo(data) for _ in range(128)]
assert all(result.value == data for result in results)
assert conn.root.add(1, 2) == 3
conn.close()
"#;
    streams::of_python(|| gated(&Arc::new(Semaphore::new(0))), checks).await;
}

/// Answers that nobody reads are not made: what a peer can make us hold is bounded.
#[tokio::test]
async fn a_peer_that_does_not_read_gets_no_more_answers_made() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = made.clone();
    let service = Service::new("Blobs")
        .function("add", |a: i64, b: i64| a + b)
        .function("blob", move |size: usize| {
            counter.fetch_add(1, Ordering::Relaxed);
            bytes::Bytes::from(vec![7; size])
        });
    let (_server, port) = serve(service).await;
    let mut raw = Raw::connect(port).await;
    let root = raw.root().await;
    for seq in 1..=600 {
        raw.call(seq, &root, "blob", (1_000_000,).into()).await;
    }
    // The one behind them is refused or answered in its turn; until it was read, so were the others.
    let mut last = 0;
    until(|| {
        let now = made.load(Ordering::Relaxed);
        let settled = now > 0 && now == last;
        last = now;
        settled
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = made.load(Ordering::Relaxed);
    assert!(
        before < 60,
        "{before} answers of 1 MB were made for a peer that reads none"
    );
    assert_serves(port).await;
    for seq in 1..=600 {
        let (kind, number, _) = soon(raw.next()).await.expect("an answer");
        assert_eq!((kind, number), (2, Value::from(seq)));
    }
}

#[tokio::test]
async fn a_call_has_a_deadline_and_the_connection_lives_on() {
    let gate = Arc::new(Semaphore::new(0));
    let (_server, port) = serve(gated(&gate).concurrent()).await;
    let client = connect(port).await;
    let start = std::time::Instant::now();
    let impatient = client.clone().with_timeout(Duration::from_millis(50));
    let late = soon(impatient.call::<i64>("wait", (1,))).await;
    assert!(
        matches!(late, Err(Error::TimedOut(after)) if after == Duration::from_millis(50)),
        "{late:?}"
    );
    assert!(start.elapsed() >= Duration::from_millis(50));
    // Deadlines do not have to come in order.
    let patient = client.clone().with_timeout(Duration::from_millis(300));
    let hasty = client.clone().with_timeout(Duration::from_millis(20));
    let (long, short) = tokio::join!(
        patient.call::<i64>("wait", (1,)),
        hasty.call::<i64>("wait", (1,))
    );
    assert!(matches!(long, Err(Error::TimedOut(_))), "{long:?}");
    assert!(matches!(short, Err(Error::TimedOut(_))), "{short:?}");
    let unhurried = client.clone().with_timeout(None);
    let waiting = tokio::spawn(async move { unhurried.call::<i64>("wait", (5,)).await });
    gate.add_permits(4);
    assert_eq!(
        soon(waiting).await.expect("no panic").expect("an answer"),
        5
    );
    until(|| client.stats().pending == 0).await;
    let sum: i64 = soon(client.call("add", (1, 2))).await.expect("an answer");
    assert_eq!(sum, 3);
}

#[tokio::test]
async fn a_panic_in_a_function_ends_its_own_connection_only() {
    let service = Service::new("Panics")
        .function("add", |a: i64, b: i64| a + b)
        .function("panic", || -> i64 { panic!("on purpose, in a function") })
        .blocking_function("panic_elsewhere", || -> i64 {
            panic!("on purpose, on a thread for blocking work")
        })
        .async_function("panic_later", || async {
            tokio::task::yield_now().await;
            if true {
                panic!("on purpose, in a future");
            }
            Ok::<i64, Exception>(1)
        });
    let (_server, port) = serve(service).await;
    for name in ["panic", "panic_elsewhere", "panic_later"] {
        let (one, other) = (connect(port).await, connect(port).await);
        let result = soon(one.call::<i64>(name, ())).await;
        assert!(matches!(result, Err(Error::MayHaveRun(_))), "{result:?}");
        let sum: i64 = soon(other.call("add", (1, 2))).await.expect("an answer");
        assert_eq!(sum, 3);
        assert_serves(port).await;
    }
}

/// The root is asked for before the first call, and both together have one deadline.
#[tokio::test]
async fn the_first_call_has_one_deadline_in_all() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let client = connect(port).await;
    let mut peer = Raw::accept(&listener).await;
    let start = std::time::Instant::now();
    let hasty = client.clone().with_timeout(DEADLINE);
    let call = tokio::spawn(async move { hasty.call::<i64>("add", (1, 2)).await });
    let (_, seq, _) = soon(peer.next()).await.expect("GETROOT");
    tokio::time::sleep(DEADLINE / 2).await;
    let root = Value::from(("builtins.object", 1, 1));
    peer.reply(seq, (4, root).into()).await;
    soon(peer.next()).await.expect("the call");
    let late = soon(call).await.expect("no panic");
    assert!(
        matches!(late, Err(Error::TimedOut(after)) if after == DEADLINE),
        "{late:?}"
    );
    // Two deadlines would end no earlier than one and a half.
    let took = start.elapsed();
    assert!((DEADLINE..DEADLINE * 3 / 2).contains(&took), "{took:?}");
}

#[tokio::test]
async fn whoever_waits_for_the_root_that_another_asked_for_keeps_its_own_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let client = connect(listener.local_addr().expect("it is bound").port()).await;
    let mut peer = Raw::accept(&listener).await;
    let patient = client.clone().with_timeout(None);
    let asking = tokio::spawn(async move { patient.root().await });
    let (_, seq, _) = soon(peer.next()).await.expect("GETROOT");
    let hasty = client.clone().with_timeout(Duration::from_millis(50));
    let late = soon(hasty.call::<i64>("add", (1, 2))).await;
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
    peer.reply(seq, (4, ("builtins.object", 1, 1)).into()).await;
    soon(asking).await.expect("no panic").expect("the root");
}
