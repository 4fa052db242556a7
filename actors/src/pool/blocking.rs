//! The twins of a pool's methods for plain threads.

use std::time::Duration;

use super::{Drained, Lease, PoolError, Recipe, StreamPool};
use crate::runtime;

impl<R: Recipe> StreamPool<R> {
    /// [`get`](Self::get) for plain threads.
    ///
    /// # Errors
    ///
    /// As `get`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn get_blocking(&self) -> Result<Lease<R>, PoolError> {
        runtime::block_on(self.get()).map_err(PoolError::ApiMisuse)?
    }

    /// [`get_within`](Self::get_within) for plain threads.
    ///
    /// # Errors
    ///
    /// As `get`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn get_within_blocking(&self, timeout: Duration) -> Result<Lease<R>, PoolError> {
        runtime::block_on(self.get_within(timeout)).map_err(PoolError::ApiMisuse)?
    }

    /// [`get_connection`](Self::get_connection) for plain threads.
    ///
    /// # Errors
    ///
    /// As `get`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn get_connection_blocking(&self) -> Result<Lease<R>, PoolError> {
        self.get_blocking()
    }

    /// [`warm_up`](Self::warm_up) for plain threads.
    ///
    /// # Errors
    ///
    /// As `warm_up`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn warm_up_blocking(&self) -> Result<(), PoolError> {
        runtime::block_on(self.warm_up()).map_err(PoolError::ApiMisuse)?
    }

    /// [`drain`](Self::drain) for plain threads.
    ///
    /// # Errors
    ///
    /// `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn drain_blocking(&self, within: Duration) -> Result<Drained, PoolError> {
        runtime::block_on(self.drain(within)).map_err(PoolError::ApiMisuse)
    }
}
