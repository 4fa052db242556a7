//! The RPyC protocol without input and output: envelopes, boxing, references, exceptions.
