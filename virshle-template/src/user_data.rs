//! User data, what a machine is given at its first boot: our own few keys, cloud-init's, or a
//! script.

use std::path::Path;
use std::rc::Rc;

use serde::Serialize;
use toml::de::DeTable;

use crate::TemplateError;
use crate::caller::Caller;
use crate::public_key;
use crate::section::{Placed, Section};
use crate::source::Source;
use crate::yaml;
use crate::yaml_node::Node;

/// User data that a machine gets at its first boot; its content decides which of three kinds it is.
///
/// Exhaustive on purpose: who converts it must decide what becomes of a new kind, so adding one is
/// a breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserData {
    /// TOML of our own.
    Settings(UserSettings),
    /// `#cloud-config`: YAML that cloud-init gets as it is.
    CloudConfig(String),
    /// `#!`: a script that cloud-init runs once, as root.
    Script(String),
}

/// User data in TOML.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UserSettings {
    /// The guest's name; the machine's if unset.
    pub hostname: Option<String>,
    /// The time zone, as `Europe/Athens`.
    pub timezone: Option<String>,
    /// Packages to be installed.
    pub packages: Vec<String>,
    /// Commands that a shell runs as root at the end of the first boot.
    pub commands: Vec<String>,
    /// `[[user]]`.
    #[serde(rename = "user")]
    pub users: Vec<User>,
}

/// `[[user]]`: an account of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct User {
    /// The name.
    pub name: String,
    /// The public keys that open it (`ssh.authorized_keys`).
    pub authorized_keys: Vec<String>,
    /// It may become root without a password.
    pub sudo: bool,
    /// Its shell; the guest's default if unset.
    pub shell: Option<String>,
    /// Groups it is in besides its own.
    pub groups: Vec<String>,
    /// The hash of its password, as crypt(5) has it; no password if unset.
    pub password_hash: Option<String>,
}

impl User {
    /// An account that `authorized_keys` open, and that may become root.
    pub fn new(name: impl Into<String>, authorized_keys: Vec<String>) -> Self {
        Self {
            name: name.into(),
            authorized_keys,
            sudo: true,
            shell: None,
            groups: Vec::new(),
            password_hash: None,
        }
    }
}

/// The largest user data, in bytes: more than a seed disk has room for.
pub const MAX_USER_DATA: usize = 1 << 20;

impl UserData {
    /// Understands `bytes`, the content of the file `origin`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Mistakes`] with the places of what is wrong with the text, or where it
    /// stops being text.
    pub fn parse_bytes(bytes: &[u8], origin: &Path) -> Result<Self, TemplateError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text, origin),
            Err(error) => {
                // What comes before stays as it is, and so does its place.
                let text = String::from_utf8_lossy(bytes);
                let source = Source::new(origin, &text, Caller::current().home);
                let at = error.valid_up_to();
                source.wrong(at..at + '\u{fffd}'.len_utf8(), "this is not UTF-8 text", KINDS);
                Err(TemplateError::Mistakes { mistakes: source.into_mistakes(&[]) })
            }
        }
    }

    /// Understands `text`, the content of the file `origin`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Mistakes`] with the places of what is wrong with the TOML or the YAML.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, TemplateError> {
        // A mark that some editors write, which no reader wants.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Source::new(origin, text, Caller::current().home);
        let first = text.lines().next().unwrap_or_default();
        let data = if first.starts_with("#!") {
            if text[first.len()..].starts_with("\r\n") {
                let help = "its interpreter would not be found; sed -i 's/\\r$//' fixes it";
                source.wrong(0..first.len(), "this script has the line ends of DOS", help);
            }
            Some(Self::Script(text.to_owned()))
        } else if is_cloud_config(text) {
            check_yaml(text, &source);
            Some(Self::CloudConfig(text.to_owned()))
        } else if let Some(reason) = reason_against_toml(text) {
            source.wrong(0..first.len(), format!("this is not user data{reason}"), KINDS);
            None
        } else {
            settings(text, &source).map(Self::Settings)
        };
        let mistakes = source.into_mistakes(&[]);
        match data {
            Some(data) if mistakes.is_empty() => Ok(data),
            _ => Err(TemplateError::Mistakes { mistakes }),
        }
    }
}

/// The first word of cloud-init's YAML.
const CLOUD_CONFIG: &str = "#cloud-config";

/// Whether cloud-init takes `text` for its YAML: empty lines may come before the header, and it may
/// have capitals.
fn is_cloud_config(text: &str) -> bool {
    let header = text.split_whitespace().next().unwrap_or_default();
    header.eq_ignore_ascii_case(CLOUD_CONFIG)
}

/// What user data is.
const KINDS: &str = "expected TOML, or #cloud-config (YAML) or #! (a script) in its first line";

/// Why `text` is not even meant to be TOML of ours, if it isn't. A list, line by line, of what is
/// wrong with another language would teach the user nothing, and might show a secret.
fn reason_against_toml(text: &str) -> Option<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    if first.starts_with("## template:") {
        return Some(": a template of Jinja is not taken, as what comes of it can't be checked");
    }
    // What cloud-init knows besides would be nothing but a comment in TOML.
    for known in ["#include", "#cloud-", "#part-handler", "Content-Type:"] {
        if first.starts_with(known) {
            return Some(": of cloud-init's kinds, only #cloud-config and scripts are taken");
        }
    }
    let meaning = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let line = text.lines().map(str::trim).find(meaning)?;
    let is_key = |key: &str| {
        !key.trim().is_empty()
            && key.trim().chars().all(|c| c.is_ascii_alphanumeric() || "-_.\"' ".contains(c))
    };
    if public_key::reason_against(line).is_none() {
        Some(" but a public key: it belongs into ssh.authorized_keys of a [[user]]")
    } else if line.starts_with("-----BEGIN") {
        Some(" but a key: authorized_keys takes the public one, whose file ends in .pub")
    } else if line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| is_key(key)) {
        None
    } else if line.split_once(':').is_some_and(|(key, _)| is_key(key)) {
        Some(": YAML begins with the line #cloud-config")
    } else {
        Some("")
    }
}

/// Notes what keeps `text` from being a cloud-config: what cloud-init can't read, or is no mapping.
fn check_yaml(text: &str, source: &Source<'_>) {
    let is_mapping = |node: &Rc<Node>| node.is_mapping();
    if !yaml::read(text, source).as_ref().is_some_and(is_mapping) && !source.has_mistakes() {
        let start = text.len() - text.trim_start().len();
        let span = start..start + CLOUD_CONFIG.len();
        source.wrong(span, "a cloud-config is a mapping", "expected for example packages: [htop]");
    }
}

fn settings(text: &str, source: &Source<'_>) -> Option<UserSettings> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        for error in &errors {
            source.not_toml(error);
        }
        return None;
    }
    let top = Section::new(source, "the file", table.get_ref(), 0..0);
    let settings = UserSettings {
        hostname: hostname(&top),
        timezone: word(&top, "timezone", |character| {
            character.is_ascii_alphanumeric() || "/_+-".contains(character)
        }),
        packages: texts(top.strings("packages")),
        commands: texts(top.strings("commands")),
        users: top.sections("user", "user").into_iter().map(user).collect(),
    };
    top.finish();
    Some(settings)
}

fn texts(placed: Vec<Placed<&str>>) -> Vec<String> {
    placed.into_iter().map(|text| text.value.to_owned()).collect()
}

/// A label of a host name, or several with dots between them (RFC 1123 §2.1).
fn hostname(section: &Section<'_>) -> Option<String> {
    let name = section.string("hostname")?;
    let fits = name.value.len() <= 253
        && name.value.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    if !fits {
        let message = format!("{:?} cannot be a host name", name.value);
        section.wrong(name.span.clone(), message, "expected letters, digits, '-' and '.'");
    }
    Some(name.value.to_owned())
}

/// A text of allowed characters.
fn word(section: &Section<'_>, key: &'static str, fits: fn(char) -> bool) -> Option<String> {
    let text = section.string(key)?;
    if text.value.is_empty() || !text.value.chars().all(fits) {
        section.wrong(text.span.clone(), format!("{:?} cannot be a {key}", text.value), "");
    }
    Some(text.value.to_owned())
}

/// A name of a user or group that useradd(8) takes.
pub(crate) fn account(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || "_-".contains(character)
}

fn user(section: Section<'_>) -> User {
    let name = match section.require("name", "name = \"anon\"") {
        Some(_) => word(&section, "name", account).unwrap_or_default(),
        None => String::new(),
    };
    if name.len() > 32 || name.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
        let message = format!("{name:?} cannot be the name of a user");
        section.wrong(section.span_of("name"), message, "expected at most 32, a letter first");
    }
    let mut authorized_keys = Vec::new();
    if let Some(ssh) = section.section("ssh", "user.ssh") {
        for key in ssh.strings("authorized_keys") {
            let line = key.value.trim();
            if let Some(reason) = public_key::reason_against(line) {
                ssh.wrong(key.span, format!("this is not a public key: {reason}"), "");
            }
            authorized_keys.push(line.to_owned());
        }
        ssh.finish();
    }
    let user = User {
        name,
        authorized_keys,
        sudo: section.boolean("sudo").unwrap_or(true),
        shell: section.string("shell").map(|shell| shell.value.to_owned()),
        groups: texts(section.strings("groups")),
        password_hash: section.string("password_hash").map(|hash| hash.value.to_owned()),
    };
    section.finish();
    user
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+";

    fn parse(text: &str) -> Result<UserData, String> {
        let parsed = UserData::parse(text, Path::new("/me.toml"));
        let is_script = matches!(parsed, Ok(UserData::Script(_) | UserData::CloudConfig(_)));
        if !is_script {
            let mistakes = parsed.as_ref().err().map_or(&[][..], TemplateError::mistakes);
            let messages: Vec<_> = mistakes.iter().map(|mistake| mistake.message.clone()).collect();
            crate::schema_check::Schema::user_data().assert_agrees(text, &messages);
        }
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn kinds_are_recognised_by_content() {
        assert!(matches!(parse("#!/bin/sh\necho"), Ok(UserData::Script(_))));
        assert!(matches!(parse("#cloud-config\na: [1]\n"), Ok(UserData::CloudConfig(_))));
        assert!(matches!(parse("\n\n#Cloud-Config\na: 1\n"), Ok(UserData::CloudConfig(_))));
        assert!(matches!(parse(""), Ok(UserData::Settings(_))));
        let text = format!(
            "hostname = \"web\"\npackages = [\"htop\"]\ncommands = [\"true\"]\n\
             [[user]]\nname = \"anon\"\nsudo = false\n[user.ssh]\nauthorized_keys = [\"{KEY}\"]\n"
        );
        let Ok(UserData::Settings(settings)) = parse(&text) else { panic!("{:?}", parse(&text)) };
        assert_eq!(settings.hostname.as_deref(), Some("web"));
        assert_eq!(settings.users[0].authorized_keys, [KEY]);
        assert!(!settings.users[0].sudo);
    }

    #[test]
    fn mistakes_are_reported_with_their_places() {
        for (text, words) in [
            ("#cloud-config\na: [1\nb: }\n", "not YAML"),
            ("#cloud-config\n- a\n", "is a mapping"),
            ("#cloud-config\n", "is a mapping"),
            ("just some text", "expected TOML, or #cloud-config"),
            ("users:\n  - name: a\n", "YAML begins with the line #cloud-config"),
            ("#include https://x\n", "only #cloud-config and scripts"),
            ("#cloud-configuration\na: 1\n", "only #cloud-config and scripts"),
            ("## template: jinja\n#cloud-config\na: 1\n", "a template of Jinja is not taken"),
            (KEY, "it belongs into ssh.authorized_keys"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n", "takes the public one"),
            ("#!/bin/sh\r\ntrue\r\n", "line ends of DOS"),
            ("hostname = web", "write \"web\""),
            ("[[user]\nname = \"a\"", "array table"),
            ("[[user]]\nname = \"anon\"\nssh.authorized_keys = [\"abc\"]", "not a public key"),
            ("[[user]]\nname = \"An on\"", "cannot be a name"),
            ("[[user]]\nsudo = true", "\"name\""),
            ("[[user]]\nname = \"a\"\nsshh = 1", "did you mean \"ssh\"?"),
            ("hostname = \"a_b\"", "host name"),
            ("timezone = \"../x y\"", "cannot be a timezone"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(error.contains("/me.toml:"), "{error}");
        }
    }

    #[test]
    fn text_of_another_kind_is_reported_once_without_its_secrets() {
        let text = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\nc2VjcmV0\n";
        let error = UserData::parse(text, Path::new("/id")).unwrap_err();
        assert_eq!(error.mistakes().len(), 1, "{error}");
        assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
    }

    #[test]
    fn what_is_no_text_is_reported_with_its_place() {
        let parse = |bytes: &[u8]| UserData::parse_bytes(bytes, Path::new("/me.toml"));
        let error = parse(b"hostname = \"web\"\ntimezone = \"caf\xe9\"\n").unwrap_err();
        let mistake = &error.mistakes()[0];
        assert_eq!((mistake.line, mistake.column), (2, 16), "{error}");
        assert!(error.to_string().contains("not UTF-8"), "{error}");
        assert!(parse(b"\x7fELF\x02\x01\0\xff").is_err());
        assert!(
            matches!(parse(b"\xef\xbb\xbf#!/bin/sh\n"), Ok(UserData::Script(text)) if text.starts_with('#'))
        );
    }

    #[test]
    fn the_place_in_yaml_is_the_line_that_breaks_it() {
        let error =
            UserData::parse("#cloud-config\na: 1\n  b: 2\n", Path::new("/me.yaml")).unwrap_err();
        assert_eq!(error.mistakes()[0].line, 3, "{error}");
    }
}
