//! [`Netref`]: a handle of an object that lives at the peer.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;

use crate::{
    brine::BrineError,
    connection::{Deadline, Exported, Hold, Link, tag_of},
    error::Error,
    object::{FromObject, Object},
    protocol::{Ask, Exception, Handler, IdPack, Pack, PackTuple, Packer, Refusal},
};

/// A reference to an object of the peer.
///
/// Clones share the reference. Dropping the last one tells the peer (DEL), together with the next request or after
/// 20 ms. A reference is good for one connection: it keeps that connection open, and fails when it is gone.
#[derive(Clone)]
pub struct Netref {
    inner: Arc<Inner>,
    timeout: Option<Duration>,
}

struct Inner {
    link: Hold,
    id: IdPack,
    /// Counted at the peer for this handle; the root is counted once for the whole connection.
    is_counted: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_counted {
            self.link.release(&self.id);
        }
    }
}

impl std::fmt::Debug for Netref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Netref").field(&self.inner.id).finish()
    }
}

impl Netref {
    pub(crate) fn new(link: &Arc<Link>, id: IdPack) -> Self {
        Self {
            inner: Arc::new(Inner {
                link: link.hold(),
                id,
                is_counted: true,
            }),
            timeout: Some(crate::connection::DEFAULT_TIMEOUT),
        }
    }

    /// A handle of an object that the connection itself holds.
    pub(crate) fn uncounted(link: &Arc<Link>, id: IdPack) -> Self {
        Self {
            inner: Arc::new(Inner {
                link: link.hold(),
                id,
                is_counted: false,
            }),
            timeout: Some(crate::connection::DEFAULT_TIMEOUT),
        }
    }

    /// The same reference with another deadline for each of its calls; `None` waits for ever. 30 s by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// The full name of the object's class at the peer, such as `builtins.list`.
    pub fn class_name(&self) -> &str {
        self.inner.id.name()
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.inner.link
    }

    pub(crate) fn id(&self) -> &IdPack {
        &self.inner.id
    }

    /// That of a call which begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    async fn ask<P: PackTuple<Exported>, R: FromObject>(&self, ask: Ask<P>) -> Result<R, Error> {
        let answer = self.inner.link.ask(ask, self.deadline()).await?;
        Ok(R::from_object(answer)?)
    }

    /// Calls the object. `args` is a Rust tuple.
    ///
    /// # Errors
    ///
    /// [`Error`]: what the peer raised, or why there is no answer.
    ///
    /// # Cancellation
    ///
    /// The peer may still run the call.
    pub async fn call<R: FromObject>(&self, args: impl PackTuple<Exported>) -> Result<R, Error> {
        self.call_kw(args, ()).await
    }

    /// Calls the object with keyword arguments: a tuple or slice of `(name, value)`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// As [`call`](Self::call).
    pub async fn call_kw<R: FromObject>(
        &self,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.ask(Ask::call(&self.inner.id, args, kwargs)).await
    }

    /// Calls a method, in one round trip.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// As [`call`](Self::call).
    pub async fn call_method<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.call_method_kw(name, args, ()).await
    }

    /// Calls a method with keyword arguments, in one round trip.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// As [`call`](Self::call).
    pub async fn call_method_kw<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.ask(Ask::call_attr(&self.inner.id, name, args, kwargs))
            .await
    }

    /// Reads an attribute.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); an attribute that is not there, or that may not be read, is an `AttributeError` of the peer.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn getattr<R: FromObject>(&self, name: &str) -> Result<R, Error> {
        self.ask(Ask::get_attr(&self.inner.id, name)).await
    }

    /// Sets an attribute, where the peer allows that.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// The peer may still set it.
    pub async fn setattr(&self, name: &str, value: impl Pack<Exported>) -> Result<(), Error> {
        self.ask(Ask::set_attr(&self.inner.id, name, value)).await
    }

    /// Python's `str(object)`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn str(&self) -> Result<String, Error> {
        self.ask(Ask::about(Handler::Str, &self.inner.id)).await
    }

    /// Python's `repr(object)`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn repr(&self) -> Result<String, Error> {
        self.ask(Ask::about(Handler::Repr, &self.inner.id)).await
    }

    /// Python's `dir(object)`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn dir(&self) -> Result<Vec<String>, Error> {
        self.ask(Ask::about(Handler::Dir, &self.inner.id)).await
    }

    /// The next items of an iterable, at most `count`; none at the end. One round trip.
    ///
    /// A list or dict starts over each time, an iterator goes on.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// Items of an iterator that were on their way are lost.
    pub async fn next_items<R: FromObject>(&self, count: u64) -> Result<Vec<R>, Error> {
        let items: Vec<Object> = self.ask(Ask::buffiter(&self.inner.id, Some(count))).await?;
        Ok(items
            .into_iter()
            .map(R::from_object)
            .collect::<Result<_, _>>()?)
    }

    /// The items of an iterable, fetched `chunk` at a time.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn iterate<R: FromObject>(&self, chunk: u64) -> Result<Items<R>, Error> {
        // A list has to be made an iterator once, or every chunk would be its first.
        let iterator = self.call_method("__iter__", ()).await?;
        Ok(Items {
            iterator,
            chunk: chunk.max(1),
            fetched: Vec::new().into_iter(),
            at_end: false,
        })
    }
}

impl Pack<Exported> for Netref {
    fn is_plain(&self) -> bool {
        false
    }

    fn put_plain(&self, _: &mut BytesMut) -> Result<(), BrineError> {
        unreachable!("a reference is not plain, so nobody asks for its value")
    }

    fn put_box(&self, packer: &mut Packer<'_, Exported>) -> Result<(), Refusal> {
        if packer.tag() != tag_of(&self.inner.link) {
            let what = "a reference of another connection cannot be passed on";
            return Err(Refusal::BadRequest(Box::new(Exception::value_error(what))));
        }
        packer.theirs(&self.inner.id);
        Ok(())
    }
}

/// The items of a remote iterable.
#[derive(Debug)]
pub struct Items<R> {
    iterator: Netref,
    chunk: u64,
    fetched: std::vec::IntoIter<R>,
    at_end: bool,
}

impl<R: FromObject> Items<R> {
    /// The next item; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Netref::call`].
    ///
    /// # Cancellation
    ///
    /// Items that were on their way are lost.
    pub async fn next(&mut self) -> Result<Option<R>, Error> {
        if let Some(item) = self.fetched.next() {
            return Ok(Some(item));
        }
        if !self.at_end {
            self.fetched = self.iterator.next_items(self.chunk).await?.into_iter();
            self.at_end = self.fetched.len() == 0;
        }
        Ok(self.fetched.next())
    }
}
