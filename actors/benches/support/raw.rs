//! What the machine itself can do: frames copied behind each other, written and read by two plain threads.
//!
//! No credit, no tasks, no batches, and nobody looks at a frame that arrives: an end that copies its frames cannot be
//! faster than this.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use super::{
    cell::{self, Outcome},
    sockets::sockets,
};

/// Bytes that are laid out before they are written; what stays in the processor's own cache does best.
const BLOCK: usize = 128 << 10;
/// What a frame has besides its payload: five bytes of head, and one behind.
const OVERHEAD: usize = 6;

pub(crate) fn one_way(time: Duration, size: usize) -> Outcome {
    let (mut near, mut far) = sockets();
    for socket in [&near, &far] {
        socket.set_nonblocking(false).expect("a socket can");
    }
    cell::run(time, |stop, reports| {
        std::thread::spawn(move || {
            let payload = vec![b'x'; size];
            let length = u32::try_from(size).expect("a size of ours").to_be_bytes();
            let mut block = Vec::with_capacity(BLOCK + size + OVERHEAD);
            let mut sent = 0;
            while !stop.is_set() {
                block.clear();
                while block.len() < BLOCK {
                    block.extend_from_slice(&length);
                    block.push(0);
                    block.extend_from_slice(std::hint::black_box(&payload));
                    block.push(b'\n');
                    sent += 1;
                }
                near.write_all(&block).expect("the peer reads");
            }
            let _ = reports.sent.send(sent);
        });
        std::thread::spawn(move || {
            let mut buffer = vec![0; 256 << 10];
            let mut bytes = far.read(&mut buffer).expect("no loss") as u64;
            let began = Instant::now();
            loop {
                match far.read(&mut buffer).expect("no loss") {
                    0 => break,
                    count => bytes += count as u64,
                }
            }
            let _ = reports.outcome.send(Outcome::Flow {
                frames: bytes / (size + OVERHEAD) as u64,
                seconds: began.elapsed().as_secs_f64(),
            });
        });
    })
}
