//! Programs over `rpyc tunnel --layer resume` whose link is cut again and again: they must not notice.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/daemons.rs"]
mod daemons;
#[path = "support/files.rs"]
mod files;
#[path = "support/programs.rs"]
mod programs;
#[path = "support/run.rs"]
mod run;
#[path = "support/tunnels.rs"]
mod tunnels;
#[path = "support/unrest.rs"]
mod unrest;

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use certificates::Folder;
use files::{send_file, take_file};
use programs::{Postgres, printed, redis};
use tokio::runtime::Runtime;
use tunnels::{End, Target, key};
use unrest::chaos::{Chaos, Cut, Weather};

/// Both ends of a tunnel, with the proxy that cuts their link between them.
struct Rig {
    server: End,
    client: End,
    chaos: Chaos,
    /// The proxy lives on it.
    _runtime: Runtime,
}

impl Rig {
    /// With sessions over plain TCP, allowed on purpose, or over encryption.
    fn new(folder: &Folder, target: u16, weather: Weather, is_sealed: bool) -> Self {
        let encrypt = key(folder, "tunnel.key");
        let layers = if is_sealed {
            ["--layer", "resume", "--layer", &encrypt].to_vec()
        } else {
            ["--layer", "resume", "--insecure-resume"].to_vec()
        };
        let listen = "tcp://127.0.0.1:0";
        let to = format!("tcp://127.0.0.1:{target}");
        let server = ["server", "--listen", listen, "--to", &to];
        let server = End::start(&[&server[..], &layers].concat());
        let runtime = Runtime::new().expect("threads");
        let chaos = runtime.block_on(Chaos::before(server.port(), 7, weather));
        let to = format!("tcp://127.0.0.1:{}", chaos.port());
        let client = ["client", "--listen", listen, "--to", &to];
        let client = End::start(&[&client[..], &layers].concat());
        Self {
            server,
            client,
            chaos,
            _runtime: runtime,
        }
    }

    /// Cuts all links, by turns with a reset and with an end, about every `pause` until the work is done.
    fn cutting<T>(&self, pause: Duration, work: impl FnOnce() -> T) -> T {
        let is_done = AtomicBool::new(false);
        thread::scope(|threads| {
            threads.spawn(|| {
                for cut in [Cut::Reset, Cut::Finish].iter().cycle() {
                    thread::sleep(pause);
                    if is_done.load(Ordering::Relaxed) {
                        return;
                    }
                    self.chaos.cut(*cut);
                }
            });
            // Also when it panics: the scope waits for the other one.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            is_done.store(true, Ordering::Relaxed);
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Nothing was told but that connections were carried.
    fn was_quiet(&self) {
        for end in [&self.client, &self.server] {
            assert!(!end.said().contains("WARN"), "{}", end.said());
        }
    }
}

#[test]
fn a_transaction_of_psql_stays_open_over_cuts() {
    const CUTS: u64 = 20;
    let folder = Folder::new();
    let Some(postgres) = Postgres::start(&folder.path("")) else {
        return;
    };
    let rig = Rig::new(&folder, postgres.server.port, Weather::default(), true);
    let mut psql = postgres.session(rig.client.port());
    let backend = psql.answer("SELECT pg_backend_pid()");
    psql.say("BEGIN");
    psql.say("CREATE TABLE kept (number int)");
    for number in 1..=CUTS {
        // Each answer says that there is a link again, which is cut.
        let cut = if number % 2 == 0 {
            Cut::Reset
        } else {
            Cut::Finish
        };
        rig.chaos.cut(cut);
        psql.say(&format!("INSERT INTO kept VALUES ({number})"));
        let count = psql.answer("SELECT count(*) || '/' || sum(number) FROM kept");
        assert_eq!(count, format!("{number}/{}", number * (number + 1) / 2));
    }
    assert_eq!(psql.answer("SELECT pg_backend_pid()"), backend);
    psql.say("COMMIT");
    assert_eq!(psql.answer("SELECT count(*) FROM kept"), CUTS.to_string());
    assert!(psql.ended_well());
    assert_eq!(rig.chaos.cuts(), CUTS);
    rig.client.says("both sides finished");
    rig.was_quiet();
}

#[test]
fn a_redis_benchmark_goes_on_over_cuts() {
    let folder = Folder::new();
    let Some((server, benchmark)) = redis(&folder.path("")) else {
        return;
    };
    for is_sealed in [true, false] {
        let rig = Rig::new(&Folder::new(), server.port, Weather::default(), is_sealed);
        let table = rig.cutting(Duration::from_millis(40), || {
            let mut command = Command::new(&benchmark);
            let port = rig.client.port().to_string();
            command.args(["-h", "127.0.0.1", "-p", &port, "-q", "--csv"]);
            command.args(["-n", "4000", "-c", "8", "-P", "4", "-d", "512"]);
            command.args(["-t", "set,get,lrange_100"]);
            printed(command)
        });
        for test in ["SET", "GET", "LRANGE_100"] {
            assert!(table.contains(&format!("\"{test}")), "{table}");
        }
        assert!(!table.contains("rror"), "{table}");
        let cuts = rig.chaos.cuts();
        assert!(cuts >= 20, "{cuts} links were cut");
        println!("redis-benchmark: {cuts} links were cut\n{table}");
        rig.was_quiet();
    }
}

/// A program sends, its peer sends back what comes, and each ends its direction when all is there.
#[test]
fn a_program_does_not_notice_that_the_link_was_cut() {
    const SIZE: u64 = 12 << 20;
    let target = Target::new();
    let weather = Weather {
        cut_after: Some(256 << 10..=2 << 20),
        cut: Cut::Finish,
        ..Weather::default()
    };
    let rig = Rig::new(&Folder::new(), target.port(), weather, true);
    let near = rig.client.connect();
    let far = target.accept();
    let (sent, taken) = thread::scope(|threads| {
        threads.spawn(|| {
            io::copy(&mut &far, &mut &far).expect("no reset");
            far.shutdown(Shutdown::Write).expect("ended");
        });
        let sender = threads.spawn(|| {
            let hash = send_file(&near, SIZE, 11).expect("no reset");
            near.shutdown(Shutdown::Write).expect("ended");
            hash
        });
        let taken = take_file(&near).expect("an orderly end");
        (sender.join().expect("all was sent"), taken)
    });
    assert_eq!(taken, (sent, SIZE));
    let cuts = rig.chaos.cuts();
    assert!(cuts >= 6, "{cuts} links were cut");
    for end in [&rig.server, &rig.client] {
        end.says("both sides finished");
    }
    rig.was_quiet();
}

/// Bytes of the download, 64 MiB; more with `RPYC_TUNNEL_CUT_BYTES=1073741824`.
fn size() -> u64 {
    let bytes = std::env::var("RPYC_TUNNEL_CUT_BYTES").ok();
    bytes.map_or(64 << 20, |bytes| bytes.parse().expect("a number"))
}

#[test]
fn a_download_arrives_whole_over_links_that_die() {
    let folder = Folder::new();
    let target = Target::new();
    let weather = Weather {
        cut_after: Some(256 << 10..=4 << 20),
        ..Weather::default()
    };
    let rig = Rig::new(&folder, target.port(), weather, true);
    let (mut near, size) = (rig.client.connect(), size());
    // Whoever asks goes first, as with HTTP.
    near.write_all(b"GET").expect("sent");
    let (mut far, mut question) = (target.accept(), [0; 3]);
    far.read_exact(&mut question).expect("it comes");
    let began = Instant::now();
    let sender = thread::spawn(move || {
        let hash = send_file(&mut far, size, 7).expect("sent");
        far.shutdown(Shutdown::Write).expect("ended");
        hash
    });
    let taken = take_file(&near).expect("an orderly end");
    let (seconds, cuts) = (began.elapsed().as_secs_f64(), rig.chaos.cuts());
    assert_eq!(taken, (sender.join().expect("no panic"), size));
    assert!(cuts >= size >> 22, "{cuts} links were cut");
    println!("{size} bytes in {seconds:.1} s over {cuts} cuts, hashes match");
    drop(near);
    rig.server.says("both sides finished");
    rig.was_quiet();
}
