//! What a server does with connections whose client has not said which session it wants, says too much, or says it too early.

mod support;

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rpyc_actors::{Layers, Runtime, StreamHandle};
use support::{
    resumed::{dial, listen, plain},
    until, within,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpSocket, TcpStream},
};

/// HELLO without a silence, and NEW.
const ASK: &[u8] = b"\x01\0\x0drpyR\x01\0\0\0\0\0\0\0\0\x02\0\0";

async fn connect_from(last: u8, port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(([127, 0, 0, last], 0).into())
        .expect("all of 127.0.0.0/8 is this machine");
    within("connecting", socket.connect(([127, 0, 0, 1], port).into()))
        .await
        .expect("it listens")
}

async fn is_cut(stream: &mut TcpStream) {
    // A reset or an end, and nothing before it.
    let end = within("the cut", stream.read_u8()).await;
    end.expect_err("nothing was asked");
}

#[tokio::test]
async fn of_too_many_that_say_nothing_the_oldest_of_the_fullest_address_goes() {
    let server = Layers::new().resume(plain().max_handshakes(3));
    let (listener, mut accepted) = listen("tcp://127.0.0.1:0", &server).await;
    let port = listener.port().expect("TCP");
    let mut lone = connect_from(2, port).await;
    let mut first = connect_from(3, port).await;
    // Which of two connections is greeted first is for the arbiters to choose, so one after the other.
    until("both are greeted", || server.sessions().asking == 2).await;
    let mut second = connect_from(3, port).await;
    second.write_all(&ASK[..10]).await.expect("open");
    until("all are greeted", || server.sessions().asking == 3).await;
    assert_eq!(server.sessions().pushed_out, 0);

    // A newcomer is served, whoever waits.
    let client = dial(
        &format!("tcp://127.0.0.1:{port}"),
        Layers::new().resume(plain()),
    )
    .await
    .expect("it listens");
    client.send("hello").await.expect("a session");
    let channel = within("a session", accepted.recv()).await.expect("alive");
    let came = within("a frame", channel.recv()).await.expect("no loss");
    assert_eq!(came.as_deref(), Some(&b"hello"[..]));
    is_cut(&mut first).await;
    assert_eq!(server.sessions().pushed_out, 1);

    // The others may still ask.
    second.write_all(&ASK[10..]).await.expect("open");
    lone.write_all(ASK).await.expect("open");
    for stream in [&mut second, &mut lone] {
        assert_eq!(within("HELLO", stream.read_u8()).await.expect("open"), 1);
    }
    let stats = server.sessions();
    assert_eq!((stats.alive, stats.asking, stats.pushed_out), (3, 0, 1));
}

#[tokio::test]
async fn whoever_says_nothing_is_cut_in_time() {
    let patience = Duration::from_millis(200);
    let server = Layers::new().resume(plain().handshake_timeout(patience));
    let (listener, _accepted) = listen("tcp://127.0.0.1:0", &server).await;
    let port = listener.port().expect("TCP");
    let began = std::time::Instant::now();
    let (mut silent, mut slow) = (connect_from(1, port).await, connect_from(1, port).await);
    slow.write_all(&ASK[..15]).await.expect("open");
    is_cut(&mut silent).await;
    is_cut(&mut slow).await;
    assert!(began.elapsed() >= patience);
    // Nobody gave way to anybody.
    assert_eq!(server.sessions().pushed_out, 0);
}

/// A transport whose reads are these pieces, each by itself, and then nothing.
struct Script {
    reads: VecDeque<&'static [u8]>,
    /// Gone with the transport.
    _token: Arc<()>,
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.reads.pop_front() {
            Some(piece) => {
                buffer.put_slice(piece);
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A client must wait for its answer. What it says before must not be lost in silence: the next byte would be taken for this one.
#[tokio::test]
async fn a_client_that_does_not_wait_for_its_answer_loses_the_link() {
    const DATA: &[u8] = b"\x07\0\x0d\0\0\0\0\0\0\0\0hello";
    // In one piece with the question, cut anywhere, and behind it.
    let both = [ASK, DATA].concat().leak();
    let mut scripts = vec![vec![&*both], vec![ASK, DATA]];
    scripts.extend((1..both.len()).map(|at| vec![&both[..at], &both[at..]]));
    let runtime = Runtime::start(1).expect("a thread");
    for reads in scripts {
        // Not the end of anybody's patience.
        let server = Layers::new().resume(
            plain()
                .handshake_timeout(Duration::from_secs(600))
                .liveness(None),
        );
        let token = Arc::new(());
        let script = Script {
            reads: reads.clone().into(),
            _token: token.clone(),
        };
        let layers = server.clone();
        assert!(runtime.arbiter().spawn(async move {
            let stream = StreamHandle::from_io("script", script).await;
            layers.accept(stream.expect("an arbiter"), |_| {
                panic!("a session that was never confirmed");
            });
        }));
        until(&format!("{reads:?} ends the link"), || {
            Arc::strong_count(&token) == 1
        })
        .await;
    }
}
