//! `LocalLoginModule`: users of the built-in directory, which is kept in the store.

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;

use super::common::Common;
use super::{LoginContext, LoginModule, Recheck, Services, Standing};
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::password::PasswordPolicy;
use crate::auth::stack::Outcome;
use crate::auth::subject::{Attributes, ModuleIdentity};
use crate::digest::pool::DigestPool;
use crate::digest::{Decoys, Policy, fingerprint};
use crate::directory::UserDirectory;
use crate::directory::local::{LocalDirectory, LocalUser};
use crate::directory::person::Profile;

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.LocalLoginModule";
/// Namespace of the attributes that say what is known of a person.
const PROFILE: &str = "profile";

struct LocalLoginModule {
    /// `None` where a configuration is only validated.
    directory: Option<LocalDirectory>,
    domain: String,
    passwords: PasswordPolicy,
    digests: DigestPool,
    decoys: Decoys,
    common: Common,
}

pub fn construct(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Box<dyn LoginModule>> {
    let common = Common::take(options, problems);
    let id = options.take("serviceId");
    let (message, line) = match (&services.local, id) {
        (Some(local), None) => return Some(build(common, local.passwords.clone(), services)),
        (Some(local), Some((id, _))) if id == local.id => {
            return Some(build(common, local.passwords.clone(), services));
        }
        (Some(local), Some((id, line))) => {
            (format!("option `serviceId`: the local directory is called `{}`, not `{id}`", local.id), line)
        }
        (None, _) => ("security-domain.xml has no enabled local directory".to_owned(), options.line()),
    };
    problems.add(options.file(), line, message);
    None
}

fn build(common: Common, passwords: PasswordPolicy, services: &Services) -> Box<dyn LoginModule> {
    let (domain, digests) = (services.domain.clone(), services.shared.digests.clone());
    let store = services.shared.vault.as_ref().map(|vault| vault.store.clone());
    let directory = store.map(|store| LocalDirectory { store, domain: domain.clone() });
    Box::new(LocalLoginModule { directory, domain, passwords, digests, decoys: Decoys::default(), common })
}

impl LocalLoginModule {
    /// The user whose password this is and whose account is good. Every path costs one password verification.
    async fn authenticate(&self, name: &str, password: &Secret, now: Timestamp) -> Result<LocalUser, LoginError> {
        let user = self.find(name).await.map_err(unavailable)?;
        let stored = user.as_ref().and_then(|user| user.password.expose_str()).map(str::to_owned);
        let right = self
            .digests
            .verify(&self.decoys, name, stored, password.clone(), Policy::default())
            .await
            .map_err(|overloaded| unavailable(overloaded.to_string()))?;
        let user = user.ok_or_else(|| LoginError::new(ErrorKind::FailedLogin, "there is no such user"))?;
        if !right {
            return Err(LoginError::new(ErrorKind::FailedLogin, "wrong password"));
        }
        // The check took its time: what it proved must not have been revoked meanwhile.
        let is_same =
            |now: &LocalUser| now.person.id == user.person.id && now.password.expose() == user.password.expose();
        let user = self.find(name).await.map_err(unavailable)?.filter(is_same).ok_or_else(|| {
            LoginError::new(ErrorKind::FailedLogin, "the password was changed, or the user removed, during the login")
        })?;
        user.check(self.passwords.maximum_age, now)?;
        Ok(user)
    }

    /// # Errors
    /// Why the directory cannot be asked.
    async fn find(&self, name: &str) -> Result<Option<LocalUser>, String> {
        let LocalDirectory { store, domain } = self.directory.as_ref().ok_or("the store is not open")?;
        // What cannot be a name is nobody's.
        let Ok(name) = name.parse() else { return Ok(None) };
        store.local_user(domain, &name).await.map_err(|error| error.to_string())
    }

    fn identity(&self, user: LocalUser) -> ModuleIdentity {
        ModuleIdentity {
            class: CLASS,
            roles: self.common.roles(&user.roles),
            attributes: attributes(&user.person.profile),
            credential: user.password.expose_str().and_then(fingerprint),
            user: user.person.name,
            source_id: Some(user.person.id),
        }
    }
}

fn unavailable(why: impl Into<String>) -> LoginError {
    LoginError::new(ErrorKind::Unavailable, why)
}

/// What is known of the person; nothing for what is not.
fn attributes(profile: &Profile) -> Attributes {
    let Profile { given_name, family_name, mail, phone, organisation } = profile;
    let all = [
        ("given-name", given_name),
        ("family-name", family_name),
        ("mail", mail),
        ("phone", phone),
        ("organisation", organisation),
    ];
    let known = all.into_iter().filter(|(_, value)| !value.is_empty());
    let known = known.map(|(name, value)| (name.to_owned(), value.clone())).collect();
    Attributes::from([(PROFILE.to_owned(), known)])
}

#[async_trait]
impl LoginModule for LocalLoginModule {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        let name = self.common.user_name(cx.callbacks.username());
        let outcome = match self.authenticate(&name, cx.callbacks.password(), cx.now).await {
            Ok(user) => Outcome::Succeed(self.identity(user)),
            Err(error) => {
                let domain = &self.domain;
                Outcome::Fail(error.about(format_args!("user `{name}` of the built-in directory of `{domain}`")))
            }
        };
        self.common.trace(CLASS, &name, &outcome);
        outcome
    }

    fn has_worldwide_ids(&self) -> bool {
        true
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        Some(self)
    }

    fn directory(&self) -> Option<&dyn UserDirectory> {
        self.directory.as_ref().map(|directory| directory as _)
    }
}

#[async_trait]
impl Recheck for LocalLoginModule {
    async fn recheck(&self, user: &str, now: Timestamp) -> Standing {
        match self.find(user).await {
            Err(why) => Standing::Unknown(why),
            Ok(None) => Standing::Gone(LoginError::new(ErrorKind::FailedLogin, "the user is gone")),
            Ok(Some(user)) => match user.check(self.passwords.maximum_age, now) {
                Ok(()) => Standing::Current(self.identity(user)),
                Err(error) => Standing::Gone(error),
            },
        }
    }

    /// As near as the session itself, which is in the same store.
    fn is_at_hand(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Shared, Vault, find};
    use super::*;
    use crate::auth::callback::CallbackHandler;
    use crate::auth::subject::Proof;
    use crate::config::domain::LocalService;
    use crate::digest::{SALT, Scheme, create};
    use crate::directory::local::NewUser;
    use crate::directory::person::Name;
    use crate::store::Store;
    use crate::store::tests::temporary;
    use crate::token::{Key, KeyRing};

    const NOW: &str = "2026-01-01T12:00:00Z";

    fn services(store: Option<Store>, local: bool) -> Services {
        let keys = KeyRing::new(Key::generate().unwrap(), Vec::new());
        let vault = store.map(|store| Vault { store, keys, cluster: "C".to_owned() });
        let local = local.then(|| LocalService { id: "people".to_owned(), passwords: PasswordPolicy::default() });
        let shared = Shared::new(DigestPool::new(2, 8), vault);
        Services { local, ..Services::new(shared, "system", Default::default()) }
    }

    fn module(text: &str, services: &Services) -> (Option<Box<dyn LoginModule>>, String) {
        let mut problems = Problems::default();
        let options = Options::from_properties(Path::new("t"), text, &mut problems);
        let module = find(CLASS).unwrap().build(options, services, &mut problems);
        (module, problems.to_string())
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    async fn add(store: &Store, user: &str) {
        let profile = Profile { mail: format!("{user}@example.org"), ..Profile::default() };
        let user = NewUser { name: name(user), profile, expires: None, groups: vec![name("staff")] };
        let digest = create(Scheme::Ssha256, b"right", [7; SALT]).unwrap().into();
        store.add_local_user("system", &user, &digest, now().as_second()).await.unwrap();
    }

    async fn login(module: &dyn LoginModule, user: &str, password: &str) -> Outcome {
        let answers = [("username", user), ("password", password)].map(|(k, v)| (k.to_owned(), Secret::from(v)));
        let callbacks = CallbackHandler::NAME_PASSWORD.answers(&answers.into()).unwrap();
        module.login(&LoginContext { callbacks: &callbacks, now: now(), proved: None, remembered: None }).await
    }

    /// The user it vouched for, or what it said instead.
    async fn verdict(module: &dyn LoginModule, user: &str, password: &str) -> Result<String, ErrorKind> {
        match login(module, user, password).await {
            Outcome::Succeed(identity) => Ok(identity.user),
            Outcome::Ignore => panic!("this module is always responsible"),
            Outcome::Fail(error) => Err(error.kind),
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_good_account_succeeds() {
        let (store, _dir) = temporary().await;
        store.add_local_group("system", &name("staff"), &["employee".to_owned()].into(), 0).await.unwrap();
        for user in ["Alice", "disabled", "expired", "stale", "must-change"] {
            add(&store, user).await;
        }
        let edit = async |user: &str, edit: fn(&mut LocalUser)| {
            store.edit_local_user("system", &name(user), 0, edit).await.unwrap().unwrap();
        };
        edit("disabled", |user| user.person.enabled = false).await;
        edit("expired", |user| user.expires = Some(now())).await;
        edit("stale", |user| user.credential_expires = Some(now())).await;
        edit("must-change", |user| user.must_change = true).await;
        let services = services(Some(store), true);
        let module = module("rolePrefix=x-\nserviceId=people", &services).0.unwrap();
        let recheck = module.recheck().unwrap();
        for (user, with_right_password) in [
            ("alice", Ok("Alice")),
            (" ALICE ", Ok("Alice")),
            ("disabled", Err(ErrorKind::Account)),
            ("expired", Err(ErrorKind::AccountExpired)),
            ("stale", Err(ErrorKind::CredentialExpired)),
            ("must-change", Err(ErrorKind::CredentialExpired)),
            ("nobody", Err(ErrorKind::FailedLogin)),
            ("al\u{200b}ice", Err(ErrorKind::FailedLogin)),
            ("%", Err(ErrorKind::FailedLogin)),
            ("' OR 1=1 --", Err(ErrorKind::FailedLogin)),
        ] {
            let expected = with_right_password.clone().map(str::to_owned);
            assert_eq!(verdict(&*module, user, "right").await, expected, "{user}");
            // Whatever the account is like, a wrong password learns nothing about it.
            assert_eq!(verdict(&*module, user, "wrong").await, Err(ErrorKind::FailedLogin), "{user}");
            let standing = recheck.recheck(user.trim(), now()).await;
            assert_eq!(matches!(standing, Standing::Current(_)), with_right_password.is_ok(), "{user}: {standing:?}");
        }
        let Standing::Current(identity) = recheck.recheck("Alice", now()).await else { panic!("gone") };
        assert_eq!(identity.roles, ["x-employee".to_owned()].into());
        assert_eq!(identity.attributes["profile"]["mail"], "Alice@example.org");
        assert_eq!(identity.source_id.unwrap().len(), 32);
    }

    /// However late the session of an old password is opened: it ends.
    #[tokio::test]
    async fn a_new_password_ends_what_the_old_one_opened() {
        let (store, _dir) = temporary().await;
        store.add_local_group("system", &name("staff"), &[].into(), 0).await.unwrap();
        add(&store, "alice").await;
        let module = module("", &services(Some(store.clone()), true)).0.unwrap();
        let Outcome::Succeed(identity) = login(&*module, "alice", "right").await else { panic!("refused") };
        let proof = Proof::new(0, identity);
        let is_same = async || {
            let standing = module.recheck().unwrap().recheck("alice", now()).await;
            matches!(standing, Standing::Current(identity) if identity.is_of(&proof))
        };
        assert!(is_same().await);
        // The very same password, in the very same second.
        let digest = create(Scheme::Ssha256, b"right", [8; SALT]).unwrap().into();
        store.set_local_password("system", &name("alice"), digest, 1, now().as_second()).await.unwrap().unwrap();
        assert!(!is_same().await);
    }

    #[tokio::test]
    async fn without_the_store_nobody_is_judged() {
        let module = module("", &services(None, true)).0.unwrap();
        assert_eq!(verdict(&*module, "alice", "right").await, Err(ErrorKind::Unavailable));
        assert!(matches!(module.recheck().unwrap().recheck("alice", now()).await, Standing::Unknown(_)));
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_problem() {
        for (text, is_there, expected) in [
            ("", true, ""),
            ("serviceId=people", true, ""),
            ("debug=true\nserviceId=poeple", true, "t:2: option `serviceId`: the local directory is called `people`"),
            ("", false, "security-domain.xml has no enabled local directory"),
            ("allowCleartext=true", true, "t:1: unknown property `allowCleartext`"),
        ] {
            let (module, problems) = module(text, &services(None, is_there));
            assert!(problems.contains(expected) && problems.is_empty() == expected.is_empty(), "{problems}");
            assert_eq!(module.is_some(), expected.is_empty() || expected.contains("unknown"));
        }
    }
}
