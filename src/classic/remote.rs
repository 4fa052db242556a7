//! [`Remote`]: a Python object, as classic mode lets one use it.

use std::time::Duration;

use super::helper::{Job, NOT_CALLED};
use crate::{
    brine::ConvertError,
    connection::Exported,
    error::Error,
    netref::Netref,
    object::{FromObject, Object},
    protocol::{Pack, PackTuple, Packer, Refusal},
};

/// A Python object at the peer: a module, a function, an instance, whatever there is.
///
/// It is a [`Netref`] that can walk attributes, written with dots between them, and copy what it finds. The type that the caller asks
/// for says which of the two Python's mutable objects become:
///
/// - a [`Remote`], a [`Netref`] or an [`Object`] is what Python's own client would get: values of the immutable types by copy, all
///   else by reference;
/// - every other type is read from a copy that the peer makes: lists are tuples in it, dicts tuples of pairs, sets frozensets, and
///   `bytearray` is `bytes`, as deep as they are nested. So a list can be read as a `Vec`, a dict as a `HashMap`.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc::Error> {
/// use rpyc::classic::{self, Remote};
///
/// let conn = classic::connect("localhost", classic::DEFAULT_PORT).await?;
/// let os = conn.module("os").await?;
/// let files: Vec<String> = os.call("listdir", ("/tmp",)).await?;
/// let joined: String = os.call("path.join", ("/tmp", &files[0])).await?;
/// let list: Remote = os.call("listdir", ("/tmp",)).await?;
/// list.call::<()>("sort", ()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cost
///
/// One round trip for each method, whatever the path and the size of the copy; the first on a connection takes two more.
///
/// # Limits
///
/// A copy is bounded as every message is: 64 MiB, 1,048,576 items, nested 64 deep by default. What contains itself raises
/// `RecursionError` at the peer. What has no form by value, an open file or a generator for example, stays a reference, so that only
/// [`Copied`] can hold it. What is shared inside of the original is there more than once in the copy.
#[derive(Clone, Debug)]
pub struct Remote(Netref);

impl From<Netref> for Remote {
    fn from(netref: Netref) -> Self {
        Self(netref)
    }
}

impl From<Remote> for Netref {
    fn from(remote: Remote) -> Self {
        remote.0
    }
}

impl From<Remote> for Object {
    fn from(remote: Remote) -> Self {
        Self::Netref(remote.0)
    }
}

impl FromObject for Remote {
    fn from_object(object: Object) -> Result<Self, ConvertError> {
        Netref::from_object(object).map(Self)
    }
}

impl Pack<Exported> for Remote {
    fn is_plain(&self) -> bool {
        false
    }

    fn put_plain(&self, out: &mut bytes::BytesMut) -> Result<(), crate::brine::BrineError> {
        self.0.put_plain(out)
    }

    fn put_box(&self, packer: &mut Packer<'_, Exported>) -> Result<(), Refusal> {
        self.0.put_box(packer)
    }
}

impl Remote {
    /// The reference itself, for `str`, `repr`, `dir` and iteration.
    pub fn netref(&self) -> &Netref {
        &self.0
    }

    /// The same object with another deadline for each call; `None` waits for ever. 30 s by default.
    #[must_use]
    pub fn with_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self(self.0.with_timeout(timeout))
    }

    async fn job<R: FromObject, A: PackTuple<Exported>>(
        &self,
        path: &str,
        args: Option<A>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        let job = Job {
            object: self.0.id(),
            path,
            args,
            kwargs,
        };
        job.run(self.0.link(), self.0.deadline()).await
    }

    /// Reads an attribute: `get("path.sep")` is Python's `object.path.sep`.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`]; what is not there is an `AttributeError` of the peer.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn get<R: FromObject>(&self, path: &str) -> Result<R, Error> {
        self.job(path, NOT_CALLED, ()).await
    }

    /// Sets an attribute, whose name may be a path, too; then it takes two trips.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// The peer may still set it.
    pub async fn set(&self, path: &str, value: impl Pack<Exported>) -> Result<(), Error> {
        match path.rsplit_once('.') {
            None => self.0.setattr(path, value).await,
            Some((path, name)) => {
                let object: Netref = self.get(path).await?;
                object.setattr(name, value).await
            }
        }
    }

    /// Calls a method or function: `call("path.join", ("a", "b"))`. `args` is a Rust tuple.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// The peer may still run the call.
    pub async fn call<R: FromObject>(
        &self,
        path: &str,
        args: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.job(path, Some(args), ()).await
    }

    /// As [`call`](Self::call) with keyword arguments: a tuple or slice of `(name, value)`.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// The peer may still run the call.
    pub async fn call_kw<R: FromObject>(
        &self,
        path: &str,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.job(path, Some(args), kwargs).await
    }

    /// Calls the object itself, which may be a function, a class or anything with a `__call__`.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// The peer may still run the call.
    pub async fn invoke<R: FromObject>(&self, args: impl PackTuple<Exported>) -> Result<R, Error> {
        self.job("", Some(args), ()).await
    }

    /// As [`invoke`](Self::invoke) with keyword arguments.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// The peer may still run the call.
    pub async fn invoke_kw<R: FromObject>(
        &self,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.job("", Some(args), kwargs).await
    }

    /// Python's `object[key]`.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`]; what is not there is a `KeyError` or an `IndexError` of the peer.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn item<R: FromObject>(&self, key: impl Pack<Exported>) -> Result<R, Error> {
        self.job("__getitem__", Some((key,)), ()).await
    }

    /// Python's `object[key] = value`.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// The peer may still set it.
    pub async fn set_item(
        &self,
        key: impl Pack<Exported>,
        value: impl Pack<Exported>,
    ) -> Result<(), Error> {
        self.0.call_method("__setitem__", (key, value)).await
    }

    /// Python's `len(object)`.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn size(&self) -> Result<usize, Error> {
        self.0.call_method("__len__", ()).await
    }

    /// Python's `item in object`, for what has a `__contains__`.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn contains(&self, item: impl Pack<Exported>) -> Result<bool, Error> {
        self.0.call_method("__contains__", (item,)).await
    }

    /// A copy of the object; here also as an [`Object`], like [`Copied`].
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn fetch<R: FromObject>(&self) -> Result<R, Error> {
        let Copied(object) = self.job("", NOT_CALLED, ()).await?;
        Ok(R::from_object(object)?)
    }
}

/// A copy as deep as that goes: in [`Connection::eval`](crate::Connection::eval) and [`Remote::call`], lists and dicts become tuples, and
/// what has no form by value stays a reference.
#[derive(Clone, Debug)]
pub struct Copied(pub Object);

impl FromObject for Copied {
    const BY_VALUE: bool = true;

    fn from_object(object: Object) -> Result<Self, ConvertError> {
        Ok(Self(object))
    }
}
