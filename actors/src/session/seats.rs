//! [`Sessions`]: the sessions of a server, and who waits for a link.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    actor::{Evict, GoAway, Keeper, Offer, Session, TakeLink},
    dialler::{Lower, Opened},
    link::Attachment,
};
use crate::{
    codec::resume::{Binding, Identity, Request, ResumeConfig},
    credit::Gate,
    layer::Below,
    mail::WorkAddr,
    message::Write,
    stream::StreamHandle,
    unit::Chunk,
};

type SessionId = [u8; 16];

/// What a server knows of its sessions now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Sessions in all.
    pub alive: usize,
    /// Those among them without a connection, and the bytes under way that these hold.
    pub detached: usize,
    /// See [`detached`](Self::detached).
    pub detached_bytes: usize,
    /// Sessions so far that were lost because too many had no connection.
    pub evicted: u64,
}

/// All sessions that began over one set of layers. Dropping it does not end them.
pub(crate) struct Sessions {
    config: ResumeConfig,
    /// What this run of the server is known by.
    incarnation: [u8; 16],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seats: HashMap<SessionId, Seat>,
    /// Sessions without a link, the one first that has waited longest.
    waiting: BTreeMap<u64, SessionId>,
    next: u64,
    waiting_bytes: usize,
    evicted: u64,
}

struct Seat {
    session: WorkAddr<Session>,
    /// Its place among those that wait, and the bytes that it holds.
    waits: Option<(u64, usize)>,
}

/// A session's place among the others; dropping it gives it up.
pub(crate) struct Place {
    sessions: Arc<Sessions>,
    id: SessionId,
}

impl Sessions {
    /// # Panics
    ///
    /// When the operating system has no random bytes.
    pub(crate) fn new(config: ResumeConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            incarnation: random(),
            state: Mutex::default(),
        })
    }

    pub(crate) fn config(&self) -> &ResumeConfig {
        &self.config
    }

    pub(crate) fn stats(&self) -> SessionStats {
        let state = self.state.lock();
        SessionStats {
            alive: state.seats.len(),
            detached: state.waiting.len(),
            detached_bytes: state.waiting_bytes,
            evicted: state.evicted,
        }
    }

    /// Tells every client that its session will end soon.
    pub(crate) fn go_away(&self) {
        let sessions: Vec<_> = {
            let state = self.state.lock();
            let sessions = state.seats.values().map(|seat| seat.session.clone());
            sessions.collect()
        };
        for session in sessions {
            // One that is gone has told its client already.
            let _ = session.post(GoAway);
        }
    }

    /// Gives a link to the session it is for, on whichever arbiter that lives; a new one lives on this arbiter.
    pub(super) fn admit(
        self: &Arc<Self>,
        request: Request,
        binding: Binding,
        opened: Opened,
        offer: Offer,
    ) {
        let Some(id) = request.session() else {
            self.begin(&request, binding, opened, offer);
            return;
        };
        let session = {
            let state = self.state.lock();
            state.seats.get(&id).map(|seat| seat.session.clone())
        };
        let take = TakeLink {
            request,
            binding,
            below: Some(opened.below),
        };
        match session {
            // One that is gone lets go of the link, and the client finds nobody the next time.
            Some(session) => drop(session.post(take)),
            // Dropping it tells the client.
            None => drop(take),
        }
    }

    fn begin(self: &Arc<Self>, request: &Request, binding: Binding, opened: Opened, offer: Offer) {
        let identity = Identity {
            session: random(),
            secret: random(),
            incarnation: self.incarnation,
        };
        let id = identity.session;
        let place = Place {
            sessions: self.clone(),
            id,
        };
        let info = (**opened.stream.info()).clone();
        let attachment = Attachment::new(0, opened.below, Some(binding));
        let session = Session::accept(
            &self.config,
            identity,
            request,
            info,
            place,
            attachment,
            offer,
        );
        let seat = Seat {
            session,
            waits: None,
        };
        self.state.lock().seats.insert(id, seat);
    }
}

impl Place {
    /// The session has no link, and holds so many bytes. Whoever has waited longest goes when that is too much.
    pub(super) fn wait(&self, bytes: usize) {
        let config = &self.sessions.config;
        let mut evicted = Vec::new();
        let mut guard = self.sessions.state.lock();
        let state = &mut *guard;
        if let Some(seat) = state.seats.get_mut(&self.id) {
            let (number, before) = *seat.waits.get_or_insert_with(|| {
                state.next += 1;
                state.waiting.insert(state.next, self.id);
                (state.next, 0)
            });
            seat.waits = Some((number, bytes));
            state.waiting_bytes = state.waiting_bytes - before + bytes;
        }
        while state.waiting.len() > config.max_detached
            || state.waiting_bytes > config.max_detached_bytes
        {
            let Some((_, id)) = state.waiting.pop_first() else {
                break;
            };
            state.evicted += 1;
            if let Some(seat) = state.seats.get_mut(&id) {
                let (_, bytes) = seat.waits.take().unwrap_or_default();
                state.waiting_bytes -= bytes;
                evicted.push(seat.session.clone());
            }
        }
        drop(guard);
        for session in evicted {
            // One that is gone made room by itself.
            let _ = session.post(Evict);
        }
    }

    /// The session has a link.
    pub(super) fn go_on(&self) {
        let mut guard = self.sessions.state.lock();
        let state = &mut *guard;
        if let Some(seat) = state.seats.get_mut(&self.id)
            && let Some((number, bytes)) = seat.waits.take()
        {
            state.waiting.remove(&number);
            state.waiting_bytes -= bytes;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.go_on();
        let seat = self.sessions.state.lock().seats.remove(&self.id);
        // The address goes without the lock.
        drop(seat);
    }
}

impl From<Place> for Keeper {
    fn from(place: Place) -> Self {
        Self::Place(place)
    }
}

/// Tells a client why it may not go on, and lets go of its link in order.
pub(super) fn refuse(below: Option<Box<dyn Below<Chunk>>>, word: bytes::Bytes) {
    if let Some(below) = below {
        let write = Write {
            credit: Gate::new(word.len()).charge(word.len()),
            unit: word.into(),
        };
        // A link that is gone needs no answer.
        let _ = below.write(write);
        let _ = below.finish();
        below.detach();
    }
}

impl Sessions {
    /// Takes an accepted stream on its arbiter; `offer` gets the session's when it is a new one.
    pub(crate) fn accept(self: &Arc<Self>, stream: StreamHandle, lower: &Lower, offer: Offer) {
        super::doorman::greet(self, lower.build(stream), offer);
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
