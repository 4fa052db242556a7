//! A client, a server and the links between them, with a clock that moves when it is told to.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    super::{
        Binding, Greeting, Identity, LINK_WINDOW, Link, Output, Request, Resume, ResumeConfig,
    },
    end::{End, byte_at},
};
use crate::{
    credit::Gate,
    error::StreamError,
    message::{Read, Write},
    unit::Chunk,
};

/// A small generator (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A link: what is under way in both directions, and who is at its ends.
pub(super) struct Cable {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    /// In order and in full, each direction may end.
    server_finished: bool,
    client_finished: bool,
    is_cut: bool,
    /// The server reads what comes first here.
    greeting: Option<Greeting>,
    gates: [Arc<Gate>; 2],
    /// What waits to be written there, with its credit.
    unsent: [VecDeque<Write<Chunk>>; 2],
}

/// All of it.
pub(super) struct World {
    pub(super) random: Random,
    pub(super) config: ResumeConfig,
    pub(super) now: Instant,
    pub(super) client: End,
    pub(super) server: End,
    /// The server's session.
    name: Option<[u8; 16]>,
    incarnation: u8,
    pub(super) cables: Vec<Cable>,
    pub(super) cuts: u64,
    cap: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Client,
    Server,
}

impl World {
    pub(super) fn new(seed: u64, config: ResumeConfig, cap: usize) -> Self {
        let start = crate::runtime::start_of_virtual_time();
        let mut client = End::new(start, cap, 1, 2);
        client.session = Some(Resume::new(&config, start));
        Self {
            random: Random(seed),
            config,
            now: start,
            client,
            server: End::new(start, cap, 2, 1),
            name: None,
            incarnation: 0,
            cables: Vec::new(),
            cuts: 0,
            cap,
        }
    }

    fn end(&mut self, who: Who) -> &mut End {
        match who {
            Who::Client => &mut self.client,
            Who::Server => &mut self.server,
        }
    }

    // ---- the applications ----

    pub(super) fn write(&mut self, who: Who, most: u64, size: usize) {
        let end = self.end(who);
        let size = size.min(usize::try_from(most.saturating_sub(end.written)).expect("small"));
        if size == 0 || end.is_over() || who == Who::Server && !end.is_confirmed {
            return;
        }
        let Some(credit) = end.down.try_acquire(size) else {
            return;
        };
        let stream = end.writes;
        let bytes: Vec<u8> = (end.written..end.written + size as u64)
            .map(|offset| byte_at(stream, offset))
            .collect();
        end.written += size as u64;
        // In pieces of any size.
        let mut rest = Bytes::from(bytes);
        let mut unit = Chunk::new();
        while !rest.is_empty() {
            let at = 1 + self.random.below(rest.len());
            unit.push(rest.split_to(at));
        }
        if let Some(session) = &mut self.end(who).session {
            session.handle_write(Write { unit, credit });
        }
        self.settle(who);
    }

    pub(super) fn give(&mut self, who: Who, input: impl FnOnce(&mut Resume)) {
        if let Some(session) = &mut self.end(who).session {
            input(session);
        }
        self.settle(who);
    }

    pub(super) fn consume(&mut self, who: Who, all: bool) {
        self.end(who).consume(all);
        self.settle(who);
    }

    // ---- links ----

    /// The client dials, if it needs a link.
    pub(super) fn dial(&mut self) {
        if !self.client.session.as_ref().is_some_and(Resume::is_down) {
            return;
        }
        let cable = self.cables.len();
        let gates = [LINK_WINDOW, LINK_WINDOW].map(Gate::new);
        self.cables.push(Cable {
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            server_finished: false,
            client_finished: false,
            is_cut: false,
            greeting: Some(Greeting::default()),
            gates: gates.clone(),
            unsent: Default::default(),
        });
        self.client.link = Some(cable);
        let link = self.link(cable, Who::Client);
        self.give(Who::Client, |session| session.handle_attached(link));
    }

    fn link(&self, cable: usize, who: Who) -> Link {
        // Each link has a binding of its own.
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&(cable as u64).to_be_bytes());
        Link {
            binding: Binding::noise(hash),
            gate: self.cables[cable].gates[who as usize].clone(),
            now: self.now,
        }
    }

    /// Cuts the link that the client uses. What was under way is gone, or some of it arrives.
    pub(super) fn cut(&mut self) {
        if let Some(cable) = self.client.link
            && !std::mem::replace(&mut self.cables[cable].is_cut, true)
        {
            self.cuts += 1;
            // What had left before the cut may still arrive; what is said from now on does not.
            let keeps = [self.random.below(4), self.random.below(4)];
            let cable = &mut self.cables[cable];
            for (queue, keep) in [&mut cable.to_server, &mut cable.to_client]
                .into_iter()
                .zip(keeps)
            {
                if keep > 0 {
                    let length = self.random.below(queue.len() + 1);
                    queue.truncate(length);
                }
            }
        }
    }

    /// An end notices that its link is gone.
    pub(super) fn notice(&mut self, who: Who) {
        let link = self.end(who).link;
        if let Some(cable) = link
            && self.cables[cable].is_cut
        {
            self.end(who).link = None;
            let now = self.now;
            self.give(who, |session| {
                session.handle_detached(StreamError::Closed, now)
            });
            self.forget(cable);
        }
    }

    /// Nobody is at the link any more.
    fn forget(&mut self, cable: usize) {
        if self.client.link != Some(cable) && self.server.link != Some(cable) {
            let cable = &mut self.cables[cable];
            cable.to_client = VecDeque::new();
            cable.greeting = None;
            cable.unsent = Default::default();
        }
    }

    /// Carries up to `size` bytes of the link with that number.
    pub(super) fn carry(&mut self, cable: usize, to: Who, size: usize) {
        self.write_out(cable);
        let queue = match to {
            Who::Client => &mut self.cables[cable].to_client,
            Who::Server => &mut self.cables[cable].to_server,
        };
        let size = size.min(queue.len());
        let bytes: Vec<u8> = queue.drain(..size).collect();
        if bytes.is_empty() {
            self.carry_end(cable, to);
            return;
        }
        let unit = Chunk::from(Bytes::from(bytes));
        if to == Who::Server && self.cables[cable].greeting.is_some() {
            self.greet(cable, &unit);
            return;
        }
        if self.end(to).link != Some(cable) {
            return;
        }
        let gate = Gate::new(1);
        let credit = gate.charge(unit.len());
        let read = Read { unit, credit };
        let mut session = self.end(to).session.take();
        if let Some(session) = &mut session {
            session.handle_read(read, self.end(to));
        }
        self.end(to).session = session;
        self.settle(to);
    }

    fn carry_end(&mut self, cable: usize, to: Who) {
        let state = &self.cables[cable];
        let finished = match to {
            Who::Client => state.server_finished,
            Who::Server => state.client_finished,
        };
        if finished && !state.is_cut && self.end(to).link == Some(cable) {
            let now = self.now;
            self.give(to, |session| session.handle_end(now));
            self.end(to).link = None;
        }
    }

    /// What waits at the ends of a link goes onto it.
    fn write_out(&mut self, cable: usize) {
        let cable = &mut self.cables[cable];
        for (from, queue) in [&mut cable.to_server, &mut cable.to_client]
            .into_iter()
            .enumerate()
        {
            for write in cable.unsent[from].drain(..) {
                if !cable.is_cut {
                    write
                        .unit
                        .pieces()
                        .iter()
                        .for_each(|piece| queue.extend(piece.iter()));
                }
            }
        }
    }

    // ---- the server ----

    fn greet(&mut self, cable: usize, unit: &Chunk) {
        let greeting = self.cables[cable].greeting.as_mut().expect("it is asked");
        let request = greeting.take(unit).expect("a client of ours");
        let Some(request) = request else { return };
        self.cables[cable].greeting = None;
        let link = self.link(cable, Who::Server);
        match request.session() {
            // A server makes a session for each client that asks. One that nobody has heard of matters to nobody, and here it gives way.
            None if !self.server.is_confirmed && self.client.link == Some(cable) => {
                self.accept(&request, link);
                self.server.link = Some(cable);
            }
            Some(session) if self.name == Some(session) && self.server.session.is_some() => {
                let mut session = self.server.session.take().expect("it was there");
                let result = session.handle_attach(&request, link, &self.server);
                self.server.session = Some(session);
                match result {
                    Ok(()) => self.server.link = Some(cable),
                    Err(why) => self.refuse(cable, &Request::refuse(why)),
                }
            }
            _ => self.refuse(cable, &Request::refuse_unknown()),
        }
        self.settle(Who::Server);
    }

    fn accept(&mut self, request: &Request, link: Link) {
        let mut session = [0; 16];
        session[..8].copy_from_slice(&self.random.next().to_be_bytes());
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&self.random.next().to_be_bytes());
        self.name = Some(session);
        let identity = Identity {
            session,
            secret,
            incarnation: [self.incarnation; 16],
        };
        self.server.session = Some(Resume::accept(&self.config, identity, request, link));
    }

    fn refuse(&mut self, cable: usize, word: &[u8]) {
        let cable = &mut self.cables[cable];
        if !cable.is_cut {
            cable.to_client.extend(word);
        }
    }

    /// The server's process ends, and another one begins.
    pub(super) fn restart_server(&mut self) {
        self.cut();
        if let Some(cable) = self.server.link.take() {
            self.cables[cable].is_cut = true;
        }
        self.server = End::new(self.now, self.cap, 2, 1);
        self.name = None;
        self.incarnation += 1;
    }

    /// The client's process ends.
    pub(super) fn stop_client(&mut self) {
        self.cut();
        self.client.session = None;
        self.client.link = None;
    }

    // ---- time ----

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        for who in [Who::Client, Who::Server] {
            let now = self.now;
            self.end(who).now.set(now);
            while let Some(session) = &mut self.end(who).session
                && let Some(at) = session.poll_timeout()
                && at <= now
            {
                session.handle_timeout(now);
                self.settle(who);
            }
        }
    }

    // ---- outputs ----

    /// Takes all that an end gives out, and checks what it delivers.
    pub(super) fn settle(&mut self, who: Who) {
        let end = self.end(who);
        let Some(mut session) = end.session.take() else {
            return;
        };
        while let Some(output) = session.poll_output(self.end(who)) {
            self.obey(who, output);
        }
        let end = self.end(who);
        end.session = Some(session);
        end.check_memory();
        if let Some(over) = &end.over
            && over.is_none()
        {
            assert!(!end.is_confirmed || end.has_ended, "over before the end");
        }
    }

    fn obey(&mut self, who: Who, output: Output) {
        let link = self.end(who).link;
        let end = self.end(who);
        assert!(!end.is_over(), "{who:?} goes on after its end: {output:?}");
        match output {
            Output::Up(read) => {
                assert!(!end.has_ended, "data behind the end");
                for piece in read.unit.pieces() {
                    for byte in piece.iter() {
                        let due = byte_at(end.reads, end.delivered);
                        assert_eq!(*byte, due, "{who:?}, byte {}", end.delivered);
                        end.delivered += 1;
                    }
                }
                end.waiting.push_back(read);
            }
            Output::End => assert!(!std::mem::replace(&mut end.has_ended, true)),
            Output::Confirmed => assert!(!std::mem::replace(&mut end.is_confirmed, true)),
            Output::Over(error) => end.over = Some(error),
            Output::DropLink(_) => end.link = None,
            Output::Attached => {}
            Output::GoingAway => end.goings += 1,
            Output::Down(write) => {
                // A fenced link may still have a reader, which is all the same to this end.
                let cable = link.or_else(|| (who == Who::Server).then(|| self.cables.len() - 1));
                let cable = cable.expect("there is a link to say it on");
                self.cables[cable].unsent[who as usize].push_back(write);
            }
            Output::FinishLink => {
                let cable = &mut self.cables[link.expect("there is a link to finish")];
                match who {
                    Who::Client => cable.client_finished = true,
                    Who::Server => cable.server_finished = true,
                }
            }
        }
    }
}
