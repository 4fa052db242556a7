//! A peer without manners: RPyC's frames and messages written and read by hand.
#![allow(dead_code, reason = "each test uses its own part of this file")]

use bytes::{Bytes, BytesMut};
use rpyc::brine::{self, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One end of a TCP connection.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
}

/// A message: its kind, its number and its body.
pub(crate) type Message = (u8, Value, Value);

pub(crate) const GETROOT: i64 = 3;
pub(crate) const GETATTR: i64 = 4;
pub(crate) const CALL: i64 = 7;
pub(crate) const CALLATTR: i64 = 8;
pub(crate) const DEL: i64 = 15;

impl Raw {
    pub(crate) async fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).await;
        Self::over(socket.expect("the server listens"))
    }

    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let (socket, _) = listener.accept().await.expect("somebody connects");
        Self::over(socket)
    }

    fn over(socket: TcpStream) -> Self {
        socket
            .set_nodelay(true)
            .expect("a TCP socket has this option");
        Self { socket }
    }

    /// Bytes as they are. A peer that closes meanwhile is no failure here: the test looks at that later.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    pub(crate) async fn frame(&mut self, payload: &[u8]) {
        self.bytes(&framed(0, payload)).await;
    }

    /// A request whose arguments are one boxed tuple.
    pub(crate) async fn request(&mut self, seq: impl Into<Value>, handler: i64, args: Value) {
        self.frame(&message(
            1,
            seq.into(),
            Value::from((handler, Boxed(args).value())),
        ))
        .await;
    }

    pub(crate) async fn reply(&mut self, seq: Value, boxed: Value) {
        self.frame(&message(2, seq, boxed)).await;
    }

    /// The next message, or none at the end of the stream, however that ends.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        let mut head = [0; 5];
        self.socket.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut payload = vec![0; length as usize + 1];
        self.socket.read_exact(&mut payload).await.ok()?;
        payload.pop();
        let kind = payload[0];
        let value = brine::decode(&Bytes::from(payload).slice(1..), &brine::Limits::DEFAULT)
            .expect("what we send is brine");
        match value {
            Value::Tuple(pair) => {
                let [seq, body] = <[Value; 2]>::try_from(pair).expect("a pair");
                Some((kind, seq, body))
            }
            other => panic!("{other} is not a pair"),
        }
    }

    /// The root's id, as the triple in the answer to GETROOT.
    pub(crate) async fn root(&mut self) -> Value {
        self.request(0, GETROOT, nothing()).await;
        match self.next().await {
            Some((2, _, Value::Tuple(boxed))) => boxed[1].clone(),
            other => panic!("{other:?} is not the root"),
        }
    }

    /// Calls a function of the root by value.
    pub(crate) async fn call(&mut self, seq: i64, root: &Value, name: &str, args: Value) {
        let boxes = Value::tuple([
            Value::from((3, root.clone())),
            Value::from((1, name)),
            Value::from((1, args)),
            Value::from((1, nothing())),
        ]);
        let body = Value::from((CALLATTR, Value::from((2, boxes))));
        self.frame(&message(1, seq.into(), body)).await;
    }
}

/// The empty tuple. `()` becomes `None`.
pub(crate) const fn nothing() -> Value {
    Value::Tuple(Vec::new())
}

struct Boxed(Value);

impl Boxed {
    fn value(self) -> Value {
        Value::from((1, self.0))
    }
}

/// A payload: the kind, and the brine of a pair.
pub(crate) fn message(kind: u8, seq: Value, body: Value) -> Vec<u8> {
    let mut out = BytesMut::from(&[kind][..]);
    brine::encode(&Value::tuple([seq, body]), &mut out).expect("it can be sent");
    out.to_vec()
}

/// A frame around a payload.
pub(crate) fn framed(flag: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len())
        .expect("it fits the head")
        .to_be_bytes()
        .to_vec();
    frame.push(flag);
    frame.extend_from_slice(payload);
    frame.push(b'\n');
    frame
}
