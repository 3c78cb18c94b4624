//! What the Jami clients of a person are set to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use shared_proto::problem::Problems;
use shared_proto::secret::Secret;

use crate::config::blueprints::BlueprintConfig;
use crate::files;

/// The blueprints of a security domain, in their order.
#[derive(Debug, Default)]
pub struct Blueprints(Vec<Blueprint>);

#[derive(Debug)]
struct Blueprint {
    role: Option<String>,
    settings: BTreeMap<&'static str, Secret>,
    may_search: bool,
}

impl Blueprints {
    /// With the secrets that they refer to; relative files are below `folder`.
    pub fn open(configs: Vec<BlueprintConfig>, folder: &Path, problems: &mut Problems) -> Self {
        let mut resolve = |BlueprintConfig { role, settings, may_search, file, .. }| {
            let settings = settings.into_iter().filter_map(|(name, (value, line))| {
                let value = files::resolve_secret(&value, folder);
                let value = value.map_err(|why| problems.add(&file, line, format!("policy `{name}`: {why}"))).ok()?;
                Some((name, value))
            });
            Blueprint { role, settings: settings.collect(), may_search }
        };
        Self(configs.into_iter().map(&mut resolve).collect())
    }

    /// Settings by the names that clients have for them, for somebody with these roles: those of the first blueprint that
    /// is for such a person.
    pub fn settings(&self, roles: &BTreeSet<String>) -> BTreeMap<&'static str, &str> {
        let settings = self.of(roles).into_iter().flat_map(|blueprint| &blueprint.settings);
        settings.filter_map(|(name, value)| Some((*name, value.expose_str()?))).collect()
    }

    /// Whether somebody with these roles may search the directory.
    pub fn may_search(&self, roles: &BTreeSet<String>) -> bool {
        self.of(roles).is_none_or(|blueprint| blueprint.may_search)
    }

    fn of(&self, roles: &BTreeSet<String>) -> Option<&Blueprint> {
        self.0.iter().find(|blueprint| blueprint.role.as_ref().is_none_or(|role| roles.contains(role)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::blueprints;

    fn open(policies: &str) -> (Blueprints, String) {
        let dir = tempfile::tempdir().unwrap();
        let mut problems = Problems::default();
        let text = format!("<blueprints>{policies}</blueprints>");
        let configs = blueprints::read(&dir.path().join("j.xml"), &text, &mut problems).unwrap();
        (Blueprints::open(configs, dir.path(), &mut problems), problems.to_string())
    }

    #[test]
    fn the_first_blueprint_of_a_role_counts() {
        let blueprint = |attributes: &str, name: &str| {
            format!("<blueprint {attributes}><policy name='turnServer' value='{name}'/></blueprint>")
        };
        let [a, b, all] = [("name='a' role='a'", "A"), ("name='b' role='b'", "B"), ("name='c'", "C")]
            .map(|(attributes, name)| blueprint(attributes, name));
        let (blueprints, _) = open(&format!("{b}{a}{all}"));
        let (without_all, _) = open(&a);
        for (roles, expected, of_a) in [
            (&["a"][..], "A".to_owned(), Some("A")),
            (&["b"], "B".to_owned(), None),
            (&["a", "b"], "B".to_owned(), Some("A")),
            (&["A"], "C".to_owned(), None),
            (&[], "C".to_owned(), None),
        ] {
            let roles = roles.iter().map(|role| (*role).to_owned()).collect();
            assert_eq!(blueprints.settings(&roles).get("TURN.server").copied(), Some(expected.as_str()), "{roles:?}");
            assert_eq!(without_all.settings(&roles).get("TURN.server").copied(), of_a, "{roles:?}");
        }
        let (closed, _) = open("<blueprint name='a' role='a'><policy name='allowLookup' value='false'/></blueprint>");
        assert!(closed.may_search(&BTreeSet::new()) && !closed.may_search(&["a".to_owned()].into()));
    }

    #[test]
    fn a_secret_that_cannot_be_had_is_a_problem_and_never_shown() {
        let policy = |value: &str| {
            format!("<blueprint name='a'>\n<policy name='turnServerPassword' value='{value}'/></blueprint>")
        };
        let (_, problems) = open(&policy("file:missing"));
        assert!(problems.contains("j.xml:2: policy `TURN.password`: "), "{problems}");
        let (blueprints, problems) = open(&policy("canary"));
        assert!(problems.is_empty() && !format!("{blueprints:?}").contains("canary"), "{problems}");
        assert_eq!(blueprints.settings(&BTreeSet::new())["TURN.password"], "canary");
    }
}
