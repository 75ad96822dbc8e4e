//! As whom HAProxy's workers run: with as little as they need.
//!
//! A HAProxy that root starts keeps its master as root (it opens ports and reads keys); its workers, which speak to the world,
//! run as a user of their own, shut in an empty folder. What must never happen: a HAProxy that does not start for it.

use std::path::Path;

use crate::config::Jail;
use crate::options::{Mode, Options};

/// Whose account HAProxy's workers get: the package's own.
const USER: &str = "haproxy";
/// To change owners, reach sockets of others, signal workers, change user and group, shut them in.
const NEEDED: [(u32, &str); 6] = [
    (0, "CHOWN"),
    (1, "DAC_OVERRIDE"),
    (5, "KILL"),
    (6, "SETGID"),
    (7, "SETUID"),
    (18, "SYS_CHROOT"),
];

/// As whom workers run; `None` where we may not give them to another user, or somebody else starts HAProxy.
pub(crate) fn jail(options: &Options) -> Option<Jail> {
    let Mode::Owned { .. } = options.mode else {
        return None;
    };
    if !rustix::process::geteuid().is_root() {
        // They have no more than we have.
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = missing(&status).map_or_else(
        || {
            user(&users).ok_or_else(|| {
                format!("there is no user {USER} (`useradd -r -s /usr/sbin/nologin {USER}`)")
            })
        },
        |lacks| Err(format!("frd lacks the capability {lacks}")),
    );
    match found {
        Ok(jail) if fits(&options.dir) => Some(jail),
        Ok(_) => {
            tracing::warn!(
                "HAProxy's workers run as root: its folder's name is too long for a folder below it"
            );
            None
        }
        Err(why) => {
            tracing::warn!("HAProxy's workers run as root: {why}");
            None
        }
    }
}

/// The first capability that is not there.
fn missing(status: &str) -> Option<&'static str> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let has = line
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0);
    let lacks = NEEDED.into_iter().find(|(bit, _)| has & (1 << bit) == 0);
    lacks.map(|(_, name)| name)
}

fn user(passwd: &str) -> Option<Jail> {
    passwd.lines().find_map(|line| {
        let mut field = line.split(':');
        if field.next() != Some(USER) {
            return None;
        }
        let uid = field.nth(1)?.parse().ok().filter(|uid| *uid != 0)?;
        let gid = field.next()?.parse().ok().filter(|gid| *gid != 0)?;
        Some(Jail { uid, gid })
    })
}

/// Whether sockets below the folder have names that the kernel takes: HAProxy binds them under a longer one first.
fn fits(dir: &Path) -> bool {
    dir.as_os_str().len() <= 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_the_packages_own_user() {
        let both = "root:x:0:0::/root:/bin/sh\nhaproxy:x:106:109::/var/lib/haproxy:/x\n";
        assert_eq!(user(both), Some(Jail { uid: 106, gid: 109 }));
        assert_eq!(user("nobody:x:65534:65534::/:/x\n"), None);
        assert_eq!(
            user("haproxy:x:0:0::/:/x\n"),
            None,
            "that is root by another name"
        );
    }

    #[test]
    fn a_capability_that_is_not_there_is_named() {
        assert_eq!(missing("CapEff:\t000001ffffffffff\n"), None);
        assert_eq!(missing("CapEff:\t00000000a80025fb\n"), Some("SYS_CHROOT"));
        assert_eq!(missing(""), Some("CHOWN"));
    }
}
