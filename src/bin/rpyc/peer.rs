//! What the commands that ask a peer have in common: where it is, how long it may take, how its answer is printed.

use std::{cell::Cell, sync::Arc, time::Duration};

use clap::Args;
use rpyc::{
    Connection, ConnectionConfig, Error, Monitors, Object, Service, endpoint::parse_duration,
    protocol::Dialect,
};

use crate::{Failure, layers, output};

/// How long a connection may take to end after the result was printed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The peer, and how it is spoken to.
#[derive(Args, Debug)]
pub(crate) struct Peer {
    /// Where the peer is
    endpoint: String,
    #[command(flatten)]
    layers: layers::Arguments,
    /// How long the connection and what is asked may take: 500ms, 5s, 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Speaks as Python's rpyc 5 and 4.1 do, to a peer of that age
    #[arg(long)]
    rpyc5: bool,
}

impl Peer {
    /// Connects, without a deadline for the calls that follow.
    async fn connect(&self, service: impl Into<Arc<Service>>) -> Result<Connection, Failure> {
        let channel = self.layers.connect(&self.endpoint).await?;
        let mut config = ConnectionConfig::default();
        if self.rpyc5 {
            config = config.dialect(Dialect::Rpyc5);
        }
        Ok(Connection::with_config(channel, service, config).with_timeout(None))
    }

    /// Connects and asks, all within the time that was given; shows the answer before it waits for the end.
    pub(crate) async fn ask<R>(
        &self,
        service: impl Into<Arc<Service>>,
        ask: impl AsyncFnOnce(&Connection) -> Result<R, Error>,
        show: impl FnOnce(R) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let connected = Cell::new(false);
        let asking = async {
            let connection = self.connect(service).await?;
            connected.set(true);
            let answer = ask(&connection).await?;
            Ok::<_, Failure>((connection, answer))
        };
        let (connection, answer) = match self.in_time(asking).await {
            Some(asked) => asked?,
            None if connected.get() => return Err(Failure::TimedOut(self.timeout)),
            None => return Err(Failure::NoConnection(self.timeout)),
        };
        show(answer)?;
        close(&connection).await;
        Ok(())
    }

    /// Connects within the time that was given, which is then that of each call.
    pub(crate) async fn connect_in_time(
        &self,
        service: impl Into<Arc<Service>>,
    ) -> Result<Connection, Failure> {
        let connected = self.in_time(self.connect(service)).await;
        let connection = connected.unwrap_or(Err(Failure::NoConnection(self.timeout)))?;
        Ok(connection.with_timeout(self.timeout))
    }

    async fn in_time<R>(&self, work: impl Future<Output = R>) -> Option<R> {
        tokio::time::timeout(self.timeout, work).await.ok()
    }
}

/// Closes, and lets the layers write what they have to say. A peer that does not end its side holds nobody up.
pub(crate) async fn close(connection: &Connection) {
    let _ = tokio::time::timeout(CLOSE_WITHIN, connection.close()).await;
    monitors_have_spoken().await;
}

/// Waits for a moment until monitors have written their summaries: they do when the actors of a connection stop, behind its close.
pub(crate) async fn monitors_have_spoken() {
    let spoken = async {
        while !Monitors::shared().open().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = tokio::time::timeout(CLOSE_WITHIN, spoken).await;
}

/// How an answer is printed.
#[derive(Args, Debug)]
pub(crate) struct Form {
    /// Prints the result as JSON: a tuple is an array, bytes are base64, integers beyond 64 bits are text, a frozenset is
    /// {"frozenset": [...]}, infinity and nan are {"float": "inf"}, {"float": "-inf"} and {"float": "nan"}
    #[arg(long)]
    pub(crate) json: bool,
}

impl Form {
    pub(crate) fn print(&self, object: &Object) -> Result<(), Failure> {
        Ok(if self.json {
            output::line(output::json(object))
        } else {
            output::line(output::Shown(object))
        }?)
    }
}
