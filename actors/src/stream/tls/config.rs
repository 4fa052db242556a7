//! [`TlsConfig`]: how TLS is spoken, for dialling and for listening.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    ClientConfig, Error, ServerConfig, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version,
};
use sha2::{Digest, Sha256};

use super::{
    error::TlsError,
    pem::Pem,
    verify::{ClientVerifier, ServerVerifier},
};
use crate::{limits::FOR_EVER, stream::tcp::TcpConfig};

/// How long a handshake may take, by default.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the peer's certificate is held against.
///
/// Whichever it is, the peer must prove that it holds the certificate's private key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verify {
    /// A chain to a CA of `ca`, or else of the system; and the server's name. The default.
    ///
    /// A listener has no name to compare, and no CA but those of `ca`.
    #[default]
    Full,
    /// A chain to a CA of `ca`, whatever name is in the certificate. A certificate that stands in `ca` itself is taken as well, even if it is
    /// a CA's, as plain `openssl req -x509` makes them: the way of RPyC's own users.
    ///
    /// On a client this trusts every certificate of that CA, for any host.
    Ca,
    /// Just these certificates, whoever signed them, and whatever dates and names they have.
    Pin(Vec<Fingerprint>),
    /// Any certificate: whoever can intercept the connection can read and change it.
    DangerousInsecure,
}

/// The SHA-256 of a certificate in DER, as `openssl x509 -fingerprint -sha256` prints it, with or without colons.
///
/// ```
/// use rpyc_actors::stream::tls::Fingerprint;
///
/// let pin: Fingerprint = "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff".parse()?;
/// assert_eq!(pin.0[31], 0xff);
/// assert!("0011".parse::<Fingerprint>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no SHA-256: expected 64 hexadecimal digits");
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return Err(bad());
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(bad);
            let value = digit(0)? << 4 | digit(1)?;
            *byte = u8::try_from(value).map_err(|_| bad())?;
        }
        Ok(Self(hash))
    }
}

impl Fingerprint {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// Whether a listener asks its clients for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not asked for.
    None,
    /// A client that has one shows it, and it must be good.
    Optional,
    /// A client without a good one is refused.
    Required,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "TLS 1.2",
            Self::V1_3 => "TLS 1.3",
        })
    }
}

/// How TLS is spoken, for dialling and for listening.
///
/// Connections made with clones of one config resume each other's sessions.
///
/// ```no_run
/// # async fn example() -> Result<(), rpyc_actors::StreamError> {
/// use rpyc_actors::{Channel, SocketStream, TlsConfig};
///
/// let config = TlsConfig::default().ca("ca.crt").certificate("client.crt", "client.key");
/// let channel = Channel::new(SocketStream::ssl_connect("secure-server.com", 18821, config).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct TlsConfig {
    tcp: TcpConfig,
    verify: Verify,
    ca: Option<Pem>,
    own: Option<(Pem, Pem)>,
    name: Option<Arc<str>>,
    clients: Option<ClientCertificates>,
    version: Option<TlsVersion>,
    handshake_timeout: Option<Duration>,
    built: Arc<Built>,
}

/// What is made of the settings on first use: with the sessions that can be resumed.
#[derive(Default)]
struct Built {
    client: OnceLock<Arc<ClientConfig>>,
    server: OnceLock<Arc<ServerConfig>>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("tcp", &self.tcp)
            .field("verify", &self.verify)
            .field("ca", &self.ca)
            .field("certificate", &self.own)
            .field("name", &self.name)
            .field("clients", &self.clients)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl TlsConfig {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        // Nothing may be left of other settings: no session, no certificate.
        self.built = Arc::default();
        self
    }

    /// Sets how the TCP connection below is made and kept.
    #[must_use]
    pub fn tcp(mut self, tcp: TcpConfig) -> Self {
        self.tcp = tcp;
        self
    }

    /// Sets what the peer's certificate is held against. [`Verify::Full`] by default.
    #[must_use]
    pub fn verify(self, verify: Verify) -> Self {
        self.with(|config| config.verify = verify)
    }

    /// Sets the CAs whose certificates are trusted, instead of the system's.
    #[must_use]
    pub fn ca(self, ca: impl Into<Pem>) -> Self {
        self.with(|config| config.ca = Some(ca.into()))
    }

    /// Sets the certificate of this end, with its chain if there is one, and the certificate's private key.
    #[must_use]
    pub fn certificate(self, certificate: impl Into<Pem>, key: impl Into<Pem>) -> Self {
        self.with(|config| config.own = Some((certificate.into(), key.into())))
    }

    /// Sets the name that a client asks for (SNI) and looks for in the certificate. The host by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets whether a listener asks for clients' certificates. By default they are required when there is a [`ca`](Self::ca), or a pin, and else
    /// not asked for: as RPyC's `SSLAuthenticator` does.
    #[must_use]
    pub fn clients(self, clients: ClientCertificates) -> Self {
        self.with(|config| config.clients = Some(clients))
    }

    /// Allows only this version. TLS 1.2 and 1.3 by default.
    #[must_use]
    pub fn version(self, version: TlsVersion) -> Self {
        self.with(|config| config.version = Some(version))
    }

    /// Sets how long a handshake may take. 5 s by default.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = Some(timeout.min(FOR_EVER));
        self
    }

    /// The config of the TCP connection below.
    pub(crate) fn tcp_config(&self) -> &TcpConfig {
        &self.tcp
    }

    pub(crate) fn patience(&self) -> Duration {
        self.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT)
    }

    pub(crate) fn is_verifying(&self) -> bool {
        self.verify != Verify::DangerousInsecure
    }

    fn clients_wanted(&self) -> ClientCertificates {
        let has_trust = self.ca.is_some() || matches!(self.verify, Verify::Pin(_));
        self.clients.unwrap_or(if has_trust {
            ClientCertificates::Required
        } else {
            ClientCertificates::None
        })
    }

    /// True when a listener with this config lets nobody in without a certificate that was checked.
    pub fn requires_clients(&self) -> bool {
        self.clients_wanted() == ClientCertificates::Required && self.is_verifying()
    }

    /// The name that a client asks for.
    pub(super) fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.name.as_deref().unwrap_or(host);
        // A fully qualified name may be written with its last dot, which certificates never have.
        let name = name.strip_suffix('.').unwrap_or(name);
        ServerName::try_from(name.to_owned()).map_err(|_| {
            let what = format!("{name:?} is no name of a host: give one with name=");
            TlsError::Config(what.into())
        })
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        static ONLY_1_2: [&SupportedProtocolVersion; 1] = [&version::TLS12];
        static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
        match self.version {
            None => rustls::ALL_VERSIONS,
            Some(TlsVersion::V1_2) => &ONLY_1_2,
            Some(TlsVersion::V1_3) => &ONLY_1_3,
        }
    }

    fn trusted(&self) -> Result<Option<Vec<CertificateDer<'static>>>, TlsError> {
        self.ca.as_ref().map(Pem::certificates).transpose()
    }

    fn own(
        &self,
    ) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, TlsError> {
        let load = |(certificate, key): &(Pem, Pem)| Ok((certificate.certificates()?, key.key()?));
        self.own.as_ref().map(load).transpose()
    }

    /// What the library says of a certificate and a key that it does not take.
    fn not_taken(&self, error: &Error) -> TlsError {
        let (certificate, key) = match &self.own {
            Some((certificate, key)) => (certificate.place(), key.place()),
            None => Default::default(),
        };
        match error {
            Error::InconsistentKeys(_) => TlsError::KeyMismatch { certificate, key },
            other => TlsError::Pem {
                place: format!("{certificate} with {key}").into(),
                what: other.to_string().into(),
            },
        }
    }

    /// The library's config for dialling. Reads files, so not on an arbiter.
    fn build_client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = provider();
        let verifier = ServerVerifier::new(&self.verify, self.trusted()?, provider.clone())?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions())
            .map_err(TlsError::of)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match self.own()? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| self.not_taken(&error))?,
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }

    /// The library's config for listening. Reads files, so not on an arbiter.
    fn build_server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = provider();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions())
            .map_err(TlsError::of)?;
        let wanted = self.clients_wanted();
        let builder = if wanted == ClientCertificates::None {
            builder.with_no_client_auth()
        } else {
            let is_mandatory = wanted == ClientCertificates::Required;
            let trusted = self.trusted()?;
            let verifier = ClientVerifier::new(&self.verify, trusted, is_mandatory, provider)?;
            builder.with_client_cert_verifier(Arc::new(verifier))
        };
        let Some((chain, key)) = self.own()? else {
            let what = "a listener needs a certificate and its key: cert and key";
            return Err(TlsError::Config(what.into()));
        };
        let config = builder
            .with_single_cert(chain, key)
            .map_err(|error| self.not_taken(&error))?;
        Ok(Arc::new(config))
    }

    pub(super) async fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        build_once(self, |config| &config.built.client, Self::build_client).await
    }

    pub(super) async fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        build_once(self, |config| &config.built.server, Self::build_server).await
    }
}

/// Gives what was built, or builds it on a thread for blocking work. A failure is not kept: the next attempt reads the files again.
async fn build_once<T: Send + Sync + 'static>(
    config: &TlsConfig,
    place: fn(&TlsConfig) -> &OnceLock<Arc<T>>,
    build: fn(&TlsConfig) -> Result<Arc<T>, TlsError>,
) -> Result<Arc<T>, TlsError> {
    if let Some(built) = place(config).get() {
        return Ok(built.clone());
    }
    let config = config.clone();
    let work = move || {
        let built = build(&config)?;
        Ok(place(&config).get_or_init(|| built).clone())
    };
    let gone = |_| TlsError::Config("the runtime ended while certificates were read".into());
    tokio::task::spawn_blocking(work).await.map_err(gone)?
}

/// ring, unless only AWS-LC was asked for. The process-wide default is left to the application.
fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "tls")]
    let provider = rustls::crypto::ring::default_provider();
    #[cfg(not(feature = "tls"))]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Arc::new(provider)
}
