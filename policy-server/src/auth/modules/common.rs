//! The options every login module takes: how a typed name becomes a user name, and how roles are named.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::{Secret, SecretRef};

use crate::auth::error::{ErrorKind, LoginError};
use crate::auth::stack::Outcome;
use crate::auth::subject::MAX_ROLES;
use crate::digest::{Label, Policy, label};
use crate::directory::ldap::Found;
use crate::files;

/// Attributes of LDAP directories that say who somebody is, as [`Profile::of`](crate::directory::person::Profile::of) reads
/// them, and those of them in which people are searched for.
pub const PROFILE: [&str; 8] = ["cn", "displayName", "givenName", "sn", "mail", "telephoneNumber", "o", "company"];
pub const SEARCHED: [&str; 5] = ["cn", "displayName", "givenName", "sn", "mail"];

#[derive(Debug, Clone)]
pub struct Common {
    debug: bool,
    default_roles: BTreeSet<String>,
    role_prefix: String,
    username_case: Case,
    trim_username: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    None,
    Lower,
    Upper,
}

impl FromStr for Case {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "none" => Ok(Self::None),
            "lower" => Ok(Self::Lower),
            "upper" => Ok(Self::Upper),
            _ => Err(()),
        }
    }
}

impl Common {
    pub fn take(options: &mut Options, problems: &mut Problems) -> Self {
        let default_roles = options.take_string("defaultRoles").unwrap_or_default();
        Self {
            debug: options.take_bool("debug", false, problems),
            default_roles: default_roles
                .split(',')
                .map(str::trim)
                .filter(|role| !role.is_empty())
                .map(str::to_owned)
                .collect(),
            role_prefix: options.take_string("rolePrefix").unwrap_or_default(),
            username_case: options.take_parsed("usernameCase", Case::None, "none, lower or upper", problems),
            trim_username: options.take_bool("trimUsername", true, problems),
        }
    }

    /// The user name that is looked up for what was typed.
    pub fn user_name(&self, typed: &str) -> String {
        let name = if self.trim_username { typed.trim() } else { typed };
        match self.username_case {
            Case::None => name.to_owned(),
            Case::Lower => name.to_lowercase(),
            Case::Upper => name.to_uppercase(),
        }
    }

    /// The directory's roles with the prefix before each, and the default ones as they were written.
    pub fn roles<'a>(&self, of_directory: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
        let prefixed = of_directory.into_iter().map(|role| format!("{}{role}", self.role_prefix));
        prefixed.chain(self.default_roles.iter().cloned()).collect()
    }

    /// Whether the module explains itself in the log.
    pub fn debug(&self) -> bool {
        self.debug
    }

    /// Writes the outcome to the log where the module has `debug`.
    pub fn trace(&self, class: &str, user: &str, outcome: &Outcome) {
        if !self.debug {
            return;
        }
        match outcome {
            Outcome::Succeed(identity) => tracing::info!(class, user, roles = ?identity.roles, "login module: succeed"),
            Outcome::Ignore => tracing::info!(class, user, "login module: ignore"),
            Outcome::Fail(error) => tracing::info!(class, user, %error, "login module: fail"),
        }
    }
}

/// Gives up what is asked of a directory when it takes longer than this in all, so that the next module gets its turn.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, LoginError>>) -> Result<T, LoginError> {
    let late = || {
        let detail =
            format!("the directory took more than {limit:?}, its time-outs together, for all steps of the login");
        LoginError::new(ErrorKind::Unavailable, detail)
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// Of a search for groups: why there may be more than were found. `None` where there are not.
pub fn cut_off(found: &Found) -> Option<String> {
    let count = found.entries.len();
    found.incomplete.then(|| {
        if count < found.limit {
            format!("the directory gives out {count} groups and keeps the rest: raise its own limit for who searches")
        } else if count < MAX_ROLES {
            format!("there are more than {count} groups: raise option `sizeLimit`")
        } else {
            format!("there are more than {count} groups, and one login has {MAX_ROLES} roles at most: search for fewer")
        }
    })
}

/// A secret among the options: `file:PATH` (relative to the domain's folder), `env:NAME`, or the secret itself.
pub fn take_secret(options: &mut Options, name: &str, problems: &mut Problems) -> Option<Secret> {
    let (value, line) = options.take(name)?;
    let base = options.file().parent().unwrap_or(Path::new(""));
    let secret = files::resolve_secret(&SecretRef::parse(&value), base);
    secret.map_err(|why| problems.add(options.file(), line, format!("option `{name}`: {why}"))).ok()
}

/// Why a password was refused that was checked against this one, for administrators.
pub fn refusal(stored: &str, policy: Policy) -> String {
    match label(stored) {
        Label::ClearText if !policy.allow_cleartext => {
            "the stored password has no {LABEL}, and `allowCleartext` is false".to_owned()
        }
        kind if !kind.is_usable() => format!("no password matches what is stored: {kind}"),
        _ => "wrong password".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn common(text: &str) -> (Common, String) {
        let mut problems = Problems::default();
        let mut options = Options::from_properties(Path::new("t"), text, &mut problems);
        let common = Common::take(&mut options, &mut problems);
        options.finish(&mut problems);
        (common, problems.to_string())
    }

    #[test]
    fn names_and_roles_follow_the_options() {
        for (text, name, roles) in [
            ("", "Älice", "staff"),
            ("trimUsername=false", " Älice ", "staff"),
            ("usernameCase=lower", "älice", "staff"),
            ("usernameCase=upper\nrolePrefix=x-", "ÄLICE", "x-staff"),
            ("defaultRoles=user, ,guest\nrolePrefix=x-", "Älice", "guest,user,x-staff"),
        ] {
            let (common, problems) = common(text);
            let found: Vec<String> = common.roles(&["staff".to_owned()]).into_iter().collect();
            assert_eq!((common.user_name(" Älice ").as_str(), found.join(",").as_str()), (name, roles), "{text}");
            assert_eq!(problems, "");
        }
    }

    #[test]
    fn wrong_values_are_problems() {
        let (_, problems) = common("usernameCase=title\ndebug=1\ntrimUserName=true");
        assert_eq!(
            problems,
            "t:2: property `debug`: `1` is not true or false\n".to_owned()
                + "t:1: property `usernameCase`: `title` is not none, lower or upper\n"
                + "t:3: unknown property `trimUserName`, did you mean `trimUsername`?"
        );
    }
}
