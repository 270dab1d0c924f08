//! The file `user-data` of a seed: one part as it is, several in a MIME archive.

use uuid::Uuid;
use virshle_template::UserData;

use crate::provision::cloud_config::cloud_config;
use crate::provision::json::yaml;

/// The kind of a part in YAML.
const CLOUD_CONFIG: &str = "text/cloud-config";
/// How cloud-init puts several together, key by key: lists one behind the other, mappings merged, and
/// of single values the first. By itself it would take each key from the last part that has it.
///
/// # References
///
/// cloud-init's documentation, "Merging user-data sections".
const MERGE: &str = "list(append)+dict(no_replace,recurse_list)+str()";

/// The file `user-data`: one part as it is, several as a MIME archive.
pub(super) fn user_data(parts: &[UserData]) -> String {
    let mut texts: Vec<(&str, String)> = parts.iter().map(part).collect();
    if texts.len() <= 1 {
        return texts.pop().map_or_else(|| "#cloud-config\n{}\n".to_owned(), |(_, text)| text);
    }
    let boundary = format!("virshle-{}", Uuid::new_v4().simple());
    let mut archive =
        format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n");
    for (kind, text) in texts {
        let (encoding, text) = encoded(text);
        archive.push_str(&format!(
            "\n--{boundary}\nContent-Type: {kind}; charset=\"utf-8\"\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: {encoding}\n"
        ));
        if kind == CLOUD_CONFIG {
            archive.push_str(&format!("Merge-Type: {MERGE}\n"));
        }
        archive.push_str(&format!("\n{text}"));
    }
    archive.push_str(&format!("\n--{boundary}--\n"));
    archive
}

/// A part's text as it stands in an archive: readable if it is ASCII. Python, whose `email` cloud-init
/// reads archives with, spoils everything else that is not encoded (as Latin-1).
///
/// # References
///
/// RFC 2045 §6.8: base64 in lines of at most 76 characters.
fn encoded(text: String) -> (&'static str, String) {
    if text.is_ascii() {
        return ("7bit", text);
    }
    let mut lines = String::new();
    for line in text.as_bytes().chunks(57) {
        data_encoding::BASE64.encode_append(line, &mut lines);
        lines.push('\n');
    }
    ("base64", lines)
}

fn part(data: &UserData) -> (&'static str, String) {
    match data {
        UserData::CloudConfig(text) => (CLOUD_CONFIG, text.clone()),
        UserData::Script(text) => ("text/x-shellscript", text.clone()),
        UserData::Settings(settings) => {
            (CLOUD_CONFIG, format!("#cloud-config\n{}\n", yaml(&cloud_config(settings))))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+";

    fn settings(text: &str) -> UserData {
        UserData::parse(text, Path::new("/me.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn json_of(text: &str) -> Value {
        let json = text.strip_prefix("#cloud-config\n").unwrap_or_else(|| panic!("{text}"));
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn our_keys_become_cloud_inits() {
        let text = format!(
            "packages = [\"htop\"]\ncommands = [\"true\"]\ntimezone = \"Europe/Athens\"\n\
             [[user]]\nname = \"anon\"\nssh.authorized_keys = [\"{KEY}\"]\n"
        );
        let config = json_of(&user_data(&[settings(&text)]));
        assert_eq!(config["users"][0]["name"], "anon");
        assert_eq!(config["users"][0]["ssh_authorized_keys"][0], KEY);
        assert_eq!(config["users"][0]["sudo"], "ALL=(ALL) NOPASSWD:ALL");
        assert_eq!(config["packages"][0], "htop");
        assert_eq!(config["runcmd"][0], "true");
        assert_eq!(config["timezone"], "Europe/Athens");
        assert!(config.get("disable_root").is_none());
        // Of which shells a guest has, nothing is known here.
        assert!(config["users"][0].get("shell").is_none());
    }

    #[test]
    fn root_may_log_in_when_root_is_asked_for() {
        let text = format!("[[user]]\nname = \"root\"\nssh.authorized_keys = [\"{KEY}\"]\n");
        let config = json_of(&user_data(&[settings(&text)]));
        assert_eq!(config["disable_root"], false);
        assert!(config["users"][0].get("sudo").is_none());
    }

    #[test]
    fn several_kinds_go_into_one_archive() {
        let archive = user_data(&[settings(""), UserData::Script("#!/bin/sh\ntrue\n".into())]);
        assert!(archive.starts_with("Content-Type: multipart/mixed; boundary="), "{archive}");
        assert!(archive.contains("Content-Type: text/x-shellscript"), "{archive}");
        assert!(archive.contains("\n\n#!/bin/sh\ntrue\n"), "{archive}");
        assert!(archive.trim_end().ends_with("--"), "{archive}");
    }

    #[test]
    fn text_beyond_ascii_is_encoded_in_an_archive() {
        let script = format!("#!/bin/sh\necho büro{}\n", "x".repeat(100));
        let archive = user_data(&[settings(""), UserData::Script(script.clone())]);
        assert!(archive.is_ascii(), "{archive}");
        let (_, body) = archive.split_once("Content-Transfer-Encoding: base64\n\n").unwrap();
        let (body, _) = body.split_once("\n\n--").unwrap();
        assert!(body.lines().all(|line| line.len() <= 76), "{body}");
        let decoded = data_encoding::BASE64.decode(body.replace('\n', "").as_bytes()).unwrap();
        assert_eq!(decoded, script.as_bytes());
    }
}
