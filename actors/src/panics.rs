//! What panics, told as an error: for whoever runs code of others in an actor of a connection.
//!
//! A panic ends the connection whose code it was, with [`LossReason::Panicked`]; everything else lives on. In a program that is built with
//! `panic = "abort"` there is nothing to be told, of course.

use std::{
    any::Any,
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    sync::Arc,
};

use crate::error::LossReason;

/// The text that a panic came with.
pub fn text(payload: &(dyn Any + Send)) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
        .into()
}

/// Runs `work`. What it was in the middle of must not be used any more when it panicked.
///
/// # Errors
///
/// `Panicked`, with the panic's text.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, LossReason> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(panicked)
}

#[cold]
#[expect(
    clippy::needless_pass_by_value,
    reason = "it is dropped here, and not where the work is"
)]
fn panicked(payload: Box<dyn Any + Send>) -> LossReason {
    LossReason::Panicked(text(&*payload))
}

/// Drives `work`, which is made here, too.
///
/// # Errors
///
/// As [`catch`].
pub async fn catch_async<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output, LossReason> {
    let mut work = pin!(catch(make)?);
    std::future::poll_fn(|cx| match catch(|| work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(reason) => std::task::Poll::Ready(Err(reason)),
    })
    .await
}
