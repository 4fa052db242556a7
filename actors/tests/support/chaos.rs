//! A proxy that breaks connections: resets, ends, holes, delays, small writes, flipped and doubled bytes, repeatable by its seed.
//!
//! It stands between a client and a server on loopback. [`Weather`] says what the connections made from then on go
//! through; [`Chaos::cut`] ends at once those that are under way.

use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

use super::Random;

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Reset on both sides; what is under way is destroyed.
    Reset,
    /// Both sides see an end, behind what was passed on before.
    Finish,
    /// Nothing is passed on any more, and nobody is told.
    BlackHole,
}

/// What connections go through.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    /// Bytes of one write. What was read in one piece goes on in pieces of these sizes.
    pub(crate) write: RangeInclusive<usize>,
    /// How long each piece is held.
    pub(crate) delay: Duration,
    /// One bit of about one byte in so many is flipped; none at 0.
    pub(crate) flip_one_in: usize,
    /// A run of bytes is sent twice about once in so many bytes; none at 0.
    pub(crate) double_one_in: usize,
    /// A direction is cut after so many bytes, drawn anew for each connection; never without.
    pub(crate) cut_after: Option<RangeInclusive<usize>>,
    /// A connection is cut after so long, drawn anew for each; never without.
    pub(crate) lives: Option<RangeInclusive<Duration>>,
    /// How those two cut.
    pub(crate) cut: Cut,
    /// A connection is cut as soon as it is made: the peer's port is open, and nobody serves.
    pub(crate) stillborn: bool,
}

impl Default for Weather {
    /// Fair: all is passed on as it comes.
    fn default() -> Self {
        Self {
            write: 1..=64 << 10,
            delay: Duration::ZERO,
            flip_one_in: 0,
            double_one_in: 0,
            cut_after: None,
            lives: None,
            cut: Cut::Reset,
            stillborn: false,
        }
    }
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    cuts: AtomicU64,
    flips: AtomicU64,
    doubles: AtomicU64,
}

/// The proxy. Dropping it resets every connection and closes the port.
pub(crate) struct Chaos {
    port: u16,
    weather: Arc<Mutex<Weather>>,
    /// The number of cuts so far, and the last one.
    cut: watch::Sender<(u64, Cut)>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(Cut::Reset);
    }
}

impl Chaos {
    /// A proxy in front of a port on loopback.
    pub(crate) async fn before(target: u16, seed: u64, weather: Weather) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let weather = Arc::new(Mutex::new(weather));
        let (cut, cuts) = watch::channel((0, Cut::Reset));
        let counts = Arc::<Counts>::default();
        let accepting = tokio::spawn(accept(
            listener,
            SocketAddr::from(([127, 0, 0, 1], target)),
            Random(seed),
            weather.clone(),
            cuts,
            counts.clone(),
        ));
        Self {
            port,
            weather,
            cut,
            counts,
            accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sets what the connections made from now on go through.
    pub(crate) fn weather(&self, weather: Weather) {
        *self.weather.lock() = weather;
    }

    /// Cuts all connections that are under way.
    pub(crate) fn cut(&self, cut: Cut) {
        self.cut.send_modify(|(count, how)| {
            *count += 1;
            *how = cut;
        });
    }

    /// Connections made so far.
    pub(crate) fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> u64 {
        self.counts.cuts.load(Ordering::Relaxed)
    }

    /// Bytes changed so far.
    pub(crate) fn flips(&self) -> u64 {
        self.counts.flips.load(Ordering::Relaxed)
    }

    /// Runs of bytes sent twice so far.
    pub(crate) fn doubles(&self) -> u64 {
        self.counts.doubles.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    mut random: Random,
    weather: Arc<Mutex<Weather>>,
    cuts: watch::Receiver<(u64, Cut)>,
    counts: Arc<Counts>,
) {
    while let Ok((client, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let weather = weather.lock().clone();
        // Drawn here, so that what a connection goes through depends only on which one it is.
        let random = Random(random.next());
        let mut cuts = cuts.clone();
        cuts.mark_unchanged();
        tokio::spawn(link(client, target, random, weather, cuts, counts.clone()));
    }
}

/// One connection through the proxy.
async fn link(
    mut client: TcpStream,
    target: SocketAddr,
    mut random: Random,
    weather: Weather,
    mut cuts: watch::Receiver<(u64, Cut)>,
    counts: Arc<Counts>,
) {
    // A server that is not there is a reset for the client, too.
    let server = if weather.stillborn {
        None
    } else {
        TcpStream::connect(target).await.ok()
    };
    let Some(mut server) = server else {
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let life = weather.lives.clone().map(|lives| {
        let spread = (*lives.end() - *lives.start()).as_micros();
        let more = random.below(usize::try_from(spread).expect("a short life") + 1);
        *lives.start() + Duration::from_micros(more as u64)
    });
    let how = {
        // Not split for good: dropping one half of that would end its direction before a reset.
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut there = Direction::new(&mut random, &weather, &counts);
        let mut back = Direction::new(&mut random, &weather, &counts);
        let both = async {
            let there = there.pass(&mut from_client, &mut to_server);
            let back = back.pass(&mut from_server, &mut to_client);
            tokio::pin!(there, back);
            // The first direction that is cut or breaks ends both; one that ends leaves the other alone.
            tokio::select! {
                end = &mut there => if end == Passed::Ended { back.await } else { end },
                end = &mut back => if end == Passed::Ended { there.await } else { end },
            }
        };
        tokio::select! {
            passed = both => match passed {
                Passed::Ended => None,
                Passed::Cut => Some(weather.cut),
                Passed::Broken => Some(Cut::Reset),
            },
            () = sleep_or_never(life) => Some(weather.cut),
            changed = cuts.changed() => {
                // The proxy is gone, or cuts.
                Some(changed.map_or(Cut::Reset, |()| cuts.borrow().1))
            }
        }
    };
    let Some(how) = how else { return };
    counts.cuts.fetch_add(1, Ordering::Relaxed);
    match how {
        Cut::Finish => {}
        Cut::Reset => {
            reset(&client);
            reset(&server);
        }
        // Until the next cut; nobody reads, so a peer's writes fill its buffers.
        Cut::BlackHole => {
            let _ = cuts.changed().await;
            reset(&client);
            reset(&server);
        }
    }
}

/// Has the socket reset when it closes.
fn reset(socket: &TcpStream) {
    let _ = socket.set_zero_linger();
}

async fn sleep_or_never(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// How the passing on of one direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// The source ended, and so was told the other side.
    Ended,
    /// It was to be cut here.
    Cut,
    /// Reading or writing failed.
    Broken,
}

/// One direction of a connection.
struct Direction<'a> {
    random: Random,
    weather: &'a Weather,
    counts: &'a Counts,
    /// Bytes until the cut.
    left: usize,
}

impl<'a> Direction<'a> {
    fn new(random: &mut Random, weather: &'a Weather, counts: &'a Counts) -> Self {
        let mut random = Random(random.next());
        let left = weather.cut_after.clone().map_or(usize::MAX, |range| {
            range.start() + random.below(range.end() - range.start() + 1)
        });
        Self {
            random,
            weather,
            counts,
            left,
        }
    }

    async fn pass(&mut self, from: &mut tcp::ReadHalf<'_>, to: &mut tcp::WriteHalf<'_>) -> Passed {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let came = match from.read(&mut buffer).await {
                Ok(0) => {
                    return match to.shutdown().await {
                        Ok(()) => Passed::Ended,
                        Err(_) => Passed::Broken,
                    };
                }
                Ok(came) => came,
                Err(_) => return Passed::Broken,
            };
            let mut piece = &mut buffer[..came];
            while !piece.is_empty() {
                let (least, most) = (*self.weather.write.start(), *self.weather.write.end());
                let size = (least + self.random.below(most - least + 1))
                    .min(piece.len())
                    .min(self.left);
                if size == 0 {
                    return Passed::Cut;
                }
                let (now, later) = piece.split_at_mut(size);
                self.flip(now);
                if !self.weather.delay.is_zero() {
                    tokio::time::sleep(self.weather.delay).await;
                }
                let (first, again) = self.double(now);
                for part in [&now[..first], &now[again..]] {
                    if to.write_all(part).await.is_err() {
                        return Passed::Broken;
                    }
                }
                self.left -= size;
                piece = later;
            }
        }
    }

    fn flip(&mut self, piece: &mut [u8]) {
        let one_in = self.weather.flip_one_in;
        for byte in piece.iter_mut().filter(|_| one_in > 0) {
            if self.random.below(one_in) == 0 {
                *byte ^= 1 << self.random.below(8);
                self.counts.flips.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Where a first write of the piece ends, and where the second begins: before that, if bytes are to be sent twice.
    fn double(&mut self, piece: &[u8]) -> (usize, usize) {
        let one_in = self.weather.double_one_in;
        if one_in == 0 || self.random.below(one_in) >= piece.len() {
            return (piece.len(), piece.len());
        }
        self.counts.doubles.fetch_add(1, Ordering::Relaxed);
        let first = 1 + self.random.below(piece.len());
        (first, self.random.below(first))
    }
}
