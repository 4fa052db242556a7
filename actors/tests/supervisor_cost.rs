//! What a peer that is away costs. Alone in its process, since it counts the processor time of all threads.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use rpyc_actors::{Chain, Endpoint, SupervisorConfig, TcpConfig};

/// Processor time of all threads of this process so far.
fn used() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let nanoseconds = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

#[test]
fn a_peer_that_is_away_for_long_costs_less_than_a_hundredth_of_a_processor() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("bound").port();
    drop(socket);
    let chain = Chain::new(Endpoint::tcp("127.0.0.1", port, TcpConfig::default()));
    let client = chain.supervise(SupervisorConfig::default());
    // Its threads are there, and the first attempts are made.
    std::thread::sleep(Duration::from_millis(200));
    let (began, before, attempts) = (Instant::now(), used(), client.stats().attempts);
    // The eager phase, in which there are many.
    std::thread::sleep(Duration::from_secs(4));
    let (took, cost) = (began.elapsed(), used() - before);
    let attempts = client.stats().attempts - attempts;
    let each = cost / u32::try_from(attempts).expect("not that many");
    // After the first 10 s there is one attempt in 2.5 to 5 s.
    let share = each.as_secs_f64() / 2.5;
    println!(
        "{attempts} attempts in {took:?}: {cost:?}, {each:?} each; at most {:.3} % while a peer is away for long",
        share * 100.0
    );
    assert!(attempts >= 20, "{attempts}");
    assert!(share < 0.01, "{each:?} each");
}
