//! What the benchmarks are made of.

#![allow(dead_code, reason = "each benchmark uses its own part of it")]

pub(crate) mod cell;
pub(crate) mod ends;
pub(crate) mod framed;
pub(crate) mod json;
pub(crate) mod noise;
pub(crate) mod options;
pub(crate) mod ours;
pub(crate) mod processors;
pub(crate) mod raw;
pub(crate) mod report;
pub(crate) mod rounds;
pub(crate) mod sockets;
pub(crate) mod table;
pub(crate) mod thread;
pub(crate) mod zmq;
