//! The user settings of a template's user data, as cloud-init's `#cloud-config`.

use serde_json::{Map, Value, json};
use virshle_template::{User, UserSettings};

/// The settings as cloud-init takes them.
pub(super) fn cloud_config(settings: &UserSettings) -> Value {
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
    // The guest knows which shell it has: sshd lets nobody in by one that isn't there.
    if let Some(shell) = &user.shell {
        account.insert("shell".into(), json!(shell));
    }
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
