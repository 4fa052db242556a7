//! [`Chain`]: an endpoint and its layers, a recipe for channels.
//!
//! A recipe is plain data: cheap to clone, without sockets or addresses. Each connection gets new codecs.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use crate::{
    channel::{Channel, Down},
    codec::{Codec, Framing, Inflation, RESUME, ResumeConfig, SNAPPY},
    endpoint::Endpoint,
    error::{ConnectError, ConnectFailure, StreamError},
    handshakes::Handshakes,
    layer::{Below, Hosted, Layer},
    panics,
    runtime::Runtime,
    session::{Lower, Offer, Recipe, SessionStats, Sessions},
    stream::StreamHandle,
    unit::{Chunk, Frames},
    work,
};

/// Stacks one layer on what is below it; runs on the arbiter of the connection. The number is what all layers together need at both ends,
/// as bits of [`Layers::needed`].
pub(crate) type Stack<U> =
    Arc<dyn Fn(Box<dyn Below<U>>, &StreamHandle, u32) -> Box<dyn Below<U>> + Send + Sync>;

/// What is uppermost once all of `stacks`, of which the last is the lowest, stand on `below`.
pub(crate) fn stacked<U: crate::unit::Unit>(
    stacks: &[Stack<U>],
    below: Box<dyn Below<U>>,
    stream: &StreamHandle,
    needed: u32,
) -> Box<dyn Below<U>> {
    let each = stacks.iter().rev();
    each.fold(below, |below, stack| stack(below, stream, needed))
}

fn stack<C, U>(make: impl Fn(&StreamHandle, u32) -> C + Send + Sync + 'static) -> Stack<U>
where
    C: Codec<Above = U, Below = U>,
    U: crate::unit::Unit,
{
    Arc::new(move |below, stream, needed| {
        let codec = match panic::catch_unwind(AssertUnwindSafe(|| make(stream, needed))) {
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
    /// The layers of bytes below these belong to one connection each, those above to the session.
    pub(crate) resumed: Option<Resumed>,
    /// Who shakes hands among those that [`accept`](Self::accept) was given, where a layer of bytes wants that.
    pub(crate) handshakes: Option<Arc<Handshakes>>,
    /// What the framing understands; its `max_frame` is each stream's own.
    pub(crate) inflation: Inflation,
    /// Some layer may hold frames back until there are more.
    pub(crate) gathers: bool,
}

/// Where the layers of bytes are split, and the sessions of a server that has them.
#[derive(Clone)]
pub(crate) struct Resumed {
    at: usize,
    is_sealed: bool,
    sessions: Arc<Sessions>,
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers")
            .field("frames", &self.frames.len())
            .field("bytes", &self.bytes.len())
            .field("resumes", &self.resumed.is_some())
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
        self.frames.push(stack(move |stream, _| make(stream)));
        self
    }

    pub(crate) fn push_bytes<C>(
        self,
        make: impl Fn(&StreamHandle) -> C + Send + Sync + 'static,
    ) -> Self
    where
        C: Codec<Above = Chunk, Below = Chunk>,
    {
        self.push_agreeing(move |stream, _| make(stream))
    }

    /// Adds a layer of bytes that agrees with the peer on what all layers need.
    pub(crate) fn push_agreeing<C>(
        mut self,
        make: impl Fn(&StreamHandle, u32) -> C + Send + Sync + 'static,
    ) -> Self
    where
        C: Codec<Above = Chunk, Below = Chunk>,
    {
        self.bytes.push(stack(make));
        self
    }

    /// What the peer must have, too, as feature bits of `docs/PROTOCOL.md`.
    fn needed(&self) -> u32 {
        let snappy = if self.inflation.snappy { SNAPPY } else { 0 };
        let resume = if self.resumes() { RESUME } else { 0 };
        snappy | resume
    }

    /// How many layers there are of frames, and of bytes.
    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.frames.len(), self.bytes.len())
    }

    /// Adds resumable sessions: all above lives on when what is below is lost, and a new connection is made.
    ///
    /// [`Chain::connect`] opens one connection after the other; a listener hands what it accepts to [`accept`](Self::accept). Clones
    /// share the sessions that began with any of them.
    ///
    /// # Panics
    ///
    /// When the operating system has no random bytes.
    #[must_use]
    pub fn resume(mut self, config: ResumeConfig) -> Self {
        self.resumed = Some(Resumed {
            at: self.bytes.len(),
            is_sealed: false,
            sessions: Sessions::new(config),
        });
        self
    }

    /// True with [`resume`](Self::resume).
    pub fn resumes(&self) -> bool {
        self.resumed.is_some()
    }

    /// What is known of the sessions that began over connections that [`accept`](Self::accept) was given; all zero without
    /// [`resume`](Self::resume).
    pub fn sessions(&self) -> SessionStats {
        let resumed = self.resumed.as_ref();
        resumed.map_or_else(SessionStats::default, |resumed| resumed.sessions.stats())
    }

    /// Tells the clients of those sessions that they will end soon: they get [`GoingAway`](crate::ConnectionEvent::GoingAway), at once or
    /// with their next connection.
    pub fn go_away(&self) {
        if let Some(resumed) = &self.resumed {
            resumed.sessions.go_away();
        }
    }

    /// The connections from here on are known by a handshake of their own.
    #[cfg(feature = "encrypt")]
    pub(crate) fn seal(&mut self) {
        if let Some(resumed) = &mut self.resumed {
            resumed.is_sealed = true;
        }
    }

    /// Takes an accepted stream on its arbiter, and gives `take` the channel with these layers over it: at once, or with
    /// [`resume`](Self::resume) once a client has asked for a new session. A connection with which a client goes on goes to the session it
    /// is for, and `take` is dropped.
    ///
    /// # Panics
    ///
    /// Outside of an arbiter; with `resume` when the operating system has no random bytes.
    pub fn accept(
        &self,
        stream: impl Into<StreamHandle>,
        take: impl FnOnce(Channel) + Send + 'static,
    ) {
        let stream = stream.into();
        match self.split() {
            None => {
                let channel = self.channel(stream);
                if let Some(handshakes) = &self.handshakes {
                    handshakes.bound(&channel);
                }
                take(channel);
            }
            Some((resumed, lower)) => {
                let layers = self.clone();
                let offer = move |session| take(layers.channel_over(session));
                let offer = Some(Box::new(offer) as Offer);
                resumed.sessions.accept(stream, &lower, offer);
            }
        }
    }

    /// Takes an accepted stream on its arbiter, as [`accept`](Self::accept) does, for a server that will stop: a client may go on with the
    /// session it has, and one that wants a new session is refused
    /// ([`PeerGoing`](crate::error::SessionLost::PeerGoing)). Without [`resume`](Self::resume) nobody can go on, and the connection is
    /// reset.
    ///
    /// # Panics
    ///
    /// Outside of an arbiter.
    pub fn accept_known(&self, stream: impl Into<StreamHandle>) {
        let stream = stream.into();
        match self.split() {
            None => stream.abort(),
            Some((resumed, lower)) => resumed.sessions.accept(stream, &lower, None),
        }
    }

    fn split(&self) -> Option<(&Resumed, Lower)> {
        let resumed = self.resumed.as_ref()?;
        let lower = Lower {
            stacks: self.bytes[resumed.at..].into(),
            is_sealed: resumed.is_sealed,
            needed: self.needed(),
        };
        Some((resumed, lower))
    }

    /// A channel with these layers over a stream.
    ///
    /// If the arbiter of the stream has stopped, the channel is there but closed; so it is with [`resume`](Self::resume), since
    /// nobody would make the next connection: use [`Chain::connect`] and [`accept`](Self::accept) then.
    pub fn channel(&self, stream: impl Into<StreamHandle>) -> Channel {
        let stream = stream.into();
        if self.resumed.is_none() {
            return self.channel_over(stream);
        }
        Channel::spawn(stream, false, |stream| {
            let mut framing = Self::new().framing(stream);
            let what = "layers that resume need Chain::connect or Layers::accept";
            framing.lost(StreamError::misuse(what));
            Down::Framing(framing)
        })
    }

    /// A channel with the layers above the session, if there is one, over a stream.
    fn channel_over(&self, stream: StreamHandle) -> Channel {
        let layers = self.clone();
        Channel::spawn(stream, self.gathers, move |stream| layers.build(stream))
    }

    /// Starts the layers above a stream, from the socket to the application.
    fn build(&self, stream: &StreamHandle) -> Down {
        let framing = self.framing(stream);
        let Some((lowest, others)) = self.frames.split_last() else {
            return Down::Framing(framing);
        };
        let needed = self.needed();
        let framing = Box::new(work::start(Layer::of(framing)));
        let lowest = lowest(framing, stream, needed);
        Down::Layers(stacked(others, lowest, stream, needed))
    }

    /// Starts the layers of bytes, and gives the framing above them.
    pub(crate) fn framing(&self, stream: &StreamHandle) -> Hosted<Framing> {
        let own = self.resumed.as_ref().map(|resumed| resumed.at);
        let stacks = &self.bytes[..own.unwrap_or(self.bytes.len())];
        let below = stacked(stacks, stream.below(), stream, self.needed());
        let mut inflation = self.inflation;
        inflation.max_frame = stream.info().limits.max_frame;
        let mut framing = Framing::with_inflation(inflation);
        if stream.info().has_records() && !self.frames.is_empty() && own.is_none() {
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
        let Some((resumed, lower)) = self.layers.split() else {
            let stream = self.open().await?;
            return Ok(self.layers.channel(stream));
        };
        let recipe = Recipe {
            endpoint: self.endpoint.clone(),
            lower,
            config: resumed.sessions.config().clone(),
        };
        let runtime = Runtime::or_current(self.runtime.as_ref())?;
        let session = Runtime::run_on(runtime.arbiter(), move || recipe.connect()).await??;
        Ok(self.layers.channel_over(session))
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
        let runtime = Runtime::or_current(self.runtime.as_ref())?;
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
