//! The peer: libzmq, by way of a small C program that is built where `zmq.h` and a C compiler are found.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use super::{cell::Outcome, json};

/// The program that moves frames through libzmq.
#[derive(Clone)]
pub(crate) struct Zmq(PathBuf);

impl Zmq {
    /// Builds the program; `None` where that is not possible.
    pub(crate) fn build() -> Option<Self> {
        let program = json::directory().join("zmq_peer");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/support/zmq_peer.c");
        let status = Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-o"])
            .arg(&program)
            .args([source, "-lzmq", "-lpthread"])
            .stderr(Stdio::null())
            .status();
        status
            .is_ok_and(|status| status.success())
            .then_some(Self(program))
    }

    /// PUSH to PULL.
    pub(crate) fn one_way(&self, time: Duration, size: usize) -> Outcome {
        let [sent, frames, seconds] = self.run("push", time, size);
        assert_eq!(frames, sent, "as many frames arrive as were sent");
        Outcome::Flow {
            frames: frames as u64,
            seconds,
        }
    }

    /// REQ to REP, one question after the other.
    pub(crate) fn ping_pong(&self, time: Duration, size: usize) -> Outcome {
        let [p50, p99] = self.run("req", time, size);
        Outcome::Latency { p50, p99 }
    }

    fn run<const N: usize>(&self, mode: &str, time: Duration, size: usize) -> [f64; N] {
        let output = Command::new(&self.0)
            .args([mode, &size.to_string(), &time.as_millis().to_string()])
            .stderr(Stdio::inherit())
            .output()
            .expect("the program was built");
        assert!(output.status.success(), "the libzmq program: {output:?}");
        let text = String::from_utf8(output.stdout).expect("it prints numbers");
        let numbers: Vec<f64> = text
            .split_whitespace()
            .map(|number| number.parse().expect("it prints numbers"))
            .collect();
        numbers.try_into().expect("it prints so many")
    }
}
