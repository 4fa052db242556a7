//! Rust against the real thing: Python's rpyc as server and as client, over TCP, TLS, unix sockets and pipes; and against peers that send what
//! they should not. One module for each kind of behaviour.
//!
//! Nothing here sleeps in the hope that something will have happened: every wait is for an event, and too long a wait is a failure.
#![cfg(feature = "rpc")]

#[cfg(any(feature = "tls", feature = "aws-lc-rs"))]
#[path = "../support/certificates.rs"]
mod certificates;
#[path = "../support/python.rs"]
mod python;
#[path = "../support/raw.rs"]
mod raw;

mod callbacks;
mod clients;
mod dialect;
mod ends;
mod exceptions;
mod hooks;
mod hostile;
mod layers;
mod limits;
mod load;
mod misuse;
mod order;
mod payloads;
mod references;
mod streams;
mod support;
#[cfg(any(feature = "tls", feature = "aws-lc-rs"))]
mod tls;
mod values;
