//! [`SessionDoor`]: how handles and the layers above reach a session.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::actor::Session;
use crate::{
    credit::Gate,
    layer::{Below, Gone},
    mail::WorkAddr,
    stream::{Door, Keep, ReadExact, StreamHandle, StreamInfo, Unread},
    unit::Chunk,
};

/// The stream that a session is to those above.
pub(super) fn handle(
    session: WorkAddr<Session>,
    info: Arc<StreamInfo>,
    (down_gate, up_gate): (Arc<Gate>, Arc<Gate>),
) -> StreamHandle {
    let door = Arc::new(SessionDoor::new(session));
    StreamHandle::of(door, info, down_gate, up_gate)
}

/// The door of a session, through which channels are built on it. It is no stream to read from by the number of bytes.
struct SessionDoor {
    session: WorkAddr<Session>,
    is_taken: AtomicBool,
}

impl SessionDoor {
    fn new(session: WorkAddr<Session>) -> Self {
        Self {
            session,
            is_taken: AtomicBool::new(false),
        }
    }
}

impl Door for SessionDoor {
    fn lower(&self) -> &dyn Below<Chunk> {
        &self.session
    }

    fn read_exact(&self, _: ReadExact) -> Result<(), Gone> {
        Err(Gone)
    }

    fn unread(&self, _: Unread) {}

    fn keep(&self, message: Keep) {
        // A session that is gone drops it at once.
        let _ = self.session.post(message);
    }

    fn connected(&self) -> bool {
        self.session.connected()
    }

    fn below(&self) -> Box<dyn Below<Chunk>> {
        self.is_taken.store(true, Ordering::Release);
        Box::new(self.session.clone())
    }
}

impl Drop for SessionDoor {
    fn drop(&mut self) {
        // What was built on it has the session now, and ends it.
        if !self.is_taken.load(Ordering::Acquire) {
            let _ = self.session.finish();
            Below::detach(&self.session);
        }
    }
}
