//! Releases of branches: short names that no other branch has. Pure.

use sha2::{Digest as _, Sha256};

use crate::release::Release;

/// The annotation that holds the branch a release belongs to, as its repository calls it.
pub const ANNOTATION: &str = "fridaymorning.dev/branch";

/// The longest name of a branch.
const LONGEST: usize = 255;
/// So many characters of the branch's own name stay readable: a release's name has at most 26 in all.
const READABLE: usize = 8;

/// A branch of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch(String);

impl Branch {
    /// A branch of this name.
    ///
    /// # Errors
    /// What a name may be, if this is none.
    pub fn new(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) {
            return Err(format!(
                "allowed: the name of a branch, of 1 to {LONGEST} bytes, without control characters"
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Eight hexadecimal digits: the first of the name's SHA-256.
    #[must_use]
    pub fn hash(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        digest[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// What is readable of the name, and the hash: `feature-1b7fa1c0`, fit for a host's name, at most 17 characters.
    ///
    /// Branches that differ only in what a host's name cannot have (`feature/a-b`, `Feature/A.b`) differ in the hash.
    #[must_use]
    pub fn short(&self) -> String {
        let mut readable = String::new();
        for c in self.0.chars() {
            if readable.len() == READABLE {
                break;
            }
            if c.is_ascii_alphanumeric() {
                readable.push(c.to_ascii_lowercase());
            } else if !readable.is_empty() && !readable.ends_with('-') {
                readable.push('-');
            }
        }
        let readable = readable.trim_end_matches('-');
        if readable.is_empty() {
            return format!("b-{}", self.hash());
        }
        format!("{readable}-{}", self.hash())
    }
}

/// The branch that a release belongs to, if it was made for one.
#[must_use]
pub fn of(release: &Release) -> Option<&str> {
    (release.metadata.annotations.get(ANNOTATION)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_short_readable_and_each_its_own() {
        let names = [
            ("main", "main-"),
            ("feature/login-form", "feature-"),
            ("feature-login/form", "feature-"),
            ("Feature/Login-Form", "feature-"),
            ("fix/42", "fix-42-"),
            ("--x", "x-"),
            ("ß/日本", "b-"),
            ("a", "a-"),
        ];
        let mut seen = BTreeSet::new();
        for (name, begin) in names {
            let short = Branch::new(name).unwrap().short();
            assert!(
                short.starts_with(begin) && short.len() <= 17,
                "{name}: {short}"
            );
            let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(short.chars().all(fine), "{name}: {short}");
            assert!(
                !short.starts_with('-') && !short.contains("--"),
                "{name}: {short}"
            );
            assert!(seen.insert(short), "{name} has another's name");
        }
        // Running previews must be found again by later versions.
        assert_eq!(Branch::new("main").unwrap().short(), "main-0d6e4079");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "a\nb", &"x".repeat(256)] {
            assert!(Branch::new(name).unwrap_err().contains("255"), "{name:?}");
        }
    }
}
