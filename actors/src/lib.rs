//! Transport runtime.
