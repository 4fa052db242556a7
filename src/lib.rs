//! Python's RPyC protocol, client and server, on actix actors.

#[cfg(feature = "rpc")]
pub mod brine;
#[cfg(feature = "rpc")]
pub mod protocol;
