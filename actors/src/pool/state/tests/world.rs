//! A pool's books, and all that is outside of them.

use std::collections::BTreeSet;

use super::super::*;
use crate::{pool::site::Dial, runtime::start_of_virtual_time};

/// A connection is its number.
type Books = State<u64>;

/// A pool's books, and all that is outside of them.
pub(super) struct World {
    pub(super) books: Books,
    pub(super) random: fastrand::Rng,
    pub(super) now: Instant,
    pub(super) made: u64,
    pub(super) dials: Vec<Dial>,
    /// What users have.
    pub(super) out: Vec<Member<u64>>,
    /// Who waits, with what they were last seen to be given in `served`.
    pub(super) waiting: BTreeSet<Ticket>,
    pub(super) checks: Vec<(Ticket, Member<u64>)>,
    pub(super) closing: Vec<usize>,
}

impl World {
    pub(super) fn new(config: &PoolConfig, endpoints: usize, seed: u64) -> Self {
        let now = start_of_virtual_time();
        let endpoints = (0..endpoints).map(|at| format!("test:{at}").into());
        Self {
            books: State::new(config, endpoints, now),
            random: fastrand::Rng::with_seed(seed),
            now,
            made: 0,
            dials: Vec::new(),
            out: Vec::new(),
            waiting: BTreeSet::new(),
            checks: Vec::new(),
            closing: Vec::new(),
        }
    }

    pub(super) fn waiter(&self, timeout: Option<Duration>) -> Waiter {
        Waiter {
            waker: Waker::noop().clone(),
            deadline: timeout.map(|timeout| self.now + timeout),
            timeout: timeout.unwrap_or_default(),
            dialling_since: None,
        }
    }

    pub(super) fn join(&mut self, timeout: Option<Duration>) -> Ticket {
        let ticket = self.books.line.ticket();
        let waiter = self.waiter(timeout);
        self.waiting.insert(ticket);
        let now = self.now;
        self.books.join(ticket, waiter, now, &mut Woken::new());
        ticket
    }

    pub(super) fn get(&mut self, timeout: Option<Duration>) {
        match self.books.take() {
            Taken::Ready(member) => self.out.push(member),
            Taken::Unchecked(member) => self.check(None, member),
            Taken::None => drop(self.join(timeout)),
            Taken::Refused => panic!("nobody closed it"),
        }
    }

    pub(super) fn check(&mut self, ticket: Option<Ticket>, member: Member<u64>) {
        let ticket = ticket.unwrap_or_else(|| self.books.line.ticket());
        let waiter = self.waiter(None);
        self.waiting.insert(ticket);
        self.books
            .join_checking(ticket, waiter, member, &mut Woken::new());
    }

    /// The actor's visit.
    pub(super) fn keep(&mut self) {
        let plan = self.books.keep(self.now, Waker::noop(), &mut Woken::new());
        self.dials.extend(plan.dials);
        self.checks.extend(plan.jobs.checks);
        self.closing
            .extend(plan.jobs.retired.into_iter().map(|(member, _)| member.site));
    }

    /// Everybody looks at what they were given.
    pub(super) fn collect(&mut self) -> Vec<Ticket> {
        let mut served = Vec::new();
        for ticket in self.waiting.clone() {
            let Some(given) = self.books.line.take(ticket) else {
                continue;
            };
            self.waiting.remove(&ticket);
            if let Ok(grant) = given {
                if grant.needs_check {
                    self.check(Some(ticket), grant.member);
                } else {
                    served.push(ticket);
                    self.out.push(grant.member);
                }
            }
        }
        served
    }

    pub(super) fn any(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.random.usize(..count))
    }

    pub(super) fn dial_ends(&mut self, works: bool) {
        let Some(at) = self.any(self.dials.len()) else {
            return;
        };
        let dial = self.dials.swap_remove(at);
        let mut woken = Woken::new();
        if works {
            self.made += 1;
            let took = Duration::from_millis(1);
            self.books
                .dialled(dial, self.made, took, self.now, &mut woken);
        } else {
            let error = Arc::new(StreamError::Closed);
            self.books.dial_failed(dial, error, self.now, &mut woken);
        }
    }

    pub(super) fn returns(&mut self, why: Option<Retired>) {
        let Some(at) = self.any(self.out.len()) else {
            return;
        };
        let member = self.out.swap_remove(at);
        match why {
            None => self.books.put_back(member, &mut Woken::new()),
            Some(Retired::Taken) => {
                self.books.let_go(member, &mut Woken::new());
            }
            Some(why) => self.books.retire(member, why, &mut Woken::new()),
        }
    }

    pub(super) fn leaves(&mut self) {
        let count = self.waiting.len();
        if let Some(at) = self.any(count) {
            let ticket = *self.waiting.iter().nth(at).expect("it is below the count");
            self.waiting.remove(&ticket);
            self.books.leave(ticket, &mut Woken::new());
        }
    }

    pub(super) fn check_ends(&mut self, passes: bool) {
        let Some(at) = self.any(self.checks.len()) else {
            return;
        };
        let (ticket, member) = self.checks.swap_remove(at);
        let mut woken = Woken::new();
        let passed = if passes {
            Some(member)
        } else {
            self.books.retire(member, Retired::CheckFailed, &mut woken);
            None
        };
        self.books.checked(ticket, passed, self.now, &mut woken);
    }

    pub(super) fn close_ends(&mut self) {
        if let Some(at) = self.any(self.closing.len()) {
            let site = self.closing.swap_remove(at);
            self.books.closed(site, &mut Woken::new());
        }
    }

    /// One of everything that can happen.
    pub(super) fn happens(&mut self) {
        match self.random.u32(..20) {
            0..5 => {
                let timeout = self.random.u64(..3000);
                let timeout = (timeout > 0).then(|| Duration::from_millis(timeout));
                self.get(timeout);
            }
            5..9 => self.returns(None),
            9 => self.returns(Some(Retired::Broken)),
            10 => {
                let why = [Retired::Discarded, Retired::Taken];
                let why = why[self.random.usize(..2)];
                self.returns(Some(why));
            }
            11 => self.leaves(),
            12..15 => {
                let works = self.random.u32(..4) > 0;
                self.dial_ends(works);
            }
            15 => {
                let passes = self.random.bool();
                self.check_ends(passes);
            }
            16 => self.close_ends(),
            17 => self.now += Duration::from_millis(self.random.u64(..700)),
            18 => {
                let taken = self.books.take_long_idle();
                for member in taken {
                    if self.random.bool() {
                        self.books.put_back_looked_at(member, &mut Woken::new());
                    } else {
                        self.books
                            .retire(member, Retired::Broken, &mut Woken::new());
                    }
                }
            }
            _ => self.keep(),
        }
    }

    /// What is true at all times.
    pub(super) fn audit(&self) {
        let books = &self.books;
        assert!(
            books.total() <= books.max_size,
            "{} connections where {} may be",
            books.total(),
            books.max_size
        );
        assert!(
            books.line.is_empty() || books.idle() == 0,
            "somebody waits beside an idle connection"
        );
        assert_eq!(books.opening(), self.dials.len(), "every dial is counted");
        let closing: usize = books.sites.iter().map(|site| site.closing).sum();
        let waiting_to_close = books.jobs.retired.len();
        assert_eq!(closing, self.closing.len() + waiting_to_close);
        let with_users = self.out.len() + self.checks.len() + books.jobs.checks.len();
        let given = books.line.granted();
        assert_eq!(
            books.in_use(),
            with_users + given,
            "every connection in use is with somebody"
        );
    }
}
