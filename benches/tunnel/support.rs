//! The harness of the data path's benchmark.

#![allow(dead_code, reason = "the harness has more measures than tunnels need")]

#[path = "../../actors/benches/support/cell.rs"]
pub(crate) mod cell;
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
#[path = "../../actors/benches/support/table.rs"]
pub(crate) mod table;
