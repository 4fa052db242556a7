//! Echoes frames between this process's own stdin and stdout: the child at the other end of `exec:`.
//!
//!     cargo run -p rpyc-actors --example stdio_echo
//!
//! With the argument `late` it answers only after its input has ended, all at once.

use rpyc_actors::Chain;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let channel = Chain::to("stdio:")?.connect_blocking()?;
    if std::env::args().nth(1).as_deref() == Some("late") {
        let mut frames = Vec::new();
        while let Some(frame) = channel.recv_blocking()? {
            frames.push(frame);
        }
        for frame in frames {
            channel.send_blocking(frame)?;
        }
    } else {
        while let Some(frame) = channel.recv_blocking()? {
            channel.send_blocking(frame)?;
        }
    }
    // Only a close that succeeded says that all of it is in the pipe.
    channel.close_blocking()?;
    Ok(())
}
