//! Finds what is to be known of user data by who connects to the guest: the first account that it
//! names, by which the guest can be entered, and the keys of the guest's ssh server.

use crate::UserData;
use crate::public_key::is_public_key;
use crate::user_data::account;
use crate::yaml;
use crate::yaml_node::Node;

impl UserData {
    /// The first account of the guest that has a name, if there is one.
    pub fn first_user(&self) -> Option<String> {
        match self {
            Self::Settings(settings) => settings.users.first().map(|user| user.name.clone()),
            Self::CloudConfig(text) => first_user_of(&*yaml::parse(text).ok()??),
            Self::Script(_) => None,
        }
    }

    /// Returns whether it is a `#cloud-config` with the key `key`.
    pub fn has_key(&self, key: &str) -> bool {
        let Self::CloudConfig(text) = self else { return false };
        yaml::parse(text).ok().flatten().is_some_and(|root| root.get(key).is_some())
    }
}

impl UserData {
    /// The public keys that a `#cloud-config` gives the guest's ssh server (`ssh_keys`): of each its
    /// kind and its base64.
    pub fn host_keys(&self) -> Vec<String> {
        let Self::CloudConfig(text) = self else { return Vec::new() };
        let root = yaml::parse(text).ok().flatten();
        let Some(keys) = root.as_ref().and_then(|root| root.get("ssh_keys")) else {
            return Vec::new();
        };
        let public = keys.entries().iter().filter_map(|(name, key)| {
            let line =
                key.text().filter(|_| name.text().is_some_and(|name| name.ends_with("_public")))?;
            let mut words = line.split_ascii_whitespace();
            let key = format!("{} {}", words.next()?, words.next()?);
            is_public_key(&key).then_some(key)
        });
        public.collect()
    }
}

/// The first name among a cloud-config's `users`, or that of its `user`.
///
/// # References
///
/// cloud-init's module reference, "Users and Groups": `users` is a list, a mapping by name, or names
/// with commas between them; an entry of the list is a mapping with a `name`, or a name; `default` is
/// the account that the image names.
fn first_user_of(root: &Node) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    if let Some(users) = root.get("users") {
        names.extend(users.text().unwrap_or_default().split(',').map(str::trim));
        for user in users.items() {
            let is_inactive = user.get("inactive").is_some_and(|inactive| !inactive.is_false());
            let name = user.text().or_else(|| user.get("name")?.text());
            names.extend(name.filter(|_| !is_inactive));
        }
        let wanted = users.entries().iter().filter(|(_, settings)| !settings.is_false());
        names.extend(wanted.filter_map(|(name, _)| name.text()));
    }
    if let Some(user) = root.get("user") {
        names.extend(user.text().or_else(|| user.get("name")?.text()));
    }
    let is_name = |name: &&str| {
        !name.is_empty()
            && *name != "default"
            && !name.starts_with('-')
            && name.chars().all(account)
    };
    names.into_iter().find(is_name).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_first_user_is_known_by_name() {
        let of_toml = UserData::parse(
            "[[user]]\nname = \"anon\"\n[[user]]\nname = \"b\"\n",
            Path::new("/me.toml"),
        );
        assert_eq!(of_toml.unwrap().first_user().as_deref(), Some("anon"));
        for (yaml, user) in [
            ("users:\n- default\n- name: ada\n  groups: [a]\n- name: b\n", Some("ada")),
            ("name: x\nusers:\n- {ssh: {name: y}, groups: [z], name: ada}\n", Some("ada")),
            ("write_files: [{content: users}]\nusers: [default, ada]\n", Some("ada")),
            ("user: ada\n", Some("ada")),
            ("user:\n  name: ada\n", Some("ada")),
            ("users: [default]\n", None),
            ("users: default, ada\n", Some("ada")),
            ("users: {default: true, bob: false, ada: {groups: a}}\n", Some("ada")),
            ("users: [{name: bob, inactive: true}, {name: ada}]\n", Some("ada")),
            // Of a key that stands twice PyYAML takes the last.
            ("users: [bob]\nusers: [ada]\n", Some("ada")),
            ("users:\n- name: bob\n  name: ada\n", Some("ada")),
            ("x: &u {name: ada}\nusers: [*u]\n", Some("ada")),
            ("x: &u {name: ada}\nusers: [{<<: *u, groups: a}]\n", Some("ada")),
            ("users: *a\nname: x\n", None),
            ("packages: [users]\n", None),
            ("users: [{name: '-oProxyCommand=x y'}]\n", None),
            ("users: [-l]\n", None),
        ] {
            let data = UserData::CloudConfig(format!("#cloud-config\n{yaml}"));
            assert_eq!(data.first_user().as_deref(), user, "{yaml}");
        }
    }

    #[test]
    fn what_is_merged_a_million_times_is_looked_into_for_a_moment() {
        let level = |n: usize| {
            let nine = vec![format!("*a{}", n - 1); 9].join(", ");
            format!("k{n}: &a{n} {{<<: [{nine}]}}\n")
        };
        let levels: String = (1..20).map(level).collect();
        let text = format!("#cloud-config\nk0: &a0 {{x: 1}}\n{levels}users: [{{<<: *a19}}]\n");
        assert_eq!(UserData::CloudConfig(text).first_user(), None);
    }

    #[test]
    fn keys_of_a_cloud_config_are_found() {
        let data = |text: &str| UserData::CloudConfig(format!("#cloud-config\n{text}"));
        assert!(data("ssh_keys: {}\n").has_key("ssh_keys"));
        assert!(!data("a: {ssh_keys: {}}\n").has_key("ssh_keys"));
        let key =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE7UyfmOAcsY5uvh3dOU7kHd9fVRrLJp5CqHYhSFBcd+";
        let keys =
            data(&format!("ssh_keys: {{ed25519_private: x, ed25519_public: {key} root@web}}\n"));
        assert_eq!(keys.host_keys(), [key]);
        assert!(data("ssh_keys: {ed25519_public: x, rsa_private: y}\n").host_keys().is_empty());
        assert!(!UserData::Script("#!/bin/sh\nssh_keys: {}\n".into()).has_key("ssh_keys"));
    }
}
