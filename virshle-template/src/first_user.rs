//! Finds the first account that user data names: the one by which the guest can be entered.

use saphyr_parser::{Event, Parser};

use crate::UserData;
use crate::user_data::account;

impl UserData {
    /// The first account of the guest that has a name, if there is one.
    pub fn first_user(&self) -> Option<String> {
        match self {
            Self::Settings(settings) => settings.users.first().map(|user| user.name.clone()),
            Self::CloudConfig(text) => first_user_of_yaml(text),
            Self::Script(_) => None,
        }
    }
}

/// A collection of YAML that is open.
#[derive(Debug)]
enum Open {
    Sequence,
    /// A mapping, and the key whose value comes next; none if a key does.
    Mapping(Option<String>),
}

/// The first name among a cloud-config's `users`, or that of its `user`.
///
/// # References
///
/// cloud-init's module reference, "Users and Groups": an entry is a mapping with a `name`, or a
/// name; `default` is the account that the image names.
fn first_user_of_yaml(text: &str) -> Option<String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        match event.ok()?.0 {
            Event::SequenceStart(..) => open.push(Open::Sequence),
            Event::MappingStart(..) => open.push(Open::Mapping(None)),
            Event::Scalar(value, ..) => {
                if let Some(Open::Mapping(key @ None)) = open.last_mut() {
                    *key = Some(value.into_owned());
                    continue;
                }
                let is_name = match open.as_slice() {
                    [Open::Mapping(Some(top))] => top == "user",
                    [Open::Mapping(Some(top)), Open::Sequence] => top == "users",
                    [Open::Mapping(Some(top)), Open::Mapping(Some(key))] => {
                        top == "user" && key == "name"
                    }
                    [Open::Mapping(Some(top)), Open::Sequence, Open::Mapping(Some(key))] => {
                        top == "users" && key == "name"
                    }
                    _ => false,
                };
                if is_name && value != "default" && value.chars().all(account) {
                    return Some(value.into_owned());
                }
                value_is_over(&mut open);
            }
            Event::Alias(_) => value_is_over(&mut open),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                value_is_over(&mut open);
            }
            _ => {}
        }
    }
    None
}

/// What comes next in a mapping is a key.
fn value_is_over(open: &mut [Open]) {
    if let Some(Open::Mapping(key)) = open.last_mut() {
        *key = None;
    }
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
            ("users: *a\nname: x\n", None),
            ("packages: [users]\n", None),
            ("users: [{name: '-oProxyCommand=x y'}]\n", None),
        ] {
            let data = UserData::CloudConfig(format!("#cloud-config\n{yaml}"));
            assert_eq!(data.first_user().as_deref(), user, "{yaml}");
        }
    }
}
