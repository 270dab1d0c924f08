//! Asking web servers, as the system's certificates and proxies say.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Timeout};

/// Why a file can't be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server has an answer, and not the file.
    #[error("the server answers {status}{reason}")]
    Status {
        /// The status (RFC 9110 §15).
        status: u16,
        /// Its words, after a space.
        reason: String,
    },
    /// The server can't be asked: no such host, no connection, no trust in its certificate.
    #[error("the server cannot be asked")]
    Ask {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server was silent.
    #[error("the server is silent for {} s", .waited.as_secs_f32())]
    Silent {
        /// How long this waited.
        waited: Duration,
    },
    /// The connection ended too early.
    #[error("the connection ended after {got_bytes} of {total_bytes} bytes")]
    CutShort {
        /// What came.
        got_bytes: u64,
        /// What there is.
        total_bytes: u64,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken {
        /// Why.
        source: io::Error,
    },
    /// The server doesn't say how long the file is, and nothing else would tell if it came whole.
    #[error("the server does not tell how long the file is: it may end too early")]
    Unbounded,
    /// What should be a short text is not short.
    #[error("there are more than {most_bytes} bytes, which is no list of checksums")]
    TooLong {
        /// What is read at most.
        most_bytes: u64,
    },
    /// Not one certificate of the system can be read.
    #[error("the system has no certificates to know servers by")]
    NoCertificates,
}

impl DownloadError {
    /// Tells whether the server may well answer differently next time.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            // RFC 9110 §15.6, §15.5.9; RFC 6585 §4.
            Self::Status { status, .. } => *status >= 500 || [408, 429].contains(status),
            Self::Unbounded | Self::TooLong { .. } => false,
            _ => true,
        }
    }

    /// What to do next, when something can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Status { status: 404 | 410, .. } => Some("correct the address".into()),
            Self::Status { status: 500.., .. } => Some("try again later".into()),
            Self::Silent { .. } | Self::CutShort { .. } | Self::Broken { .. } => {
                Some("the same command goes on from where it was".into())
            }
            Self::Ask { source } if is_distrust(&source.to_string()) => {
                Some("if you trust it, name its authority's certificate in SSL_CERT_FILE".into())
            }
            Self::Unbounded => {
                Some("say its checksum, with --sha256 or --sha256sums, and it is compared".into())
            }
            Self::NoCertificates => Some(
                "install ca-certificates, or name a file of certificates in SSL_CERT_FILE".into(),
            ),
            _ => None,
        }
    }
}

/// How long names and connections may take.
const CONNECT: Duration = Duration::from_secs(30);
/// How many other places a server may send to.
const MAX_REDIRECTS: u32 = 10;

/// Who asks.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    has_certificates: bool,
    silence: Duration,
}

impl Http {
    /// Prepares to ask servers, each of which may be silent for `silence`.
    ///
    /// The system's certificates are those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, else of the
    /// usual places; the proxies those of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub(crate) fn new(silence: Duration) -> Self {
        let loaded = rustls_native_certs::load_native_certs();
        for error in loaded.errors {
            tracing::debug!(%error, "a certificate cannot be read");
        }
        let has_certificates = !loaded.certs.is_empty();
        let certificates: Vec<Certificate<'static>> =
            loaded.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(certificates))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(MAX_REDIRECTS)
            .user_agent(concat!("virshle/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .build()
            .new_agent();
        Self { agent, has_certificates, silence }
    }

    /// Asks for `url`, with these headers. The answer may have any status.
    pub(crate) fn get(
        &self,
        url: &str,
        headers: &[(&str, String)],
    ) -> Result<Response<Body>, DownloadError> {
        // Bytes are stored, and compared, as they are on the server.
        let mut request = self.agent.get(url).header("accept-encoding", "identity");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.call().map_err(|error| self.failed(error))
    }

    /// The text at `url`, of at most `most_bytes`.
    pub(crate) fn text(&self, url: &str, most_bytes: u64) -> Result<String, DownloadError> {
        let response = self.get(url, &[])?;
        self.accept(&response)?;
        let mut bytes = Vec::new();
        let body = response.into_body().into_reader();
        body.take(most_bytes + 1).read_to_end(&mut bytes).map_err(|error| self.broken(error))?;
        if bytes.len() as u64 > most_bytes {
            return Err(DownloadError::TooLong { most_bytes });
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Refuses an answer that is not a success.
    pub(crate) fn accept(&self, response: &Response<Body>) -> Result<(), DownloadError> {
        let status = response.status();
        tracing::debug!(%status, "answered");
        if status.is_success() {
            return Ok(());
        }
        let reason = status.canonical_reason().map(|words| format!(" {words}"));
        Err(DownloadError::Status { status: status.as_u16(), reason: reason.unwrap_or_default() })
    }

    /// What kept a server from being asked.
    fn failed(&self, error: ureq::Error) -> DownloadError {
        match error {
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
                DownloadError::Silent { waited: self.silence }
            }
            ureq::Error::Timeout(_) => DownloadError::Silent { waited: CONNECT },
            error if is_distrust(&error.to_string()) && !self.has_certificates => {
                DownloadError::NoCertificates
            }
            ureq::Error::Io(source) => DownloadError::Ask { source: source.into() },
            error => DownloadError::Ask { source: error.into() },
        }
    }

    /// What kept a body from being read.
    pub(crate) fn broken(&self, source: io::Error) -> DownloadError {
        match source.downcast::<ureq::Error>() {
            Ok(error @ ureq::Error::Timeout(_)) => self.failed(error),
            Ok(ureq::Error::Io(source)) | Err(source) => DownloadError::Broken { source },
            Ok(error) => DownloadError::Broken { source: io::Error::other(error) },
        }
    }
}

/// Tells whether it is for a server's certificate. The library's error for that is but a text.
fn is_distrust(error: &str) -> bool {
    error.contains("invalid peer certificate")
}

/// An address as it may be shown and remembered: what stands before the host may be a password.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}{path}")
}

/// A header as text.
pub(crate) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|value| value.trim().to_owned())
}
