//! Who a dnsmasq runs as once it has its sockets.

/// A user of this host, with the group that they are in first of all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// The user's number.
    pub uid: u32,
    /// The group's name.
    pub group: String,
    /// The group's number.
    pub gid: u32,
}

/// The user that packages make for it, then the one that has nothing.
const USERS: [&str; 3] = ["virshle-dnsmasq", "dnsmasq", "nobody"];

impl Account {
    /// The user of this host for a dnsmasq: its own, or `nobody`.
    ///
    /// dnsmasq takes no numbers; and it looks its user up itself.
    pub fn for_dnsmasq() -> Option<Self> {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::among(&read("/etc/passwd"), &read("/etc/group"))
    }

    fn among(passwd: &str, groups: &str) -> Option<Self> {
        USERS.iter().find_map(|user| {
            let fields: Vec<&str> = passwd
                .lines()
                .map(|line| line.split(':').collect::<Vec<_>>())
                .find(|fields| fields.first() == Some(user))?;
            let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            let group = groups.lines().find_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                let is_it = fields.get(2)?.parse::<u32>().ok()? == gid;
                is_it.then(|| fields[0].to_owned())
            })?;
            // Root would be no step down.
            (uid > 0).then(|| Self { user: (*user).to_owned(), uid, group, gid })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_user_comes_before_nobody() {
        let passwd = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:\ndnsmasq:x:999:65534::/:\n";
        let groups = "root:x:0:\nnogroup:x:65534:\n";
        let found = Account::among(passwd, groups).unwrap();
        assert_eq!(
            (found.user.as_str(), found.uid, found.group.as_str()),
            ("dnsmasq", 999, "nogroup")
        );
        let nobody = passwd.replace("dnsmasq", "else");
        assert_eq!(Account::among(&nobody, groups).unwrap().user, "nobody");
        assert_eq!(Account::among("dnsmasq:x:0:0:::\nbroken\n:::", groups), None);
    }
}
