//! Roles: which users and groups of this machine may approve what. Pure but for the machine's own files.

use std::collections::BTreeMap;

use crate::config::Role;
use crate::users;

/// By the role's name.
#[derive(Debug, Clone, Default)]
pub struct Roles(BTreeMap<String, Role>);

impl Roles {
    /// From the file.
    ///
    /// # Errors
    /// When nobody has a role: what asks for it could never pass.
    pub(crate) fn read(file: BTreeMap<String, Role>) -> Result<Self, String> {
        for (name, role) in &file {
            if role.users.is_empty() && role.groups.is_empty() {
                return Err(format!(
                    "roles.{name}: nobody has it; allowed: users, groups, or both"
                ));
            }
        }
        Ok(Self(file))
    }

    /// The roles of the user with this id.
    #[must_use]
    pub fn of(&self, uid: u32) -> Vec<String> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let name = users::user_name(uid);
        self.held(&name, &users::groups_of(&name))
    }

    fn held(&self, user: &str, groups: &[String]) -> Vec<String> {
        let has = |role: &Role| {
            role.users.iter().any(|known| known == user)
                || role.groups.iter().any(|group| groups.contains(group))
        };
        let roles = self.0.iter().filter(|(_, role)| has(role));
        roles.map(|(name, _)| name.clone()).collect()
    }

    /// Who has each, for people.
    #[must_use]
    pub fn told(&self) -> BTreeMap<String, String> {
        let told = |role: &Role| {
            let groups = role.groups.iter().map(|group| format!("group {group}"));
            let all: Vec<String> = role.users.iter().cloned().chain(groups).collect();
            all.join(", ")
        };
        let roles = self.0.iter();
        roles
            .map(|(name, role)| (name.clone(), told(role)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_held_by_name_or_by_group() {
        let role = |users: &[&str], groups: &[&str]| Role {
            users: users.iter().map(ToString::to_string).collect(),
            groups: groups.iter().map(ToString::to_string).collect(),
        };
        let file = BTreeMap::from([
            ("dba".to_owned(), role(&["ann"], &[])),
            ("ops".to_owned(), role(&["bob"], &["oncall"])),
        ]);
        let roles = Roles::read(file).unwrap();
        assert_eq!(roles.held("ann", &["oncall".to_owned()]), ["dba", "ops"]);
        assert_eq!(roles.held("bob", &[]), ["ops"]);
        assert!(roles.held("eve", &["staff".to_owned()]).is_empty());
        assert_eq!(roles.told()["ops"], "bob, group oncall");
        let nobody = BTreeMap::from([("ops".to_owned(), role(&[], &[]))]);
        assert!(
            Roles::read(nobody)
                .unwrap_err()
                .starts_with("roles.ops: nobody")
        );
    }
}
