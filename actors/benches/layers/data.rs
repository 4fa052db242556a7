//! What is sent: a shop's orders, as JSON.
//!
//! Bytes that are all the same would show what no real frame does: zlib makes a thousandth of them.

use std::fmt::Write;

use bytes::Bytes;

const NAMES: [&str; 8] = [
    "Ada", "Barbara", "Edsger", "Grace", "Ken", "Leslie", "Margaret", "Radia",
];
const GOODS: [&str; 8] = [
    "anvil", "bellows", "chisel", "drill", "file", "hammer", "lathe", "tongs",
];

/// Exactly `size` bytes of it, the same each time.
pub(crate) fn json(size: usize) -> Bytes {
    let mut text = String::from("[");
    // A linear congruence, with the constants of Knuth's MMIX.
    let mut state = 1_u64;
    let mut below = |limit: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    while text.len() < size {
        let name = NAMES[below(8) as usize];
        let good = GOODS[below(8) as usize];
        write!(
            text,
            r#"{{"order":{},"customer":{{"name":"{name}","city":{}}},"item":"{good}","count":{},"price":{}.{:02},"is_paid":{}}},"#,
            1_000_000 + below(9_000_000),
            below(5000),
            1 + below(20),
            below(500),
            below(100),
            below(2) == 0,
        )
        .expect("a string grows");
    }
    text.truncate(size);
    text.into()
}
