//! Many threads, many connections, and long silence.

use bytes::Bytes;
use rpyc::{Connection, Server, ServerConfig};

use crate::{
    clients::calculator,
    python::{Peer, Script},
    streams,
    support::{blocking, python_client, python_server, socket_path, soon},
};

const THREADS: i64 = 10;
const CALLS: i64 = 100;

#[tokio::test]
async fn ten_threads_share_a_connection_to_python() {
    streams::to_python(ten_threads_share).await;
}

async fn ten_threads_share(client: &Connection) {
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
}

#[tokio::test]
async fn ten_python_threads_share_a_connection_to_rust() {
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
    streams::of_python(calculator, checks).await;
}

/// Over TCP and unix sockets: pipes have room for one.
#[tokio::test]
async fn a_hundred_connections_to_python() {
    let server = python_server();
    hundred(&format!("tcp://127.0.0.1:{}", server.port())).await;
    let path = socket_path();
    let text = path.to_str().expect("the path is UTF-8");
    let server = Peer::start(Script::File("server.py"), &["--unix", text]);
    hundred(&format!("unix:{}", server.ready())).await;
    drop(server);
    // The server was killed, so its socket file is ours to remove.
    let _ = std::fs::remove_file(path);
}

async fn hundred(endpoint: &str) {
    let mut clients: Vec<Connection> = Vec::new();
    for _ in 0..100 {
        let client = soon(rpyc::connect_endpoint(endpoint)).await;
        clients.push(client.expect("the server listens"));
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
    let path = socket_path();
    let path = path.to_str().expect("the path is UTF-8");
    let endpoints = ["tcp://127.0.0.1:0", &format!("unix:{path}")];
    let endpoints = endpoints.map(|text| text.parse().expect("an endpoint"));
    let server = Server::bind_with(&endpoints, calculator(), ServerConfig::default())
        .await
        .expect("nobody else listens there");
    let port = server.port().expect("it listens on TCP");
    let checks = format!(
        r#"
for connect in (lambda: rpyc.connect("127.0.0.1", {port}), lambda: rpyc.utils.factory.unix_connect({path:?})):
    connections = [connect() for _ in range(100)]
    results = [rpyc.async_(c.root.add)(i, 1) for i, c in enumerate(connections)]
    assert [r.value for r in results] == list(range(1, 101))
    for c in connections: c.close()
conn.close()
"#
    );
    python_client(port, &checks).await;
    crate::support::until(|| server.connections() == 0).await;
}

/// 64 MB of calls are under way at once; the server answers one after the other.
#[tokio::test]
async fn sixty_four_megabytes_of_calls_to_python() {
    streams::to_python(async |client| {
        let data = Bytes::from(vec![7; 500_000]);
        let calls: Vec<_> = (0..128)
            .map(|_| {
                let (client, data) = (client.clone(), data.clone());
                tokio::spawn(async move { client.call::<Bytes>("echo", (data,)).await })
            })
            .collect();
        for call in calls {
            let echoed = soon(call).await.expect("no panic").expect("an answer");
            assert!(echoed == data, "it came back as it went");
        }
    })
    .await;
}

/// The one slow test: nothing at all is said for 20 s, on any kind of stream.
#[tokio::test]
async fn a_python_client_calls_after_20_s_of_silence() {
    let checks = "
assert conn.root.add(1, 2) == 3
add = conn.root.add
time.sleep(20)
assert add(20, 22) == 42
conn.close()
";
    streams::of_python(calculator, checks).await;
}
