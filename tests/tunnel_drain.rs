//! How `rpyc tunnel` stops: what it has taken goes on until it has ended, whatever happens to its links meanwhile.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/run.rs"]
mod run;
#[path = "support/tunnels.rs"]
mod tunnels;
#[path = "support/unrest.rs"]
mod unrest;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rpyc_actors::{
    Chain, ConnectionEvent, Layers, StreamError,
    error::{LossReason, SessionLost},
};
use tunnels::{End, Target, Ways, bounded};
use unrest::{
    chaos::{Chaos, Cut, Weather},
    resumed::watch,
    within,
};

/// Carries one connection to a port, once it is told to.
fn gate_before(target: u16) -> (u16, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (open, opened) = mpsc::channel();
    thread::spawn(move || {
        let (near, _) = listener.accept().expect("a connection");
        let far = TcpStream::connect(("127.0.0.1", target)).expect("it listens");
        opened.recv().expect("the test lives");
        for (from, to) in [(&near, &far), (&far, &near)] {
            bounded(from);
            let clone = |socket: &TcpStream| socket.try_clone().expect("a descriptor");
            let (mut from, mut to) = (clone(from), clone(to));
            thread::spawn(move || {
                // However it ends, the test sees it at the other ends.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    (port, open)
}

#[test]
fn a_connection_that_still_shakes_hands_is_drained() {
    let ways = Ways::new();
    for way in [ways.tls(), ways.encrypt()] {
        let target = Target::new();
        let mut server = way.server(&target.endpoint(), &[]);
        let before = server.descriptors();
        let (port, open) = gate_before(server.port());
        let client = way.client(port, &[]);
        let mut near = client.connect();
        let until = Instant::now() + run::PATIENCE;
        while server.descriptors() == before {
            assert!(Instant::now() < until, "it accepts nothing");
            thread::sleep(Duration::from_millis(2));
        }
        server.signal("TERM");
        server.says("draining");
        open.send(()).expect("the gate stands");
        near.write_all(b"question").expect("sent");
        near.shutdown(Shutdown::Write).expect("ended");
        let (mut far, mut question) = (target.accept(), String::new());
        far.read_to_string(&mut question).expect("an orderly end");
        assert_eq!(question, "question", "{}", way.name);
        far.write_all(b"answer").expect("sent");
        drop(far);
        let mut answer = String::new();
        near.read_to_string(&mut answer).expect("an orderly end");
        assert_eq!(answer, "answer", "{}", way.name);
        assert_eq!(server.ended().code(), Some(0), "{}", way.name);
        assert!(!server.said().contains("cut off"), "{}", server.said());
    }
}

// The test itself plays the target, with sockets that block.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_comes_back_to_a_server_that_drains_and_nobody_new_does() {
    let layers = || Layers::parse(["resume:insecure"]).expect("a layer");
    let target = Target::new();
    let (to, listen) = (target.endpoint(), "tcp://127.0.0.1:0");
    let arguments = ["server", "--listen", listen, "--to", &to];
    let mut server = End::start(&[&arguments[..], &["--layer", "resume:insecure"]].concat());
    let chaos = Chaos::before(server.port(), 7, Weather::default()).await;
    let chain = Chain::to(&format!("tcp://127.0.0.1:{}", chaos.port()))
        .expect("an endpoint")
        .layers(layers());
    let channel = within("connecting", chain.connect()).await.expect("a way");
    // As the other end of a tunnel would: a frame is a piece of the stream, and an empty one its end.
    channel.send("question").await.expect("accepted");
    let mut far = target.accept();
    let mut question = [0; 8];
    far.read_exact(&mut question).expect("it comes");
    let (_watcher, mut events) = watch(&channel).await;

    chaos.weather(Weather {
        stillborn: true,
        ..Weather::default()
    });
    chaos.cut(Cut::Reset);
    let event = within("a loss", events.recv()).await;
    assert!(
        matches!(event, Some(ConnectionEvent::Detached { .. })),
        "{event:?}"
    );
    server.signal("TERM");
    server.says("draining");
    chaos.weather(Weather::default());
    let event = within("a way back", events.recv()).await;
    assert!(
        matches!(event, Some(ConnectionEvent::Resumed { .. })),
        "{event:?}"
    );
    let event = within("a word", events.recv()).await;
    assert!(
        matches!(event, Some(ConnectionEvent::GoingAway { .. })),
        "{event:?}"
    );

    let newcomer = within("connecting", chain.connect()).await.expect("a way");
    let refused = within("an answer", newcomer.recv()).await;
    let Err(StreamError::ConnectionLost(lost)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(lost.reason, LossReason::SessionLost(SessionLost::PeerGoing)),
        "{lost}"
    );

    far.write_all(b"answer").expect("sent");
    drop(far);
    for expected in ["answer", ""] {
        let frame = within("an answer", channel.recv()).await.expect("no loss");
        assert_eq!(frame.as_deref(), Some(expected.as_bytes()));
    }
    channel.send("").await.expect("accepted");
    channel.finish().expect("accepted");
    let end = within("an end", channel.recv()).await.expect("no loss");
    assert_eq!(end, None);
    assert_eq!(server.ended().code(), Some(0));
    assert!(!server.said().contains("cut off"), "{}", server.said());
}
