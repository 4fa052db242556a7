//! The exchange before the first byte of a channel, such as a token and its acknowledgement.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::Endpoint;
use crate::{error::StreamError, stream::StreamHandle};

/// How long the exchange may take, by default.
const OPENING_TIMEOUT: Duration = Duration::from_secs(5);

type Exchange = Arc<
    dyn Fn(StreamHandle) -> Pin<Box<dyn Future<Output = Result<(), StreamError>>>> + Send + Sync,
>;

/// What is said first on each connection.
#[derive(Clone)]
pub(super) struct Opening {
    exchange: Exchange,
    limit: Duration,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl Opening {
    /// Has the exchange; a stream on which it fails is reset.
    pub(super) async fn run(&self, stream: &StreamHandle) -> Result<(), StreamError> {
        let exchange = (self.exchange)(stream.clone());
        let result = match tokio::time::timeout(self.limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(StreamError::TimedOut {
                what: "the opening exchange",
                after: self.limit,
            }),
        };
        if result.is_err() {
            stream.abort();
        }
        result
    }
}

impl Endpoint {
    /// Has an exchange on each connection before anybody else may use it, within 5 s: it may read and write, and its error is the reason
    /// why there is no connection. It runs on the connection's arbiter, for dialling only; a server has its authenticator.
    ///
    /// ```
    /// use rpyc_actors::{Endpoint, StreamError};
    ///
    /// let endpoint: Endpoint = "tls://secure-host.com:12345".parse()?;
    /// let endpoint = endpoint.opening(|stream| async move {
    ///     stream.write("secret_token").await?;
    ///     match &stream.read(7).await?[..] {
    ///         b"AUTH_OK" => Ok(()),
    ///         _ => Err(StreamError::peer("it does not take the token")),
    ///     }
    /// });
    /// # drop(endpoint);
    /// # Ok::<(), StreamError>(())
    /// ```
    #[must_use]
    pub fn opening<F>(self, exchange: impl Fn(StreamHandle) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), StreamError>> + 'static,
    {
        self.opening_within(OPENING_TIMEOUT, exchange)
    }

    /// As [`opening`](Self::opening), within another time.
    #[must_use]
    pub fn opening_within<F>(
        mut self,
        limit: Duration,
        exchange: impl Fn(StreamHandle) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), StreamError>> + 'static,
    {
        let exchange: Exchange = Arc::new(move |stream| Box::pin(exchange(stream)));
        self.opening = Some(Opening { exchange, limit });
        self
    }
}
