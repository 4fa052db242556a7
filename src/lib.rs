//! Python's RPyC protocol, client and server, on actix actors.

#[cfg(feature = "rpc")]
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod brine;
#[cfg(feature = "rpc")]
#[cfg_attr(not(test), deny(clippy::disallowed_methods, clippy::disallowed_types))]
pub mod protocol;
