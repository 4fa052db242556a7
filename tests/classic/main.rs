//! Classic mode against Python's own classic servers: `rpyc_classic` over TCP, TLS and a child's pipes, and a `SlaveService` on a unix
//! socket, of rpyc 6 and of rpyc 5.
#![cfg(all(feature = "rpc", feature = "tls"))]

#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/python.rs"]
mod python;

mod errors;
mod files;
mod peer;
mod server;
mod values;
