//! [`Tunnel`]: what becomes of each connection, and how all of them end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rpyc::{
    Chain, Channel, Endpoint, Layers, Listener, StreamError, StreamHandle,
    relay::{Relayed, relay},
    stream::Address,
};
use tokio::sync::{oneshot, watch};

use super::End;

/// One end of a tunnel: a recipe for the second leg of each connection, and the connections there are.
pub(super) struct Tunnel {
    end: End,
    /// Where connections go on, with its layers at a client.
    chain: Chain,
    /// The layers of the channels that a server takes.
    layers: Layers,
    /// A layer proves who the client is, and the target is not bothered before.
    is_sealed: bool,
    alive: watch::Sender<usize>,
    is_draining: AtomicBool,
    cut: watch::Sender<bool>,
}

/// One connection among those that are alive, until this is dropped.
struct Alive(Arc<Tunnel>);

impl Alive {
    fn among(tunnel: &Arc<Tunnel>) -> Self {
        tunnel.alive.send_modify(|alive| *alive += 1);
        Self(tunnel.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.send_modify(|alive| *alive -= 1);
    }
}

impl Tunnel {
    pub(super) fn new(end: End, to: Endpoint, layers: Layers, is_sealed: bool) -> Arc<Self> {
        Arc::new(Self {
            end,
            chain: Chain::new(to).layers(layers.clone()),
            layers,
            is_sealed,
            alive: watch::Sender::new(0),
            is_draining: AtomicBool::new(false),
            cut: watch::Sender::new(false),
        })
    }

    /// Takes an accepted stream, on its arbiter: the second leg is opened there, too.
    pub(super) fn accept(self: &Arc<Self>, stream: StreamHandle) {
        if self.keeps_the_door() && self.is_draining.load(Ordering::Acquire) {
            self.layers.accept_known(stream);
            return;
        }
        let alive = Alive::among(self);
        actix_rt::spawn(async move {
            let tunnel = &alive.0;
            let from = stream
                .peer_address()
                .map_or_else(String::new, Address::to_string);
            let began = Instant::now();
            let result = match tunnel.end {
                End::Client => tunnel.carry_plain(stream).await,
                End::Server => match tunnel.channel_over(stream).await {
                    Some(channel) => {
                        if tunnel.is_draining.load(Ordering::Acquire) {
                            // It began when the others had been told.
                            tunnel.layers.go_away();
                        }
                        tunnel.carry_channel(channel).await
                    }
                    // What it belongs to has a line of its own.
                    None => return tracing::debug!(from, "a connection of a session that goes on"),
                },
            };
            let after = began.elapsed();
            match result {
                Ok(Relayed {
                    to_channel,
                    to_stream,
                    result,
                    ..
                }) => {
                    let ended = result
                        .map_or_else(|error| error.to_string(), |()| "both sides finished".into());
                    tracing::info!(
                        from,
                        into_tunnel = to_channel,
                        out_of_tunnel = to_stream,
                        ?after,
                        ended,
                        "carried"
                    );
                }
                Err(error) => tracing::warn!(from, ?after, %error, "not carried"),
            }
        });
    }

    /// A client's work: a channel for an accepted stream.
    async fn carry_plain(&self, stream: StreamHandle) -> Result<Relayed, StreamError> {
        match self.unless_cut(self.chain.connect()).await {
            Ok(channel) => Ok(self.relay(stream, channel).await),
            Err(error) => {
                // Nobody is to take this for an answer without bytes, also when the process ends next.
                stream.abort();
                let _ = stream.close().await;
                Err(error)
            }
        }
    }

    /// The channel that begins with an accepted stream. There is none if the stream is for a session that goes on, or is refused.
    async fn channel_over(&self, stream: StreamHandle) -> Option<Channel> {
        let (offer, channel) = oneshot::channel();
        // Nobody takes it when the tunnel has ended meanwhile.
        self.layers
            .accept(stream, move |channel| drop(offer.send(channel)));
        channel.await.ok()
    }

    /// A server's work: the target for an accepted channel.
    async fn carry_channel(&self, channel: Channel) -> Result<Relayed, StreamError> {
        match self.unless_cut(self.dial_for(&channel)).await {
            Ok(target) => Ok(self.relay(target, channel).await),
            Err(error) => {
                channel.abort();
                Err(error)
            }
        }
    }

    /// The target, as soon as the client is known: it may be the one that speaks first.
    async fn dial_for(&self, channel: &Channel) -> Result<StreamHandle, StreamError> {
        // A session begins behind that proof.
        if self.is_sealed && !self.layers.resumes() {
            channel.established().await?;
        }
        self.chain.open().await
    }

    /// What `opening` gives, or `Closed` when connections are cut off before.
    async fn unless_cut<R>(
        &self,
        opening: impl Future<Output = Result<R, StreamError>>,
    ) -> Result<R, StreamError> {
        let mut cut = self.cut.subscribe();
        tokio::select! {
            opened = opening => opened,
            _ = cut.wait_for(|is_cut| *is_cut) => Err(StreamError::Closed),
        }
    }

    async fn relay(&self, stream: StreamHandle, channel: Channel) -> Relayed {
        let mut cut = self.cut.subscribe();
        let mut relaying = std::pin::pin!(relay(stream.clone(), channel.clone()));
        tokio::select! {
            relayed = &mut relaying => return relayed,
            _ = cut.wait_for(|is_cut| *is_cut) => {}
        }
        channel.abort();
        stream.abort();
        relaying.await
    }

    /// Connections that are carried now.
    pub(super) fn alive(&self) -> usize {
        *self.alive.borrow()
    }

    /// Sessions whose link is lost come back through the listener, so it stays until they have ended.
    fn keeps_the_door(&self) -> bool {
        self.end == End::Server && self.layers.resumes()
    }

    /// Takes nobody new, waits until all connections have ended, for at most `limit`, and cuts off the rest. Returns how many those were.
    pub(super) async fn drain(&self, listener: &Listener, limit: Duration) -> usize {
        let ended = async {
            self.is_draining.store(true, Ordering::Release);
            if self.keeps_the_door() {
                self.layers.go_away();
            } else {
                listener.stop();
                // Before anything is counted: what was accepted is drained, too, even if it still shakes hands.
                listener.settled().await;
            }
            self.none_left().await;
        };
        let in_time = tokio::time::timeout(limit, ended).await.is_ok();
        listener.stop();
        listener.stopped().await;
        if in_time { 0 } else { self.cut_off().await }
    }

    /// Resets all connections there are. Returns how many those were.
    pub(super) async fn cut_off(&self) -> usize {
        let left = self.alive();
        self.cut.send_replace(true);
        // They are reset without asking anybody.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.none_left()).await;
        left
    }

    async fn none_left(&self) {
        // The sender lives as long as this does.
        let _ = self.alive.subscribe().wait_for(|alive| *alive == 0).await;
    }
}
