//! Pools: who gets what, in which order, and what becomes of it.

#[path = "../../../tests/support/certificates.rs"]
mod certificates;
#[path = "../../../tests/support/daemons.rs"]
mod daemons;
#[path = "../support/mod.rs"]
mod support;

mod actor;
mod channels;
mod fake;
mod health;
mod recipes;
mod storms;
mod time;
