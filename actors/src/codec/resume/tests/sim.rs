//! The simulation: loaded in both directions, cut at any byte, again and again.
//!
//! A seed that fails prints itself; `RESUME_SEED=n cargo test -p rpyc-actors --lib resume::tests::sim` runs it alone.
//! `RESUME_SEEDS=1000 RESUME_CUTS=1000 cargo test --release -p rpyc-actors --lib resume::tests::sim` is the long form.

use std::time::Duration;

use super::{
    super::ResumeConfig,
    end::{LARGEST_WRITE, reason},
    world::{Who, World},
};

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}")),
    )
}

/// Runs seeds, and says which one failed.
fn for_seeds(name: &str, short: u64, run: impl Fn(u64) -> (u64, u64)) {
    if let Some(seed) = setting("RESUME_SEED") {
        run(seed);
        return;
    }
    let seeds = setting("RESUME_SEEDS").unwrap_or(short);
    let (mut cuts, mut bytes) = (0, 0);
    for seed in 0..seeds {
        struct Told<'a>(&'a str, u64);
        impl Drop for Told<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    eprintln!("{}: RESUME_SEED={} failed", self.0, self.1);
                }
            }
        }
        let told = Told(name, seed);
        let (cut, delivered) = run(seed);
        cuts += cut;
        bytes += delivered;
        drop(told);
    }
    eprintln!("{name}: {seeds} seeds, {cuts} cuts, {bytes} bytes delivered");
}

/// What may happen to the ends besides cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    None,
    ServerRestarts,
    ClientStops,
    Evicted,
    AwayTooLong,
    ClientAborts,
}

/// One step of a world in which everything goes on at random.
fn step(world: &mut World, target: u64, cut_once_in: usize) {
    let who = if world.random.once_in(2) {
        Who::Client
    } else {
        Who::Server
    };
    match world.random.below(16) {
        0..=2 => {
            // Mostly small ones: what counts is where they are cut.
            let large = match world.random.below(20) {
                0 => LARGEST_WRITE,
                1..=6 => 2_000,
                _ => 64,
            };
            let size = 1 + world.random.below(large);
            world.write(who, target, size);
        }
        3 => {
            let all = world.random.once_in(2);
            world.consume(who, all);
        }
        4 => world.give(who, |session| session.handle_flush()),
        5 => {
            let by = world.random.below(30_000);
            world.advance(Duration::from_micros(by as u64));
        }
        6 => world.dial(),
        7 => world.notice(who),
        _ => {
            let link = match who {
                Who::Client => world.client.link,
                Who::Server => world.server.link,
            };
            // The newest one may wait for its greeting.
            let newest = world.cables.len().checked_sub(1);
            let size = match world.random.below(4) {
                0 => 1,
                1 => 1 + world.random.below(100),
                _ => 1 + world.random.below(60_000),
            };
            if let Some(cable) = link {
                world.carry(cable, who, size);
            }
            if let Some(newest) = newest
                && who == Who::Server
            {
                world.carry(newest, who, size);
            }
        }
    }
    if world.random.once_in(cut_once_in) {
        world.cut();
    }
}

fn simulate(seed: u64, cuts: u64) -> (u64, u64) {
    let config = ResumeConfig::default();
    let cap = [4096, 40_000, 1 << 20][usize::try_from(seed % 3).expect("small")];
    let mut world = World::new(seed, config, cap);
    let fate = match seed % 8 {
        0 => Fate::ServerRestarts,
        1 => Fate::ClientStops,
        2 => Fate::Evicted,
        3 => Fate::AwayTooLong,
        4 => Fate::ClientAborts,
        _ => Fate::None,
    };
    let cut_once_in = 20 + world.random.below(60);
    // More than can be sent while links are cut.
    let target = u64::MAX / 2;
    while world.cuts < cuts {
        step(&mut world, target, cut_once_in);
        assert!(!world.client.is_over(), "{}", reason(&world.client));
        assert!(!world.server.is_over(), "{}", reason(&world.server));
    }
    let delivered = world.client.delivered + world.server.delivered;
    match fate {
        Fate::None => end_in_order(&mut world),
        fate => end_badly(&mut world, fate),
    }
    (world.cuts, delivered)
}

/// Both say that they have no more, links hold, and all arrives.
fn end_in_order(world: &mut World) {
    let targets = (world.client.written, world.server.written);
    world.give(Who::Client, |session| session.handle_finish());
    // The server's application may have to wait until there is a session.
    for steps in 0.. {
        assert!(
            steps < 1_000_000,
            "it does not end: {:?}",
            world.client.session
        );
        step(world, 0, if steps < 400 { 40 } else { usize::MAX });
        if world.server.is_confirmed {
            world.give(Who::Server, |session| session.handle_finish());
        }
        if world.client.is_over() && world.server.is_over() {
            break;
        }
    }
    assert_eq!(reason(&world.client), "in order");
    assert_eq!(reason(&world.server), "in order");
    assert_eq!(world.server.delivered, targets.0, "from the client");
    assert_eq!(world.client.delivered, targets.1, "from the server");
}

/// Something that no session survives; each end that lives is told.
fn end_badly(world: &mut World, fate: Fate) {
    // There must be a session first.
    while !world.server.is_confirmed {
        step(world, 0, usize::MAX);
    }
    let (client, server): (&str, &str) = match fate {
        Fate::ServerRestarts => {
            world.restart_server();
            ("Unknown", "not over")
        }
        Fate::ClientStops => {
            world.stop_client();
            ("not over", "LingerOver")
        }
        Fate::Evicted => {
            world.cut();
            world.notice(Who::Server);
            world.give(Who::Server, |session| session.handle_eviction());
            world.server.session = None;
            ("Unknown", "Evicted")
        }
        Fate::AwayTooLong => {
            world.cut();
            world.notice(Who::Client);
            world.notice(Who::Server);
            world.advance(Duration::from_secs(59));
            assert!(!world.client.is_over() && !world.server.is_over());
            world.advance(Duration::from_secs(2));
            ("LingerOver", "LingerOver")
        }
        Fate::ClientAborts => {
            world.give(Who::Client, |session| session.handle_abort());
            ("Aborted", "")
        }
        Fate::None => return,
    };
    let lives = |over: bool, due: &str| !over && due != "not over";
    for steps in 0.. {
        assert!(steps < 200_000, "{fate:?}: silence");
        step(world, 0, usize::MAX);
        // Whoever hears nothing gives up in the end.
        if steps % 100 == 99 {
            world.cut();
            world.advance(Duration::from_millis(700));
        }
        if !lives(world.client.is_over(), client) && !lives(world.server.is_over(), server) {
            break;
        }
    }
    let (client_reason, server_reason) = (reason(&world.client), reason(&world.server));
    assert!(
        client_reason.starts_with(client),
        "{fate:?}: {client_reason}"
    );
    let is_told = match fate {
        // The word may have got lost.
        Fate::ClientAborts => ["PeerAborted", "LingerOver"]
            .iter()
            .any(|one| server_reason.starts_with(one)),
        _ => server_reason.starts_with(server),
    };
    assert!(is_told, "{fate:?}: {server_reason}");
}

#[test]
fn nothing_is_lost_doubled_or_reordered_whatever_is_cut() {
    let cuts = setting("RESUME_CUTS").unwrap_or(60);
    for_seeds("simulation", 24, |seed| simulate(seed, cuts));
}
