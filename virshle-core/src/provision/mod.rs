//! What a guest is told at its first boot: a seed disk with files that cloud-init reads.
//!
//! # References
//!
//! cloud-init's documentation: NoCloud, module reference, networking version 2, MIME multi-part
//! archives. JSON is YAML, so that nothing has to be quoted by hand.

pub(crate) mod caller_keys;

use std::path::Path;

use serde_json::{Map, Value, json};
use uuid::Uuid;
use virshle_disk::{Disk, SeedRequest};
use virshle_template::{MAX_USER_DATA, User, UserData, UserSettings, VmTemplate};

use crate::error::CoreError;
use crate::model::definition::NetDefinition;
use crate::model::name::VmName;

/// Where a machine's user data comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provision {
    /// From the template, and from nowhere if it names none.
    #[default]
    Template,
    /// From the template; if it names none, this.
    TemplateOr(UserData),
    /// These, in their order, whatever the template names.
    With(Vec<UserData>),
    /// From nowhere: there is no seed.
    Nothing,
}

/// User data that has been read, for any number of machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    parts: Vec<UserData>,
    /// It is not asked for by anybody: a machine that could not use it does without.
    is_courtesy: bool,
    is_refused: bool,
}

impl Parts {
    /// Reads what `provision` and `template` name.
    pub(crate) fn read(provision: &Provision, template: &VmTemplate) -> Result<Self, CoreError> {
        let named = || template.user_data.as_deref().map(read_user_data).transpose();
        let mut read = Self::default();
        match provision {
            Provision::Nothing => read.is_refused = true,
            Provision::With(parts) => read.parts = parts.clone(),
            Provision::Template => read.parts.extend(named()?),
            Provision::TemplateOr(other) => match named()? {
                Some(data) => read.parts.push(data),
                None => {
                    read.parts.push(other.clone());
                    read.is_courtesy = true;
                }
            },
        }
        Ok(read)
    }

    /// Tells whether a machine of `template` gets a seed.
    pub(crate) fn wants_seed(&self, template: &VmTemplate) -> bool {
        let has_addresses = template.nets.iter().any(|net| !net.addresses.is_empty());
        let asked = !self.parts.is_empty() && !self.is_courtesy;
        let welcome = self.is_courtesy && !template.disks.is_empty();
        !self.is_refused && (asked || welcome || has_addresses)
    }

    /// The account that the machine can be entered by, if that is known.
    pub(crate) fn user(&self) -> Option<String> {
        self.parts.iter().find_map(UserData::first_user)
    }

    fn settings(&self) -> impl Iterator<Item = &UserSettings> {
        self.parts.iter().filter_map(|part| match part {
            UserData::Settings(settings) => Some(settings),
            _ => None,
        })
    }

    /// Makes the seed of one machine.
    pub(crate) fn write_seed(
        &self,
        path: &Path,
        uuid: Uuid,
        name: &VmName,
        template: &VmTemplate,
        nets: &[NetDefinition],
    ) -> Result<Disk, virshle_disk::DiskError> {
        let hostname = self.settings().find_map(|settings| settings.hostname.clone());
        let hostname = hostname.unwrap_or_else(|| name.host_name());
        // A line for each: small guests take it apart without knowing YAML.
        let meta = format!("instance-id: {uuid}\nlocal-hostname: {}\n", json!(hostname));
        let mut request = SeedRequest::new(path)
            .file("meta-data", meta)
            .file("user-data", user_data(&self.parts));
        if !nets.is_empty() {
            request = request.file("network-config", format!("{:#}\n", network(template, nets)));
        }
        request.write()
    }
}

/// Reads the user data in `path`.
///
/// # Errors
///
/// [`CoreError::Read`] if it can't be read, [`CoreError::Template`] with every mistake in it.
pub fn read_user_data(path: &Path) -> Result<UserData, CoreError> {
    use std::io::Read;
    let failed = |source| CoreError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_USER_DATA as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_USER_DATA {
        let message = format!("user data has at most {MAX_USER_DATA} bytes");
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message)));
    }
    Ok(UserData::parse_bytes(&bytes, path)?)
}

/// The file `user-data`: one part as it is, several as a MIME archive.
fn user_data(parts: &[UserData]) -> String {
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
             Content-Transfer-Encoding: {encoding}\n\n{text}"
        ));
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
        UserData::CloudConfig(text) => ("text/cloud-config", text.clone()),
        UserData::Script(text) => ("text/x-shellscript", text.clone()),
        UserData::Settings(settings) => {
            ("text/cloud-config", format!("#cloud-config\n{:#}\n", cloud_config(settings)))
        }
        // A kind that a later version of the crate knows is none that was asked for here.
        _ => ("text/cloud-config", "#cloud-config\n{}\n".to_owned()),
    }
}

fn cloud_config(settings: &UserSettings) -> Value {
    let mut config = Map::new();
    if let Some(timezone) = &settings.timezone {
        config.insert("timezone".into(), json!(timezone));
    }
    if !settings.packages.is_empty() {
        config.insert("package_update".into(), json!(true));
        config.insert("packages".into(), json!(settings.packages));
    }
    if !settings.commands.is_empty() {
        config.insert("runcmd".into(), json!(settings.commands));
    }
    if !settings.users.is_empty() {
        config.insert("users".into(), settings.users.iter().map(account).collect());
        // By default cloud-init puts a refusal before each of root's keys.
        if settings.users.iter().any(|user| user.name == "root") {
            config.insert("disable_root".into(), json!(false));
        }
    }
    Value::Object(config)
}

fn account(user: &User) -> Value {
    let mut account = Map::new();
    account.insert("name".into(), json!(user.name));
    account.insert("ssh_authorized_keys".into(), json!(user.authorized_keys));
    if user.sudo && user.name != "root" {
        account.insert("sudo".into(), json!("ALL=(ALL) NOPASSWD:ALL"));
    }
    // cloud-init's own default is /bin/sh, which nobody wants to work in.
    account.insert("shell".into(), json!(user.shell.as_deref().unwrap_or("/bin/bash")));
    if !user.groups.is_empty() {
        account.insert("groups".into(), json!(user.groups));
    }
    match &user.password_hash {
        Some(hash) => {
            account.insert("hashed_passwd".into(), json!(hash));
            account.insert("lock_passwd".into(), json!(false));
        }
        None => {
            account.insert("lock_passwd".into(), json!(true));
        }
    }
    Value::Object(account)
}

/// The file `network-config`: an interface is known by its address, as guests name it as they
/// please.
fn network(template: &VmTemplate, nets: &[NetDefinition]) -> Value {
    let mut ethernets = Map::new();
    for (wanted, net) in template.nets.iter().zip(nets) {
        let mut ethernet = Map::new();
        ethernet.insert("match".into(), json!({ "macaddress": net.mac }));
        if net.addresses.is_empty() {
            ethernet.insert("dhcp4".into(), json!(true));
        } else {
            ethernet.insert("addresses".into(), json!(net.addresses));
        }
        if !wanted.gateways.is_empty() {
            let routes: Vec<Value> = wanted
                .gateways
                .iter()
                .map(|via| {
                    let to = if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                    json!({ "to": to, "via": via.to_string() })
                })
                .collect();
            ethernet.insert("routes".into(), json!(routes));
        }
        if !wanted.dns.is_empty() {
            ethernet.insert("nameservers".into(), json!({ "addresses": wanted.dns }));
        }
        if let Some(mtu) = net.mtu_bytes {
            ethernet.insert("mtu".into(), json!(mtu));
        }
        ethernets.insert(net.name.clone(), Value::Object(ethernet));
    }
    json!({ "version": 2, "ethernets": ethernets })
}

#[cfg(test)]
mod tests {
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
    fn our_words_become_cloud_inits() {
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
    }

    #[test]
    fn root_is_let_in_when_root_is_asked_for() {
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
