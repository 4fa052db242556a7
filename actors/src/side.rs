//! [`Side`]: which end of a connection this is.

/// Which end of a connection this is: protocols that begin with an exchange give the two ends different parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Side {
    /// This end opened the connection: the client.
    #[default]
    Dialled,
    /// This end was called: the server.
    Accepted,
}
