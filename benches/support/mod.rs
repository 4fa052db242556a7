//! What the benchmark is made of: the harness of the data path's benchmark, and the contenders.

#![allow(dead_code, reason = "the harness has more measures than calls need")]

#[path = "../../actors/benches/support/cell.rs"]
pub(crate) mod cell;
#[path = "../../actors/benches/support/ends.rs"]
pub(crate) mod ends;
#[path = "../../actors/benches/support/json.rs"]
pub(crate) mod json;
#[path = "../../actors/benches/support/noise.rs"]
pub(crate) mod noise;
#[path = "../../actors/benches/support/options.rs"]
pub(crate) mod options;
#[path = "../../actors/benches/support/report.rs"]
pub(crate) mod report;
#[path = "../../actors/benches/support/rounds.rs"]
pub(crate) mod rounds;
#[path = "../../actors/benches/support/sockets.rs"]
pub(crate) mod sockets;
#[path = "../../actors/benches/support/table.rs"]
pub(crate) mod table;
#[path = "../../actors/benches/support/thread.rs"]
pub(crate) mod thread;

#[path = "../../tests/support/python.rs"]
pub(crate) mod processes;

pub(crate) mod calls;
pub(crate) mod ours;
pub(crate) mod pooled;
pub(crate) mod python;
pub(crate) mod tarpc;
