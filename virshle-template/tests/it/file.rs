use std::io::ErrorKind;
use std::path::Path;

use virshle_template::{Config, TemplateError};

use crate::config::SEED;

fn load(content: impl AsRef<[u8]>) -> Result<Config, TemplateError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, content).unwrap();
    Config::load(&path)
}

#[test]
fn a_file_is_read_and_its_directory_is_where_paths_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    std::fs::write(&path, SEED.replace("~/Iso", "Iso").replace("\n", "\r\n")).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.origin(), Some(path.as_path()));
    let source = config.template("xs").unwrap().disks[0].source.clone();
    assert_eq!(source, Some(directory.path().join("Iso/nixos.efi.img")));
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    assert!(load(format!("\u{feff}{SEED}")).unwrap().template("xs").is_ok());
    let error = load("\u{feff}alias = 1").unwrap_err();
    assert_eq!((error.mistakes()[0].line, error.mistakes()[0].column), (1, 1));
}

#[test]
fn a_file_that_is_not_there_is_reported_with_its_path() {
    let error = Config::load(Path::new("/nowhere/config.toml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration /nowhere/config.toml");
    assert!(error.hint().unwrap().contains("the usual places"), "{:?}", error.hint());
    assert!(matches!(error, TemplateError::Read { .. }), "{error:?}");
}

#[test]
fn what_is_no_file_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let kind = |path: &Path| match Config::load(path) {
        Err(TemplateError::Read { source, .. }) => source.kind(),
        other => panic!("{other:?}"),
    };
    assert_eq!(kind(directory.path()), ErrorKind::IsADirectory);
    assert_eq!(kind(Path::new("/dev/zero")), ErrorKind::FileTooLarge);
    assert_eq!(kind(Path::new("")), ErrorKind::InvalidInput);
}

#[test]
fn a_file_that_is_not_text_is_reported_with_its_place() {
    let error = load(b"[node]\nalias = \"d\xffku\"\n").unwrap_err();
    let message = error.to_string();
    let (_, snippet) = message.split_once("\n\n").unwrap();
    let (first, rest) = snippet.split_once('\n').unwrap();
    assert_eq!(first, "this is not text in UTF-8");
    let shown = "  |\n2 | alias = \"d\u{fffd}ku\"\n  |           ^\n  = expected a text file";
    assert!(rest.ends_with(shown), "{rest}");
    for content in [&[0; 100][..], b"\xff\xfe[\0n\0", b"\x7fELF\x02\x01\x01", b"\xf0\x9f"] {
        assert!(!load(content).unwrap_err().mistakes().is_empty(), "{content:?}");
    }
}
