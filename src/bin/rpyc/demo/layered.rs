//! Each layer by itself, and TLS: what it does to frames, how fast, and that they arrive as they were sent.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use rpyc::{
    Chain, Channel, Endpoint, Key, Layers, ListenerConfig, Monitors, Receiver, Runtime,
    StreamError, TlsConfig,
    codec::{BatchConfig, BufferConfig, CompressConfig, EncryptConfig},
    stream::tls::Pem,
};

use super::{
    measure::{self, Frames},
    paint::Paint,
    sink::{self, GIVE_BACK},
    table, tcp,
};
use crate::{Failure, output};

/// How long frames of each size are sent.
const FRAMES_FOR: Duration = Duration::from_millis(120);
/// Bytes of a frame that shows how many go through, and of one that shows how much.
const SMALL: usize = 64;
const LARGE: usize = 64 << 10;
/// Frames that are sent back, each compared with what was sent.
const CHECKED: usize = 32;

/// What was measured through one layer.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) layer: &'static str,
    pub(crate) what: &'static str,
    pub(crate) small: Frames,
    pub(crate) large: Frames,
    /// Bytes that travelled for each byte of a large frame, where that can be seen.
    pub(crate) travelled: Option<f64>,
    /// Frames that came back just as they were sent.
    pub(crate) same: usize,
}

/// A layer, or another stream, and what is said of it.
struct Case {
    layer: &'static str,
    what: &'static str,
    layers: Layers,
    /// What the far end listens on; where that is TLS, with what the near end trusts.
    listening: Endpoint,
    trusting: Option<TlsConfig>,
}

impl Case {
    fn new(layer: &'static str, what: &'static str, layers: Layers) -> Self {
        Self {
            layer,
            what,
            layers,
            listening: tcp(0),
            trusting: None,
        }
    }

    /// TLS with a certificate that is made for this run, and that alone is trusted.
    fn tls() -> Result<Self, Failure> {
        let made = rcgen::generate_simple_self_signed(["localhost".into()])
            .map_err(|error| Failure::Unavailable(error.to_string()))?;
        let certificate = Pem::text(made.cert.pem());
        let key = Pem::text(made.signing_key.serialize_pem());
        let own = TlsConfig::default().certificate(certificate.clone(), key);
        Ok(Self {
            listening: Endpoint::tls("127.0.0.1", 0, own),
            trusting: Some(TlsConfig::default().ca(certificate).name("localhost")),
            ..Self::new("TLS", "sealed, with certificates", Layers::new())
        })
    }

    async fn measure(&self, near: &Runtime, far: &ListenerConfig) -> Result<Row, Failure> {
        let listener = sink::listen(&self.listening, far.clone(), self.layers.clone()).await?;
        let port = listener.port().unwrap_or_default();
        let endpoint = match &self.trusting {
            None => tcp(port),
            Some(trusting) => Endpoint::tls("127.0.0.1", port, trusting.clone()),
        };
        let monitors = Monitors::new();
        let channel = Chain::new(endpoint)
            .layers(self.layers.clone().monitor_stream(&monitors))
            .runtime(near.clone())
            .connect()
            .await?;
        let for_task = channel.clone();
        let measured = measure::on_arbiter_of(&channel, async move || {
            let mut receiver = for_task.receiver()?;
            let text = text();
            let mut same = 0;
            for size in sizes() {
                same += give_back(&for_task, &mut receiver, text.slice(..size)).await?;
            }
            let before = monitors.total().bytes_sent;
            same += give_back(&for_task, &mut receiver, text.clone()).await?;
            let travelled = monitors.total().bytes_sent - before;
            let small = text.slice(..SMALL);
            let small = measure::push(&for_task, &mut receiver, &small, FRAMES_FOR).await?;
            let large = measure::push(&for_task, &mut receiver, &text, FRAMES_FOR).await?;
            Ok::<_, StreamError>((small, large, travelled, same))
        });
        let (small, large, travelled, same) = measured.await??;
        channel.close().await?;
        Ok(Row {
            layer: self.layer,
            what: self.what,
            small,
            large,
            // What a monitor sees of TLS is not sealed yet.
            travelled: self
                .trusting
                .is_none()
                .then(|| travelled as f64 / LARGE as f64),
            same,
        })
    }
}

fn cases() -> Result<Vec<Case>, Failure> {
    let key = Key::generate().map_err(|error| Failure::Unavailable(error.to_string()))?;
    let batch = BatchConfig::default()
        .batch_size(20)
        .batch_timeout(Duration::from_millis(50));
    let buffer = BufferConfig::new(32 << 10).map_err(StreamError::from)?;
    let layers = Layers::new;
    Ok(vec![
        Case::new("none", "frames as they are", layers()),
        Case::new(
            "zlib:6",
            "shrinks them, for any RPyC",
            layers().compress(CompressConfig::zlib(6)),
        ),
        Case::new(
            "snappy",
            "less, and much faster",
            layers().compress(CompressConfig::snappy()),
        ),
        Case::new(
            "batch:20,50ms",
            "20 at once, or after 50 ms",
            layers().batch(batch),
        ),
        Case::new(
            "buffer:32768",
            "small writes become large",
            layers().buffer(buffer),
        ),
        Case::new(
            "monitor",
            "counts what passes",
            layers().monitor_channel(&Monitors::new()),
        ),
        Case::new(
            "encrypt",
            "sealed, with a shared key",
            layers().encrypt(EncryptConfig::new(key)),
        ),
        Case::tls()?,
    ])
}

/// The sizes of the frames that are sent back, from nothing on; one of [`LARGE`] bytes follows them.
fn sizes() -> impl Iterator<Item = usize> {
    (0..CHECKED - 1).map(|index| LARGE * index / (CHECKED - 1))
}

/// Sends a frame there and back. Gives how many came as they were sent, which is 1, or fails.
async fn give_back(
    channel: &Channel,
    receiver: &mut Receiver,
    frame: Bytes,
) -> Result<usize, StreamError> {
    channel.send_slice(GIVE_BACK).await?;
    channel.send(frame.clone()).await?;
    channel.pass_on();
    match receiver.recv().await? {
        Some(same) if same == frame => Ok(1),
        _ => {
            let what = format!("a frame of {} bytes came back as another", frame.len());
            Err(StreamError::peer(what))
        }
    }
}

/// [`LARGE`] bytes of JSON, since frames that are all the same shrink as no real ones do.
fn text() -> Bytes {
    let mut text = String::from("[");
    // A linear congruence, with the constants of Knuth's MMIX.
    let mut state = 1_u64;
    while text.len() < LARGE {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (order, city) = (state >> 40, state >> 32 & 0xfff);
        let paid = state >> 63 == 0;
        write!(
            text,
            r#"{{"order":{order},"city":{city},"is_paid":{paid}}},"#
        )
        .expect("a string grows");
    }
    text.truncate(LARGE);
    text.into()
}

pub(crate) async fn show(
    near: &Runtime,
    far: &ListenerConfig,
    paint: Paint,
) -> Result<(), Failure> {
    paint.heading(
        "Frames through every layer",
        "JSON over TCP, one layer at a time",
    )?;
    let mut rows = Vec::new();
    for case in cases()? {
        paint.progress(&format!("{}: frames", case.layer))?;
        rows.push(case.measure(near, far).await?);
    }
    paint.progress("")?;
    for line in table::layer_lines(&rows, paint) {
        output::line(line)?;
    }
    Ok(())
}
