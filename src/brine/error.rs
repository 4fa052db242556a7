//! What can be wrong with brine, and who must act.

use std::str::Utf8Error;

use thiserror::Error;

/// Why bytes are not brine, or a value cannot be written as brine.
///
/// Offsets count from the start of the input and point at the tag of the value at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BrineError {
    /// The input ends inside a value, or a tuple claims more items than bytes are left.
    ///
    /// Python hands out a byte string cut short as if it were whole; here it is refused, since
    /// no encoder writes one.
    #[error("{what} at byte {offset} lacks {missing} more bytes")]
    Truncated {
        /// Where the value starts.
        offset: usize,
        /// What was being read.
        what: &'static str,
        /// How many bytes are missing, at least.
        missing: usize,
    },
    /// A byte that starts no value.
    #[error("no value starts with tag {tag:#04x} at byte {offset}")]
    UnknownTag {
        /// Where the tag stands.
        offset: usize,
        /// The byte.
        tag: u8,
    },
    /// A value of another type than the reader needs here.
    #[error("expected {expected} at byte {offset}, got {got}")]
    Unexpected {
        /// Where the value starts.
        offset: usize,
        /// What the reader needs.
        expected: &'static str,
        /// What stands there.
        got: &'static str,
    },
    /// A `str` whose bytes are not UTF-8; lone surrogates are not.
    #[error("text at byte {offset} is not utf-8")]
    InvalidUtf8 {
        /// Where the text's value starts.
        offset: usize,
        /// What is wrong with it.
        source: Utf8Error,
    },
    /// An integer whose text Python's `int()` refuses.
    #[error("integer at byte {offset} is not a decimal number")]
    InvalidInteger {
        /// Where the integer starts.
        offset: usize,
    },
    /// An integer that is valid but does not fit the 64 bits asked for.
    #[error("integer at byte {offset} does not fit 64 bits")]
    IntegerTooLarge {
        /// Where the integer starts.
        offset: usize,
    },
    /// A tuple, or the sequence inside a slice, with another number of items than there must be.
    #[error("expected {expected} items at byte {offset}, got {got}")]
    ItemCount {
        /// Where the value starts.
        offset: usize,
        /// How many items it must have.
        expected: usize,
        /// How many it has.
        got: usize,
    },
    /// Bytes follow where the input should end.
    #[error("{left} bytes follow the value that ends at byte {offset}")]
    TrailingBytes {
        /// Where the value ends.
        offset: usize,
        /// How many bytes follow.
        left: usize,
    },
    /// More than the [`Limits`](super::Limits) or the format allow; nothing was allocated for it.
    #[error("{what}: {got} exceeds the limit of {limit}")]
    LimitExceeded {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What was asked for, or the first count above the limit.
        got: usize,
    },
}
