//! The twins, for plain threads, of connecting and of the methods of [`Connection`] and [`Netref`].

use std::time::Duration;

use rpyc_actors::runtime::block_on;

use crate::{
    connection::{Connection, Exported},
    error::Error,
    netref::Netref,
    object::FromObject,
    protocol::{Pack, PackTuple},
};

/// [`connect`](crate::connect) for plain threads.
///
/// # Errors
///
/// As `connect`; `ApiMisuse` on an arbiter, which would wait for itself.
pub fn connect_blocking(host: &str, port: u16) -> Result<Connection, Error> {
    block_on(crate::connect(host, port))?
}

impl Connection {
    /// [`root`](Self::root) for plain threads.
    ///
    /// # Errors
    ///
    /// As `root`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn root_blocking(&self) -> Result<Netref, Error> {
        block_on(self.root())?
    }

    /// [`call`](Self::call) for plain threads.
    ///
    /// # Errors
    ///
    /// As `call`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn call_blocking<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        block_on(self.call(name, args))?
    }

    /// [`call_kw`](Self::call_kw) for plain threads.
    ///
    /// # Errors
    ///
    /// As `call_kw`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn call_kw_blocking<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        block_on(self.call_kw(name, args, kwargs))?
    }

    /// [`getattr`](Self::getattr) for plain threads.
    ///
    /// # Errors
    ///
    /// As `getattr`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn getattr_blocking<R: FromObject>(&self, name: &str) -> Result<R, Error> {
        block_on(self.getattr(name))?
    }

    /// [`ping`](Self::ping) for plain threads.
    ///
    /// # Errors
    ///
    /// As `ping`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn ping_blocking(&self) -> Result<Duration, Error> {
        block_on(self.ping())?
    }

    /// [`close`](Self::close) for plain threads.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn close_blocking(&self) -> Result<(), Error> {
        Ok(block_on(self.close())?)
    }
}

impl Netref {
    /// [`call`](Self::call) for plain threads.
    ///
    /// # Errors
    ///
    /// As `call`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn call_blocking<R: FromObject>(&self, args: impl PackTuple<Exported>) -> Result<R, Error> {
        block_on(self.call(args))?
    }

    /// [`call_kw`](Self::call_kw) for plain threads.
    ///
    /// # Errors
    ///
    /// As `call_kw`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn call_kw_blocking<R: FromObject>(
        &self,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        block_on(self.call_kw(args, kwargs))?
    }

    /// [`call_method`](Self::call_method) for plain threads.
    ///
    /// # Errors
    ///
    /// As `call_method`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn call_method_blocking<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        block_on(self.call_method(name, args))?
    }

    /// [`getattr`](Self::getattr) for plain threads.
    ///
    /// # Errors
    ///
    /// As `getattr`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn getattr_blocking<R: FromObject>(&self, name: &str) -> Result<R, Error> {
        block_on(self.getattr(name))?
    }

    /// [`setattr`](Self::setattr) for plain threads.
    ///
    /// # Errors
    ///
    /// As `setattr`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn setattr_blocking(&self, name: &str, value: impl Pack<Exported>) -> Result<(), Error> {
        block_on(self.setattr(name, value))?
    }

    /// [`str`](Self::str) for plain threads.
    ///
    /// # Errors
    ///
    /// As `str`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn str_blocking(&self) -> Result<String, Error> {
        block_on(self.str())?
    }
}
