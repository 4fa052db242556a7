//! [`Down`]: what a channel's actor has below it.

use std::task::Context as TaskContext;

use super::{front::Front, head::Head};
use crate::{
    codec::Framing,
    layer::{Below, Gone, Hosted},
    mail::WorkAddr,
    message::{Flush, Write},
    unit::Frames,
};

/// The framing, done by the channel's actor itself, or the uppermost layer of frames.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each channel, and the large variant is the common one"
)]
pub(crate) enum Down {
    Framing(Hosted<Framing>),
    Layers(Box<dyn Below<Frames>>),
}

impl Down {
    /// True when that left nothing to be given out.
    #[inline]
    pub(super) fn write(&mut self, message: Write<Frames>) -> Result<bool, Gone> {
        match self {
            Self::Framing(framing) => Ok(framing.write(message)),
            Self::Layers(below) => below.write(message).map(|()| true),
        }
    }

    pub(super) fn flush(&mut self, message: Flush) -> Result<(), Gone> {
        match self {
            Self::Framing(framing) => {
                framing.flush(message);
                Ok(())
            }
            Self::Layers(below) => below.flush(message),
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), Gone> {
        match self {
            Self::Framing(framing) => {
                framing.finish();
                Ok(())
            }
            Self::Layers(below) => below.finish(),
        }
    }

    pub(super) fn abort(&mut self) {
        match self {
            Self::Framing(framing) => framing.reset(),
            Self::Layers(below) => below.abort(),
        }
    }

    pub(super) fn expect_more(&self) {
        match self {
            Self::Framing(framing) => framing.expect_more(),
            Self::Layers(below) => below.expect_more(),
        }
    }

    /// Lets no record hold two frames; framing below other layers did so from the beginning if there are records.
    pub(super) fn separate_frames(&mut self) {
        if let Self::Framing(framing) = self {
            framing.codec_mut().separate();
        }
    }

    pub(super) fn attach(&mut self, head: &WorkAddr<Head>) -> Result<(), Gone> {
        match self {
            Self::Framing(framing) => {
                framing.attach(Box::new(head.clone()));
                Ok(())
            }
            Self::Layers(below) => below.attach(Box::new(head.clone())),
        }
    }

    pub(super) fn detach(&self) {
        match self {
            Self::Framing(framing) => framing.detach(),
            Self::Layers(below) => below.detach(),
        }
    }

    /// Gives out what the framing has, up and down.
    #[inline]
    pub(super) fn drain(&mut self, cx: &mut TaskContext<'_>, front: &mut Front) {
        if let Self::Framing(framing) = self {
            framing.drain(cx, front);
        }
    }
}
