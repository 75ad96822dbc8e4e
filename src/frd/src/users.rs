//! Names of users and groups, from the machine's files. A name service that is not in them is not asked: an id is shown then.

use std::path::Path;

/// The name of the user with this id, or `uid:<id>`.
pub(crate) fn user_name(uid: u32) -> String {
    let text = std::fs::read(Path::new("/etc/passwd")).unwrap_or_default();
    name_in(&String::from_utf8_lossy(&text), uid).unwrap_or_else(|| format!("uid:{uid}"))
}

/// The id of the group with this name.
pub(crate) fn group_id(name: &str) -> Option<u32> {
    let text = std::fs::read(Path::new("/etc/group")).unwrap_or_default();
    id_in(&String::from_utf8_lossy(&text), name)
}

/// The groups of the user with this name, its first one included.
pub(crate) fn groups_of(user: &str) -> Vec<String> {
    let read = |path| std::fs::read(Path::new(path)).unwrap_or_default();
    let (users, groups) = (read("/etc/passwd"), read("/etc/group"));
    groups_in(
        &String::from_utf8_lossy(&users),
        &String::from_utf8_lossy(&groups),
        user,
    )
}

fn groups_in(users: &str, groups: &str, user: &str) -> Vec<String> {
    let first = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(2))?
    });
    let member = |line: &str| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (id, members) = (fields.next()?, fields.next().unwrap_or_default());
        let listed = members.split(',').any(|member| member.trim() == user);
        (listed || first == Some(id)).then(|| name.to_owned())
    };
    groups.lines().filter_map(member).collect()
}

fn name_in(text: &str, id: u32) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, found) = (fields.next()?, fields.next()?, fields.next()?);
        (found.parse() == Ok(id)).then(|| name.to_owned())
    })
}

fn id_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        (found == name).then(|| id.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";

    #[test]
    fn a_user_is_known_by_name() {
        assert_eq!(name_in(TEXT, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in(TEXT, 7), None);
        assert_eq!(user_name(4_000_000_000), "uid:4000000000");
    }

    #[test]
    fn a_group_is_found_by_name() {
        assert_eq!(id_in(TEXT, "ann"), Some(1000));
        assert_eq!(id_in(TEXT, "broken"), None);
    }

    #[test]
    fn a_user_is_in_its_first_group_and_where_it_is_listed() {
        let groups = "root:x:0:\nann:x:1000:\noncall:x:7:bob,ann\nstaff:x:8:bob\nbroken\n";
        assert_eq!(groups_in(TEXT, groups, "ann"), ["ann", "oncall"]);
        assert!(groups_in(TEXT, groups, "eve").is_empty());
    }
}
