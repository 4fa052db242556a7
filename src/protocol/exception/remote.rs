//! [`RemoteError`]: an exception as it came in.

use std::fmt;

use super::{Exception, STOP_ITERATION};
use crate::brine::{Str, Value};

/// An exception that the peer's code raised.
///
/// `Display` prints class and text on one line; [`Exception::traceback`] has the peer's own account of where it happened. Nothing
/// in it can be trusted further than the peer itself: class, text and attributes are whatever it sent.
#[derive(Clone, PartialEq)]
pub struct RemoteError(Box<Exception>);

impl RemoteError {
    /// The exception itself.
    #[must_use]
    pub fn exception(&self) -> &Exception {
        &self.0
    }

    /// The exception itself, for instance to raise it on towards another peer.
    #[must_use]
    pub fn into_exception(self) -> Exception {
        *self.0
    }

    /// Reads the body of an exception message.
    pub(in crate::protocol) fn decode(body: Value) -> Result<Self, &'static str> {
        if body.as_int() == Some(STOP_ITERATION) {
            return Ok(Exception::stop_iteration().into());
        }
        let parts = match body {
            Value::Tuple(parts) => parts,
            // Python 2.5 could raise plain strings; the decoder of 6.x still takes them.
            Value::Str(text) => return Ok(Exception::new("", text, Vec::new()).into()),
            _ => return Err("an exception is neither a tuple nor 1"),
        };
        let Ok([class, Value::Tuple(args), Value::Tuple(attrs), traceback]) =
            <[Value; 4]>::try_from(parts)
        else {
            return Err("an exception is not (class, args, attributes, traceback)");
        };
        let (module, class) =
            pair_of_str(class).ok_or("an exception's class is not two strings")?;
        let attrs = attrs
            .into_iter()
            .map(|attr| {
                let Value::Tuple(pair) = attr else {
                    return None;
                };
                let Ok([Value::Str(name), value]) = <[Value; 2]>::try_from(pair) else {
                    return None;
                };
                Some((name, value))
            })
            .collect::<Option<_>>()
            .ok_or("an exception's attributes are not pairs of name and value")?;
        let traceback = match traceback {
            Value::Str(text) => Some(Box::new(text)),
            _ => None,
        };
        Ok(Self(Box::new(Exception {
            module,
            class,
            args,
            attrs,
            traceback,
        })))
    }
}

fn pair_of_str(pair: Value) -> Option<(Str, Str)> {
    let Value::Tuple(pair) = pair else {
        return None;
    };
    match <[Value; 2]>::try_from(pair) {
        Ok([Value::Str(first), Value::Str(second)]) => Some((first, second)),
        _ => None,
    }
}

impl std::ops::Deref for RemoteError {
    type Target = Exception;

    fn deref(&self) -> &Exception {
        &self.0
    }
}

impl From<Exception> for RemoteError {
    fn from(exception: Exception) -> Self {
        Self(Box::new(exception))
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for RemoteError {}
