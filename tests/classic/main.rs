//! Classic mode against Python's own classic servers: `rpyc_classic` over TCP and over a child's pipes, and a `SlaveService` on a unix
//! socket, of rpyc 6 and of rpyc 5.
#![cfg(feature = "rpc")]

#[path = "../support/python.rs"]
mod python;

mod errors;
mod files;
mod peer;
mod server;
mod values;
