//! Requests to web servers, with the system's certificates and proxies.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Timeout};

use crate::download_error::DownloadError;
use crate::fs::read_at_most;
use crate::url::{basic_authorization, without_credentials};

/// How long resolving a name and connecting may take.
const CONNECT: Duration = Duration::from_secs(30);
/// How many redirects are followed.
const MAX_REDIRECTS: u32 = 10;

/// A client of web servers.
#[derive(Debug)]
pub(crate) struct Http {
    agent: Agent,
    has_certificates: bool,
    silence: Duration,
}

impl Http {
    /// Prepares to ask servers, each of which may be silent for `silence`; with `https_only`, a redirect
    /// to `http:` is refused.
    ///
    /// The system's certificates are those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, else of the
    /// usual places; the proxies those of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`.
    pub(crate) fn new(silence: Duration, https_only: bool) -> Self {
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
            .https_only(https_only)
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
        let address = without_credentials(url);
        let mut request = self.agent.get(&address).header("accept-encoding", "identity");
        // The agent would send them as they are written, and that is encoded.
        if let Some(authorization) = basic_authorization(url) {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request.call().map_err(|error| self.failed(error))
    }

    /// All that is at `url`, at most `most_bytes`.
    pub(crate) fn bytes(&self, url: &str, most_bytes: u64) -> Result<Vec<u8>, DownloadError> {
        let response = self.get(url, &[])?;
        self.accept(&response)?;
        read_at_most(response.into_body().into_reader(), most_bytes).map_err(|error| {
            match error.kind() {
                io::ErrorKind::FileTooLarge => DownloadError::TooLong { most_bytes },
                _ => self.broken(error),
            }
        })
    }

    /// Refuses an answer that is not a success.
    pub(crate) fn accept(&self, response: &Response<Body>) -> Result<(), DownloadError> {
        let status = response.status();
        tracing::debug!(%status, "answered");
        if status.is_success() {
            return Ok(());
        }
        let reason = status.canonical_reason().map(|reason| format!(" {reason}"));
        Err(DownloadError::Status { status: status.as_u16(), reason: reason.unwrap_or_default() })
    }

    /// Why a request failed.
    fn failed(&self, error: ureq::Error) -> DownloadError {
        let is_distrust = is_distrust(&error);
        let boxed: Box<dyn std::error::Error + Send + Sync> = match error {
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
                return DownloadError::Silent { waited: self.silence };
            }
            ureq::Error::Timeout(_) => return DownloadError::Silent { waited: CONNECT },
            ureq::Error::RequireHttpsOnly(_) => return DownloadError::Insecure,
            ureq::Error::Io(source) => source.into(),
            error => error.into(),
        };
        match (is_distrust, self.has_certificates) {
            (true, false) => DownloadError::NoCertificates,
            (true, true) => DownloadError::Untrusted { source: boxed },
            (false, _) => DownloadError::Ask { source: boxed },
        }
    }

    /// Why a body can't be read.
    pub(crate) fn broken(&self, source: io::Error) -> DownloadError {
        match source.downcast::<ureq::Error>() {
            Ok(error @ ureq::Error::Timeout(_)) => self.failed(error),
            Ok(ureq::Error::Io(source)) | Err(source) => DownloadError::Broken { source },
            Ok(error) => DownloadError::Broken { source: io::Error::other(error) },
        }
    }
}

/// Whether a server's certificate was refused.
fn is_distrust(error: &ureq::Error) -> bool {
    let tls = match error {
        ureq::Error::Rustls(error) => Some(error),
        // rustls' streams are readers and writers: its errors come wrapped.
        ureq::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref()),
        _ => None,
    };
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// A header as text.
pub(crate) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|value| value.trim().to_owned())
}
