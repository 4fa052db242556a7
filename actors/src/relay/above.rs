//! The relay as the channel below it sees it: what ends the channel is not what ends the stream.

use actix::Message;

use super::actor::Relaying;
use crate::{
    error::StreamError,
    layer::{self, Gone},
    mail::WorkAddr,
    message::{Read, Tell},
    unit::Frames,
};

/// Nothing more comes of the channel: it was lost or closed for this reason, or else the peer ended its direction.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ChannelEnded(pub(super) Option<StreamError>);

/// Takes what comes up, for the relay.
pub(super) struct Above(pub(super) WorkAddr<Relaying>);

impl layer::Above<Frames> for Above {
    fn read(&self, message: Read<Frames>) -> Result<(), Gone> {
        self.0.hand(message)
    }

    // A relay that is gone has reset the channel, or needs it no more.

    fn end(&self) {
        let _ = self.0.post(ChannelEnded(None));
    }

    fn lost(&self, error: StreamError) {
        let _ = self.0.post(ChannelEnded(Some(error)));
    }

    fn write_failed(&self, error: StreamError) {
        self.lost(error);
    }

    fn tell(&self, _: Tell) {
        // Only how it ends matters here.
    }
}
