//! The two programs at the ends of a tunnel: blocking sockets, each on a thread of its own.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Mutex, OnceLock, mpsc},
    thread,
    time::Duration,
};

use crate::support::cell::{self, Meter, Outcome, Reports, Stop, Stopwatch};

/// Bytes that the receiver of a flow asks for at once.
const RECEIVED_AT_ONCE: usize = 256 << 10;
/// What a connection is for, as its first byte says.
const FLOW: u8 = b'f';
const ECHO: u8 = b'e';

/// The target of all tunnels, and where it gives the connections that bring a flow.
pub(crate) struct Target {
    pub(crate) port: u16,
    flows: Mutex<mpsc::Receiver<TcpStream>>,
}

impl Target {
    /// The one of this process, which is started with the first use.
    pub(crate) fn shared() -> &'static Self {
        static TARGET: OnceLock<Target> = OnceLock::new();
        TARGET.get_or_init(Self::start)
    }

    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (sender, flows) = mpsc::channel();
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, sender) = (socket.expect("it is accepted"), sender.clone());
                thread::spawn(move || serve(socket, &sender));
            }
        });
        Self {
            port,
            flows: Mutex::new(flows),
        }
    }
}

fn serve(mut socket: TcpStream, flows: &mpsc::Sender<TcpStream>) {
    socket.set_nodelay(true).expect("TCP knows it");
    let mut kind = [0];
    // Whoever only looks whether a tunnel listens says nothing.
    if socket.read_exact(&mut kind).is_err() {
        return;
    }
    match kind[0] {
        FLOW => flows.send(socket).expect("the target lives on"),
        ECHO => while echo_once(&mut socket).is_some() {},
        other => panic!("no connection is for {other}"),
    }
}

fn echo_once(socket: &mut TcpStream) -> Option<()> {
    let mut buffer = [0; 1024];
    let count = socket.read(&mut buffer).ok().filter(|count| *count > 0)?;
    socket.write_all(&buffer[..count]).ok()
}

fn connect(port: u16, kind: u8) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the tunnel listens");
    socket.set_nodelay(true).expect("TCP knows it");
    socket.write_all(&[kind]).expect("it is sent");
    socket
}

/// Bytes one way, in blocks, until the time is over.
pub(crate) fn flow(port: u16, size: usize, time: Duration) -> Outcome {
    let target = Target::shared();
    cell::run(time, |stop, Reports { sent, outcome }| {
        let flows = target.flows.lock().expect("no panic");
        let mut near = connect(port, FLOW);
        let mut far = flows.recv().expect("the tunnel connects");
        drop(flows);
        thread::spawn(move || {
            let block = block(size);
            let mut blocks = 0;
            while !stop.is_set() {
                near.write_all(&block).expect("the tunnel takes it");
                blocks += 1;
            }
            near.shutdown(Shutdown::Write).expect("it is there");
            let mut rest = Vec::new();
            near.read_to_end(&mut rest).expect("the other end ends");
            let _ = sent.send(blocks);
        });
        thread::spawn(move || {
            let expected = block(size);
            let mut buffer = vec![0; RECEIVED_AT_ONCE];
            let (mut meter, mut at) = (Meter::new(size), 0);
            loop {
                let count = far.read(&mut buffer).expect("the tunnel brings it");
                if count == 0 {
                    break;
                }
                let mut left = count;
                // Each block that is complete now.
                while at + left >= size {
                    left -= size - at;
                    at = 0;
                    meter.take(&expected);
                }
                at += left;
            }
            assert_eq!(at, 0, "no block is cut short");
            let _ = outcome.send(meter.stop());
        });
    })
}

/// Bytes that do not repeat within a window of snappy's, but are the same each time.
fn block(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// One question after the other, each answered by the same bytes.
pub(crate) fn echo(port: u16, size: usize, time: Duration) -> Outcome {
    let target_is_there = Target::shared().port != 0;
    assert!(target_is_there);
    cell::run(time, |stop: Stop, Reports { sent, outcome }| {
        let mut socket = connect(port, ECHO);
        thread::spawn(move || {
            let question = block(size);
            let mut answer = vec![0; size];
            let mut asked = 0;
            // A tunnel may still be shaking hands.
            let mut ask = |socket: &mut TcpStream| {
                socket.write_all(&question).expect("the tunnel takes it");
                socket.read_exact(&mut answer).expect("the answer comes");
                assert_eq!(answer, question, "the answer is the question");
            };
            ask(&mut socket);
            let mut stopwatch = Stopwatch::start();
            while !stop.is_set() {
                ask(&mut socket);
                stopwatch.lap();
                asked += 1;
            }
            let _ = sent.send(asked);
            let _ = outcome.send(stopwatch.stop());
        });
    })
}
