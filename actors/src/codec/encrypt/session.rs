//! [`Session`]: a connection after its handshake, both directions and the signs of life.

use std::{ops::RangeInclusive, time::Instant};

use bytes::Bytes;

use super::{
    config::EncryptConfig,
    handshake::Secrets,
    record::{BadRecord, Kind, Opener, Sealer},
    terms::Agreed,
};
use crate::{
    codec::pulse::{Due, Pulse},
    unit::Chunk,
};

/// What a record asks for, besides the text it may have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Nothing,
    /// What stands behind the kind is text.
    Text,
    Ping,
    Close(u8),
}

pub(super) struct Session {
    sealer: Sealer,
    opener: Opener,
    pulse: Pulse,
    binding: [u8; 32],
    features: u32,
    /// FIN or CLOSE was sent, or came.
    has_finished: bool,
    has_peer_finished: bool,
}

impl Session {
    pub(super) fn new(
        config: &EncryptConfig,
        secrets: &Secrets,
        agreed: Agreed,
        now: Instant,
    ) -> Self {
        let backend = config.backend;
        let max_record = agreed.max_record;
        Self {
            sealer: Sealer::new(backend, &secrets.sending, max_record, config.rekey, now),
            opener: Opener::new(backend, &secrets.receiving, config.max_record),
            pulse: Pulse::new(config.liveness, agreed.silence, now),
            binding: secrets.binding,
            features: agreed.features,
            has_finished: false,
            has_peer_finished: false,
        }
    }

    pub(super) fn binding(&self) -> [u8; 32] {
        self.binding
    }

    pub(super) fn features(&self) -> u32 {
        self.features
    }

    /// Lengths that a record may announce.
    pub(super) fn lengths(&self) -> RangeInclusive<usize> {
        self.opener.lengths()
    }

    pub(super) fn has_peer_finished(&self) -> bool {
        self.has_peer_finished
    }

    /// Opens the record that `memory` holds behind `from`, into the front of it; in words what is wrong with it.
    pub(super) fn open(
        &mut self,
        memory: &mut [u8],
        from: usize,
        now: Instant,
    ) -> Result<Heard, String> {
        if self.has_peer_finished {
            return Err("a record came behind the last one".into());
        }
        let (kind, reason) = self.opener.open(memory, from).map_err(|bad| match bad {
            BadRecord::Forged => "a record is not the next one that the peer made".to_owned(),
            BadRecord::Kind(kind) => format!("a record of kind {kind} is not as it must be"),
        })?;
        self.pulse.heard(now);
        Ok(match kind {
            Kind::Data => Heard::Text,
            Kind::Rekey | Kind::Pong => Heard::Nothing,
            Kind::Ping => Heard::Ping,
            Kind::Fin => {
                self.has_peer_finished = true;
                self.pulse.stop_hearing();
                Heard::Nothing
            }
            Kind::Close => Heard::Close(reason),
        })
    }

    /// Seals text.
    pub(super) fn seal(&mut self, text: Chunk, now: Instant) -> Chunk {
        self.pulse.sent(now);
        self.sealer.data(text, now)
    }

    /// A record that is not data; none behind the last one.
    pub(super) fn control(&mut self, kind: Kind, body: &[u8], now: Instant) -> Option<Bytes> {
        if self.has_finished {
            return None;
        }
        if matches!(kind, Kind::Fin | Kind::Close) {
            self.has_finished = true;
            self.pulse.stop_sending();
        }
        self.pulse.sent(now);
        Some(self.sealer.control(kind, body, now))
    }

    /// When [`tick`](Self::tick) is wanted.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        self.pulse.next()
    }

    /// What is due at `now`; `is_reading` is whether what the peer sends would be read.
    pub(super) fn tick(&mut self, now: Instant, is_reading: bool) -> Due {
        self.pulse.tick(now, is_reading)
    }
}
