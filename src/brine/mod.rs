//! Brine: the self-delimiting encoding of immutable Python values.

mod text;
mod value;

pub use text::Str;
pub use value::Value;
