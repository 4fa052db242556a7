//! Resumable sessions over encryption and TLS: what is changed on the way is noticed, and the session goes on.
#![cfg(all(feature = "encrypt", feature = "tls"))]

#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use certificates::{Ca, Folder};
use rpyc_actors::{
    ConnectionEvent, Key, Layers, StreamError,
    codec::{EncryptConfig, ResumeConfig},
    error::{LossReason, SessionLost},
};
use support::{
    chaos::{Chaos, Cut, Weather},
    resumed::{Line, dial, gaps, listen, receive_all, send_until, storm, storms, watch},
    until, within,
};

fn layers() -> Layers {
    let key = Arc::new(Key::new([1; 32]));
    Layers::new()
        .resume(ResumeConfig::default())
        .encrypt(EncryptConfig::new(key))
}

#[tokio::test]
async fn storm_under_encryption() {
    let line = Line::new(Weather::default(), layers(), layers()).await;
    gaps("encrypted", &line, storms()).await;
    storm("encrypted", &line, storms(), Cut::Reset).await;
}

/// Loads both directions until `enough`, and checks that all arrives. Gives frames and the time they took.
async fn load(line: &Line, enough: impl Fn(u64) -> bool) -> (u64, Duration) {
    const LARGEST: usize = 500;
    let stop = Arc::new(AtomicBool::new(false));
    let passed = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let tasks = [
        tokio::spawn(send_until(line.client.clone(), 1, LARGEST, stop.clone())),
        tokio::spawn(send_until(line.server.clone(), 2, LARGEST, stop.clone())),
        tokio::spawn(receive_all(line.server.clone(), 1, LARGEST, passed.clone())),
        tokio::spawn(receive_all(line.client.clone(), 2, LARGEST, passed.clone())),
    ];
    until("enough", || enough(passed.load(Ordering::Relaxed))).await;
    let result = (passed.load(Ordering::Relaxed), began.elapsed());
    // The rest arrives in fair weather.
    line.chaos.weather(Weather::default());
    stop.store(true, Ordering::Relaxed);
    let mut counts = Vec::new();
    for task in tasks {
        counts.push(within("the end", task).await.expect("no panic"));
    }
    assert_eq!(counts[..2], counts[2..], "frames sent and received");
    result
}

/// Loads a session in weather that spoils what passes, until there was enough of that.
async fn spoiled(weather: Weather, name: &str, count: fn(&Chaos) -> u64) {
    let line = Line::new(Weather::default(), layers(), layers()).await;
    let (_watcher, mut events) = watch(&line.client).await;
    line.chaos.weather(weather);
    line.chaos.cut(Cut::Reset);
    let began = Instant::now();
    let due = storms().min(200);
    let (frames, time) = load(&line, |_| {
        count(&line.chaos) >= due || began.elapsed() > Duration::from_secs(20)
    })
    .await;
    let done = count(&line.chaos);
    assert!(done >= due.min(5), "{done}");
    let lost = std::iter::from_fn(|| events.try_recv().ok())
        .filter(|event| matches!(event, ConnectionEvent::Detached { .. }))
        .count();
    assert!(lost > 1, "only the link that the test cut was lost");
    eprintln!("{done} {name}, {frames} frames in {time:?} over {lost} links");
}

#[tokio::test]
async fn flipped_bits_are_noticed_and_the_session_goes_on() {
    let weather = Weather {
        flip_one_in: 300_000,
        ..Weather::default()
    };
    spoiled(weather, "flipped bits", Chaos::flips).await;
}

#[tokio::test]
async fn doubled_bytes_are_noticed_and_the_session_goes_on() {
    let weather = Weather {
        double_one_in: 300_000,
        ..Weather::default()
    };
    spoiled(weather, "runs of bytes sent twice", Chaos::doubles).await;
}

#[tokio::test]
async fn links_that_live_for_30_ms_make_progress() {
    let lives = Duration::from_millis(10)..=Duration::from_millis(50);
    for (name, layers) in [
        (
            "plain",
            (|| Layers::new().resume(support::resumed::plain())) as fn() -> Layers,
        ),
        ("encrypted", layers as fn() -> Layers),
    ] {
        let line = Line::new(Weather::default(), layers(), layers()).await;
        line.chaos.weather(Weather {
            lives: Some(lives.clone()),
            ..Weather::default()
        });
        line.chaos.cut(Cut::Reset);
        let began = Instant::now();
        let (frames, time) = load(&line, |_| began.elapsed() > Duration::from_secs(2)).await;
        let rate = frames as f64 / time.as_secs_f64();
        let cuts = line.chaos.cuts();
        eprintln!("{name}: {cuts} links of 30 ms on average, {rate:.0} frames/s");
        assert!(cuts > 10, "{cuts}");
        assert!(rate >= 1000.0, "{name}: {rate:.0} frames/s");
    }
}

#[tokio::test]
async fn sessions_go_on_over_tls() {
    let folder = Folder::new();
    let ca = Ca::new(&folder, "ca");
    let server = ca.issue("server", &["localhost"]);
    let layers = || Layers::new().resume(ResumeConfig::default());
    let endpoint = format!(
        "tls://127.0.0.1:0?cert={}&key={}",
        server.certificate.display(),
        server.key.display()
    );
    let far_layers = layers();
    let (listener, mut accepted) = listen(&endpoint, &far_layers).await;
    let chaos = Chaos::before(listener.port().expect("TCP"), 7, Weather::default()).await;
    let endpoint = format!(
        "tls://127.0.0.1:{}?ca={}&name=localhost",
        chaos.port(),
        ca.certificate.display()
    );
    let client = dial(&endpoint, layers()).await.expect("the proxy listens");
    let far = within("a session", accepted.recv())
        .await
        .expect("it listens");
    let line = Line {
        client,
        server: far,
        chaos,
        layers: far_layers,
        listener,
        accepted,
    };
    gaps("TLS", &line, storms().min(100)).await;
    storm("TLS", &line, storms().min(100), Cut::Reset).await;
}

#[tokio::test]
async fn a_wrong_key_is_told_before_long() {
    let line = Line::new(Weather::default(), layers(), layers()).await;
    let other = Layers::new()
        .resume(ResumeConfig::default())
        .encrypt(EncryptConfig::new(Arc::new(Key::new([2; 32]))));
    let endpoint = format!("tcp://127.0.0.1:{}", line.listener.port().expect("TCP"));
    let channel = dial(&endpoint, other).await.expect("TCP connects");
    let error = within("the refusal", channel.recv())
        .await
        .expect_err("refused");
    assert!(matches!(error, StreamError::ConnectionLost(_)), "{error}");
}

#[tokio::test]
async fn a_session_ends_when_the_server_comes_back_with_other_terms() {
    let line = Line::new(Weather::default(), layers(), layers()).await;
    let port = line.listener.port().expect("TCP");
    line.listener.stop();
    within("stopping", line.listener.stopped()).await;
    let without = Layers::new().encrypt(EncryptConfig::new(Arc::new(Key::new([1; 32]))));
    let (_other, _accepted) = listen(&format!("tcp://127.0.0.1:{port}"), &without).await;
    line.chaos.cut(Cut::Reset);
    // Long before `linger` is over.
    let error = within("the refusal", line.client.recv())
        .await
        .expect_err("refused");
    let StreamError::ConnectionLost(lost) = &error else {
        panic!("{error}");
    };
    let LossReason::SessionLost(SessionLost::Fault(why)) = &lost.reason else {
        panic!("{error}");
    };
    assert!(matches!(**why, StreamError::Encryption(_)), "{why}");
}
