//! [`Ask`]: a request to be sent.

use super::{ByName, Handler, IdPack};

/// A handler and its arguments, for [`Protocol::request`](super::Protocol::request).
///
/// `P` is a tuple of what the handler takes. It borrows what the caller has, and is written to the output as it stands:
/// `Ask::call_attr(&root, "add", (1, 2), ())` allocates nothing.
#[derive(Debug, Clone, Copy)]
pub struct Ask<P> {
    handler: Handler,
    args: P,
}

impl<P> Ask<P> {
    /// Any handler with any arguments; the peer checks them.
    pub const fn new(handler: Handler, args: P) -> Self {
        Self { handler, args }
    }

    /// What is asked for.
    #[must_use]
    pub const fn handler(&self) -> Handler {
        self.handler
    }

    pub(super) const fn args(&self) -> &P {
        &self.args
    }
}

impl Ask<()> {
    /// The peer's root object.
    #[must_use]
    pub const fn get_root() -> Self {
        Self::new(Handler::GetRoot, ())
    }
}

impl<P> Ask<(P,)> {
    /// The same data back.
    pub const fn ping(data: P) -> Self {
        Self::new(Handler::Ping, (data,))
    }
}

impl<'a> Ask<(ByName<'a>,)> {
    /// The methods of an object: a tuple of (name, docstring or None).
    #[must_use]
    pub const fn inspect(object: &'a IdPack) -> Self {
        Self::new(Handler::Inspect, (ByName(object),))
    }
}

impl<'a> Ask<(&'a IdPack,)> {
    /// One of the handlers that take nothing but an object: `REPR`, `STR`, `HASH`, `DIR`.
    #[must_use]
    pub const fn about(handler: Handler, object: &'a IdPack) -> Self {
        Self::new(handler, (object,))
    }
}

impl<'a, 'n> Ask<(&'a IdPack, &'n str)> {
    /// An attribute.
    #[must_use]
    pub const fn get_attr(object: &'a IdPack, name: &'n str) -> Self {
        Self::new(Handler::GetAttr, (object, name))
    }

    /// Deletes an attribute.
    #[must_use]
    pub const fn del_attr(object: &'a IdPack, name: &'n str) -> Self {
        Self::new(Handler::DelAttr, (object, name))
    }
}

impl<'a, 'n, V> Ask<(&'a IdPack, &'n str, V)> {
    /// Sets an attribute.
    pub const fn set_attr(object: &'a IdPack, name: &'n str, value: V) -> Self {
        Self::new(Handler::SetAttr, (object, name, value))
    }
}

impl<'a, A, K> Ask<(&'a IdPack, A, K)> {
    /// Calls an object. `args` is a tuple, `kwargs` a tuple or slice of (name, value); `()` for none.
    pub const fn call(object: &'a IdPack, args: A, kwargs: K) -> Self {
        Self::new(Handler::Call, (object, args, kwargs))
    }
}

impl<'a, 'n, A, K> Ask<(&'a IdPack, &'n str, A, K)> {
    /// Calls a method, in one trip; arguments as for [`call`](Ask::call).
    pub const fn call_attr(object: &'a IdPack, name: &'n str, args: A, kwargs: K) -> Self {
        Self::new(Handler::CallAttr, (object, name, args, kwargs))
    }
}

impl<'a> Ask<(&'a IdPack, Option<u64>)> {
    /// The next items of an iterable as one tuple, at most `count`, or all. An empty tuple means there are no more.
    #[must_use]
    pub const fn buffiter(object: &'a IdPack, count: Option<u64>) -> Self {
        Self::new(Handler::BuffIter, (object, count))
    }
}

impl<'a, 'n, O> Ask<(&'a IdPack, O, &'n str)> {
    /// Compares with the method `op`, such as `__eq__`.
    pub const fn cmp(object: &'a IdPack, other: O, op: &'n str) -> Self {
        Self::new(Handler::Cmp, (object, other, op))
    }
}
