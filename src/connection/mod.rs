//! [`Connection`]: RPyC over any channel, and the actor behind it.
//!
//! A connection has two equal ends: each may call the other, and answers while it waits itself. The actor reads,
//! answers and keeps deadlines on the channel's arbiter; calls are encoded where they are made, by any thread.

mod answer;
mod config;
mod deadline;
mod export;
mod hold;
mod link;
mod nested;
mod over;
mod pool;
mod pulse;
mod scratch;
mod serving;
mod waiting;

use std::{sync::Arc, time::Duration};

use rpyc_actors::{Channel, StreamError};

pub use config::ConnectionConfig;
pub(crate) use deadline::Deadline;
pub use export::Exported;
pub(crate) use hold::{Hold, tag_of};
pub(crate) use link::Link;
pub(crate) use nested::Handling;
pub use pool::{ConnectionPool, Connections};

use crate::{
    brine::Str,
    error::Error,
    netref::Netref,
    object::FromObject,
    protocol::{Ask, Limits, PackTuple, Stats},
    service::Service,
};

/// How long a call waits for its answer by default: as RPyC's `sync_request_timeout`.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// What [`Connection::ping`] sends.
const PING: &str = "ping";

/// A handle of a connection.
///
/// Clones share the connection and work from any thread and any runtime; many calls may be under way at once. Dropping
/// the last handle, and the last [`Netref`], closes it.
#[derive(Clone)]
pub struct Connection {
    link: Hold,
    timeout: Option<Duration>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("channel", &self.link.channel)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// RPyC over a channel, offering a service to the peer: [`VoidService`](crate::VoidService) to offer none.
    ///
    /// There is no handshake, so nothing is sent before the first call.
    pub fn new(channel: impl Into<Channel>, service: impl Into<Arc<Service>>) -> Self {
        Self::with_config(channel, service, ConnectionConfig::default())
    }

    /// As [`new`](Self::new), with settings.
    pub fn with_config(
        channel: impl Into<Channel>,
        service: impl Into<Arc<Service>>,
        config: ConnectionConfig,
    ) -> Self {
        let channel = channel.into();
        channel.separate_frames();
        let link = Link::new(channel, service.into(), config);
        let hold = link.hold();
        if let Some(liveness) = config.liveness {
            pulse::start(&link, liveness);
        }
        serving::start(link, None);
        Self::of(hold)
    }

    /// Serves a channel until it ends, whether or not anybody keeps the handle.
    pub fn serve(
        channel: impl Into<Channel>,
        service: impl Into<Arc<Service>>,
        limits: Limits,
    ) -> Self {
        Self::serve_as(channel.into(), service.into(), limits, |_| ())
    }

    /// [`serve`](Self::serve); what `enter` gives is dropped when the connection is over.
    pub(crate) fn serve_as<E: Send + 'static>(
        channel: Channel,
        service: Arc<Service>,
        limits: Limits,
        enter: impl FnOnce(&Self) -> E,
    ) -> Self {
        channel.separate_frames();
        let link = Link::new(channel, service, limits.into());
        let connection = Self::of(link.hold());
        let entry = enter(&connection);
        let hold = link.hold();
        serving::start(link, Some(Box::new((hold, entry))));
        connection
    }

    pub(crate) fn of(link: Hold) -> Self {
        Self {
            link,
            timeout: Some(DEFAULT_TIMEOUT),
        }
    }

    /// The same connection with another deadline for each call, with all that it needs before; `None` waits for ever. 30 s by default.
    #[must_use]
    pub fn with_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.timeout = timeout.into();
        self
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// That of a call which begins now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.timeout)
    }

    /// The peer's root: its service. Asked for once.
    ///
    /// # Errors
    ///
    /// [`Error`], when there is no answer.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn root(&self) -> Result<Netref, Error> {
        let id = self.link.root(self.deadline()).await?.clone();
        Ok(Netref::uncounted(&self.link, id).with_timeout(self.timeout))
    }

    /// Calls a function of the peer's service, in one round trip. `args` is a Rust tuple.
    ///
    /// # Errors
    ///
    /// [`Error`]: what the peer raised, or why there is no answer, and whether the call may have run.
    ///
    /// # Cancellation
    ///
    /// A call that is dropped before it could be sent is not sent; later, the peer may still run it.
    pub async fn call<R: FromObject>(
        &self,
        name: &str,
        args: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        self.call_kw(name, args, ()).await
    }

    /// Calls with keyword arguments: a tuple or slice of `(name, value)`, such as `(("times", 2),)`.
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
        name: &str,
        args: impl PackTuple<Exported>,
        kwargs: impl PackTuple<Exported>,
    ) -> Result<R, Error> {
        let deadline = self.deadline();
        let root = self.link.root(deadline).await?;
        Ok(R::from_object(
            self.link
                .ask(Ask::call_attr(root, name, args, kwargs), deadline)
                .await?,
        )?)
    }

    /// Reads an attribute of the peer's service.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); an attribute that is not there is an `AttributeError` of the peer.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn getattr<R: FromObject>(&self, name: &str) -> Result<R, Error> {
        let deadline = self.deadline();
        let root = self.link.root(deadline).await?;
        Ok(R::from_object(
            self.link.ask(Ask::get_attr(root, name), deadline).await?,
        )?)
    }

    /// Sends data and waits until it comes back. Returns how long that took.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); `Stream` with `PeerMisbehaved` when other data comes back than was sent.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let start = std::time::Instant::now();
        let answer = self.link.ask(Ask::ping(PING), self.deadline()).await?;
        if Str::from_object(answer)? != *PING {
            let error = StreamError::peer("the answer to a ping has other data than the ping");
            return Err(error.at(&self.link.channel.endpoint().into()).into());
        }
        Ok(start.elapsed())
    }

    /// Tells the peer, waits until it ended the stream (5 s at most by default), and closes.
    ///
    /// Calls that wait end with an error. Closing a closed connection does nothing.
    ///
    /// # Cancellation
    ///
    /// The connection closes all the same.
    pub async fn close(&self) {
        self.link.close();
        self.ended().await;
    }

    /// Finishes the requests of the peer that have come, and closes.
    ///
    /// # Cancellation
    ///
    /// The connection closes all the same.
    pub async fn drain(&self) {
        self.link.drain();
        self.ended().await;
    }

    /// Resolves when the connection is over, whoever ended it.
    pub async fn ended(&self) {
        self.link.over.wait().await;
    }

    /// True when no calls can be made any more.
    pub fn closed(&self) -> bool {
        self.link.end_reason().is_some() || self.link.is_close_wanted()
    }

    /// Why the connection is over, once it is: [`StreamError::Closed`] when this end closed it.
    pub fn end_reason(&self) -> Option<StreamError> {
        self.link.end_reason()
    }

    /// What [`close`](Self::close) does, with nobody waiting for it.
    pub fn start_close(&self) {
        self.link.close();
    }

    pub(crate) fn downgrade(&self) -> std::sync::Weak<Link> {
        Arc::downgrade(&self.link)
    }

    /// Drops what is under way and resets the connection.
    pub fn abort(&self) {
        self.link.channel.abort();
    }

    /// The channel below. Sending frames on it would break the protocol; its addresses, arbiter and counts are of use.
    pub fn channel(&self) -> &Channel {
        &self.link.channel
    }

    /// How many calls and references there are.
    pub fn stats(&self) -> Stats {
        self.link.stats()
    }
}
