//! Our side: an RPyC connection over loopback TCP, each end on an arbiter of its own.

use std::time::Duration;

use rpyc::{Connection, Layers, Service, VoidService, protocol::Limits};

use super::{
    calls::{self, Asking, Client},
    cell::{self, Outcome},
    ends::{Place, channels},
};

impl Client for Connection {
    async fn add(&self, a: i64, b: i64) -> i64 {
        let sum = self.call("add", (a, b)).await;
        sum.expect("the peer answers")
    }
}

/// The service of all cells.
pub(crate) fn service() -> Service {
    Service::new("Calc").function("add", |a: i64, b: i64| a + b)
}

/// Calls of a Rust client to a Rust server.
pub(crate) fn calls(time: Duration, asking: Asking) -> Outcome {
    let (near, far) = channels(&Layers::new().into());
    // It serves until the peer's end, whether or not the handle is kept.
    drop(Connection::serve(far, service(), Limits::default()));
    measure(time, asking, Connection::new(near, VoidService))
}

/// Calls over a connection, which is closed at the end.
pub(crate) fn measure(time: Duration, asking: Asking, connection: Connection) -> Outcome {
    let place = match asking {
        Asking::OtherThread => Place::OtherThread,
        Asking::Sequential | Asking::InFlight(_) => Place::Arbiter,
    };
    cell::run(time, |stop, reports| {
        place.spawn(&connection.channel().clone(), async move {
            calls::drive(&connection, asking, stop, reports, |task| {
                actix_rt::spawn(task)
            })
            .await;
            connection.close().await;
        });
    })
}
