//! [`LayerSpec`]: a layer as text, and a list of them as [`Layers`].

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{
    chain::Layers,
    codec::{BatchConfig, BufferConfig, CompressConfig, Liveness, MIN_SILENCE, ResumeConfig},
    endpoint::parse_duration,
    error::{BufferOverflowError, StreamError},
    limits::{DEFAULT_BUFFER_SIZE, DEFAULT_COMPRESSION_LEVEL},
    monitor::{At, Monitors},
};
#[cfg(feature = "encrypt")]
use crate::{
    codec::EncryptConfig,
    key::{Key, KeyError},
};

/// A layer as text.
///
/// | text | among the layers of | what |
/// | --- | --- | --- |
/// | `zlib`, `zlib:9` | frames | zlib at level 6, or at the given one from 0 to 9; any RPyC reads it |
/// | `snappy` | frames | snappy; the peer must have it, too |
/// | `batch`, `batch:20`, `batch:20,50ms` | frames | waits for 10 frames or 100 ms, or as given |
/// | `buffer`, `buffer:32768` | bytes | joins small writes up to 8192 bytes, or as given |
/// | `encrypt:KEYFILE` | bytes | encrypts with the key in that file; the peer must have it, too |
/// | `liveness`, `liveness:3s` | bytes | signs of life, and a peer that gives none for 15 s, or as given, is dead; the peer must have it, too |
/// | `resume`, `resume:insecure` | bytes | sessions that live on over lost connections, with encryption or TLS below; or without. The peer must have it, too |
/// | `monitor` | either | counts what passes where it stands: frames above another layer of frames, else bytes |
/// | `monitor:channel`, `monitor:stream` | frames; bytes | the same, said outright |
///
/// ```
/// use rpyc_actors::Layers;
///
/// let layers = Layers::parse(["batch:20,50ms", "zlib:9", "buffer:32768"])?;
/// let error = Layers::parse(["buffer", "zlib"]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "zlib is a layer of frames and cannot stand below buffer, a layer of bytes: \
///      layers are listed from the application to the socket"
/// );
/// # drop(layers);
/// # Ok::<(), rpyc_actors::layers::LayerError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    text: Arc<str>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Compress(CompressConfig),
    Batch(BatchConfig),
    Buffer(BufferConfig),
    /// The key is read when the layers are made: a text is only a text.
    Encrypt(PathBuf),
    Liveness(Liveness),
    Resume(ResumeConfig),
    /// `None` is to be told by what stands below it.
    Monitor(Option<At>),
}

impl Kind {
    /// What travels through it: frames, bytes, or whatever its place says.
    fn place(&self) -> Option<At> {
        match self {
            Self::Compress(_) | Self::Batch(_) => Some(At::Channel),
            Self::Buffer(_) | Self::Encrypt(_) | Self::Liveness(_) | Self::Resume(_) => {
                Some(At::Stream)
            }
            Self::Monitor(at) => *at,
        }
    }
}

impl LayerSpec {
    /// True when it lets nobody in without a key, and nobody else can read along.
    pub fn is_guarded(&self) -> bool {
        matches!(self.kind, Kind::Encrypt(_))
    }
}

impl fmt::Display for LayerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why text is no layer, or a list of them no [`Layers`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// There is no layer of that name.
    #[error("unknown layer {name:?}: expected {EXPECTED}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// What stands behind the colon is not what the layer takes.
    #[error("{layer}: {got:?} is no {expected}")]
    Value {
        /// The layer's name.
        layer: &'static str,
        /// What was given.
        got: String,
        /// What the layer takes.
        expected: &'static str,
    },
    /// A buffer is too large.
    #[error("buffer: {0}")]
    Buffer(#[source] BufferOverflowError),
    /// A layer of frames stands below one of bytes.
    #[error(
        "{frames} is a layer of frames and cannot stand below {bytes}, a layer of bytes: \
         layers are listed from the application to the socket"
    )]
    Order {
        /// The layer of frames.
        frames: Arc<str>,
        /// The layer of bytes above it.
        bytes: Arc<str>,
    },
    /// Signs of life stand below encryption, where no frame can be seen.
    #[error("{liveness} looks at frames, which it cannot see below {encrypt}")]
    Hidden {
        /// The signs of life.
        liveness: Arc<str>,
        /// The encryption above them.
        encrypt: Arc<str>,
    },
    /// Two layers do the same.
    #[error("{upper} and {lower}: one layer of a kind is all that helps")]
    Twice {
        /// The one nearer to the application.
        upper: Arc<str>,
        /// The one nearer to the socket.
        lower: Arc<str>,
    },
    /// The key for encryption cannot be had.
    #[cfg(feature = "encrypt")]
    #[error("encrypt: {0}")]
    Key(#[source] KeyError),
    /// The layer was left out when this program was built.
    #[error("{0} is not in this program: it was built without the feature of that name")]
    NotBuilt(&'static str),
}

const EXPECTED: &str = "zlib, snappy, batch, liveness, encrypt, resume, buffer or monitor";

impl From<LayerError> for StreamError {
    fn from(error: LayerError) -> Self {
        Self::misuse(error.to_string())
    }
}

impl FromStr for LayerSpec {
    type Err = LayerError;

    fn from_str(text: &str) -> Result<Self, LayerError> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let kind = match name {
            "zlib" => Kind::Compress(CompressConfig::zlib(level(value)?)),
            "snappy" => snappy(value)?,
            "batch" => Kind::Batch(batch(value)?),
            "buffer" => Kind::Buffer(buffer(value)?),
            "encrypt" => encrypt(value)?,
            "liveness" => Kind::Liveness(liveness(value)?),
            "resume" => Kind::Resume(resume(value)?),
            "monitor" => Kind::Monitor(at(value)?),
            _ => return Err(LayerError::Unknown { name: name.into() }),
        };
        Ok(Self {
            text: text.into(),
            kind,
        })
    }
}

fn wrong(layer: &'static str, got: &str, expected: &'static str) -> LayerError {
    LayerError::Value {
        layer,
        got: got.into(),
        expected,
    }
}

fn level(value: Option<&str>) -> Result<u32, LayerError> {
    let Some(text) = value else {
        return Ok(DEFAULT_COMPRESSION_LEVEL);
    };
    let level = text.parse().ok().filter(|level| *level <= 9);
    level.ok_or_else(|| wrong("zlib", text, "level: expected a number from 0 to 9"))
}

fn snappy(value: Option<&str>) -> Result<Kind, LayerError> {
    if let Some(text) = value {
        return Err(wrong("snappy", text, "setting: it has none"));
    }
    #[cfg(feature = "snappy")]
    return Ok(Kind::Compress(CompressConfig::snappy()));
    #[cfg(not(feature = "snappy"))]
    Err(LayerError::NotBuilt("snappy"))
}

fn batch(value: Option<&str>) -> Result<BatchConfig, LayerError> {
    let config = BatchConfig::default();
    let Some(text) = value else {
        return Ok(config);
    };
    let (size, timeout) = match text.split_once(',') {
        Some((size, timeout)) => (size, Some(timeout)),
        None => (text, None),
    };
    let size = size.parse().ok().filter(|size| *size > 0);
    let size =
        size.ok_or_else(|| wrong("batch", text, "size: expected a number of frames from 1"))?;
    let config = config.batch_size(size);
    let Some(timeout) = timeout else {
        return Ok(config);
    };
    let timeout = parse_duration(timeout)
        .map_err(|_| wrong("batch", timeout, "time: expected for example 50ms or 2s"))?;
    Ok(config.batch_timeout(timeout))
}

fn buffer(value: Option<&str>) -> Result<BufferConfig, LayerError> {
    let size = match value {
        None => DEFAULT_BUFFER_SIZE,
        Some(text) => text
            .parse()
            .map_err(|_| wrong("buffer", text, "size: expected a number of bytes"))?,
    };
    BufferConfig::new(size).map_err(LayerError::Buffer)
}

fn liveness(value: Option<&str>) -> Result<Liveness, LayerError> {
    let Some(text) = value else {
        return Ok(Liveness::default());
    };
    let silence = parse_duration(text)
        .ok()
        .filter(|time| *time >= MIN_SILENCE);
    let expected = "silence: expected at least 200ms, for example 3s";
    Ok(Liveness::new(
        silence.ok_or_else(|| wrong("liveness", text, expected))?,
    ))
}

fn encrypt(value: Option<&str>) -> Result<Kind, LayerError> {
    match value {
        _ if !cfg!(feature = "encrypt") => Err(LayerError::NotBuilt("encrypt")),
        None | Some("") => Err(wrong("encrypt", "", "key file: expected encrypt:KEYFILE")),
        Some(path) => Ok(Kind::Encrypt(path.into())),
    }
}

fn resume(value: Option<&str>) -> Result<ResumeConfig, LayerError> {
    match value {
        None => Ok(ResumeConfig::default()),
        Some("insecure") => Ok(ResumeConfig::default().insecure_resume()),
        Some(text) => Err(wrong(
            "resume",
            text,
            "setting: expected insecure, or nothing",
        )),
    }
}

fn at(value: Option<&str>) -> Result<Option<At>, LayerError> {
    match value {
        None => Ok(None),
        Some("channel") => Ok(Some(At::Channel)),
        Some("stream") => Ok(Some(At::Stream)),
        Some(text) => Err(wrong("monitor", text, "place: expected channel or stream")),
    }
}

impl Layers {
    /// Layers from their texts, listed from the application to the socket; see [`LayerSpec`] for what each says.
    ///
    /// # Errors
    ///
    /// When a text is no layer, or when their order or number makes no sense; when a key cannot be read.
    pub fn parse<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Result<Self, LayerError> {
        let specs: Result<Vec<LayerSpec>, _> = texts
            .into_iter()
            .map(|text| text.as_ref().parse())
            .collect();
        Self::from_specs(&specs?)
    }

    /// Layers from their specifications, listed from the application to the socket.
    ///
    /// # Errors
    ///
    /// When their order or number makes no sense; when a key cannot be read.
    pub fn from_specs(specs: &[LayerSpec]) -> Result<Self, LayerError> {
        let lowest_of_frames = specs
            .iter()
            .rposition(|spec| spec.kind.place() == Some(At::Channel));
        let mut bytes: Option<&LayerSpec> = None;
        let mut placed = Vec::with_capacity(specs.len());
        for (position, spec) in specs.iter().enumerate() {
            let stands_among_frames = lowest_of_frames.is_some_and(|lowest| position <= lowest);
            let place = spec.kind.place().unwrap_or(if stands_among_frames {
                At::Channel
            } else {
                At::Stream
            });
            match (place, bytes) {
                (At::Channel, Some(bytes)) => {
                    return Err(LayerError::Order {
                        frames: spec.text.clone(),
                        bytes: bytes.text.clone(),
                    });
                }
                (At::Channel, None) => {}
                (At::Stream, _) => bytes = Some(spec),
            }
            let hides = |other: &&LayerSpec| matches!(other.kind, Kind::Encrypt(_));
            if matches!(spec.kind, Kind::Liveness(_))
                && let Some(encrypt) = specs[..position].iter().find(hides)
            {
                return Err(LayerError::Hidden {
                    liveness: spec.text.clone(),
                    encrypt: encrypt.text.clone(),
                });
            }
            let same = |other: &&LayerSpec| {
                !matches!(spec.kind, Kind::Monitor(_))
                    && std::mem::discriminant(&other.kind) == std::mem::discriminant(&spec.kind)
            };
            if let Some(upper) = specs[..position].iter().find(same) {
                return Err(LayerError::Twice {
                    upper: upper.text.clone(),
                    lower: spec.text.clone(),
                });
            }
            placed.push((&spec.kind, place));
        }
        // No key is read for a list that is refused anyway.
        placed
            .into_iter()
            .try_fold(Self::new(), |layers, (kind, place)| layers.add(kind, place))
    }

    fn add(self, kind: &Kind, place: At) -> Result<Self, LayerError> {
        Ok(match (kind, place) {
            (Kind::Compress(config), _) => self.compress(*config),
            (Kind::Batch(config), _) => self.batch(*config),
            (Kind::Buffer(config), _) => self.buffer(*config),
            (Kind::Liveness(liveness), _) => self.liveness(*liveness),
            (Kind::Resume(config), _) => self.resume(config.clone()),
            #[cfg(feature = "encrypt")]
            (Kind::Encrypt(path), _) => {
                let key = Key::load(path).map_err(LayerError::Key)?;
                self.encrypt(EncryptConfig::new(key))
            }
            #[cfg(not(feature = "encrypt"))]
            (Kind::Encrypt(_), _) => return Err(LayerError::NotBuilt("encrypt")),
            (Kind::Monitor(_), At::Channel) => self.monitor_channel(&Monitors::shared()),
            (Kind::Monitor(_), At::Stream) => self.monitor_stream(&Monitors::shared()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn kind(text: &str) -> Kind {
        text.parse::<LayerSpec>().expect(text).kind
    }

    fn refused(text: &str) -> String {
        text.parse::<LayerSpec>().expect_err(text).to_string()
    }

    #[test]
    fn the_defaults_are_the_seeds() {
        let batch = BatchConfig::default()
            .batch_size(10)
            .batch_timeout(Duration::from_millis(100));
        assert_eq!(BatchConfig::default(), batch);
        assert_eq!(BufferConfig::default().buffer_size(), 8192);
        assert_eq!(CompressConfig::default(), CompressConfig::zlib(6));
        assert!(BufferConfig::new(1_048_576).is_ok() && BufferConfig::new(1_048_577).is_err());
    }

    #[test]
    fn texts_say_what_the_table_says() {
        assert_eq!(kind("zlib"), Kind::Compress(CompressConfig::default()));
        assert_eq!(kind("zlib:0"), Kind::Compress(CompressConfig::zlib(0)));
        assert_eq!(kind("batch"), Kind::Batch(BatchConfig::default()));
        let batch = BatchConfig::default().batch_size(20);
        assert_eq!(kind("batch:20"), Kind::Batch(batch));
        let batch = batch.batch_timeout(Duration::from_millis(50));
        assert_eq!(kind("batch:20,50ms"), Kind::Batch(batch));
        assert_eq!(kind("buffer"), Kind::Buffer(BufferConfig::default()));
        let buffer = BufferConfig::new(32768).expect("below the limit");
        assert_eq!(kind("buffer:32768"), Kind::Buffer(buffer));
        assert_eq!(kind("resume"), Kind::Resume(ResumeConfig::default()));
        let insecure = ResumeConfig::default().insecure_resume();
        assert_eq!(kind("resume:insecure"), Kind::Resume(insecure));
        assert_eq!(kind("monitor"), Kind::Monitor(None));
        assert_eq!(kind("monitor:stream"), Kind::Monitor(Some(At::Stream)));
        let text = "batch:20,50ms";
        assert_eq!(text.parse::<LayerSpec>().expect(text).to_string(), text);
    }

    #[test]
    fn wrong_texts_say_what_is_wrong() {
        let level = "is no level: expected a number from 0 to 9";
        assert_eq!(refused("zlib:10"), format!("zlib: \"10\" {level}"));
        assert_eq!(refused("zlib:-1"), format!("zlib: \"-1\" {level}"));
        assert_eq!(refused("zlib:"), format!("zlib: \"\" {level}"));
        let name = refused("gzip");
        assert_eq!(name, format!("unknown layer \"gzip\": expected {EXPECTED}"));
        assert_eq!(refused("").split(':').next(), Some("unknown layer \"\""));
        assert!(refused("batch:0").contains("a number of frames from 1"));
        assert!(refused("batch:5,soon").contains("\"soon\" is no time"));
        assert!(refused("buffer:8k").contains("\"8k\" is no size"));
        let words = "buffer: a buffer of 1048577 bytes is above the buffer limit of 1048576";
        assert_eq!(refused("buffer:1048577"), words);
        assert!(refused("monitor:all").contains("expected channel or stream"));
        assert!(refused("snappy:1").contains("it has none"));
        assert!(refused("resume:1").contains("\"1\" is no setting"));
    }

    #[cfg(feature = "encrypt")]
    #[test]
    fn encryption_reads_its_key_when_the_layers_are_made() {
        let words = "encrypt: \"\" is no key file: expected encrypt:KEYFILE";
        assert_eq!(refused("encrypt"), words);
        assert_eq!(refused("encrypt:"), words);
        assert_eq!(kind("encrypt:a:b"), Kind::Encrypt("a:b".into()));
        let guarded = |text: &str| text.parse::<LayerSpec>().expect(text).is_guarded();
        assert!(guarded("encrypt:key") && !guarded("zlib"));
        let error = Layers::parse(["encrypt:/nowhere/at/all/key"]).expect_err("no such file");
        let words = error.to_string();
        assert!(
            words.starts_with("encrypt: key file /nowhere/at/all/key: "),
            "{words}"
        );
    }

    #[test]
    fn a_wrong_order_is_refused_and_a_monitor_stands_anywhere() {
        for wrong in [
            &["buffer", "batch"][..],
            &["monitor:stream", "zlib"],
            #[cfg(feature = "encrypt")]
            &["encrypt:key", "zlib"],
            &["batch", "buffer", "monitor", "zlib:1"],
            &["buffer", "monitor:channel"],
        ] {
            let error = Layers::parse(wrong).expect_err("the wrong order");
            assert!(
                matches!(error, LayerError::Order { .. }),
                "{wrong:?}: {error}"
            );
        }
        for twice in [
            &["zlib:1", "zlib:1"][..],
            &["batch", "zlib", "batch:3"],
            &["buffer", "buffer:1"],
            &["resume", "buffer", "resume:insecure"],
            #[cfg(feature = "encrypt")]
            &["encrypt:one", "buffer", "encrypt:another"],
        ] {
            let error = Layers::parse(twice).expect_err("twice");
            assert!(
                matches!(error, LayerError::Twice { .. }),
                "{twice:?}: {error}"
            );
        }
        for (texts, frames, bytes) in [
            (&["monitor"][..], 0, 1),
            (&["monitor", "zlib", "monitor", "buffer", "monitor"], 2, 3),
            (&["monitor:channel"], 1, 0),
            (&["batch", "zlib", "buffer"], 2, 1),
            (&[], 0, 0),
        ] {
            let layers = Layers::parse(texts).expect("the right order");
            assert_eq!(layers.count(), (frames, bytes), "{texts:?}");
        }
    }
}
