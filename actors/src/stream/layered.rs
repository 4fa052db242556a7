//! Layers of bytes on a stream that is not part of a channel: [`StreamHandle::layered`].
//!
//! The layer is the same actor as in a chain. What is read comes up into a [`Surface`], where handles ask for it by its
//! number of bytes; a channel that is built on the stream takes the surface's place, and what nobody took with it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Keep, ReadExact, StreamHandle, Unread,
    demand::{Demand, became_a_channel},
    handle::Door,
};
use crate::{
    codec::Codec,
    credit::{Credit, Gate},
    error::{ConnectionLostError, LossReason, StreamError},
    layer::{Above, Below, Gone, Layer},
    mail::WorkAddr,
    message::{Read, Tell},
    unit::Chunk,
};

impl StreamHandle {
    /// The same stream with a layer of bytes on it, which is a stream again.
    ///
    /// What this one had read ahead goes through the layer first. Clones of this handle can write past the layer, which
    /// is hardly ever wanted, but not read any more.
    #[must_use]
    pub fn layered<C>(self, codec: C) -> Self
    where
        C: Codec<Above = Chunk, Below = Chunk>,
    {
        self.layered_ahead(codec, 0)
    }

    /// As [`layered`](Self::layered), and reads go on until at least `read_ahead` bytes wait that nobody asked for.
    pub(crate) fn layered_ahead<C>(self, codec: C, read_ahead: usize) -> Self
    where
        C: Codec<Above = Chunk, Below = Chunk>,
    {
        let layer = Layer::start_on(codec, self.below(), &self);
        let surface = Surface::new(self.info().endpoint.clone(), self.gates().1, read_ahead);
        // Without an actor the surface learns so when this is dropped.
        let _ = Below::attach(&layer, Box::new(Upper(surface.clone())));
        self.with_door(|base| {
            Arc::new(LayeredDoor {
                layer,
                surface,
                base,
            })
        })
    }
}

/// The door of a stream with a layer on it.
struct LayeredDoor<C: Codec<Above = Chunk, Below = Chunk>> {
    layer: WorkAddr<Layer<C>>,
    surface: Arc<Surface>,
    base: StreamHandle,
}

impl<C: Codec<Above = Chunk, Below = Chunk>> Door for LayeredDoor<C> {
    fn lower(&self) -> &dyn Below<Chunk> {
        &self.layer
    }

    fn read_exact(&self, message: ReadExact) -> Result<(), Gone> {
        self.surface.ask(message);
        Ok(())
    }

    fn unread(&self, message: Unread) {
        self.surface.put_back(&message.0);
    }

    fn keep(&self, message: Keep) {
        self.base.keep(message);
    }

    fn connected(&self) -> bool {
        self.layer.connected()
    }

    fn below(&self) -> Box<dyn Below<Chunk>> {
        self.surface.state.lock().is_taken = true;
        Box::new(self.layer.clone())
    }
}

impl<C: Codec<Above = Chunk, Below = Chunk>> Drop for LayeredDoor<C> {
    fn drop(&mut self) {
        // What was built on it has the layer now, and ends it.
        if !self.surface.state.lock().is_taken {
            // A layer that is gone has nothing to let go of.
            let _ = self.layer.finish();
            self.layer.detach();
        }
    }
}

/// The application's end of layers of bytes.
///
/// While nobody waits for more than it has, and it has what is to be read ahead, it holds the whole credit of its
/// direction: so nothing is read before somebody asks. Bytes that somebody waits for hold none, or a read of more
/// than all credit would never have what it asked for.
struct Surface {
    endpoint: Arc<str>,
    gate: Arc<Gate>,
    read_ahead: usize,
    state: Mutex<State>,
}

struct State {
    demand: Demand,
    credit: Credit,
    /// Nothing more comes.
    has_ended: bool,
    /// Why reads are refused: something was built on the stream.
    is_taken: bool,
    /// Somebody gives answers, without the lock, and looks again when it has given one.
    is_serving: bool,
    look_again: bool,
}

impl Surface {
    fn new(endpoint: Arc<str>, gate: &Arc<Gate>, read_ahead: usize) -> Arc<Self> {
        let state = State {
            demand: Demand::default(),
            credit: gate.charge(0),
            has_ended: false,
            is_taken: false,
            is_serving: false,
            look_again: false,
        };
        let surface = Self {
            endpoint,
            gate: gate.clone(),
            read_ahead,
            state: Mutex::new(state),
        };
        surface.serve();
        Arc::new(surface)
    }

    fn ask(&self, request: ReadExact) {
        let mut state = self.state.lock();
        if state.is_taken {
            drop(state);
            // Whoever asked may have gone.
            let _ = request.answer.send(Err(became_a_channel()));
            return;
        }
        state.demand.ask(request);
        drop(state);
        self.serve();
    }

    fn put_back(&self, bytes: &[u8]) {
        self.state.lock().demand.put_back(bytes);
        self.serve();
    }

    fn end(&self, error: Option<StreamError>) {
        let mut state = self.state.lock();
        state.demand.end(&self.endpoint, error);
        state.has_ended = true;
        drop(state);
        self.serve();
    }

    /// Answers all who can be answered, one after the other even if several call this: bytes of a reader who went away are
    /// back before the next one is answered. No lock is held while a reader, or the stream, wakes.
    fn serve(&self) {
        let mut state = self.state.lock();
        if std::mem::replace(&mut state.is_serving, true) {
            state.look_again = true;
            return;
        }
        loop {
            state.look_again = false;
            while let Some((answer, result)) = state.demand.next() {
                drop(state);
                let refused = answer.send(result);
                state = self.state.lock();
                if let Err(Ok(bytes)) = refused {
                    state.demand.put_back(&bytes);
                }
            }
            let weight = self.weight(&state);
            let mut credit = std::mem::replace(&mut state.credit, self.gate.charge(0));
            drop(state);
            credit.set(weight);
            state = self.state.lock();
            state.credit.merge(credit);
            if !state.look_again {
                state.is_serving = false;
                return;
            }
        }
    }

    /// What the surface holds of its direction's credit.
    fn weight(&self, state: &State) -> usize {
        let surplus = state.demand.surplus();
        if state.has_ended || state.demand.is_wanted() {
            0
        } else if surplus < self.read_ahead {
            surplus
        } else {
            surplus.max(self.gate.cap())
        }
    }
}

/// The surface as the layer sees it.
struct Upper(Arc<Surface>);

impl Above<Chunk> for Upper {
    fn read(&self, message: Read<Chunk>) -> Result<(), Gone> {
        let mut state = self.0.state.lock();
        for piece in message.unit.pieces() {
            state.demand.push(piece);
        }
        state.credit.merge(message.credit);
        drop(state);
        self.0.serve();
        Ok(())
    }

    fn end(&self) {
        self.0.end(None);
    }

    fn lost(&self, error: StreamError) {
        self.0.end(Some(error));
    }

    fn write_failed(&self, _: StreamError) {
        // Writers learn it from their gate.
    }

    fn tell(&self, _: Tell) {
        // Nobody watches a stream.
    }

    fn hand_over(&self, successor: &dyn Above<Chunk>) {
        let mut state = self.0.state.lock();
        let demand = std::mem::take(&mut state.demand);
        let mut credit = std::mem::replace(&mut state.credit, self.0.gate.charge(0));
        // Nothing is held for a surface that nothing comes to.
        state.has_ended = true;
        drop(state);
        let ending = demand.ending();
        let (surplus, waiting) = demand.hand_over();
        for answer in waiting {
            // Whoever asked may have gone.
            let _ = answer.send(Err(became_a_channel()));
        }
        credit.set(surplus.len());
        if !surplus.is_empty() {
            // A successor that is gone needs nothing.
            let _ = successor.read(Read {
                unit: surplus.into(),
                credit,
            });
        }
        match ending {
            Some(Some(error)) => successor.lost(error),
            Some(None) => successor.end(),
            None => {}
        }
    }
}

impl Drop for Upper {
    fn drop(&mut self) {
        // Behind an ending this says nothing; without one, the layer went away or never came.
        let gone = ConnectionLostError::new(&self.0.endpoint, LossReason::ActorGone);
        self.0.end(Some(gone.into()));
    }
}
