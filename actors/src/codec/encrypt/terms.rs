//! [`Terms`]: what an end says of itself inside the handshake, and what both make of it.
//!
//! | offset | size | what |
//! | --- | --- | --- |
//! | 0 | 2 | largest body of a record that this end opens, in bytes: 1,024 to 64,000 |
//! | 2 | 4 | milliseconds of silence after which this end takes the other for dead, at least 200; 0: never |
//! | 6 | 4 | feature bits: offered by the dialling end, chosen out of those by the accepting end |
//! | 10 | 4 | feature bits without which this end refuses |
//! | 14 | any | for later versions; read past |
//!
//! All numbers are big-endian.

use std::time::Duration;

use super::config::{MAX_RECORD, MIN_RECORD, MIN_SILENCE};
use crate::{
    codec::{RESUME, SNAPPY},
    side::Side,
};

/// Bytes of what this version says.
pub(super) const TERMS: usize = 14;

/// What one end says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) max_record: usize,
    pub(super) silence: Option<Duration>,
    pub(super) features: u32,
    pub(super) required: u32,
}

/// What both ends hold to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    /// Largest body of a record that this end sends.
    pub(super) max_record: usize,
    /// How long the other end bears silence.
    pub(super) silence: Option<Duration>,
    pub(super) features: u32,
}

impl Agreed {
    /// Enough to say good-bye.
    pub(super) const NOTHING: Self = Self {
        max_record: MIN_RECORD,
        silence: None,
        features: 0,
    };
}

impl Terms {
    pub(super) fn encode(&self) -> [u8; TERMS] {
        let silence = self.silence.map_or(0, |silence| {
            u32::try_from(silence.as_millis()).unwrap_or(u32::MAX)
        });
        let max_record = u16::try_from(self.max_record).expect("a setting of at most 64,000");
        let mut bytes = [0; TERMS];
        bytes[..2].copy_from_slice(&max_record.to_be_bytes());
        bytes[2..6].copy_from_slice(&silence.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.features.to_be_bytes());
        bytes[10..].copy_from_slice(&self.required.to_be_bytes());
        bytes
    }

    /// Reads what the other end says; in words what is wrong with it.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, String> {
        let word = |at: usize| {
            let bytes = payload.get(at..)?.first_chunk::<4>()?;
            Some(u32::from_be_bytes(*bytes))
        };
        let record = payload.first_chunk::<2>().copied();
        let (Some(record), Some(silence), Some(features), Some(required)) =
            (record, word(2), word(6), word(10))
        else {
            return Err(format!(
                "its terms of {} bytes are too short: {TERMS} are due",
                payload.len()
            ));
        };
        let max_record = usize::from(u16::from_be_bytes(record));
        if !(MIN_RECORD..=MAX_RECORD).contains(&max_record) {
            return Err(format!(
                "it takes records of up to {max_record} bytes: {MIN_RECORD} to {MAX_RECORD} are allowed"
            ));
        }
        let silence = Duration::from_millis(silence.into());
        if !silence.is_zero() && silence < MIN_SILENCE {
            return Err(format!(
                "it bears silence for {silence:?} only: {MIN_SILENCE:?} is the least"
            ));
        }
        Ok(Self {
            max_record,
            silence: Some(silence).filter(|silence| !silence.is_zero()),
            features,
            required,
        })
    }

    /// What the accepting end answers to `theirs`.
    pub(super) fn answer(&self, theirs: &Self) -> Self {
        Self {
            features: self.features & theirs.features,
            ..*self
        }
    }

    /// What both ends hold to, as this end sees it; in words why not. `self` is what this end has offered.
    pub(super) fn agree(&self, side: Side, theirs: &Self) -> Result<Agreed, String> {
        if side == Side::Dialled && theirs.features & !self.features != 0 {
            return Err(format!(
                "it chose features {:#x}, and {:#x} were offered",
                theirs.features, self.features
            ));
        }
        let features = self.features & theirs.features;
        if theirs.required & !features != 0 {
            let missing = theirs.required & !features;
            return Err(format!("it needs {}", names(missing)));
        }
        if self.required & !features != 0 {
            let missing = self.required & !features;
            return Err(format!("it does not have {}", names(missing)));
        }
        Ok(Agreed {
            max_record: self.max_record.min(theirs.max_record),
            silence: theirs.silence,
            features,
        })
    }
}

/// Features in words.
fn names(features: u32) -> String {
    let name = |bit: u32| match 1 << bit {
        SNAPPY => "snappy".to_owned(),
        RESUME => "resume".to_owned(),
        _ => format!("feature {bit}"),
    };
    let bits = (0..u32::BITS).filter(|bit| features & 1 << bit != 0);
    bits.map(name).collect::<Vec<_>>().join(", ")
}
