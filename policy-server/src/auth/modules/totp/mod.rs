//! `TotpLoginModule`: the code that a person's authenticator app shows, as a second step behind another module.
//!
//! It finds nobody by itself: the person is the one that an earlier module proved, whatever name was typed. A code is
//! accepted once, and only for somebody whose password was right, so that nobody can use up the codes of others.

mod codes;
mod secrets;

use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;

pub use codes::{Codes, Invitation};
pub use secrets::{EnrolError, enrol};

use super::common::Common;
use super::{LoginContext, LoginModule, Recheck, Remembered, SecondFactor, Services, Standing, Vault};
use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::stack::Outcome;
use crate::auth::subject::{Attributes, ModuleIdentity};

pub const CLASS: &str = "com.cafesoft.cams.auth.login.module.TotpLoginModule";

/// Checked where a person has no secret, so that it takes the time of a wrong code.
const NOBODYS: [u8; 20] = [0; 20];

struct TotpLoginModule {
    factor: SecondFactor,
    not_enrolled: NotEnrolled,
    vault: Option<Vault>,
    domain: String,
    common: Common,
}

/// What becomes of people who have no secret.
#[derive(Clone, Copy)]
enum NotEnrolled {
    Fail,
    Ignore,
}

impl FromStr for NotEnrolled {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "fail" => Ok(Self::Fail),
            "ignore" => Ok(Self::Ignore),
            _ => Err(()),
        }
    }
}

/// Whether a browser that is remembered since a login with a code needs another one.
#[derive(Clone, Copy)]
enum RememberedBrowser {
    Accept,
    Refuse,
}

impl FromStr for RememberedBrowser {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "accept" => Ok(Self::Accept),
            "refuse" => Ok(Self::Refuse),
            _ => Err(()),
        }
    }
}

pub fn construct(options: &mut Options, services: &Services, problems: &mut Problems) -> Option<Box<dyn LoginModule>> {
    let common = Common::take(options, problems);
    let callback = options.take_string("callback").unwrap_or_else(|| "totp".to_owned());
    let codes = Codes::take(options, problems);
    let remembered = options.take_parsed("rememberedBrowser", RememberedBrowser::Refuse, "accept or refuse", problems);
    let remembered_browser = matches!(remembered, RememberedBrowser::Accept);
    let factor = SecondFactor { callback, codes, remembered_browser };
    let not_enrolled = options.take_parsed("notEnrolled", NotEnrolled::Fail, "fail or ignore", problems);
    let (vault, domain) = (services.shared.vault.clone(), services.domain.clone());
    Some(Box::new(TotpLoginModule { factor, not_enrolled, vault, domain, common }))
}

impl TotpLoginModule {
    fn vault(&self) -> Result<&Vault, LoginError> {
        self.vault.as_ref().ok_or_else(|| unavailable("the store is not open"))
    }

    /// `user` is who was proved or, where nobody was, who was typed: each path does the same work up to the verdict.
    async fn verify(&self, user: &str, cx: &LoginContext<'_>) -> Result<Outcome, LoginError> {
        let vault = self.vault()?;
        let enrolled = secrets::find(vault, &self.domain, user).await.map_err(unavailable)?;
        let secret = enrolled.as_ref().map_or(NOBODYS.as_slice(), |found| &found.secret);
        let code = cx.callbacks.extra(&self.factor.callback).and_then(Secret::expose_str).unwrap_or_default();
        let step = self.factor.codes.step_of(secret, code, cx.now.as_second());
        if cx.proved != Some(user) {
            return Err(refused("no module before this one proved who it is; nothing was checked"));
        }
        match (enrolled, step, self.not_enrolled) {
            (None, _, NotEnrolled::Ignore) => Ok(Outcome::Ignore),
            (None, _, NotEnrolled::Fail) => Err(refused("not enrolled; `cams user totp enrol` does it")),
            (Some(found), _, _) if self.stands_in(user, found.created, cx) => Ok(Outcome::Succeed(self.identity(user))),
            (Some(_), None, _) => Err(refused("wrong code; do the clocks of phone and server agree?")),
            (Some(found), Some(step), _) => {
                let used = vault.store.use_totp_step(&self.domain, user, &found.sealed, step).await;
                let is_first = used.map_err(unavailable)?;
                if is_first {
                    Ok(Outcome::Succeed(self.identity(user)))
                } else {
                    Err(refused("the code, or a later one, was used before; wait for the next"))
                }
            }
        }
    }

    /// A remembered browser, where that is enough: of this person, and not from before the enrolment.
    fn stands_in(&self, user: &str, enrolled: i64, cx: &LoginContext<'_>) -> bool {
        let is_known = |remembered: &Remembered| remembered.user == user && remembered.since >= enrolled;
        self.factor.remembered_browser && cx.remembered.is_some_and(is_known)
    }

    fn identity(&self, user: &str) -> ModuleIdentity {
        let roles = self.common.roles([]);
        let (user, attributes) = (user.to_owned(), Attributes::new());
        ModuleIdentity { class: CLASS, user, source_id: None, credential: None, roles, attributes }
    }
}

fn refused(why: &str) -> LoginError {
    LoginError::new(ErrorKind::FailedLogin, why)
}

fn unavailable(why: impl ToString) -> LoginError {
    LoginError::new(ErrorKind::Unavailable, why.to_string())
}

#[async_trait]
impl LoginModule for TotpLoginModule {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        let typed = self.common.user_name(cx.callbacks.username());
        let user = cx.proved.unwrap_or(&typed);
        let outcome = self.verify(user, cx).await;
        let outcome = outcome.unwrap_or_else(|error| Outcome::Fail(error.about(format_args!("code of `{user}`"))));
        self.common.trace(CLASS, user, &outcome);
        outcome
    }

    fn second_factor(&self) -> Option<&SecondFactor> {
        Some(&self.factor)
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        Some(self)
    }
}

/// Who loses the second factor loses what it opened.
#[async_trait]
impl Recheck for TotpLoginModule {
    async fn recheck(&self, user: &str, _: Timestamp) -> Standing {
        let Some(vault) = &self.vault else { return Standing::Unknown("there is no store".to_owned()) };
        match vault.store.totp_secret(&self.domain, user).await {
            Ok(Some(_)) => Standing::Current(self.identity(user)),
            Ok(None) => Standing::Gone(refused("not enrolled any more")),
            Err(error) => Standing::Unknown(error.to_string()),
        }
    }

    /// As near as the session itself, which is in the same store.
    fn is_at_hand(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
