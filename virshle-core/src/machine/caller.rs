//! Who asks: for the record of what was asked of a machine.

use std::fs;

/// The user who asks: the one who has logged in, also behind `sudo`; else the one this process runs as.
pub(crate) fn caller() -> String {
    named(login_uid().unwrap_or_else(|| rustix::process::getuid().as_raw()))
}

fn named(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(uid, &users).unwrap_or_else(|| format!("uid {uid}"))
}

/// The user that this process runs as.
pub(crate) fn user() -> String {
    named(rustix::process::geteuid().as_raw())
}

/// The audit system's id of the session's user, which no `sudo` changes; none in what no user began.
fn login_uid() -> Option<u32> {
    let text = fs::read_to_string("/proc/self/loginuid").ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

/// The user with that number in `users`, the text of passwd(5).
fn name_of(uid: u32, users: &str) -> Option<String> {
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\n:x:7:\nodd\na:x:1000:1000::/home/a:/bin/sh\n";
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(1000, users).as_deref(), Some("a"));
        assert_eq!(name_of(7, users), None);
        assert_eq!(name_of(100, users), None);
        assert!(!caller().is_empty());
    }
}
