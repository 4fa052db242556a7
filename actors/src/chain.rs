//! [`Chain`]: an endpoint and its layers, a recipe for channels.
//!
//! A recipe is plain data: cheap to clone, without sockets or addresses. Each connection gets new codecs.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use crate::{
    channel::{Channel, Down},
    codec::{Codec, Framing, Inflation},
    endpoint::Endpoint,
    error::{ConnectError, ConnectFailure, StreamError},
    layer::{Below, Hosted, Layer},
    panics,
    runtime::Runtime,
    stream::StreamHandle,
    unit::{Chunk, Frames},
    work,
};

/// Stacks one layer on what is below it; runs on the arbiter of the connection.
type Stack<U> = Arc<dyn Fn(Box<dyn Below<U>>, &StreamHandle) -> Box<dyn Below<U>> + Send + Sync>;

fn stack<C, U>(make: impl Fn(&StreamHandle) -> C + Send + Sync + 'static) -> Stack<U>
where
    C: Codec<Above = U, Below = U>,
    U: crate::unit::Unit,
{
    Arc::new(move |below, stream| {
        let codec = match panic::catch_unwind(AssertUnwindSafe(|| make(stream))) {
            Ok(codec) => codec,
            Err(payload) => {
                // Those below have nobody else above them who would tell them to go.
                below.detach();
                panic::resume_unwind(payload)
            }
        };
        Box::new(Layer::start(codec, below, stream))
    })
}

/// The layers of a channel, listed from the application to the socket.
///
/// Framing is implied; layers of frames stand above it, layers of bytes below. A layer in the wrong place does not
/// compile.
#[derive(Clone, Default)]
pub struct Layers {
    frames: Vec<Stack<Frames>>,
    bytes: Vec<Stack<Chunk>>,
    /// What the framing understands; its `max_frame` is each stream's own.
    pub(crate) inflation: Inflation,
    /// Some layer may hold frames back until there are more.
    pub(crate) gathers: bool,
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers")
            .field("frames", &self.frames.len())
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl Layers {
    /// Framing and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer of frames, below those added before and above the framing.
    #[must_use]
    pub fn frames<C>(mut self, make: impl Fn() -> C + Send + Sync + 'static) -> Self
    where
        C: Codec<Above = Frames, Below = Frames>,
    {
        // Nobody knows what it does.
        self.gathers = true;
        self.push_frames(move |_| make())
    }

    /// Adds a layer of bytes, below those added before and below the framing.
    #[must_use]
    pub fn bytes<C>(mut self, make: impl Fn() -> C + Send + Sync + 'static) -> Self
    where
        C: Codec<Above = Chunk, Below = Chunk>,
    {
        self.gathers = true;
        self.push_bytes(move |_| make())
    }

    pub(crate) fn push_frames<C>(
        mut self,
        make: impl Fn(&StreamHandle) -> C + Send + Sync + 'static,
    ) -> Self
    where
        C: Codec<Above = Frames, Below = Frames>,
    {
        self.frames.push(stack(make));
        self
    }

    pub(crate) fn push_bytes<C>(
        mut self,
        make: impl Fn(&StreamHandle) -> C + Send + Sync + 'static,
    ) -> Self
    where
        C: Codec<Above = Chunk, Below = Chunk>,
    {
        self.bytes.push(stack(make));
        self
    }

    /// How many layers there are of frames, and of bytes.
    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes.len())
    }

    /// A channel with these layers over a stream.
    ///
    /// If the arbiter of the stream has stopped, the channel is there but closed.
    pub fn channel(&self, stream: impl Into<StreamHandle>) -> Channel {
        let layers = self.clone();
        Channel::spawn(stream.into(), self.gathers, move |stream| {
            layers.build(stream)
        })
    }

    /// Starts the layers above a stream, from the socket to the application.
    fn build(&self, stream: &StreamHandle) -> Down {
        let framing = self.framing(stream);
        let Some((lowest, others)) = self.frames.split_last() else {
            return Down::Framing(framing);
        };
        let lowest = lowest(Box::new(work::start(Layer::of(framing))), stream);
        Down::Layers(
            others
                .iter()
                .rev()
                .fold(lowest, |below, stack| stack(below, stream)),
        )
    }

    /// Starts the layers of bytes, and gives the framing above them.
    pub(crate) fn framing(&self, stream: &StreamHandle) -> Hosted<Framing> {
        let below = self
            .bytes
            .iter()
            .rev()
            .fold(stream.below(), |below, stack| stack(below, stream));
        let mut inflation = self.inflation;
        inflation.max_frame = stream.info().limits.max_frame;
        let mut framing = Framing::with_inflation(inflation);
        if stream.info().has_records() && !self.frames.is_empty() {
            // The channel's actor cannot ask for it through other layers.
            framing.separate();
        }
        Hosted::new(framing, below, stream)
    }
}

/// An endpoint and its layers; each [`connect`](Self::connect) gives a fresh channel.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::Chain;
///
/// let channel = Chain::to("tcp://localhost:12345")?.connect().await?;
/// channel.send("hello").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Chain {
    endpoint: Endpoint,
    layers: Layers,
    runtime: Option<Runtime>,
}

impl Chain {
    /// A chain to an endpoint given as text, with framing and nothing else.
    ///
    /// # Errors
    ///
    /// `Connect`, when the text is no endpoint.
    pub fn to(endpoint: &str) -> Result<Self, StreamError> {
        Ok(Self::new(endpoint.parse()?))
    }

    /// A chain to an endpoint, with framing and nothing else.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            layers: Layers::default(),
            runtime: None,
        }
    }

    /// Sets the layers.
    #[must_use]
    pub fn layers(mut self, layers: Layers) -> Self {
        self.layers = layers;
        self
    }

    /// Sets the runtime whose arbiters carry the connections. [`Runtime::current`] at the time of connecting by default.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The runtime that was set.
    pub(crate) fn own_runtime(&self) -> Option<Runtime> {
        self.runtime.clone()
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Opens the endpoint and builds the layers, all on one arbiter.
    ///
    /// # Errors
    ///
    /// `Connect`, naming the endpoint and the reason.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn connect(&self) -> Result<Channel, StreamError> {
        let stream = self.open().await?;
        Ok(self.layers.channel(stream))
    }

    /// Opens only the endpoint.
    ///
    /// # Errors
    ///
    /// `Connect`, naming the endpoint and the reason.
    ///
    /// # Cancellation
    ///
    /// The attempt is given up.
    pub async fn open(&self) -> Result<StreamHandle, StreamError> {
        let runtime = self.runtime.clone().unwrap_or_else(Runtime::current);
        let endpoint = self.endpoint.clone();
        let place = endpoint.text().clone();
        let opening = move || panics::catch_async(|| async move { endpoint.open().await });
        match Runtime::run_on(runtime.arbiter(), opening).await? {
            Ok(result) => result,
            Err(reason) => Err(ConnectError::new(place, ConnectFailure::Panicked(reason)).into()),
        }
    }

    /// [`connect`](Self::connect) for plain threads.
    ///
    /// # Errors
    ///
    /// As `connect`; `ApiMisuse` on an arbiter, which would wait for itself.
    pub fn connect_blocking(&self) -> Result<Channel, StreamError> {
        crate::runtime::block_on(self.connect())?
    }
}
