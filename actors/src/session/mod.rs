//! Sessions: what lives on over the links below a channel.
//!
//! ```text
//! Channel ─ framing ─ layers ─ Session ─┬─ layers ─ ByteStream    the link before: lost
//!                                       └─ layers ─ ByteStream    the present one
//! ```
//!
//! To all above it a `Session` is a stream like any other. Below it, it changes from link to link: the dialling end opens
//! a new one when the one before is lost, the accepting end is given it by `Sessions`, behind a `Doorman` who reads what a client says first.
//! What the session says on its links is [`Resume`](crate::codec::Resume)'s business.

mod actor;
mod binding;
mod dialler;
mod door;
mod doorman;
mod handlers;
mod link;
mod seats;

pub use seats::SessionStats;
pub(crate) use {
    actor::Offer,
    dialler::{Lower, Recipe},
    seats::Sessions,
};
