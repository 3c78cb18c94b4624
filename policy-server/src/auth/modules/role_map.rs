//! `RoleMapLoginModule`: further roles for people whom an earlier module proved, for directories that cannot be changed.
//!
//! It finds nobody and checks no password: by itself it lets nobody in.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::common::Common;
use super::{LoginContext, LoginModule, Recheck, Services, Standing};
use crate::auth::stack::Outcome;
use crate::auth::subject::{Attributes, ModuleIdentity};

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.RoleMapLoginModule";

struct RoleMapLoginModule {
    common: Common,
    /// Each role with those who have it.
    roles: Vec<(String, BTreeSet<String>)>,
}

pub fn construct(options: &mut Options, _: &Services, problems: &mut Problems) -> Option<Box<dyn LoginModule>> {
    let common = Common::take(options, problems);
    let mut roles = Vec::new();
    for (role, users, line) in options.take_prefixed("role.") {
        let users: BTreeSet<_> =
            users.split(',').map(str::trim).filter(|user| !user.is_empty()).map(Into::into).collect();
        if role.trim().is_empty() || users.is_empty() {
            problems.add(
                options.file(),
                line,
                format!("option `role.{role}`: write role.ROLE, and user names with commas"),
            );
        }
        roles.push((role, users));
    }
    Some(Box::new(RoleMapLoginModule { common, roles }))
}

impl RoleMapLoginModule {
    fn identity(&self, user: &str) -> ModuleIdentity {
        let own = self.roles.iter().filter(|(_, users)| users.contains(user)).map(|(role, _)| role);
        let (user, roles) = (user.to_owned(), self.common.roles(own));
        ModuleIdentity { class: CLASS, user, source_id: None, credential: None, roles, attributes: Attributes::new() }
    }
}

#[async_trait]
impl LoginModule for RoleMapLoginModule {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        let identity = cx.proved.map(|user| self.identity(user)).filter(|identity| !identity.roles.is_empty());
        let outcome = identity.map_or(Outcome::Ignore, Outcome::Succeed);
        self.common.trace(CLASS, cx.proved.unwrap_or_default(), &outcome);
        outcome
    }

    fn only_adds(&self) -> bool {
        true
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        Some(self)
    }
}

#[async_trait]
impl Recheck for RoleMapLoginModule {
    async fn recheck(&self, user: &str, _: Timestamp) -> Standing {
        Standing::Current(self.identity(user))
    }

    fn is_at_hand(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shared_proto::secret::Secret;

    use super::super::{Shared, find};
    use super::*;
    use crate::auth::callback::CallbackHandler;

    fn module(text: &str) -> (Box<dyn LoginModule>, String) {
        let mut problems = Problems::default();
        let services = Services::new(Shared::offline(), "system", Default::default());
        let options = Options::from_properties(Path::new("t"), text, &mut problems);
        let module = find(CLASS).unwrap().build(options, &services, &mut problems).unwrap();
        (module, problems.to_string())
    }

    fn roles(identity: &ModuleIdentity) -> String {
        identity.roles.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    /// Options, who was proved, and with which roles; `None` where the module has nothing to say.
    #[tokio::test]
    async fn roles_go_to_the_proved_person_alone() {
        const MAP: &str = "role.editor=alice, bob ,\nrole.site\\ admin=alice";
        let given = [("username", "alice"), ("password", "pw")].map(|(k, v)| (k.to_owned(), Secret::from(v)));
        let callbacks = CallbackHandler::NAME_PASSWORD.answers(&given.into()).unwrap();
        for (text, proved, expected) in [
            (MAP, Some("alice"), Some("editor,site admin")),
            (MAP, Some("bob"), Some("editor")),
            (MAP, Some("Alice"), None),
            (MAP, Some("carol"), None),
            (MAP, Some(""), None),
            (MAP, None, None),
            ("role.editor=bob\nrolePrefix=x-\ndefaultRoles=all", Some("bob"), Some("all,x-editor")),
            ("role.editor=bob\ndefaultRoles=all", Some("carol"), Some("all")),
            ("role.editor=bob\ndefaultRoles=all", None, None),
        ] {
            let (module, problems) = module(text);
            assert_eq!(problems, "");
            let now = Timestamp::UNIX_EPOCH;
            let outcome =
                match module.login(&LoginContext { callbacks: &callbacks, now, proved, remembered: None }).await {
                    Outcome::Succeed(identity) => Some(identity),
                    Outcome::Ignore => None,
                    Outcome::Fail(error) => panic!("{error}"),
                };
            assert_eq!(outcome.as_ref().map(roles).as_deref(), expected, "{text} {proved:?}");
            assert_eq!(outcome.as_ref().map(|identity| identity.user.as_str()), proved.filter(|_| expected.is_some()));
            let recheck = module.recheck().unwrap();
            let Standing::Current(current) = recheck.recheck(proved.unwrap_or_default(), now).await else {
                panic!("it sends nobody away")
            };
            assert!(recheck.is_at_hand() && outcome.is_none_or(|identity| identity == current));
        }
    }

    #[test]
    fn what_gives_a_role_to_nobody_is_a_problem() {
        for (text, expected) in [
            ("role.editor=", "t:1: option `role.editor`: write role.ROLE, and user names with commas"),
            ("debug=true\nrole.editor= , ,", "t:2: option `role.editor`"),
            ("role.=alice", "option `role.`"),
            ("roles.editor=alice", "unknown property `roles.editor`"),
            ("serviceId=users", "unknown property `serviceId`"),
        ] {
            assert!(module(text).1.contains(expected), "{text}: {}", module(text).1);
        }
    }
}
