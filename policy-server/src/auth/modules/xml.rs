//! `XmlLoginModule`: users of an XML file.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::{Problems, did_you_mean};
use shared_proto::secret::Secret;

use super::common::{self, Common};
use super::legacy::Legacy;
use super::{LoginContext, LoginModule, Recheck, Services, Standing};
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::stack::Outcome;
use crate::auth::subject::ModuleIdentity;
use crate::config::cams_users::XmlUser;
use crate::digest::pool::DigestPool;
use crate::digest::{Decoys, Policy};
use crate::directory::UserDirectory;
use crate::directory::xml_users::XmlUserRepository;
use crate::token;

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.XmlLoginModule";

struct XmlLoginModule {
    users: Arc<XmlUserRepository>,
    digests: DigestPool,
    decoys: Decoys,
    legacy: Legacy,
    /// Whether a legacy digest is replaced in the file.
    upgrade: bool,
    policy: Policy,
    common: Common,
}

pub fn construct(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Box<dyn LoginModule>> {
    let common = Common::take(options, problems);
    let policy = Policy { allow_cleartext: options.take_bool("allowCleartext", false, problems) };
    let upgrade = options.take_bool("passwordUpgrade", true, problems);
    let users = repository(options, services, problems)?;
    let (digests, decoys, legacy) = (services.shared.digests.clone(), users.decoys(), Legacy::default());
    Some(Box::new(XmlLoginModule { users, digests, decoys, legacy, upgrade, policy, common }))
}

fn repository(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Arc<XmlUserRepository>> {
    let id = options.require("serviceId", problems)?;
    let found = services.users.get(&id).cloned();
    if found.is_none() {
        let hint = did_you_mean(&id, services.users.keys().map(String::as_str))
            .map(|known| format!(", did you mean `{known}`?"))
            .unwrap_or_default();
        let message =
            format!("option `serviceId`: security-domain.xml has no enabled XML user repository `{id}`{hint}");
        problems.add(options.file(), options.line(), message);
    }
    found
}

impl XmlLoginModule {
    /// The user whose password this is and whose account is good. Every path costs one password verification.
    async fn authenticate(&self, name: &str, password: &Secret, now: Timestamp) -> Result<Arc<XmlUser>, LoginError> {
        let user = self.users.find(name);
        let stored = user.as_ref().and_then(|user| user.password.expose_str()).map(str::to_owned);
        let right = self
            .digests
            .verify(&self.decoys, name, stored.clone(), password.clone(), self.policy)
            .await
            .map_err(|overloaded| LoginError::new(ErrorKind::Unavailable, overloaded.to_string()))?;
        let user = user.ok_or_else(|| LoginError::new(ErrorKind::FailedLogin, "there is no such user"))?;
        if !right {
            let why = common::refusal(stored.as_deref().unwrap_or_default(), self.policy);
            return Err(LoginError::new(ErrorKind::FailedLogin, why));
        }
        user.account.check(now)?;
        if let Some(stored) = stored.filter(|stored| self.legacy.is(CLASS, name, stored) && self.upgrade) {
            self.modernise(name.to_owned(), stored, password.clone());
        }
        Ok(user)
    }

    /// Puts a digest of today in the place of a legacy one. The login does not wait for it, and does not fail with it.
    fn modernise(&self, user: String, stored: String, password: Secret) {
        let (users, digests) = (Arc::clone(&self.users), self.digests.clone());
        tokio::spawn(async move {
            let file = users.path().display().to_string();
            match replace(users, digests, &user, stored, password).await {
                Ok(true) => tracing::info!(class = CLASS, user, file, "the digest was replaced by one of Argon2id"),
                Ok(false) => {}
                Err(why) => tracing::warn!(class = CLASS, user, file, why, "the digest stays as it is"),
            }
        });
    }

    fn identity(&self, user: &XmlUser) -> ModuleIdentity {
        ModuleIdentity {
            class: CLASS,
            user: user.name.clone(),
            source_id: None,
            // Each policy server has a file of its own, with maybe another digest of the same password.
            credential: None,
            roles: self.common.roles(&user.roles),
            attributes: user.attributes.clone(),
        }
    }
}

async fn replace(
    users: Arc<XmlUserRepository>,
    digests: DigestPool,
    user: &str,
    stored: String,
    password: Secret,
) -> Result<bool, String> {
    let salt = token::random().map_err(|error| error.to_string())?;
    let digest = digests.create(password, salt).await.map_err(|error| error.to_string())?;
    let user = user.to_owned();
    let written = tokio::task::spawn_blocking(move || users.replace_digest(&user, &stored, &digest)).await;
    written.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

#[async_trait]
impl LoginModule for XmlLoginModule {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        let name = self.common.user_name(cx.callbacks.username());
        let outcome = match self.authenticate(&name, cx.callbacks.password(), cx.now).await {
            Ok(user) => Outcome::Succeed(self.identity(&user)),
            Err(error) => Outcome::Fail(error.about(format_args!("user `{name}` of {}", self.users.path().display()))),
        };
        self.common.trace(CLASS, &name, &outcome);
        outcome
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        Some(self)
    }

    fn directory(&self) -> Option<&dyn UserDirectory> {
        Some(&*self.users)
    }
}

#[async_trait]
impl Recheck for XmlLoginModule {
    async fn recheck(&self, user: &str, now: Timestamp) -> Standing {
        let Some(user) = self.users.find(user) else {
            return Standing::Gone(LoginError::new(ErrorKind::FailedLogin, "the user is gone"));
        };
        match user.account.check(now) {
            Ok(()) => Standing::Current(self.identity(&user)),
            Err(error) => Standing::Gone(error),
        }
    }

    fn is_at_hand(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::{Shared, find};
    use super::*;
    use crate::auth::callback::CallbackHandler;
    use crate::config::cams_users;
    use crate::config::domain::UsersFile;

    /// The digest is of `right`.
    const USERS: &str = r#"<cams-users>
<user name="alice" password="DIGEST"><role name="staff"/><attribute namespace="n" name="a" value="v"/></user>
<user name="disabled" password="DIGEST" enabled="false"/>
<user name="expired" password="DIGEST" expires="2025-12-31"/>
<user name="last-day" password="DIGEST" expires="2026-01-01"/>
<user name="stale" password="DIGEST" credential-expires="2026-01-01T11:59:59Z"/>
<user name="locked" password="{CRYPT}!"/>
<user name="clear" password="right"/>
</cams-users>"#;
    const DIGEST: &str = "{SSHA}VRnVVuh+V5b2fbnvIY1G2RD/l45zYWx0c2FsdA==";
    const NOW: &str = "2026-01-01T12:00:00Z";

    fn module(options_text: &str, digests: DigestPool) -> Box<dyn LoginModule> {
        let mut problems = Problems::default();
        let path = PathBuf::from("u.xml");
        let users = cams_users::read(&path, &USERS.replace("DIGEST", DIGEST), &mut problems).unwrap();
        let services = Services::new(
            Shared::new(digests, None),
            "system",
            [("users".to_owned(), UsersFile { path, users })].into(),
        );
        let text = format!("serviceId=users\n{options_text}");
        let options = Options::from_properties(Path::new("t"), &text, &mut problems);
        let module = find(CLASS).unwrap().build(options, &services, &mut problems);
        assert!(problems.is_empty(), "{problems}");
        module.unwrap()
    }

    async fn login(module: &dyn LoginModule, user: &str, password: &str) -> Outcome {
        let answers = [("username", user), ("password", password)].map(|(k, v)| (k.to_owned(), Secret::from(v)));
        let callbacks = CallbackHandler::NAME_PASSWORD.answers(&answers.into()).unwrap();
        module
            .login(&LoginContext { callbacks: &callbacks, now: NOW.parse().unwrap(), proved: None, remembered: None })
            .await
    }

    /// The user it vouched for, or what it said instead.
    fn verdict(outcome: Outcome) -> Result<String, ErrorKind> {
        match outcome {
            Outcome::Succeed(identity) => Ok(identity.user),
            Outcome::Ignore => panic!("this module is always responsible"),
            Outcome::Fail(error) => Err(error.kind),
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_good_account_succeeds() {
        let module = module("", DigestPool::new(2, 8));
        for (user, with_right_password) in [
            ("alice", Ok("alice")),
            (" alice ", Ok("alice")),
            ("last-day", Ok("last-day")),
            ("disabled", Err(ErrorKind::Account)),
            ("expired", Err(ErrorKind::AccountExpired)),
            ("stale", Err(ErrorKind::CredentialExpired)),
            ("locked", Err(ErrorKind::FailedLogin)),
            ("clear", Err(ErrorKind::FailedLogin)),
            ("Alice", Err(ErrorKind::FailedLogin)),
            ("nobody", Err(ErrorKind::FailedLogin)),
            ("alice'] | //user['", Err(ErrorKind::FailedLogin)),
        ] {
            let expected = with_right_password.map(str::to_owned);
            assert_eq!(verdict(login(&*module, user, "right").await), expected, "{user}");
            // Whatever the account is like, a wrong password learns nothing about it.
            assert_eq!(verdict(login(&*module, user, "wrong").await), Err(ErrorKind::FailedLogin), "{user}");
        }
    }

    #[tokio::test]
    async fn options_shape_names_roles_and_passwords() {
        let options = "allowCleartext=true\nusernameCase=lower\nrolePrefix=x-\ndefaultRoles=user\ndebug=true";
        let module = module(options, DigestPool::new(2, 8));
        assert_eq!(verdict(login(&*module, "clear", "right").await), Ok("clear".to_owned()));
        let Outcome::Succeed(identity) = login(&*module, "ALICE", "right").await else { panic!("refused") };
        assert_eq!(identity.roles.iter().map(String::as_str).collect::<Vec<_>>(), ["user", "x-staff"]);
        assert_eq!((identity.user.as_str(), identity.attributes["n"]["a"].as_str()), ("alice", "v"));
    }

    #[tokio::test]
    async fn rechecks_follow_the_file() {
        let module = module("defaultRoles=user", DigestPool::new(1, 1));
        let recheck = module.recheck().unwrap();
        let now = NOW.parse().unwrap();
        let current = recheck.recheck("alice", now).await;
        let Standing::Current(ModuleIdentity { roles, attributes, .. }) = current else { panic!("gone") };
        assert_eq!((roles.len(), attributes.len()), (2, 1));
        for gone in ["disabled", "expired", "stale", "nobody"] {
            assert!(matches!(recheck.recheck(gone, now).await, Standing::Gone(_)), "{gone}");
        }
    }

    /// While the only thread that hashes is busy and the queue is full, nobody's password is judged; an unknown user's
    /// no sooner than a known one's.
    #[tokio::test]
    async fn an_overloaded_server_gives_no_verdict() {
        let (release, released) = std::sync::mpsc::channel::<()>();
        let digests = DigestPool::new(1, 1);
        let module = module("", digests.clone());
        let ((), first, refused) =
            tokio::join!(digests.keep_busy(released), login(&*module, "nobody", "right"), async {
                let known = login(&*module, "alice", "right").await;
                let unknown = login(&*module, "nobody", "right").await;
                release.send(()).unwrap();
                [known, unknown]
            });
        assert_eq!(verdict(first), Err(ErrorKind::FailedLogin));
        for outcome in refused {
            assert_eq!(verdict(outcome), Err(ErrorKind::Unavailable));
        }
    }
}
