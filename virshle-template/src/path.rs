//! Paths as people write them.

use std::path::{Path, PathBuf};

/// `text` as an absolute path: `~` is the caller's home, a relative path starts at the folder of
/// the file it is written in.
pub(crate) fn expand(text: &str, file: &Path) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.contains('\0') {
        return Err("it has a NUL byte".into());
    }
    if let Some(rest) = text.strip_prefix('~') {
        let home = || {
            std::env::home_dir()
                .filter(|home| home.is_absolute())
                .ok_or_else(|| "the home directory of the caller is not known".to_owned())
        };
        return match rest.strip_prefix('/') {
            Some(rest) => Ok(home()?.join(rest.trim_start_matches('/'))),
            None if rest.is_empty() => home(),
            None => Err(format!("~ of another user ({text:?}) is not expanded; write it out")),
        };
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let path = folder.join(text);
    std::path::absolute(&path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_whatever_was_written() {
        let file = Path::new("/etc/virshle/config.toml");
        let home = std::env::home_dir().unwrap();
        assert_eq!(expand("~/Iso/nixos.img", file), Ok(home.join("Iso/nixos.img")));
        assert_eq!(expand("~", file), Ok(home));
        assert_eq!(expand("/a/b", file), Ok("/a/b".into()));
        assert_eq!(expand("b.img", file), Ok("/etc/virshle/b.img".into()));
        assert!(expand("~root/x", file).is_err());
        assert!(expand("", file).is_err());
    }
}
