//! The RPyC protocol without input and output: envelopes, boxing, references, exceptions.

mod handler;
mod pending;

pub use handler::Handler;
