//! Paths as people write them.

use std::path::{Path, PathBuf};

/// `text` as an absolute path: `~` is `home`, a relative path starts at the directory of `file`,
/// the one it is written in. Whether anything is there is not looked at.
pub(crate) fn expand(text: &str, file: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.contains('\0') {
        return Err("it has a NUL character".into());
    }
    if let Some(rest) = text.strip_prefix('~') {
        let rest = match rest.strip_prefix('/') {
            Some(rest) => rest.trim_start_matches('/'),
            None if rest.is_empty() => rest,
            None => return Err("the home of another user is not looked up, write it out".into()),
        };
        let home = home.ok_or("the caller has no home directory: HOME is not set")?;
        return Ok(if rest.is_empty() { home.to_owned() } else { home.join(rest) });
    }
    let directory = file.parent().unwrap_or(Path::new(""));
    std::path::absolute(directory.join(text)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_whatever_was_written() {
        let file = Path::new("/etc/virshle/config.toml");
        let home = Path::new("/home/a");
        for (text, path) in [
            ("~/Iso/nixos.img", "/home/a/Iso/nixos.img"),
            ("~//Iso", "/home/a/Iso"),
            ("~", "/home/a"),
            ("~/", "/home/a"),
            ("/a/b", "/a/b"),
            ("b.img", "/etc/virshle/b.img"),
            ("./~", "/etc/virshle/~"),
            ("a~b", "/etc/virshle/a~b"),
        ] {
            assert_eq!(expand(text, file, Some(home)), Ok(path.into()), "{text}");
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(expand("b.img", Path::new("config.toml"), None), Ok(here.join("b.img")));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let file = Path::new("/etc/virshle/config.toml");
        for text in ["", "~root/x", "~root", "a\0b", "~/x", "~"] {
            assert!(expand(text, file, None).is_err(), "{text:?}");
        }
    }
}
