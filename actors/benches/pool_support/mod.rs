//! What the benchmark of pools is made of: the harness of the data path's benchmark, and the contenders.

#![allow(dead_code, reason = "the harness has more measures than pools need")]

#[path = "../support/cell.rs"]
pub(crate) mod cell;
#[path = "../support/ends.rs"]
pub(crate) mod ends;
#[path = "../support/json.rs"]
pub(crate) mod json;
#[path = "../support/noise.rs"]
pub(crate) mod noise;
#[path = "../support/options.rs"]
pub(crate) mod options;
pub(crate) mod pools;
#[path = "../support/report.rs"]
pub(crate) mod report;
#[path = "../support/rounds.rs"]
pub(crate) mod rounds;
#[path = "../support/table.rs"]
pub(crate) mod table;
#[path = "../support/thread.rs"]
pub(crate) mod thread;
