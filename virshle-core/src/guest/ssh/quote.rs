//! A word in a line of ssh's configuration.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::error::CoreError;

/// `word` as it stands in a line of ssh's configuration, where some lines are commands that a shell
/// takes apart and others ssh takes apart itself: quoted so that both understand it.
///
/// # Errors
///
/// [`CoreError::SshWord`] for what can't be quoted for both.
///
/// # References
///
/// ssh_config(5), "TOKENS": a percent sign is two; arguments may be enclosed in quotes.
pub(crate) fn ssh_word(word: &OsStr) -> Result<OsString, CoreError> {
    let bytes = word.as_bytes();
    let is_plain = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"/._-+=:@,%".contains(byte) || !byte.is_ascii()
    };
    // A dollar sign and a brace are an environment variable, also between quotes.
    if bytes.is_empty()
        || bytes.iter().any(|byte| byte.is_ascii_control() || b"'\"\\$!`".contains(byte))
    {
        return Err(CoreError::SshWord { word: word.to_string_lossy().into_owned() });
    }
    let mut written = Vec::with_capacity(bytes.len() + 2);
    for byte in bytes {
        written.push(*byte);
        if *byte == b'%' {
            written.push(b'%');
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
    fn a_word_is_quoted_only_where_it_must_be() {
        let written = |word: &str| ssh_word(OsStr::new(word)).unwrap().into_string().unwrap();
        assert_eq!(written("/usr/bin/v"), "/usr/bin/v");
        assert_eq!(written("/srv/my machines"), "'/srv/my machines'");
        assert_eq!(written("/srv/100%"), "/srv/100%%");
        assert_eq!(written("/srv/büro"), "/srv/büro");
        for wrong in ["", "it's", "a\"b", "a\\b", "${HOME}", "a\nb"] {
            assert!(ssh_word(OsStr::new(wrong)).is_err(), "{wrong:?}");
        }
    }
}
