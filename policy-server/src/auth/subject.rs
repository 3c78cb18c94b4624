//! Who logged in, and which modules vouched for it. Pure; stored with the session as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::error::{ErrorKind, LoginError};

/// Roles of one login, whichever modules they come from.
pub const MAX_ROLES: usize = 10_000;
/// Their names together. They are in every answer to an agent, which takes 1 MiB, and in the headers of every request to a
/// site: as a list, one by one, and in the assertion.
pub const MAX_ROLE_BYTES: usize = 256 << 10;

/// namespace -> name -> value
pub type Attributes = BTreeMap<String, BTreeMap<String, String>>;

/// The value of an attribute in whatever namespace, by its name in lower case without hyphens and underscores.
pub fn attribute<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    let plain = |known: &str| known.replace(['-', '_'], "").to_lowercase();
    let found = attributes.values().flatten().find(|(known, _)| plain(known) == name);
    found.map(|(_, value)| value.as_str())
}

/// What a module says about the person whose credentials it accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleIdentity {
    /// Class name of the module.
    pub class: &'static str,
    pub user: String,
    /// What the directory itself knows the person by for ever (an entryUUID, an objectGUID, a primary key), where it has
    /// such a thing: another person of the same name has another.
    pub source_id: Option<String>,
    /// What becomes another one with the password, where the directory shows such a thing: nothing secret.
    pub credential: Option<String>,
    pub roles: BTreeSet<String>,
    pub attributes: Attributes,
}

impl ModuleIdentity {
    /// Whether the roles can be told to agents and sites, together with these of other modules.
    ///
    /// # Errors
    /// `Login` where there are too many: nobody is logged in with some of them.
    pub fn check_roles<'a>(&'a self, others: impl Iterator<Item = &'a String>) -> Result<(), LoginError> {
        let all: BTreeSet<&String> = others.chain(&self.roles).collect();
        let bytes: usize = all.iter().map(|role| role.len()).sum();
        if all.len() <= MAX_ROLES && bytes <= MAX_ROLE_BYTES {
            return Ok(());
        }
        let detail = format!(
            "`{}` has {} roles with names of {bytes} bytes together, and one login has {MAX_ROLES} roles and \
             {MAX_ROLE_BYTES} bytes at most: let only those groups count that rules or sites ask for (`roleBaseDn`, \
             `roleFilter`, `userRoleBaseDn`, `rolePreparedStatement`)",
            self.user,
            all.len()
        );
        Err(LoginError::new(ErrorKind::Login, detail))
    }

    /// Whether this is still the person of an earlier proof, with the same password. A directory that did not have an id
    /// then may have one now.
    pub fn is_of(&self, proof: &Proof) -> bool {
        let same_id = self.source_id == proof.source_id || self.source_id.is_none() || proof.source_id.is_none();
        let same_password = proof.credential.is_none() || self.credential == proof.credential;
        self.user == proof.user && same_id && same_password
    }
}

/// What one module of the stack proved; `module` is its place there. A session keeps these so that each module can be
/// asked again for its own part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub module: usize,
    pub class: String,
    pub user: String,
    #[serde(default)]
    pub source_id: Option<String>,
    /// As in [`ModuleIdentity`]; a session ends when it changes.
    #[serde(default)]
    pub credential: Option<String>,
    pub roles: BTreeSet<String>,
    #[serde(default)]
    pub attributes: Attributes,
    /// A hash of what the module was configured with: after a change, its word may be that of another directory.
    #[serde(default)]
    pub settings: String,
    /// The last look at the directory did not find the account. Another one may: what a directory does not show at one time
    /// it may be unable to show.
    #[serde(default, skip_serializing_if = "is_false")]
    pub absent: bool,
}

/// What every session of an older server is, and most others: not written, so that those are still the same text.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Proof {
    pub fn new(module: usize, identity: ModuleIdentity) -> Self {
        let ModuleIdentity { class, user, source_id, credential, roles, attributes } = identity;
        let class = class.to_owned();
        Self { module, class, user, source_id, credential, roles, attributes, settings: String::new(), absent: false }
    }
}

/// A person who logged in. Roles and attributes are always those of the proofs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub user: String,
    pub roles: BTreeSet<String>,
    pub attributes: Attributes,
    pub proofs: Vec<Proof>,
}

impl Subject {
    /// `None` without a proof, or when the proofs are not all of the same person. Where two modules set an attribute,
    /// the earlier one counts.
    pub fn from_proofs(proofs: Vec<Proof>) -> Option<Self> {
        let user = proofs.first()?.user.clone();
        if proofs.iter().any(|proof| proof.user != user) {
            return None;
        }
        let roles = proofs.iter().flat_map(|proof| proof.roles.iter().cloned()).collect();
        let mut attributes = Attributes::new();
        for (namespace, values) in proofs.iter().flat_map(|proof| &proof.attributes) {
            let merged = attributes.entry(namespace.clone()).or_default();
            for (name, value) in values {
                merged.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        Some(Self { user, roles, attributes, proofs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(module: usize, user: &str, role: &str, mail: &str) -> Proof {
        let mail = BTreeMap::from([("mail".to_owned(), mail.to_owned())]);
        Proof {
            module,
            class: format!("class{module}"),
            user: user.to_owned(),
            source_id: None,
            credential: None,
            roles: BTreeSet::from([role.to_owned()]),
            attributes: Attributes::from([("person".to_owned(), mail)]),
            settings: String::new(),
            absent: false,
        }
    }

    /// What the module said at the time.
    fn identity(proof: Proof) -> ModuleIdentity {
        let Proof { user, source_id, credential, roles, attributes, .. } = proof;
        ModuleIdentity { class: "c", user, source_id, credential, roles, attributes }
    }

    #[test]
    fn proofs_of_one_person_are_merged() {
        let subject = Subject::from_proofs(vec![proof(0, "alice", "a", "1@x"), proof(2, "alice", "b", "2@x")]).unwrap();
        assert_eq!(subject.roles, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(subject.attributes["person"]["mail"], "1@x");
        let stored = serde_json::to_string(&subject).unwrap();
        assert_eq!(serde_json::from_str::<Subject>(&stored).unwrap(), subject);
        assert!(!stored.contains("absent"), "a session of an older server is the same text: {stored}");
        let absent = Proof { absent: true, ..proof(0, "alice", "a", "") };
        let stored = serde_json::to_string(&absent).unwrap();
        assert_eq!(serde_json::from_str::<Proof>(&stored).unwrap(), absent, "it outlives a restart");
    }

    #[test]
    fn another_password_or_id_is_another_proof() {
        let (old, new) = (Some("old".to_owned()), Some("new".to_owned()));
        for (then, now, is_same) in
            [(&None, &None, true), (&None, &new, true), (&old, &old, true), (&old, &new, false), (&old, &None, false)]
        {
            let of =
                |credential: &Option<String>| Proof { credential: credential.clone(), ..proof(0, "alice", "a", "") };
            assert_eq!(identity(of(now)).is_of(&of(then)), is_same, "{then:?} {now:?}");
        }
        let of = |id: &str| Proof { source_id: Some(id.to_owned()), ..proof(0, "alice", "a", "") };
        assert!(!identity(of("1")).is_of(&of("2")));
        let old = serde_json::json!({ "module": 0, "class": "c", "user": "alice", "roles": [] });
        assert_eq!(serde_json::from_value::<Proof>(old).unwrap().credential, None, "of a session of an older server");
    }

    /// How many roles with names of how many bytes, other roles beside them, and whether that is a login.
    #[test]
    fn roles_are_counted_over_all_modules() {
        let roles = |first: usize, count: usize, bytes: usize| -> BTreeSet<String> {
            (first..first + count).map(|number| format!("{number:0bytes$}")).collect()
        };
        for (own, others, fits) in [
            (roles(0, MAX_ROLES, 5), roles(0, 0, 5), true),
            (roles(0, MAX_ROLES + 1, 5), roles(0, 0, 5), false),
            (roles(0, MAX_ROLES, 5), roles(0, MAX_ROLES, 5), true),
            (roles(0, MAX_ROLES, 5), roles(MAX_ROLES, 1, 5), false),
            (roles(0, 256, 1_024), roles(0, 0, 5), true),
            (roles(0, 257, 1_024), roles(0, 0, 5), false),
            (roles(0, 256, 1_024), roles(0, 1, 1), false),
        ] {
            let identity = ModuleIdentity { roles: own, ..identity(proof(0, "alice", "a", "")) };
            let checked = identity.check_roles(others.iter());
            assert_eq!(checked.is_ok(), fits, "{} and {}", identity.roles.len(), others.len());
            let told = |error: LoginError| error.kind == ErrorKind::Login && error.detail.contains("10000 roles");
            assert!(checked.err().is_none_or(told));
        }
    }

    #[test]
    fn nobody_and_two_people_are_not_a_subject() {
        assert_eq!(Subject::from_proofs(Vec::new()), None);
        assert_eq!(Subject::from_proofs(vec![proof(0, "alice", "a", ""), proof(1, "bob", "b", "")]), None);
    }
}
