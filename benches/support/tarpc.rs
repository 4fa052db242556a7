//! The peer: tarpc with bincode over loopback TCP, each end on a thread of its own.

use std::{net::TcpStream as Socket, sync::mpsc, time::Duration};

use futures_util::StreamExt;
use tarpc::{
    client, context,
    server::{BaseChannel, Channel},
    tokio_serde::formats::Bincode,
    tokio_util::codec::LengthDelimitedCodec,
};
use tokio::net::TcpStream;

use super::{
    calls::{self, Asking, Client},
    cell::{self, Outcome},
    sockets::sockets,
    thread,
};

/// The service of all cells.
#[tarpc::service]
trait Adder {
    async fn add(a: i64, b: i64) -> i64;
}

#[derive(Clone)]
struct Server;

impl Adder for Server {
    async fn add(self, _: context::Context, a: i64, b: i64) -> i64 {
        a + b
    }
}

impl Client for AdderClient {
    async fn add(&self, a: i64, b: i64) -> i64 {
        let sum = Self::add(self, context::current(), a, b).await;
        sum.expect("the peer answers")
    }
}

/// The transport over a socket of ours.
macro_rules! transport {
    ($socket:expr) => {{
        let stream = TcpStream::from_std($socket).expect("a runtime is there");
        let framed = LengthDelimitedCodec::builder().new_framed(stream);
        tarpc::serde_transport::new(framed, Bincode::default())
    }};
}

fn serve(socket: Socket) {
    thread::spawn(move || async move {
        let requests = BaseChannel::with_defaults(transport!(socket)).execute(Server.serve());
        requests
            .for_each(|response| async {
                tokio::spawn(response);
            })
            .await;
    });
}

/// Starts the client's dispatch as a task where this is called.
fn connect(socket: Socket) -> AdderClient {
    AdderClient::new(client::Config::default(), transport!(socket)).spawn()
}

/// Calls of a client to a server.
pub(crate) fn calls(time: Duration, asking: Asking) -> Outcome {
    let (near, far) = sockets();
    serve(far);
    cell::run(time, |stop, reports| {
        let drive = async move |client: AdderClient| {
            calls::drive(&client, asking, stop, reports, |task| tokio::spawn(task)).await;
        };
        match asking {
            Asking::Sequential | Asking::InFlight(_) => {
                thread::spawn(move || async move { drive(connect(near)).await });
            }
            Asking::OtherThread => {
                let (give, client) = mpsc::channel();
                let (done, is_done) = tokio::sync::oneshot::channel::<()>();
                thread::spawn(move || async move {
                    let _ = give.send(connect(near));
                    // The dispatch runs as long as this thread's runtime does.
                    let _ = is_done.await;
                });
                let client = client.recv().expect("it connects");
                thread::spawn(move || async move {
                    drive(client).await;
                    drop(done);
                });
            }
        }
    })
}
