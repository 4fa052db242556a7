//! Brine: the self-delimiting encoding of immutable Python values.
