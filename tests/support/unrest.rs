//! The proxy that breaks connections and what goes with it, which the transport's tests made, for tests of this package.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test uses its own part of this file"
)]

#[path = "../../actors/tests/support/chaos.rs"]
pub(crate) mod chaos;
#[path = "../../actors/tests/support/random.rs"]
mod random;
#[path = "../../actors/tests/support/resumed.rs"]
pub(crate) mod resumed;
#[path = "../../actors/tests/support/waiting.rs"]
mod waiting;

pub(crate) use self::{
    random::Random,
    waiting::{until, within},
};
