//! `rpyc tunnel --layer resume`: a program does not notice that the connection below was cut.
#![cfg(feature = "cli")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/run.rs"]
mod run;
#[path = "support/tunnels.rs"]
mod tunnels;

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use certificates::Folder;
use sha2::{Digest, Sha256};
use tunnels::{End, Target, bounded, key};

/// Carries connections to a port until it is told to cut them.
struct Link {
    port: u16,
    carried: Arc<Mutex<Vec<TcpStream>>>,
}

impl Link {
    fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let carried = Arc::<Mutex<Vec<TcpStream>>>::default();
        let all = carried.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.expect("a connection");
                let far = TcpStream::connect(("127.0.0.1", target)).expect("the tunnel listens");
                for socket in [&near, &far] {
                    bounded(socket);
                    let kept = socket.try_clone().expect("a descriptor");
                    all.lock().expect("no panic").push(kept);
                }
                pass(&near, &far);
                pass(&far, &near);
            }
        });
        Self { port, carried }
    }

    /// Cuts all connections there are, and says how many those were.
    fn cut(&self) -> usize {
        let cut = std::mem::take(&mut *self.carried.lock().expect("no panic"));
        for socket in &cut {
            // One that has ended already is as good as cut.
            let _ = socket.shutdown(Shutdown::Both);
        }
        cut.len() / 2
    }
}

fn pass(from: &TcpStream, to: &TcpStream) {
    let clone = |socket: &TcpStream| socket.try_clone().expect("a descriptor");
    let (mut from, mut to) = (clone(from), clone(to));
    thread::spawn(move || {
        // A cut ends it, on either side.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn a_program_does_not_notice_that_the_link_was_cut() {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: usize = 12;
    let folder = Folder::new();
    let encrypt = key(&folder, "tunnel.key");
    let layers = ["--layer", "resume", "--layer", encrypt.as_str()];
    let target = Target::new();
    let to = target.endpoint();
    let server = ["server", "--listen", "tcp://127.0.0.1:0", "--to", &to];
    let server = End::start(&[&server, &layers[..]].concat());
    let link = Link::to(server.port());
    let to = format!("tcp://127.0.0.1:{}", link.port);
    let client = ["client", "--listen", "tcp://127.0.0.1:0", "--to", &to];
    let client = End::start(&[&client, &layers[..]].concat());

    let mut near = client.connect();
    let mut far = target.accept();
    let echoing = thread::spawn(move || {
        let mut bytes = vec![0; 64 << 10];
        let mut hash = Sha256::new();
        loop {
            let count = far.read(&mut bytes).expect("no reset");
            if count == 0 {
                break;
            }
            hash.update(&bytes[..count]);
            far.write_all(&bytes[..count]).expect("no reset");
        }
        far.shutdown(Shutdown::Write).expect("ended");
        hash.finalize()
    });
    let mut sending = near.try_clone().expect("a descriptor");
    let (block_sent, blocks_sent) = std::sync::mpsc::channel();
    let sender = thread::spawn(move || {
        let mut hash = Sha256::new();
        for at in 0..BLOCKS {
            let block: Vec<u8> = (0..BLOCK).map(|byte| (byte * 31 + at * 7) as u8).collect();
            hash.update(&block);
            sending.write_all(&block).expect("no reset");
            block_sent.send(()).expect("somebody cuts");
        }
        sending.shutdown(Shutdown::Write).expect("ended");
        hash.finalize()
    });
    let cutter = thread::spawn(move || {
        let cuts: usize = blocks_sent.iter().step_by(3).map(|()| link.cut()).sum();
        (cuts, link)
    });
    let (mut back, mut bytes) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        let count = near.read(&mut bytes).expect("no reset");
        if count == 0 {
            break;
        }
        back.update(&bytes[..count]);
    }
    let sent = sender.join().expect("all was sent");
    assert_eq!(sent, echoing.join().expect("all arrived"));
    assert_eq!(sent, back.finalize());
    let (cuts, _link) = cutter.join().expect("it cut");
    assert!(cuts >= 2, "{cuts} connections were cut");
    server.says("both sides finished");
    client.says("both sides finished");
}
