//! Two ends back to back, with messages under way in both directions and a random schedule.

use std::collections::{HashMap, VecDeque};

use super::super::testing::Random;
use super::*;

/// One end, what it owns and holds, and what it has sent.
struct Side {
    end: End,
    things: Vec<Thing>,
    /// References held, each entry one of them.
    held: Vec<IdPack>,
    /// Requests of the peer to be answered later.
    unanswered: Vec<Seq>,
    /// Calls made and not answered; whether they were abandoned.
    calls: HashMap<u64, bool>,
    sent: VecDeque<Bytes>,
    answers: u64,
    late: u64,
}

impl Side {
    fn new() -> Self {
        Self {
            end: end(),
            things: (0..5).map(|_| Thing::new("test.Thing")).collect(),
            held: Vec::new(),
            unanswered: Vec::new(),
            calls: HashMap::new(),
            sent: VecDeque::new(),
            answers: 0,
            late: 0,
        }
    }

    /// Something with values, own objects and objects of the peer in it.
    fn item(&self, random: &mut Random, depth: usize) -> Item<Thing> {
        match random.below(6) {
            0 | 1 => Item::Value(Value::Int(random.below(1000) as i64)),
            2 if depth < 4 => {
                let items = (0..random.below(4)).map(|_| self.item(random, depth + 1));
                Item::Tuple(items.collect())
            }
            3 if !self.held.is_empty() => {
                Item::Theirs(self.held[random.below(self.held.len())].clone())
            }
            _ => Item::Ours(self.things[random.below(self.things.len())].clone()),
        }
    }

    /// Keeps some references and gives the others back at once.
    fn keep(&mut self, item: &Item<Thing>, random: &mut Random) {
        match item {
            Item::Value(_) => {}
            Item::Ours(thing) => assert!(self.things.contains(thing), "somebody else's object"),
            Item::Tuple(items) => items.iter().for_each(|item| self.keep(item, random)),
            Item::Theirs(id) if random.below(2) == 0 => self.held.push(id.clone()),
            Item::Theirs(id) => self.end.release(id, 1),
        }
    }

    fn call(&mut self, random: &mut Random) {
        let args = [self.item(random, 0), self.item(random, 0)];
        let seq = self.end.pending.next_seq();
        let mut out = BytesMut::new();
        let sent = if self.held.is_empty() {
            self.end.request(&Ask::ping(&args[..]), seq, None, &mut out)
        } else {
            let object = &self.held[random.below(self.held.len())];
            let ask = Ask::call_attr(object, "method", &args[..], ());
            self.end.request(&ask, seq, None, &mut out)
        };
        assert_eq!(sent, Ok(seq));
        self.calls.insert(seq, false);
        self.sent.push_back(out.freeze());
    }

    fn drop_one(&mut self, random: &mut Random) {
        if !self.held.is_empty() {
            let id = self.held.swap_remove(random.below(self.held.len()));
            self.end.release(&id, 1);
        }
    }

    fn flush_releases(&mut self) {
        let mut out = BytesMut::new();
        while self.end.poll_release(&mut out) {
            self.sent.push_back(out.split().freeze());
        }
    }

    fn abandon_one(&mut self, random: &mut Random) {
        let mut open: Vec<u64> = self.calls.keys().copied().collect();
        open.sort_unstable();
        if !open.is_empty() {
            let seq = open[random.below(open.len())];
            let before = self.calls.insert(seq, true);
            let expected = (before == Some(false)).then_some(seq);
            assert_eq!(self.end.abandon(seq), expected);
        }
    }

    fn answer_one(&mut self, random: &mut Random) {
        if self.unanswered.is_empty() {
            return;
        }
        let seq = self
            .unanswered
            .swap_remove(random.below(self.unanswered.len()));
        let result = self.item(random, 0);
        let payload = written(|out| match random.below(4) {
            0 => {
                let error = Exception::value_error("no").attr("code", Value::Int(4));
                self.end.exception(&seq, &error, out);
            }
            _ => self.end.reply(&seq, &result, out).unwrap(),
        });
        self.sent.push_back(payload);
    }

    fn receive(&mut self, payload: Bytes, random: &mut Random) {
        match self.end.handle_frame(payload).unwrap() {
            Incoming::Request { seq, request } => match request {
                Request::Del { .. } => {
                    let payload = written(|out| self.end.reply(&seq, &Value::None, out).unwrap());
                    self.sent.push_back(payload);
                }
                Request::Ping { data } => {
                    self.keep(&data, random);
                    self.unanswered.push(seq);
                }
                Request::CallAttr { object, args, .. } => {
                    assert!(matches!(object, Item::Ours(_)));
                    for item in [object].iter().chain(&args) {
                        self.keep(item, random);
                    }
                    self.unanswered.push(seq);
                }
                other => panic!("{other:?}"),
            },
            Incoming::Answer {
                seq,
                waiter,
                result,
            } => {
                assert_eq!(seq, waiter);
                assert_eq!(self.calls.remove(&seq), Some(false));
                self.answers += 1;
                match result {
                    Ok(item) => self.keep(&item, random),
                    Err(error) => assert!(matches!(error, CallError::Remote(_)), "{error}"),
                }
            }
            Incoming::Late => self.late += 1,
            other => panic!("{other:?}"),
        }
    }
}

fn step(sides: &mut [Side; 2], random: &mut Random) {
    let one = random.below(2);
    let side = &mut sides[one];
    match random.below(12) {
        0 | 1 => side.call(random),
        2 => side.drop_one(random),
        3 => side.flush_releases(),
        4 if random.below(4) == 0 => side.abandon_one(random),
        4..=6 => side.answer_one(random),
        _ => {
            if let Some(payload) = sides[1 - one].sent.pop_front() {
                sides[one].receive(payload, random);
            }
        }
    }
}

/// Lets everything finish and gives everything back.
fn settle(sides: &mut [Side; 2], random: &mut Random) {
    loop {
        for side in sides.iter_mut() {
            while !side.held.is_empty() {
                side.drop_one(random);
            }
            while !side.unanswered.is_empty() {
                side.answer_one(random);
            }
            side.flush_releases();
        }
        if sides.iter().all(|side| side.sent.is_empty()) {
            return;
        }
        for one in 0..2 {
            while let Some(payload) = sides[1 - one].sent.pop_front() {
                sides[one].receive(payload, random);
            }
        }
    }
}

#[test]
fn nothing_is_left_when_all_is_answered_and_dropped() {
    let (mut answers, mut late) = (0, 0);
    for seed in 1..=40 {
        let mut random = Random::new(seed);
        let mut sides = [Side::new(), Side::new()];
        for _ in 0..3_000 {
            step(&mut sides, &mut random);
        }
        settle(&mut sides, &mut random);
        for side in &sides {
            assert_eq!(side.end.stats(), Stats::default(), "seed {seed}");
            answers += side.answers;
            late += side.late;
        }
    }
    assert!(answers > 10_000 && late > 10_000, "{answers} {late}");
}

/// The owner sends an object again while the DEL of the first reference is under way.
#[test]
fn an_object_sent_again_survives_the_del_under_way() {
    let (mut owner, mut holder) = (end(), end());
    let thing = Thing::new("test.Thing");
    let give = |owner: &mut End| {
        written(|out| {
            owner
                .request(&Ask::ping(Ours(&thing)), 0, None, out)
                .unwrap();
        })
    };
    let take = |holder: &mut End, payload| match holder.handle_frame(payload).unwrap() {
        Incoming::Request {
            request: Request::Ping {
                data: Item::Theirs(id),
            },
            ..
        } => id,
        other => panic!("{other:?}"),
    };
    let first = give(&mut owner);
    let id = take(&mut holder, first);
    holder.release(&id, 1);
    let del = written(|out| assert!(holder.poll_release(out)));

    let second = give(&mut owner);
    let Incoming::Request { request, .. } = owner.handle_frame(del).unwrap() else {
        panic!("a DEL")
    };
    assert_eq!(request, Request::Del { freed: None });

    assert_eq!(take(&mut holder, second), id);
    let call = written(|out| {
        let ask = Ask::call(&id, (), ());
        holder.request(&ask, 0, None, out).unwrap();
    });
    let Incoming::Request { request, .. } = owner.handle_frame(call).unwrap() else {
        panic!("a call")
    };
    assert!(matches!(request, Request::Call { object: Item::Ours(found), .. } if found == thing));
}

#[test]
fn the_references_in_a_late_answer_are_given_back() {
    let (mut client, mut server) = (end(), end());
    let thing = Thing::new("test.Thing");
    let start = Instant::now();
    let request = written(|out| {
        client
            .request(&Ask::get_root(), 9, Some(start), out)
            .unwrap();
    });
    assert_eq!(client.poll_timeout(), Some(start));
    assert_eq!(client.expire(start), [(0, 9)]);
    let Incoming::Request { seq, .. } = server.handle_frame(request).unwrap() else {
        panic!("a request")
    };
    let result = (1, (Ours(&thing), Ours(&thing)));
    let reply = written(|out| server.reply(&seq, &result, out).unwrap());
    assert!(matches!(client.handle_frame(reply), Ok(Incoming::Late)));
    assert!(client.has_releases());
    let del = written(|out| assert!(client.poll_release(out)));
    let Incoming::Request { request, .. } = server.handle_frame(del).unwrap() else {
        panic!("a DEL")
    };
    assert_eq!(request, Request::Del { freed: Some(thing) });
    assert_eq!(server.stats().exported, 0);
}

#[test]
fn the_end_hands_out_waiters_and_objects() {
    let mut one = end();
    let thing = Thing::new("test.Thing");
    let mut out = BytesMut::new();
    one.request(&Ask::get_root(), 5, None, &mut out).unwrap();
    one.request(&Ask::ping(Ours(&thing)), 6, None, &mut out)
        .unwrap();
    one.close(&mut out);
    assert_eq!(one.end(), (vec![(0, 5), (1, 6)], vec![thing]));
    assert_eq!(one.stats(), Stats::default());
    let refused = one.request(&Ask::get_root(), 7, None, &mut out);
    assert_eq!(refused, Err(SendError::Closed));
}
