//! How many sessions without a link a server keeps, and which of them has to go.

mod support;

use rpyc_actors::{Channel, Layers, error::SessionLost};
use support::{
    chaos::{Chaos, Cut, Weather},
    resumed::{dial, exchange, listen, plain, session_lost},
    until, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

/// A session over a proxy of its own, in use, by both its ends.
async fn session(
    port: u16,
    accepted: &mut mpsc::UnboundedReceiver<Channel>,
) -> (Chaos, Channel, Channel) {
    let chaos = Chaos::before(port, 1, Weather::default()).await;
    let endpoint = format!("tcp://127.0.0.1:{}", chaos.port());
    let client = dial(&endpoint, Layers::new().resume(plain()))
        .await
        .expect("the proxy listens");
    let far = within("a session", accepted.recv())
        .await
        .expect("it listens");
    exchange(&client, &far).await;
    (chaos, client, far)
}

/// The session loses its link, and finds no other.
fn cut_off(chaos: &Chaos) {
    chaos.weather(Weather {
        stillborn: true,
        ..Weather::default()
    });
    chaos.cut(Cut::Reset);
}

#[tokio::test]
async fn of_too_many_sessions_without_a_link_the_oldest_goes() {
    let server = Layers::new().resume(plain().max_detached(2, 1 << 30));
    let (listener, mut accepted) = listen("tcp://127.0.0.1:0", &server).await;
    let port = listener.port().expect("TCP");
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(session(port, &mut accepted).await);
    }
    for (number, (chaos, _, _)) in lines.iter().enumerate() {
        cut_off(chaos);
        let due = (number + 1).min(2);
        until("the server notices", || {
            let stats = server.sessions();
            stats.detached == due && stats.evicted == u64::from(number == 2)
        })
        .await;
    }
    let why = session_lost(&lines[0].2).await;
    assert!(matches!(why, SessionLost::Evicted), "{why}");
    for (chaos, _, _) in &lines {
        chaos.weather(Weather::default());
    }
    let why = session_lost(&lines[0].1).await;
    assert!(matches!(why, SessionLost::Unknown), "{why}");
    for (_, client, far) in &lines[1..] {
        exchange(client, far).await;
    }
}

/// Each costs whoever asks for it a connection of 20 bytes.
#[tokio::test]
async fn whoever_leaves_sessions_behind_pushes_out_its_own() {
    let server = Layers::new().resume(plain().max_detached(2, 1 << 30));
    let (listener, mut accepted) = listen("tcp://127.0.0.1:0", &server).await;
    let port = listener.port().expect("TCP");
    let (chaos, client, far) = session(port, &mut accepted).await;
    cut_off(&chaos);
    until("the server notices", || server.sessions().detached == 1).await;
    for number in 0..5 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind(([127, 0, 0, 2], 0).into())
            .expect("all of 127.0.0.0/8 is this machine");
        let mut stranger = within("connecting", socket.connect(([127, 0, 0, 1], port).into()))
            .await
            .expect("it listens");
        let ask = b"\x01\0\x0drpyR\x01\0\0\0\0\0\0\0\0\x02\0\0";
        stranger.write_all(ask).await.expect("it reads");
        stranger.read_u8().await.expect("an answer");
        drop(stranger);
        until("the server notices", || {
            let stats = server.sessions();
            stats.detached == 2 && stats.evicted == number || stats.evicted > number
        })
        .await;
    }
    chaos.weather(Weather::default());
    exchange(&client, &far).await;
    until("only the last stranger waits", || {
        let stats = server.sessions();
        (stats.alive, stats.detached, stats.evicted) == (2, 1, 4)
    })
    .await;
}

#[tokio::test]
async fn of_sessions_that_hold_too_much_without_a_link_the_oldest_goes() {
    const LARGE: usize = 100_000;
    let server = Layers::new().resume(plain().max_detached(100, LARGE * 3 / 2));
    let (listener, mut accepted) = listen("tcp://127.0.0.1:0", &server).await;
    let port = listener.port().expect("TCP");
    let (first, second) = (
        session(port, &mut accepted).await,
        session(port, &mut accepted).await,
    );
    for (number, (chaos, _, far)) in [&first, &second].into_iter().enumerate() {
        cut_off(chaos);
        until("the server notices", || {
            server.sessions().detached == number + 1
        })
        .await;
        far.send(vec![7; LARGE]).await.expect("there is room");
        until("it is counted", || {
            let stats = server.sessions();
            stats.detached_bytes >= LARGE && stats.evicted == number as u64
        })
        .await;
    }
    let stats = server.sessions();
    assert!(stats.detached == 1 && stats.detached_bytes <= LARGE * 3 / 2);
    let why = session_lost(&first.2).await;
    assert!(matches!(why, SessionLost::Evicted), "{why}");
    // The other one has all that it was sent.
    let (chaos, client, _) = &second;
    chaos.weather(Weather::default());
    let frame = within("the frame", client.recv()).await.expect("no loss");
    assert_eq!(frame.as_deref(), Some(&[7; LARGE][..]));
}
