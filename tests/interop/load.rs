//! Many threads, many connections, and long silence.

use std::time::Duration;

use rpyc::Connection;

use crate::{
    clients::calculator,
    support::{blocking, connect, python_client, python_server, serve, soon},
};

const THREADS: i64 = 10;
const CALLS: i64 = 100;

#[tokio::test]
async fn ten_threads_share_a_connection_to_python() {
    let server = python_server();
    let client = connect(server.port()).await;
    let threads = client.clone();
    let by_threads = blocking(move || {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let client = threads.clone();
                std::thread::spawn(move || {
                    for call in 0..CALLS {
                        let sum: i64 = client
                            .call_blocking("add", (thread * 1_000, call))
                            .expect("an answer");
                        assert_eq!(sum, thread * 1_000 + call);
                        let text: String = client
                            .call_blocking("upper", (format!("t{thread}c{call}"),))
                            .expect("an answer");
                        assert_eq!(text, format!("T{thread}C{call}"));
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
    });
    let by_tasks = async {
        let tasks: Vec<_> = (0..THREADS)
            .map(|task| {
                let client = client.clone();
                tokio::spawn(async move {
                    for call in 0..CALLS {
                        let sum: i64 = client.call("add", (task, call)).await.expect("an answer");
                        assert_eq!(sum, task + call);
                    }
                })
            })
            .collect();
        for task in tasks {
            soon(task).await.expect("no panic");
        }
    };
    tokio::join!(by_threads, by_tasks);
    assert_eq!(client.stats().pending, 0);
    soon(client.close()).await;
}

#[tokio::test]
async fn ten_python_threads_share_a_connection_to_rust() {
    let (_server, port) = serve(calculator()).await;
    let checks = r#"
import threading
background = rpyc.BgServingThread(conn)
failures = []
def work(number):
    try:
        add = conn.root.add
        for i in range(50):
            assert add(number * 1000, i) == number * 1000 + i
    except BaseException as error:
        failures.append(error)
threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failures, failures
background.stop()
conn.close()
"#;
    python_client(port, checks).await;
}

#[tokio::test]
async fn a_hundred_connections_to_python() {
    let server = python_server();
    let mut clients: Vec<Connection> = Vec::new();
    for _ in 0..100 {
        clients.push(connect(server.port()).await);
    }
    let calls: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(number, client)| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<i64>("add", (number as i64, 1)).await })
        })
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(
            soon(call).await.expect("no panic").expect("an answer"),
            number as i64 + 1
        );
    }
    let closes: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(async move { client.close().await }))
        .collect();
    for close in closes {
        soon(close).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_hundred_connections_of_python() {
    let (server, port) = serve(calculator()).await;
    let checks = format!(
        r#"
connections = [rpyc.connect("127.0.0.1", {port}) for _ in range(100)]
results = [rpyc.async_(c.root.add)(i, 1) for i, c in enumerate(connections)]
assert [r.value for r in results] == list(range(1, 101))
for c in connections: c.close()
conn.close()
"#
    );
    python_client(port, &checks).await;
    crate::support::until(|| server.connections() == 0).await;
}

/// The one slow test: nothing at all is said for 20 s.
#[tokio::test]
async fn a_python_client_calls_after_20_s_of_silence() {
    let (server, port) = serve(calculator()).await;
    let checks = "
assert conn.root.add(1, 2) == 3
add = conn.root.add
time.sleep(20)
assert add(20, 22) == 42
conn.close()
";
    python_client(port, checks).await;
    assert!(server.drain(Duration::from_secs(20)).await);
}
