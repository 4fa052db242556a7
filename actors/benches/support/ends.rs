//! Our two ends: channels over loopback TCP, each on an arbiter of its own.

use std::{
    future::Future,
    sync::{Arc, OnceLock, mpsc},
};

use rpyc_actors::{Chain, Channel, Endpoint, Layers, Listener, ListenerConfig, Runtime, TcpConfig};

use super::thread;

/// Where the user of a channel runs.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    /// As a task on the arbiter of the channel.
    Arbiter,
    /// As a task of a runtime on another thread.
    OtherThread,
}

impl Place {
    /// Runs a task there.
    pub(crate) fn spawn<F>(self, channel: &Channel, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Self::Arbiter => assert!(channel.arbiter().spawn(task), "the arbiter runs"),
            Self::OtherThread => drop(thread::spawn(move || task)),
        }
    }
}

/// One arbiter for each end.
pub(crate) fn runtimes() -> &'static [Runtime; 2] {
    static RUNTIMES: OnceLock<[Runtime; 2]> = OnceLock::new();
    RUNTIMES.get_or_init(|| {
        let both = Runtime::start(2).expect("threads can be started");
        [0, 1].map(|at| {
            Runtime::with_arbiters([both.arbiters()[at].clone()]).expect("it is one arbiter")
        })
    })
}

/// What both ends of a pair are made of.
#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) layers: Layers,
    /// What the far end listens on, with a free port.
    pub(crate) listening: Endpoint,
    /// What the near end dials, given that port.
    pub(crate) dialling: Arc<dyn Fn(u16) -> Endpoint>,
    /// Whether a layer holds back what nobody waits for, so that it must be told when somebody does.
    pub(crate) gathers: bool,
}

impl From<Layers> for Stack {
    /// Over plain TCP.
    fn from(layers: Layers) -> Self {
        let endpoint = |port| Endpoint::tcp("127.0.0.1", port, TcpConfig::default());
        Self {
            layers,
            listening: endpoint(0),
            dialling: Arc::new(endpoint),
            gathers: false,
        }
    }
}

/// A connected pair of channels of the same stack.
pub(crate) fn channels(stack: &Stack) -> (Channel, Channel) {
    let [near, far] = runtimes();
    let (sender, accepted) = mpsc::channel();
    let on_accept = stack.layers.clone();
    let listening = Listener::bind(
        &stack.listening,
        ListenerConfig::default().runtime(far.clone()),
        move |stream| {
            let sender = sender.clone();
            on_accept.accept(stream, move |channel| drop(sender.send(channel)));
        },
    );
    let listener = pollster::block_on(listening).expect("a free port");
    let port = listener.port().expect("a TCP port");
    let near = Chain::new((stack.dialling)(port))
        .layers(stack.layers.clone())
        .runtime(near.clone())
        .connect_blocking()
        .expect("it listens");
    let far = accepted.recv().expect("it was connected to");
    (near, far)
}
