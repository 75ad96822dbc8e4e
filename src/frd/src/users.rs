//! Names of users and groups, by the system's own look-up: files, LDAP, whatever the machine is set up for.

use uzers::{get_group_by_name, get_user_by_name, get_user_by_uid, get_user_groups};

/// The name of the user with this id, or `uid:<id>`.
pub(crate) fn user_name(uid: u32) -> String {
    get_user_by_uid(uid).map_or_else(
        || format!("uid:{uid}"),
        |user| user.name().to_string_lossy().into_owned(),
    )
}

/// The id of the group with this name.
pub(crate) fn group_id(name: &str) -> Option<u32> {
    get_group_by_name(name).map(|group| group.gid())
}

/// The groups of the user with this name, its first one included.
pub(crate) fn groups_of(user: &str) -> Vec<String> {
    let Some(known) = get_user_by_name(user) else {
        return Vec::new();
    };
    let groups = get_user_groups(user, known.primary_group_id()).unwrap_or_default();
    groups
        .iter()
        .map(|group| group.name().to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_those_that_the_system_knows() {
        // What getent says comes from the same look-up.
        let of = |arguments: &[&str]| {
            let output = std::process::Command::new(arguments[0])
                .args(&arguments[1..])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let uid = of(&["id", "-u"]).parse().unwrap();
        let name = of(&["id", "-un"]);
        assert_eq!(user_name(uid), name);
        let mut groups = groups_of(&name);
        let told = of(&["id", "-Gn", &name]);
        let mut told: Vec<&str> = told.split(' ').collect();
        groups.sort();
        told.sort_unstable();
        assert_eq!(groups, told);
        let gid = of(&["id", "-g"]).parse().ok();
        assert_eq!(group_id(&of(&["id", "-gn"])), gid);
    }

    #[test]
    fn who_is_not_known_is_an_id() {
        assert_eq!(user_name(4_000_000_000), "uid:4000000000");
        assert_eq!(group_id("there is no such group"), None);
        assert!(groups_of("there is no such user").is_empty());
    }
}
