//! Why a file cannot be downloaded.

use std::io;
use std::time::Duration;

/// Why a file cannot be downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The server answers, but not with the file.
    #[error("the server answers {status}{reason}")]
    Status {
        /// The status (RFC 9110 §15).
        status: u16,
        /// Its reason phrase, after a space; or what is wrong with the answer.
        reason: String,
    },
    /// The server cannot be reached: no such host, no connection.
    #[error("the server cannot be reached")]
    Ask {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server's certificate is not valid, or no authority of this system's has signed it.
    #[error("the server's certificate is not trusted")]
    Untrusted {
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
        /// The bytes that came.
        got_bytes: u64,
        /// The length of the file.
        total_bytes: u64,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken {
        /// Why.
        source: io::Error,
    },
    /// The server doesn't send the file's length, and nothing else would show a file that is cut.
    #[error("the server sent no Content-Length: a file that is cut short would go unnoticed")]
    Unbounded,
    /// A list of checksums is too long to be one.
    #[error("it has more than {most_bytes} bytes: too large for a list of checksums")]
    TooLong {
        /// How much is read at most.
        most_bytes: u64,
    },
    /// The server, which was asked by `https:`, redirects to `http:`.
    #[error(
        "the server redirects from https to http, where anyone on the way can change what comes"
    )]
    Insecure,
    /// Not one certificate of the system can be read.
    #[error("no CA certificates found on this system")]
    NoCertificates,
}

impl DownloadError {
    /// Whether the same request may well succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            // RFC 9110 §15.6, §15.5.9; RFC 6585 §4.
            Self::Status { status, .. } => *status >= 500 || [408, 429].contains(status),
            Self::Unbounded | Self::TooLong { .. } | Self::Insecure => false,
            _ => true,
        }
    }

    /// What to do next, if there is something to suggest.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Status { status: 404 | 410, .. } => Some("correct the address".into()),
            Self::Status { status: 500.., .. } => Some("try again later".into()),
            Self::Silent { .. } | Self::CutShort { .. } | Self::Broken { .. } => {
                Some("import it again: the download resumes from here".into())
            }
            Self::Untrusted { .. } => {
                Some("if you trust it, name its authority's certificate in SSL_CERT_FILE".into())
            }
            Self::Insecure => {
                Some("if that is what you want, name the http address, and a checksum".into())
            }
            Self::Unbounded => Some("give its checksum, and it is compared".into()),
            Self::NoCertificates => Some(
                "install ca-certificates, or name a file of certificates in SSL_CERT_FILE".into(),
            ),
            _ => None,
        }
    }
}
