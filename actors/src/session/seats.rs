//! [`Sessions`]: the sessions of a server, and who waits for a link.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
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
    handshakes::{Handshakes, Turn},
    layer::Below,
    mail::WorkAddr,
    message::Write,
    stream::{Address, StreamHandle},
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
    /// Connections whose client has not said yet what it wants.
    pub asking: usize,
    /// Connections so far that had not said what they wanted, and gave way to newer ones.
    pub pushed_out: u64,
}

/// All sessions that began over one set of layers. Dropping it does not end them.
pub(crate) struct Sessions {
    config: ResumeConfig,
    /// What this run of the server is known by.
    incarnation: [u8; 16],
    /// Connections whose client has not said yet what it wants.
    handshakes: Arc<Handshakes>,
    pushed_out: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seats: HashMap<SessionId, Seat>,
    /// Sessions without a link, by where they began.
    groups: HashMap<Option<IpAddr>, Group>,
    next: u64,
    waiting: usize,
    waiting_bytes: usize,
    evicted: u64,
}

/// Sessions of one address without a link.
#[derive(Default)]
struct Group {
    /// The one first that has waited longest.
    waiting: BTreeMap<u64, SessionId>,
    bytes: usize,
}

struct Seat {
    session: WorkAddr<Session>,
    /// Where its client came from first; none on unix sockets.
    address: Option<IpAddr>,
    /// It was told to go, unless it finds a link before it hears of it.
    is_evicted: bool,
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
            handshakes: Handshakes::new(config.max_handshakes),
            pushed_out: AtomicU64::new(0),
            config,
            incarnation: random(),
            state: Mutex::default(),
        })
    }

    pub(crate) fn config(&self) -> &ResumeConfig {
        &self.config
    }

    /// A turn for a connection to say what it wants.
    pub(super) fn turn(&self, stream: &StreamHandle) -> Turn {
        self.handshakes.enter(address(stream))
    }

    pub(super) fn count_pushed_out(&self) {
        self.pushed_out.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> SessionStats {
        let state = self.state.lock();
        SessionStats {
            alive: state.seats.len(),
            detached: state.waiting,
            detached_bytes: state.waiting_bytes,
            evicted: state.evicted,
            asking: self.handshakes.under_way(),
            pushed_out: self.pushed_out.load(Ordering::Relaxed),
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

    /// Gives a link to the session it is for, on whichever arbiter that lives; a new one lives on this arbiter, if there is somebody who
    /// takes it.
    pub(super) fn admit(
        self: &Arc<Self>,
        request: Request,
        binding: Binding,
        opened: Opened,
        offer: Option<Offer>,
    ) {
        let Some(id) = request.session() else {
            match offer {
                Some(offer) => self.begin(&request, binding, opened, offer),
                None => refuse(Some(opened.below), Request::refuse_new()),
            }
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
        let address = address(&opened.stream);
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
            address,
            is_evicted: false,
            waits: None,
        };
        self.state.lock().seats.insert(id, seat);
    }
}

impl State {
    /// A session waits, or still does, and holds so many bytes.
    fn enter(&mut self, id: SessionId, bytes: usize) {
        let Some(seat) = self.seats.get_mut(&id).filter(|seat| !seat.is_evicted) else {
            return;
        };
        let group = self.groups.entry(seat.address).or_default();
        let (number, before) = *seat.waits.get_or_insert_with(|| {
            self.next += 1;
            self.waiting += 1;
            group.waiting.insert(self.next, id);
            (self.next, 0)
        });
        seat.waits = Some((number, bytes));
        group.bytes = group.bytes - before + bytes;
        self.waiting_bytes = self.waiting_bytes - before + bytes;
    }

    /// A session does not wait any more.
    fn leave(&mut self, id: &SessionId) {
        let Some(seat) = self.seats.get_mut(id) else {
            return;
        };
        seat.is_evicted = false;
        if let Some((number, bytes)) = seat.waits.take()
            && let Some(group) = self.groups.get_mut(&seat.address)
        {
            group.waiting.remove(&number);
            group.bytes -= bytes;
            self.waiting -= 1;
            self.waiting_bytes -= bytes;
            if group.waiting.is_empty() {
                self.groups.remove(&seat.address);
            }
        }
    }

    /// Takes out a session that has to make room: the oldest one of the address that has most.
    fn push_out(&mut self, config: &ResumeConfig) -> Option<WorkAddr<Session>> {
        let is_full = self.waiting > config.max_detached;
        if !is_full && self.waiting_bytes <= config.max_detached_bytes {
            return None;
        }
        let oldest = |group: &Group| group.waiting.first_key_value().map(|(number, _)| *number);
        let fullest = self.groups.values().max_by_key(|group| {
            let most = if is_full {
                group.waiting.len()
            } else {
                group.bytes
            };
            (most, Reverse(oldest(group)))
        })?;
        let (_, id) = fullest.waiting.first_key_value()?;
        let id = *id;
        self.leave(&id);
        self.evicted += 1;
        let seat = self.seats.get_mut(&id)?;
        seat.is_evicted = true;
        Some(seat.session.clone())
    }
}

impl Place {
    /// The session has no link, and holds so many bytes. Others may have to go, or this one, when that is too much.
    pub(super) fn wait(&self, bytes: usize) {
        let mut evicted = Vec::new();
        let mut state = self.sessions.state.lock();
        state.enter(self.id, bytes);
        while let Some(session) = state.push_out(&self.sessions.config) {
            evicted.push(session);
        }
        drop(state);
        for session in evicted {
            // One that is gone made room by itself.
            let _ = session.post(Evict);
        }
    }

    /// The session has a link.
    pub(super) fn go_on(&self) {
        self.sessions.state.lock().leave(&self.id);
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
    /// Takes an accepted stream on its arbiter; `offer` gets the session's when it is a new one. Without it there are no new ones.
    pub(crate) fn accept(
        self: &Arc<Self>,
        stream: StreamHandle,
        lower: &Lower,
        offer: Option<Offer>,
    ) {
        super::doorman::greet(self, lower.build(stream), offer);
    }
}

/// Where a client came from; none on unix sockets.
fn address(stream: &StreamHandle) -> Option<IpAddr> {
    match &stream.info().peer {
        Some(Address::Tcp(address)) => Some(address.ip()),
        _ => None,
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
