//! The proxy that breaks connections does what it says; without that, tests that use it would prove nothing.

mod support;

use std::{io, time::Duration};

use support::{
    chaos::{Chaos, Cut, Weather},
    until, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server that sends back what it gets.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = socket.into_split();
                // A connection that is cut ends here.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

async fn chaos(weather: Weather) -> Chaos {
    Chaos::before(echo().await, 7, weather).await
}

async fn dial(chaos: &Chaos) -> TcpStream {
    TcpStream::connect(("127.0.0.1", chaos.port()))
        .await
        .expect("the proxy listens")
}

/// Sends `sent`, and gives what comes back until the end, with how that came.
async fn echoed(chaos: &Chaos, sent: &[u8]) -> (Vec<u8>, io::Result<usize>) {
    let (mut from, mut to) = dial(chaos).await.into_split();
    let mut back = Vec::new();
    let ((), end) = within("an echo", async {
        tokio::join!(
            async {
                // What is cut cannot be written.
                let _ = to.write_all(sent).await;
                let _ = to.shutdown().await;
            },
            from.read_to_end(&mut back)
        )
    })
    .await;
    (back, end)
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = support::Random(1);
    (0..bytes).map(|_| random.next() as u8).collect()
}

#[tokio::test]
async fn fair_weather_passes_all_on() {
    let chaos = chaos(Weather::default()).await;
    let sent = noise(1 << 20);
    let (back, end) = echoed(&chaos, &sent).await;
    end.expect("an orderly end");
    assert!(back == sent);
    assert_eq!(
        (chaos.connections(), chaos.cuts(), chaos.flips()),
        (1, 0, 0)
    );
}

#[tokio::test]
async fn small_pieces_and_delays_change_no_byte() {
    let chaos = chaos(Weather {
        write: 1..=7,
        delay: Duration::from_micros(1),
        ..Weather::default()
    })
    .await;
    let sent = noise(300);
    let (back, end) = echoed(&chaos, &sent).await;
    end.expect("an orderly end");
    assert!(back == sent);
}

#[tokio::test]
async fn flips_change_single_bits() {
    let chaos = chaos(Weather {
        flip_one_in: 100,
        ..Weather::default()
    })
    .await;
    let sent = noise(100_000);
    let (back, end) = echoed(&chaos, &sent).await;
    end.expect("an orderly end");
    assert_eq!(back.len(), sent.len());
    let changed = back.iter().zip(&sent).filter(|(a, b)| a != b).count();
    assert!((1_000..3_000).contains(&changed), "{changed}");
    assert!(chaos.flips() >= changed as u64);
}

#[tokio::test]
async fn doubled_runs_stand_where_they_were_sent_first() {
    let weather = Weather {
        write: 1_000..=1_000,
        double_one_in: 10_000,
        ..Weather::default()
    };
    let chaos = chaos(weather).await;
    let sent = noise(100_000);
    let (back, end) = echoed(&chaos, &sent).await;
    end.expect("an orderly end");
    let doubles = chaos.doubles();
    assert!((5..60).contains(&doubles), "{doubles}");
    assert!(back.len() > sent.len(), "{}", back.len());
    // What came is what was sent, with runs in between that stood right in front of themselves.
    let mut at = 0;
    let mut runs = 0;
    let mut rest = &back[..];
    while !rest.is_empty() {
        let same = rest.iter().zip(&sent[at..]).take_while(|(a, b)| a == b);
        let same = same.count();
        (at, rest) = (at + same, &rest[same..]);
        if !rest.is_empty() {
            let known = &rest[..8.min(rest.len())];
            let from = at.saturating_sub(3_000);
            let near = &sent[from..(at + known.len() - 1).min(sent.len())];
            let again = near.windows(known.len()).rposition(|run| run == known);
            at = from + again.expect("a run that was sent before");
            runs += 1;
        }
    }
    assert_eq!(at, sent.len());
    assert!(runs > 0);
}

#[tokio::test]
async fn a_direction_is_cut_after_its_bytes_the_same_way_each_time() {
    let weather = Weather {
        cut_after: Some(1_000..=5_000),
        cut: Cut::Finish,
        ..Weather::default()
    };
    let mut lengths = Vec::new();
    for _ in 0..2 {
        let chaos = chaos(weather.clone()).await;
        let mut runs = Vec::new();
        for _ in 0..10 {
            // One piece at a time, so that the way there, with its own count, is what is cut.
            let mut socket = dial(&chaos).await;
            let mut bytes = 0;
            let mut piece = [0; 10];
            while socket.write_all(&piece).await.is_ok()
                && within("an echo", socket.read_exact(&mut piece))
                    .await
                    .is_ok()
            {
                bytes += piece.len();
            }
            assert!((990..=5_000).contains(&bytes), "{bytes}");
            runs.push(bytes);
        }
        assert_eq!(chaos.cuts(), 10);
        lengths.push(runs);
    }
    assert_eq!(lengths[0], lengths[1]);
    assert!(lengths[0].iter().any(|bytes| *bytes != lengths[0][0]));
}

#[tokio::test]
async fn a_reset_is_seen_as_one() {
    let chaos = chaos(Weather::default()).await;
    let mut socket = dial(&chaos).await;
    let mut byte = [7];
    socket.write_all(&byte).await.expect("open");
    within("an echo", socket.read_exact(&mut byte))
        .await
        .expect("open");
    chaos.cut(Cut::Reset);
    let error = within("the reset", socket.read_exact(&mut byte))
        .await
        .expect_err("cut");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // Later connections are not cut by it.
    let (back, _) = echoed(&chaos, b"later").await;
    assert_eq!(back, b"later");
}

#[tokio::test]
async fn a_life_is_over_in_time() {
    let life = Duration::from_millis(20);
    let chaos = chaos(Weather {
        lives: Some(life..=life * 2),
        ..Weather::default()
    })
    .await;
    let started = std::time::Instant::now();
    let mut socket = dial(&chaos).await;
    let end = within("the cut", socket.read_u8()).await;
    assert_eq!(end.expect_err("cut").kind(), io::ErrorKind::ConnectionReset);
    assert!(started.elapsed() >= life);
}

#[tokio::test]
async fn a_hole_says_nothing() {
    let chaos = chaos(Weather::default()).await;
    let mut socket = dial(&chaos).await;
    socket.write_all(&[7]).await.expect("open");
    within("an echo", socket.read_u8()).await.expect("open");
    chaos.cut(Cut::BlackHole);
    until("the connection is in the hole", || chaos.cuts() == 1).await;
    socket.write_all(&[7]).await.expect("nobody was told");
    let silence = tokio::time::timeout(Duration::from_millis(50), socket.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");
}

#[tokio::test]
async fn a_stillborn_connection_is_reset() {
    let chaos = chaos(Weather {
        stillborn: true,
        ..Weather::default()
    })
    .await;
    let mut socket = dial(&chaos).await;
    let end = within("the reset", socket.read_u8()).await;
    assert_eq!(end.expect_err("cut").kind(), io::ErrorKind::ConnectionReset);
}
