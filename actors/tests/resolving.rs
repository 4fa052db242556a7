//! A name whose address changes: whoever connects again asks for it anew.
//!
//! In a network namespace of its own the test is the only name server there is.

#[path = "support/namespace.rs"]
mod namespace;
mod support;

use std::{net::Ipv4Addr, sync::Arc};

use parking_lot::Mutex;
use rpyc_actors::{
    Chain, Channel, Layers, Listener, Received, Runtime, StreamPool, SupervisorConfig,
    pool::PoolConfig,
};
use support::{
    resumed::{listen_on, plain},
    within,
};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
};

const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A name server that gives one address for every name.
#[derive(Clone)]
struct Names(Arc<Mutex<Ipv4Addr>>);

impl Names {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").await.expect("root here");
        let names = Self(Arc::new(Mutex::new(HERE)));
        let own = names.clone();
        tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((size, asker)) = socket.recv_from(&mut question).await {
                let answer = own.answer(&question[..size]);
                // Whoever does not get it asks again.
                let _ = socket.send_to(&answer, asker).await;
            }
        });
        names
    }

    fn point_to(&self, address: Ipv4Addr) {
        *self.0.lock() = address;
    }

    /// RFC 1035, section 4: the question goes back, and behind it one record of class IN, that is not to be kept.
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        const HEADER: usize = 12;
        let name = question[HEADER..].iter().position(|byte| *byte == 0);
        let end = HEADER + name.expect("a name") + 1 + 4;
        let is_for_ipv4 = question[end - 4..end - 2] == [0, 1];
        let mut answer = question[..end].to_vec();
        // An answer without an error; one question, and at most one record.
        answer[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, is_for_ipv4.into(), 0, 0, 0, 0]);
        if is_for_ipv4 {
            // The name is the question's; an address for 0 seconds, of 4 bytes.
            answer.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(self.0.lock().octets());
        }
        answer
    }
}

/// A server on one of the two addresses, and the channels that it accepts.
async fn listen(
    address: Ipv4Addr,
    port: u16,
    layers: &Layers,
) -> (Listener, mpsc::UnboundedReceiver<Channel>) {
    listen_on(
        &format!("tcp://{address}:{port}"),
        layers,
        Runtime::shared(),
    )
    .await
}

fn chain(port: u16, layers: Layers) -> Chain {
    let chain = Chain::to(&format!("tcp://moves.example:{port}"));
    chain.expect("an endpoint").layers(layers)
}

async fn supervisors_ask(names: &Names) {
    const PORT: u16 = 7001;
    let layers = Layers::new();
    let (_here, mut here) = listen(HERE, PORT, &layers).await;
    let (_there, mut there) = listen(THERE, PORT, &layers).await;
    let client = chain(PORT, layers).supervise(SupervisorConfig::default());
    let server = within("a client", here.recv()).await.expect("it listens");
    server.send("here").await.expect("open");
    let first = within("a frame", client.recv()).await.expect("up");
    assert!(matches!(first, Received::Frame(frame) if frame == "here"));
    names.point_to(THERE);
    server.abort();
    let lost = within("a loss", client.recv()).await.expect("up");
    assert!(matches!(lost, Received::Lost(_)), "{lost:?}");
    let server = within("it comes", there.recv()).await.expect("it listens");
    server.send("there").await.expect("open");
    let second = within("a frame", client.recv()).await.expect("up");
    assert!(matches!(second, Received::Frame(frame) if frame == "there"));
    assert!(here.try_recv().is_err(), "it has moved");
}

async fn pools_ask(names: &Names) {
    const PORT: u16 = 7002;
    let layers = Layers::new();
    let (_here, mut here) = listen(HERE, PORT, &layers).await;
    let (_there, mut there) = listen(THERE, PORT, &layers).await;
    let pool = StreamPool::of(chain(PORT, layers), PoolConfig::default().max_size(1));
    let lease = within("dialling", pool.get()).await.expect("it listens");
    drop(within("a client", here.recv()).await.expect("it listens"));
    names.point_to(THERE);
    lease.discard();
    let _lease = within("dialling", pool.get()).await.expect("it listens");
    let _second = within("it comes", there.recv()).await.expect("it listens");
    assert!(here.try_recv().is_err(), "it has moved");
}

/// The server is at the second address all the time; at the first one is a way to it, that is cut.
async fn sessions_ask(names: &Names) {
    const PORT: u16 = 7003;
    let layers = || Layers::new().resume(plain());
    let (listener, mut sessions) = listen(THERE, PORT, &layers()).await;
    let way = TcpListener::bind((HERE, PORT)).await.expect("it is free");
    let dialling = tokio::spawn(async move { chain(PORT, layers()).connect().await });
    let (mut near, _) = within("a link", way.accept()).await.expect("a link");
    let mut far = TcpStream::connect((THERE, PORT)).await.expect("it listens");
    let (cut, is_cut) = tokio::sync::oneshot::channel();
    let carrying = tokio::spawn(async move {
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = is_cut => {}
        }
    });
    let client = within("dialling", dialling).await.expect("no panic");
    let client = client.expect("a way");
    client.send("question").await.expect("open");
    let server = within("a session", sessions.recv())
        .await
        .expect("it listens");
    names.point_to(THERE);
    cut.send(()).expect("it is carried");
    within("the cut", carrying).await.expect("no panic");
    server.send("answer").await.expect("the session lives");
    let answer = within("an answer", client.recv()).await.expect("no loss");
    assert_eq!(answer.as_deref(), Some(&b"answer"[..]));
    assert_eq!(
        listener.stats().accepted,
        2,
        "links, of which one came directly"
    );
    assert!(sessions.try_recv().is_err(), "it is no new session");
}

#[test]
fn a_name_is_resolved_anew_for_each_attempt() {
    let prepare = "conf=$(mktemp) && echo nameserver 127.0.0.1 > $conf && mount --bind $conf /etc/resolv.conf && rm $conf &&";
    if !namespace::inside("a_name_is_resolved_anew_for_each_attempt", prepare) {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let names = Names::start().await;
        supervisors_ask(&names).await;
        names.point_to(HERE);
        pools_ask(&names).await;
        names.point_to(HERE);
        sessions_ask(&names).await;
    });
}
