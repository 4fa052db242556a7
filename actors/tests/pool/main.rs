//! Pools: who gets what, in which order, and what becomes of it.

#[path = "../support/mod.rs"]
mod support;

mod actor;
mod channels;
mod fake;
mod health;
mod storms;
mod time;
