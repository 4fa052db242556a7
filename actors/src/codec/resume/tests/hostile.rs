//! What a peer must not be able to do, whatever it sends.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{
    super::{
        Binding, Greeting, Identity, Link, Output, Refusal, Request, Resume, ResumeConfig,
        intake::{Intake, Refused},
        proof::Ticket,
        replay::{Impossible, Replay},
        wire::{
            BadMessage, Decoder, HEAD, Hello, Item, MAX_DATA, Message, NewOk, TAKES_RUNS,
            encode_data_head,
        },
    },
    end::{byte_at, reason},
    world::{Random, Who, World},
};
use crate::{
    codec::Host,
    credit::Gate,
    message::{Read, Write},
    unit::Chunk,
};

fn next(bytes: &[u8]) -> Result<Option<Item>, BadMessage> {
    Decoder::default().next(&mut Bytes::copy_from_slice(bytes))
}

#[test]
fn lengths_and_kinds_are_checked_before_anything_else_comes() {
    for kind in 0..=u8::MAX {
        for length in [0_u16, 1, 8, 9, 12, 13, 44, 64, 65, 16_392, 16_393, u16::MAX] {
            let [high, low] = length.to_be_bytes();
            let result = next(&[kind, high, low]);
            let known = match kind {
                7 => (9..=16_392).contains(&length),
                1 => length == 13,
                2 | 9 | 10 | 13 => length == 0,
                3 | 4 => length == 64,
                5 => length == 44,
                6 => length == 1,
                8 | 14 => length == 12,
                11 | 12 => length == 8,
                _ => {
                    assert_eq!(result, Err(BadMessage::Kind(kind)));
                    continue;
                }
            };
            if known {
                assert!(result.is_ok(), "{kind} {length}: {result:?}");
            } else {
                let length = usize::from(length);
                assert_eq!(result, Err(BadMessage::Length { kind, length }));
            }
        }
    }
}

#[test]
fn offsets_do_not_wrap() {
    let mut data = BytesMut::new();
    encode_data_head(u64::MAX - 4, 5, &mut data);
    assert_eq!(next(&data), Err(BadMessage::Offset));
    data.clear();
    encode_data_head(u64::MAX - 5, 5, &mut data);
    assert!(next(&data).is_ok());
    let run = |offset: u64, count: u32| {
        let mut run = BytesMut::from(&[14, 0, 12][..]);
        run.extend_from_slice(&offset.to_be_bytes());
        run.extend_from_slice(&count.to_be_bytes());
        next(&run)
    };
    assert_eq!(run(u64::MAX - 4, 5), Err(BadMessage::Offset));
    assert_eq!(run(0, 0), Err(BadMessage::Empty));
    assert_eq!(run(u64::MAX - 5, 5), Ok(None));
    assert_eq!(
        run(0, u32::MAX),
        Ok(None),
        "what is granted is asked as bytes come"
    );
}

/// One that does not know RUN reads past the bit, and does not set it.
#[test]
fn runs_go_to_those_who_take_them() {
    let mut world = established();
    let now = world.server.now();
    let request = |features| {
        let mut words = BytesMut::new();
        let hello = Hello {
            features,
            silence: 0,
        };
        Message::Hello(hello).encode(&mut words);
        Message::New.encode(&mut words);
        let chunk = words.freeze().into();
        let request = Greeting::default().take(&chunk).expect("good");
        request.expect("whole")
    };
    for (features, kinds) in [
        (0, vec![7, 7, 7, 7]),
        (!TAKES_RUNS, vec![7, 7, 7, 7]),
        (TAKES_RUNS, vec![14]),
    ] {
        let identity = Identity {
            session: [1; 16],
            secret: [2; 32],
            incarnation: [3; 16],
        };
        let link = Link {
            gate: Gate::new(1 << 20),
            ..link(now)
        };
        let config = ResumeConfig::default();
        let mut session = Resume::accept(&config, identity, &request(features), link);
        while session.poll_output(&world.server).is_some() {}
        let grant = Message::Ack {
            received_to: 0,
            credit: 100_000,
        };
        let mut words = BytesMut::new();
        grant.encode(&mut words);
        let gate = Gate::new(1 << 20);
        let read = Read {
            credit: gate.charge(words.len()),
            unit: words.freeze().into(),
        };
        session.handle_read(read, &world.server);
        let bytes = 3 * MAX_DATA + 1;
        session.handle_write(Write {
            unit: Bytes::from(vec![9; bytes]).into(),
            credit: gate.charge(bytes),
        });
        let mut wire = Vec::new();
        while let Some(output) = session.poll_output(&world.server) {
            if let Output::Down(write) = output {
                write.unit.into_iter().for_each(|piece| wire.extend(piece));
            }
        }
        let (mut seen, mut rest, mut came) = (Vec::new(), Bytes::from(wire), 0);
        while !rest.is_empty() {
            let kind = rest[0];
            match Decoder::default().next(&mut rest).expect("good") {
                Some(Item::Data { offset, bytes }) => {
                    assert_eq!(offset, came);
                    came += bytes.len() as u64;
                    seen.push(kind);
                }
                Some(Item::Message(_)) => {}
                None => panic!("it ends inside a message"),
            }
        }
        assert_eq!(came, bytes as u64);
        assert_eq!(seen, kinds, "{features:#x}");
    }
    // Whoever has the layer takes them.
    world.write(Who::Client, 50_000, 50_000);
    run(&mut world);
    assert_eq!(world.server.delivered, 50_000);
}

#[test]
fn another_protocol_and_another_version_are_told_apart() {
    assert_eq!(
        next(&[1, 0, 13, b'r', b'p', b'y', b'X', 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        Err(BadMessage::Magic)
    );
    assert_eq!(
        next(&[1, 0, 13, b'r', b'p', b'y', b'R', 2, 0, 0, 0, 0, 0, 0, 0, 0]),
        Err(BadMessage::Version(2))
    );
}

#[test]
fn any_split_gives_the_same_items() {
    let mut wire = BytesMut::new();
    let ack = Message::Ack {
        received_to: 1 << 40,
        credit: 77,
    };
    ack.encode(&mut wire);
    encode_data_head(9, MAX_DATA, &mut wire);
    wire.extend_from_slice(&vec![5; MAX_DATA]);
    Message::Ping.encode(&mut wire);
    encode_data_head(9 + MAX_DATA as u64, 1, &mut wire);
    wire.extend_from_slice(&[6]);
    encode_data_head(10 + MAX_DATA as u64, 2 * MAX_DATA, &mut wire);
    wire.extend_from_slice(&vec![7; 2 * MAX_DATA]);
    Message::Pong.encode(&mut wire);
    let second = MAX_DATA + 20;
    for at in (0..200)
        .chain(second..second + 100)
        .chain(wire.len() - 200..=wire.len())
    {
        let mut decoder = Decoder::default();
        let (mut messages, mut text) = (Vec::new(), Vec::new());
        for half in [&wire[..at], &wire[at..]] {
            let mut piece = Bytes::copy_from_slice(half);
            while let Some(item) = decoder.next(&mut piece).expect("good") {
                match item {
                    Item::Message(message) => messages.push(message),
                    Item::Data { offset, bytes } => {
                        assert_eq!(offset, 9 + text.len() as u64);
                        text.extend_from_slice(&bytes);
                    }
                }
            }
        }
        let others = [ack, Message::Ping, Message::Pong];
        assert_eq!(messages, others, "cut at {at}");
        assert_eq!(text.len(), 3 * MAX_DATA + 1, "cut at {at}");
        assert!(!decoder.is_inside());
    }
}

#[test]
fn an_intake_takes_no_gap_nothing_above_its_grant_and_nothing_twice() {
    let gate = Gate::new(1000);
    let mut intake = Intake::default();
    let take = |intake: &mut Intake, offset, length| {
        intake
            .take(offset, Bytes::from(vec![1; length]))
            .map(|bytes| bytes.len())
    };
    let above = Refused::AboveWindow { to: 1, limit: 0 };
    assert_eq!(take(&mut intake, 0, 1), Err(above), "nothing was granted");
    assert_eq!(intake.tell(&gate), (0, 1000));
    assert_eq!(take(&mut intake, 0, 600), Ok(600));
    assert_eq!(take(&mut intake, 0, 600), Ok(0), "known");
    assert_eq!(take(&mut intake, 500, 200), Ok(100), "partly known");
    let gap = Refused::Gap {
        received: 700,
        offset: 701,
    };
    assert_eq!(take(&mut intake, 701, 1), Err(gap));
    let above = Refused::AboveWindow {
        to: 1001,
        limit: 1000,
    };
    assert_eq!(take(&mut intake, 700, 301), Err(above));
    assert!(take(&mut intake, u64::MAX, 1).is_err());
    assert!(intake.finish(699).is_err() && intake.finish(701).is_err());
    assert_eq!(intake.finish(700), Ok(true));
    assert_eq!(intake.finish(700), Ok(false), "known");
    let behind = Refused::BehindEnd { to: 701, end: 700 };
    assert_eq!(take(&mut intake, 700, 1), Err(behind));
    // What was granted stays granted, though there is less room now.
    let _used = gate.charge(900);
    assert_eq!(intake.tell(&gate), (700, 300));
}

/// Sends what may be sent. Gives how many bytes that takes on the link.
fn send(replay: &mut Replay) -> usize {
    let mut chunk = Chunk::new();
    replay.send(1000, MAX_DATA, &mut BytesMut::new(), &mut chunk);
    chunk.len()
}

#[test]
fn acknowledgements_must_be_possible() {
    let gate = Gate::new(1 << 20);
    let mut replay = Replay::default();
    let mut unit = Chunk::new();
    for size in [1, 9, 40] {
        unit.push(Bytes::from(vec![size; usize::from(size)]));
    }
    let credit = gate.charge(unit.len());
    replay.push(Write { unit, credit });
    assert_eq!(replay.acknowledge(1, 0), Err(Impossible), "never sent");
    replay.acknowledge(0, 30).expect("a grant");
    assert_eq!(send(&mut replay), 11 + 30, "as much as was granted");
    assert_eq!(replay.acknowledge(31, 0), Err(Impossible), "never sent");
    replay.acknowledge(20, 0).expect("sent");
    assert_eq!(
        gate.used(),
        30,
        "credit stays with what is not acknowledged"
    );
    assert_eq!(replay.rewind(19), Err(Impossible), "acknowledged before");
    replay.rewind(25).expect("possible");
    assert_eq!(send(&mut replay), 11 + 5, "what was granted and is missing");
    replay.acknowledge(30, 100).expect("sent");
    assert_eq!(send(&mut replay), 11 + 20);
    replay.acknowledge(50, 0).expect("sent");
    assert_eq!((gate.used(), replay.kept()), (0, 0));
}

/// A client and a server that have a session.
fn established() -> World {
    let mut world = World::new(1, ResumeConfig::default(), 100_000);
    world.dial();
    run(&mut world);
    assert!(world.client.is_confirmed && world.server.is_confirmed);
    world
}

fn run(world: &mut World) {
    for _ in 0..20 {
        let cable = world.cables.len() - 1;
        world.carry(cable, Who::Server, usize::MAX);
        world.carry(cable, Who::Client, usize::MAX);
    }
}

/// Gives bytes to the server as if they came over the link.
fn forge(world: &mut World, bytes: &[u8]) {
    let gate = Gate::new(1);
    let unit: Chunk = Bytes::copy_from_slice(bytes).into();
    let credit = gate.charge(unit.len());
    let mut session = world.server.session.take().expect("there is one");
    session.handle_read(Read { unit, credit }, &world.server);
    world.server.session = Some(session);
    world.settle(Who::Server);
}

#[test]
fn what_cannot_be_ends_the_session_on_both_ends() {
    let encoded = |message: Message| {
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        bytes.to_vec()
    };
    let data = |offset, length: usize| {
        let mut bytes = BytesMut::new();
        encode_data_head(offset, length, &mut bytes);
        bytes.resize(bytes.len() + length, byte_at(1, 0));
        bytes.to_vec()
    };
    let ack = Message::Ack {
        received_to: 1,
        credit: 0,
    };
    let new = Message::NewOk(NewOk {
        session: [0; 16],
        secret: [0; 32],
        incarnation: [0; 16],
    });
    for forged in [
        vec![0],
        vec![7, 0, 8],
        data(1, 1),
        data(100_000, 1),
        encoded(ack),
        encoded(Message::Fin { offset: 1 }),
        encoded(Message::FinOk),
        encoded(Message::New),
        encoded(new),
    ] {
        let mut world = established();
        // Some heads are looked at once they are whole.
        forge(&mut world, &[&forged[..], &[0, 0]].concat());
        assert!(reason(&world.server).starts_with("Fault"), "{forged:?}");
        run(&mut world);
        assert_eq!(
            reason(&world.client),
            "PeerRefused { reason: 4 }",
            "{forged:?}"
        );
    }
}

#[test]
fn a_client_must_wait_for_its_answer() {
    let mut greeting = Greeting::default();
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&Request::refuse_unknown()[..HEAD + 13]);
    Message::New.encode(&mut bytes);
    let chunk = |bytes: &BytesMut| Chunk::from(Bytes::copy_from_slice(bytes));
    let request = greeting.take(&chunk(&bytes)).expect("good").expect("whole");
    assert_eq!(request.session(), None);
    bytes.extend_from_slice(&[7]);
    assert!(Greeting::default().take(&chunk(&bytes)).is_err());
}

#[test]
fn garbage_makes_nobody_panic() {
    let mut random = Random(99);
    for _ in 0..2_000 {
        let mut world = established();
        world.write(Who::Server, 500, 500);
        let mut bytes: Vec<u8> = (0..random.below(300))
            .map(|_| random.next() as u8)
            .collect();
        if random.once_in(2) && bytes.len() > 3 {
            // Mostly a head that makes sense.
            bytes[0] = 1 + random.below(14) as u8;
            bytes[1] = 0;
            bytes[2] = [0, 1, 8, 12, 13, 44, 64][random.below(7)];
        }
        forge(&mut world, &bytes);
        world.advance(Duration::from_secs(30));
    }
}

/// A read of ours may be large and hold only few bytes of the stream: the peer decides.
#[test]
fn what_was_granted_holds_no_more_memory_than_it_has_bytes() {
    let mut world = established();
    let mut padding = BytesMut::new();
    while padding.len() < 60_000 {
        Message::Pong.encode(&mut padding);
    }
    for offset in 0..100 {
        let mut read = BytesMut::new();
        encode_data_head(offset, 1, &mut read);
        read.extend_from_slice(&[byte_at(1, offset)]);
        read.extend_from_slice(&padding);
        forge(&mut world, &read);
    }
    let used = world.server.up_gate().used();
    assert!(
        used < 200_000,
        "{used} bytes are in use for 100 of the stream"
    );
    world.consume(Who::Server, true);
    world.consume(Who::Server, true);
    assert_eq!(world.server.delivered, 100);
    assert_eq!(world.server.up_gate().used(), 0);
    // What is held goes up before the end.
    for offset in 100..104 {
        let mut read = BytesMut::new();
        encode_data_head(offset, 1, &mut read);
        read.extend_from_slice(&[byte_at(1, offset)]);
        read.extend_from_slice(&padding);
        forge(&mut world, &read);
    }
    let mut fin = BytesMut::new();
    Message::Fin { offset: 104 }.encode(&mut fin);
    forge(&mut world, &fin);
    assert_eq!(world.server.delivered, 104);
    assert!(world.server.has_ended);
}

#[test]
fn a_peer_goes_away_once_and_says_so_until_it_is_heard() {
    let mut world = established();
    let mut words = BytesMut::new();
    for _ in 0..1000 {
        Message::GoAway { received_to: 0 }.encode(&mut words);
    }
    forge(&mut world, &words);
    forge(&mut world, &words);
    assert_eq!(world.server.goings, 1);
    // The word is lost with the link.
    world.give(Who::Server, Resume::handle_go_away);
    world.cut();
    world.notice(Who::Client);
    world.notice(Who::Server);
    assert_eq!(world.client.goings, 0);
    world.dial();
    run(&mut world);
    assert_eq!(world.client.goings, 1);
}

#[test]
fn of_two_links_at_once_the_newer_one_gets_its_own_answer() {
    let mut world = established();
    let now = world.server.now();
    let mut fenced = world.server.session.take().expect("there is one");
    let mut client = Resume::new(&ResumeConfig::default(), now);
    client.ticket = Some(ticket_of(&fenced));
    for _ in 0..2 {
        let request = ask(&mut client, now, &world.client);
        fenced
            .handle_attach(&request, link(now), &world.server)
            .expect("it may");
        if client.epoch < 2 {
            client.handle_detached(crate::error::StreamError::Closed, now);
        }
    }
    while let Some(output) = fenced.poll_output(&world.server) {
        if let Output::Down(write) = output {
            let read = Read {
                credit: Gate::new(1).charge(write.unit.len()),
                unit: write.unit,
            };
            client.handle_read(read, &world.client);
        }
    }
    assert!(!client.is_down(), "its link was dropped");
}

#[test]
fn another_past_is_told_from_a_session_that_nobody_knows() {
    let mut world = established();
    // The client has five bytes that the server never sent.
    let client = world.client.session.as_mut().expect("it lives");
    client
        .intake
        .take(0, Bytes::from_static(&[1; 5]))
        .expect("granted");
    world.cut();
    world.notice(Who::Client);
    world.notice(Who::Server);
    world.dial();
    run(&mut world);
    assert!(reason(&world.server).starts_with("Fault"));
    assert_eq!(reason(&world.client), "PeerRefused { reason: 4 }");
}

#[test]
fn what_has_ended_in_order_cannot_be_given_up() {
    let mut world = established();
    world.give(Who::Client, Resume::handle_finish);
    world.give(Who::Server, Resume::handle_finish);
    while !world.client.session.as_ref().is_some_and(Resume::is_done) {
        let cable = world.cables.len() - 1;
        world.carry(cable, Who::Server, 1);
        world.carry(cable, Who::Client, 1);
    }
    // The link goes before the other end could finish it, and nobody is there any more.
    world.cut();
    world.notice(Who::Client);
    world.give(Who::Client, Resume::handle_abort);
    assert_eq!(reason(&world.client), "in order");
}

#[test]
fn no_setting_overflows() {
    let config = ResumeConfig::default()
        .linger(Duration::MAX)
        .handshake_timeout(Duration::MAX);
    let mut world = World::new(1, config, 100_000);
    world.dial();
    run(&mut world);
    world.cut();
    world.notice(Who::Client);
    world.notice(Who::Server);
    world.advance(Duration::from_secs(1_000_000));
    assert!(!world.client.is_over() && !world.server.is_over());
}

#[test]
fn a_silent_peer_is_noticed_and_a_slow_one_is_not() {
    let mut world = established();
    for _ in 0..100 {
        world.advance(Duration::from_secs(1));
        run(&mut world);
    }
    assert!(!world.client.session.as_ref().expect("it lives").is_down());
    for _ in 0..16 {
        world.advance(Duration::from_secs(1));
    }
    for end in [&world.client, &world.server] {
        assert!(end.session.as_ref().expect("it lives").is_down());
    }
}

#[test]
fn a_stranger_and_a_late_link_change_nothing() {
    let mut world = established();
    world.write(Who::Client, 10, 10);
    run(&mut world);
    // Whoever knows the session and not the secret; and who comes with an epoch that was there before.
    let now = world.server.now();
    let mut fenced = world.server.session.take().expect("there is one");
    let mut stranger = ticket_of(&fenced);
    stranger.new.secret = [9; 32];
    for (ticket, epoch) in [(stranger, 6), (ticket_of(&fenced), 3)] {
        fenced.epoch = 4;
        let mut client = Resume::new(&ResumeConfig::default(), now);
        client.ticket = Some(ticket);
        client.epoch = epoch;
        let request = ask(&mut client, now, &world.client);
        let refusal = fenced.handle_attach(&request, link(now), &world.server);
        assert_eq!(refusal, Err(Refusal::Stranger));
        assert_eq!(fenced.epoch, 4);
    }
    world.server.session = Some(fenced);
    world.write(Who::Client, 20, 10);
    run(&mut world);
    assert_eq!(world.server.delivered, 20);
}

fn ticket_of(session: &Resume) -> Ticket {
    session.ticket.clone().expect("it has one")
}

fn link(now: Instant) -> Link {
    Link {
        binding: Binding::noise([3; 32]),
        gate: Gate::new(1000),
        now,
    }
}

/// What a client asks for on a new link.
fn ask(client: &mut Resume, now: Instant, host: &dyn Host) -> Request {
    client.handle_attached(link(now));
    let Some(Output::Down(write)) = client.poll_output(host) else {
        panic!("it asks");
    };
    let request = Greeting::default().take(&write.unit).expect("good");
    request.expect("whole")
}
