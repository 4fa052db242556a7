//! Pools: who gets what, in which order, and what becomes of it.

#[cfg(all(feature = "encrypt", feature = "snappy", feature = "tls"))]
#[path = "../../../tests/support/certificates.rs"]
mod certificates;
#[cfg(all(feature = "encrypt", feature = "snappy", feature = "tls"))]
#[path = "../../../tests/support/daemons.rs"]
mod daemons;
#[path = "../support/mod.rs"]
mod support;

mod actor;
mod channels;
mod desks;
mod fake;
mod health;
#[cfg(all(feature = "encrypt", feature = "snappy", feature = "tls"))]
mod recipes;
mod storms;
mod time;
