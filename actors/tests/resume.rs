//! Resumable sessions over real sockets, in fair weather and in foul.

mod support;

use std::time::{Duration, Instant};

use rpyc_actors::{
    Channel, ConnectionEvent, Layers, Runtime, StreamError,
    codec::{Liveness, ResumeConfig},
    error::SessionLost,
};
use support::{
    chaos::{Chaos, Cut, Weather},
    resumed::{
        Line, dial, exchange, gaps, listen, listen_on, numbered, plain, session_lost, storm,
        storms, watch,
    },
    until, within,
};

#[tokio::test]
async fn frames_pass_and_both_ends_close_in_order() {
    let line = Line::plain(Weather::default()).await;
    exchange(&line.client, &line.server).await;
    within("a flush", line.client.flush())
        .await
        .expect("acknowledged");
    line.client.finish().expect("open");
    assert!(
        within("the end", line.server.recv())
            .await
            .expect("no loss")
            .is_none()
    );
    line.server
        .send("last")
        .await
        .expect("this direction is open");
    within("closing", line.server.close())
        .await
        .expect("acknowledged");
    let last = within("the last", line.client.recv())
        .await
        .expect("no loss");
    assert_eq!(last.as_deref(), Some(&b"last"[..]));
    assert!(
        within("the end", line.client.recv())
            .await
            .expect("no loss")
            .is_none()
    );
    until("the server forgets", || line.layers.sessions().alive == 0).await;
}

#[tokio::test]
async fn a_cut_in_either_way_is_not_noticed_above() {
    let line = Line::plain(Weather::default()).await;
    for cut in [Cut::Reset, Cut::Finish, Cut::Reset, Cut::Finish] {
        exchange(&line.client, &line.server).await;
        line.chaos.cut(cut);
    }
    exchange(&line.client, &line.server).await;
    assert!(line.chaos.cuts() >= 4);
    assert_eq!(line.layers.sessions().alive, 1);
}

/// From now on connections are made and cut at once.
fn acknowledge_nothing(line: &Line) {
    line.chaos.weather(Weather {
        stillborn: true,
        ..Weather::default()
    });
    line.chaos.cut(Cut::Reset);
}

#[tokio::test]
async fn a_flush_waits_for_the_peer() {
    let line = Line::plain(Weather::default()).await;
    exchange(&line.client, &line.server).await;
    acknowledge_nothing(&line);
    line.client.send("kept").await.expect("it waits");
    let flush = line.client.flush();
    tokio::pin!(flush);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut flush).await;
    assert!(early.is_err(), "flushed without a peer");
    line.chaos.weather(Weather::default());
    within("the flush", flush).await.expect("acknowledged");
    let kept = within("the frame", line.server.recv())
        .await
        .expect("no loss");
    assert_eq!(kept.as_deref(), Some(&b"kept"[..]));
}

#[tokio::test]
async fn whoever_sends_waits_while_nothing_is_acknowledged() {
    let line = Line::plain(Weather::default()).await;
    exchange(&line.client, &line.server).await;
    acknowledge_nothing(&line);
    let mut sent = 0;
    let frame = || vec![7; 10_000];
    while let Ok(sending) =
        tokio::time::timeout(Duration::from_millis(300), line.client.send(frame())).await
    {
        sending.expect("the session lives");
        sent += 1;
        assert!(sent <= 105, "more than 1 MiB is kept");
    }
    assert!(sent >= 80, "{sent} frames of 10 kB are not 1 MiB");
    line.chaos.weather(Weather::default());
    for _ in 0..sent {
        let frame = within("a frame", line.server.recv())
            .await
            .expect("no loss");
        assert_eq!(frame.map(|frame| frame.len()), Some(10_000));
    }
}

#[tokio::test]
async fn two_full_directions_do_not_wait_for_each_other() {
    let line = Line::plain(Weather::default()).await;
    let full = |channel: Channel| async move {
        for _ in 0..400 {
            channel
                .send(vec![1; 16_000])
                .await
                .expect("the session lives");
        }
    };
    let drain = |channel: Channel| async move {
        for _ in 0..400 {
            let frame = channel.recv().await.expect("no loss").expect("a frame");
            assert_eq!(frame.len(), 16_000);
        }
    };
    let sending = [full(line.client.clone()), full(line.server.clone())].map(tokio::spawn);
    // Both are stuck before anybody takes anything.
    tokio::time::sleep(Duration::from_millis(100)).await;
    line.chaos.cut(Cut::Reset);
    let taking = [drain(line.client.clone()), drain(line.server.clone())].map(tokio::spawn);
    for task in sending.into_iter().chain(taking) {
        within("both directions", task).await.expect("no panic");
    }
}

#[tokio::test]
async fn a_frame_larger_than_the_window_arrives_over_many_links() {
    let line = Line::plain(Weather {
        cut_after: Some(200_000..=900_000),
        ..Weather::default()
    })
    .await;
    let frame = numbered(3, 0, 8 << 20);
    line.client
        .send(frame.clone())
        .await
        .expect("the session lives");
    let came = within("the frame", line.server.recv())
        .await
        .expect("no loss");
    assert!(came.expect("a frame") == frame);
}

#[tokio::test]
async fn plain_tcp_is_refused_unless_it_is_wanted() {
    let secure = Layers::new().resume(ResumeConfig::default());
    let (listener, _accepted) = listen("tcp://127.0.0.1:0", &secure).await;
    let endpoint = format!("tcp://127.0.0.1:{}", listener.port().expect("TCP"));
    let error = dial(&endpoint, secure).await.expect_err("it is not secure");
    assert!(matches!(error, StreamError::ApiMisuse(_)), "{error}");
    // A client that would is refused by the server.
    let channel = dial(&endpoint, Layers::new().resume(plain()))
        .await
        .expect("TCP connects");
    let why = session_lost(&channel).await;
    assert!(
        matches!(why, SessionLost::PeerRefused { reason: 2 }),
        "{why}"
    );
}

#[tokio::test]
async fn a_unix_socket_needs_no_encryption() {
    let layers = || Layers::new().resume(ResumeConfig::default());
    let folder = std::env::temp_dir().join(format!("rpyc-resume-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a place for the socket");
    let endpoint = format!("unix:{}", folder.join("socket").display());
    let (listener, mut accepted) = listen(&endpoint, &layers()).await;
    let client = dial(&endpoint, layers()).await.expect("it listens");
    let server = within("a session", accepted.recv())
        .await
        .expect("it listens");
    exchange(&client, &server).await;
    listener.stop();
    within("stopping", listener.stopped()).await;
    std::fs::remove_dir_all(folder).expect("it was made here");
}

#[tokio::test]
async fn a_server_that_was_started_again_is_told_from_the_one_before() {
    let layers = || Layers::new().resume(plain());
    let line = Line::plain(Weather::default()).await;
    exchange(&line.client, &line.server).await;
    // Another server takes the port: it knows nothing.
    let port = line.listener.port().expect("TCP");
    line.listener.stop();
    within("stopping", line.listener.stopped()).await;
    let (_other, mut accepted) = listen(&format!("tcp://127.0.0.1:{port}"), &layers()).await;
    line.chaos.cut(Cut::Reset);
    line.client.send("who hears this?").await.expect("it waits");
    let why = session_lost(&line.client).await;
    assert!(matches!(why, SessionLost::Unknown), "{why}");
    assert!(accepted.try_recv().is_err(), "a session from nowhere");
}

#[tokio::test]
async fn a_client_that_is_gone_for_too_long_is_lost_at_the_server() {
    let linger = Duration::from_millis(300);
    let server = Layers::new().resume(plain().linger(linger));
    let client = Layers::new().resume(plain().linger(linger));
    let line = Line::new(Weather::default(), client, server).await;
    exchange(&line.client, &line.server).await;
    acknowledge_nothing(&line);
    for end in [&line.client, &line.server] {
        let why = session_lost(end).await;
        assert!(matches!(why, SessionLost::LingerOver { .. }), "{why}");
    }
    until("the server forgets", || line.layers.sessions().alive == 0).await;
}

#[tokio::test]
async fn an_abort_is_told_to_the_peer() {
    let line = Line::plain(Weather::default()).await;
    exchange(&line.client, &line.server).await;
    line.client.abort();
    let why = session_lost(&line.server).await;
    assert!(matches!(why, SessionLost::PeerAborted), "{why}");
}

#[tokio::test]
async fn channels_over_a_bare_stream_are_refused() {
    let (stream, _peer) = support::stream_and_peer(rpyc_actors::TcpConfig::default()).await;
    let channel = Layers::new().resume(plain()).channel(stream);
    let error = within("the refusal", channel.recv())
        .await
        .expect_err("refused");
    assert!(matches!(error, StreamError::ApiMisuse(_)), "{error}");
}

#[tokio::test]
async fn watchers_are_told_of_lost_links_and_of_new_ones() {
    let line = Line::plain(Weather::default()).await;
    exchange(&line.client, &line.server).await;
    let (_watcher, mut events) = watch(&line.client).await;
    for lost in 1..4 {
        line.chaos.cut(Cut::Reset);
        match within("an event", events.recv()).await {
            Some(ConnectionEvent::Detached { generation, .. }) => assert_eq!(generation, lost),
            other => panic!("{other:?}"),
        }
        match within("an event", events.recv()).await {
            Some(ConnectionEvent::Resumed { generation, .. }) => assert_eq!(generation, lost + 1),
            other => panic!("{other:?}"),
        }
    }
    exchange(&line.client, &line.server).await;
}

#[tokio::test]
async fn a_server_that_goes_away_says_so_and_goes_on_until_then() {
    let line = Line::plain(Weather::default()).await;
    exchange(&line.client, &line.server).await;
    let (_watcher, mut events) = watch(&line.client).await;
    line.layers.go_away();
    match within("an event", events.recv()).await {
        Some(ConnectionEvent::GoingAway { .. }) => {}
        other => panic!("{other:?}"),
    }
    exchange(&line.client, &line.server).await;
}

/// A connection that comes back may be accepted on another arbiter than its session's.
#[tokio::test]
async fn connections_of_other_arbiters_are_bridged() {
    let layers = || Layers::new().resume(plain());
    let runtime = Runtime::start(2).expect("threads");
    let (listener, mut accepted) = listen_on("tcp://127.0.0.1:0", &layers(), runtime).await;
    let port = listener.port().expect("TCP");
    let chaos = Chaos::before(port, 7, Weather::default()).await;
    let endpoint = format!("tcp://127.0.0.1:{}", chaos.port());
    let client = dial(&endpoint, layers()).await.expect("it listens");
    let server = within("a session", accepted.recv())
        .await
        .expect("it listens");
    let echo = server.clone();
    assert!(server.arbiter().spawn(async move {
        while let Ok(Some(frame)) = echo.recv().await {
            // Whoever asked may be gone.
            let _ = echo.send(frame).await;
        }
    }));
    for round in 0..4 {
        let mut times = Vec::new();
        for _ in 0..300 {
            let asked = Instant::now();
            client.send("ping").await.expect("the session lives");
            let answer = within("an answer", client.recv()).await.expect("no loss");
            assert!(answer.is_some());
            times.push(asked.elapsed());
        }
        times.sort();
        // Arbiters take turns, so every other connection comes to the session's own.
        eprintln!("connection {round}: a round trip takes {:?}", times[150]);
        chaos.cut(Cut::Reset);
    }
}

#[tokio::test]
async fn storm_of_resets() {
    let line = Line::plain(Weather::default()).await;
    storm("resets", &line, storms(), Cut::Reset).await;
}

#[tokio::test]
async fn storm_of_ends() {
    let line = Line::plain(Weather::default()).await;
    storm("ends", &line, storms(), Cut::Finish).await;
}

#[tokio::test]
async fn storm_of_holes() {
    // Nobody is told, so each end has to notice the silence.
    let quick = || plain().liveness(Liveness::new(Duration::from_millis(300)));
    let layers = || Layers::new().resume(quick());
    let line = Line::new(Weather::default(), layers(), layers()).await;
    storm("holes", &line, storms().min(5), Cut::BlackHole).await;
}

#[tokio::test]
async fn storm_of_small_and_late_pieces() {
    for (name, write, delay) in [
        ("small pieces", 1..=7, Duration::ZERO),
        ("late pieces", 1..=1400, Duration::from_millis(1)),
    ] {
        let weather = Weather {
            write,
            delay,
            ..Weather::default()
        };
        let line = Line::plain(weather).await;
        storm(name, &line, storms().min(10), Cut::Reset).await;
    }
}

#[tokio::test]
async fn behind_a_cut_frames_arrive_soon() {
    let line = Line::plain(Weather::default()).await;
    gaps("plain", &line, storms()).await;
}
