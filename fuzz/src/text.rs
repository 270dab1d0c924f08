//! Text that people write, and the file that says what a machine is.

use std::fmt::{Debug, Display};
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use tempfile::TempDir;
use virshle_core::{
    CreateRequest, Definition, ImageReference, Node, Pins, Selection, Selector, VmName, VmState,
};
use virshle_net::{InterfaceName, MacAddr, ovsdb::Address};
use virshle_template::{BitRate, ByteSize, Config, Publish, UserData, is_public_key};

/// Templates and settings: every mistake has its place, and every template can be had.
pub fn template(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match Config::from_toml(text, Path::new("/etc/virshle/config.toml")) {
        Ok(config) => {
            for mistake in config.mistakes() {
                assert!(mistake.line > 0 && mistake.column > 0, "{mistake}");
                assert!(!mistake.to_string().is_empty());
            }
            for template in config.templates() {
                assert_eq!(config.template(&template.name).unwrap(), template);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.mistakes().is_empty()),
    }
}

/// What a machine gets at its first boot.
pub fn user_data(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    is_public_key(text);
    match UserData::parse(text, Path::new("/me.toml")) {
        Ok(data) => {
            let user = data.first_user();
            assert!(user.is_none_or(|user| !user.is_empty() && !user.starts_with('-')));
            data.has_key("users");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.mistakes().is_empty());
        }
    }
}

/// A definition: what is read is written so that the same is read again, and names lead nowhere.
pub fn vm_toml(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let path = Path::new("/vm.toml");
    let Ok(read) = Definition::from_toml(text, path) else { return };
    assert!(read.format <= Definition::FORMAT);
    let names =
        read.disks.iter().map(|disk| &disk.name).chain(read.nets.iter().map(|net| &net.name));
    for name in names {
        let place = Path::new("/machine/disk").join(name);
        assert_eq!(place.parent(), Some(Path::new("/machine/disk")), "{name:?}");
    }
    let written = read.to_toml().unwrap();
    assert_eq!(Definition::from_toml(&written, path).unwrap(), read, "{written}");
}

/// What is accepted, is shown so that the same is accepted again.
fn comes_back<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let shown = value.to_string();
        assert_eq!(shown.parse::<T>().ok(), Some(value), "{text:?} is shown as {shown:?}");
    }
}

/// Sizes, names, addresses.
pub fn values(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    comes_back::<ByteSize>(text);
    comes_back::<BitRate>(text);
    comes_back::<VmName>(text);
    comes_back::<VmState>(text);
    comes_back::<InterfaceName>(text);
    comes_back::<MacAddr>(text);
    comes_back::<Publish>(text);
    comes_back::<Address>(text);
    comes_back::<virshle_disk::Format>(text);
    comes_back::<ImageReference>(text);
    if let Ok(Ok(name)) = text.parse::<ImageReference>().map(|reference| reference.image_name()) {
        assert_eq!(Path::new("/cache").join(name.as_str()).parent(), Some(Path::new("/cache")));
    }
    // A list of releases: what is read has a file for each.
    if let Ok(pins) = text.parse::<Pins>() {
        assert!(pins.of_this_machine().all(|pin| !pin.file_name().contains('/')));
    }
    if let Ok(name) = text.parse::<VmName>() {
        assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
    }
}

/// Which machine is meant, among four.
pub fn selector(bytes: &[u8]) {
    static NODE: OnceLock<(Node, TempDir)> = OnceLock::new();
    let Some((kind, text)) = bytes.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let (node, _directory) = NODE.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        let config = "[[template.vm]]\nname = \"xs\"\nvcpu = 1\nvram = 1\n";
        let config = Config::from_toml(config, Path::new("/config.toml")).unwrap();
        let node = Node::new(config, Some(&directory.path().join("root")));
        for name in ["web", "db", "aaaa", "10a"] {
            let request = CreateRequest::new("xs").name(name.parse().unwrap());
            node.create(&request, &|_| {}).unwrap();
        }
        (node, directory)
    });
    let mut selection = Selection::default();
    selection.named.push(match kind % 4 {
        0 => Selector::Word(text.to_owned()),
        1 => Selector::Name(text.to_owned()),
        2 => Selector::Uuid(text.to_owned()),
        _ => Selector::Id(text.parse().unwrap_or_default()),
    });
    match node.select(&selection) {
        Ok(found) => assert_eq!(found.len(), 1, "{text:?}"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
