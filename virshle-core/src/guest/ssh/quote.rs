//! Quotes an argument for ssh_config.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::failure::{ErrorKind, Failure, Verdict};

/// An argument that can't be quoted for ssh's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument:?} cannot be quoted for ssh_config")]
pub struct QuoteError {
    /// The argument.
    pub argument: String,
}

impl Failure for QuoteError {
    fn verdict(&self) -> Verdict<'_> {
        Verdict::new(ErrorKind::Config, "path-unfit")
            .text("choose a path without quotes, backslashes, `$` and control characters")
    }
}

/// Quotes `argument` for a line of ssh's configuration: some lines are commands that a shell
/// splits, others ssh splits itself, and both read it alike.
///
/// # Errors
///
/// [`QuoteError`] for what can't be quoted for both.
///
/// # References
///
/// ssh_config(5), "TOKENS": a percent sign is two; arguments may be enclosed in quotes.
pub(crate) fn quote(argument: &OsStr) -> Result<OsString, QuoteError> {
    quote_with(argument, b"%%")
}

/// Quotes `argument` as the program of a `KnownHostsCommand`, of which ssh expands no tokens.
pub(crate) fn quote_program(argument: &OsStr) -> Result<OsString, QuoteError> {
    quote_with(argument, b"%")
}

/// Quotes an argument in which `percent` is written for a percent sign.
fn quote_with(argument: &OsStr, percent: &[u8]) -> Result<OsString, QuoteError> {
    let bytes = argument.as_bytes();
    let is_plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"/._-+=:@,%".contains(byte) || !byte.is_ascii()
    };
    // A dollar sign and a brace are an environment variable, also between quotes.
    if bytes.is_empty()
        || bytes.iter().any(|byte| byte.is_ascii_control() || b"'\"\\$!`".contains(byte))
    {
        return Err(QuoteError { argument: argument.to_string_lossy().into_owned() });
    }
    let mut written = Vec::with_capacity(bytes.len() + 2);
    for byte in bytes {
        match byte {
            b'%' => written.extend(percent),
            byte => written.push(*byte),
        }
    }
    if !bytes.iter().all(is_plain) {
        written.insert(0, b'\'');
        written.push(b'\'');
    }
    Ok(OsString::from_vec(written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_quoted_only_where_it_must_be() {
        let written = |word: &str| quote(OsStr::new(word)).unwrap().into_string().unwrap();
        assert_eq!(written("/usr/bin/v"), "/usr/bin/v");
        assert_eq!(written("/srv/my machines"), "'/srv/my machines'");
        assert_eq!(written("/srv/100%"), "/srv/100%%");
        assert_eq!(written("/srv/büro"), "/srv/büro");
        assert_eq!(quote_program(OsStr::new("/srv/100%")).unwrap(), "/srv/100%");
        for wrong in ["", "it's", "a\"b", "a\\b", "${HOME}", "a\nb"] {
            assert!(quote(OsStr::new(wrong)).is_err(), "{wrong:?}");
        }
    }
}
