//! How the outcomes of several login modules become one: the stacking of `javax.security.auth.login.LoginContext`.
//!
//! Pure: it says whom to ask next and is told what came of it. The second phase of the original needs no calls here:
//! commit is the merge in [`Stack::finish`], which cannot fail; abort is dropping what was collected.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::error::{ErrorKind, LoginError};
use super::subject::{ModuleIdentity, Proof, Subject};

/// What a module's outcome means for the stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Flag {
    /// Must not fail; the rest is asked all the same, so that nothing tells which module refused.
    Required,
    /// Must not fail; the rest is not asked when it does.
    Requisite,
    /// Its success is enough unless a `Required` failed before; its failure does not matter.
    Sufficient,
    /// Neither matters, as long as some module succeeds.
    Optional,
}

impl Flag {
    pub const ALL: [Self; 4] = [Self::Required, Self::Requisite, Self::Sufficient, Self::Optional];

    /// Whether the failure of such a module is the failure of the login.
    pub fn decides(self) -> bool {
        matches!(self, Self::Required | Self::Requisite)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Required => "REQUIRED",
            Self::Requisite => "REQUISITE",
            Self::Sufficient => "SUFFICIENT",
            Self::Optional => "OPTIONAL",
        }
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is none of the four flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not REQUIRED, REQUISITE, SUFFICIENT or OPTIONAL")]
pub struct UnknownFlag;

impl FromStr for Flag {
    type Err = UnknownFlag;

    /// In any case, as Java reads them.
    fn from_str(text: &str) -> Result<Self, UnknownFlag> {
        Self::ALL.into_iter().find(|flag| flag.name().eq_ignore_ascii_case(text)).ok_or(UnknownFlag)
    }
}

/// What a module says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Succeed(ModuleIdentity),
    /// Not responsible. A stack of which every module says so fails.
    Ignore,
    Fail(LoginError),
}

/// One run through the modules of a login entry. Ask [`next`](Self::next), [`record`](Self::record) what the module
/// said, until nobody is left to ask; then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Stack {
    flags: Vec<Flag>,
    asked: usize,
    /// A `Requisite` failed or a `Sufficient` was enough: nobody else is asked.
    closed: bool,
    /// The first failure that decides, and the first of the others.
    fatal: Option<LoginError>,
    harmless: Option<LoginError>,
    proofs: Vec<Proof>,
}

impl Stack {
    pub fn new(flags: &[Flag]) -> Self {
        Self { flags: flags.to_vec(), asked: 0, closed: false, fatal: None, harmless: None, proofs: Vec::new() }
    }

    /// The place of the module to ask now.
    pub fn next(&self) -> Option<usize> {
        (!self.closed && self.asked < self.flags.len()).then_some(self.asked)
    }

    /// The person that the modules so far vouch for; `None` while nobody does, or once the login has failed.
    pub fn proved(&self) -> Option<&str> {
        self.proofs.first().filter(|_| self.fatal.is_none()).map(|proof| proof.user.as_str())
    }

    /// Takes the outcome of the module that [`next`](Self::next) named. Any other one makes the login fail.
    pub fn record(&mut self, module: usize, outcome: Outcome) {
        let Some(flag) = self.flags.get(module).copied().filter(|_| self.next() == Some(module)) else {
            self.closed = true;
            let detail = format!("module {module} answered out of turn");
            self.fatal.get_or_insert(LoginError::new(ErrorKind::Login, detail));
            return;
        };
        self.asked += 1;
        match self.same_person(outcome) {
            Outcome::Succeed(identity) => {
                self.proofs.push(Proof::new(module, identity));
                self.closed = flag == Flag::Sufficient && self.fatal.is_none();
            }
            Outcome::Ignore => {}
            Outcome::Fail(error) => {
                let slot = if flag.decides() { &mut self.fatal } else { &mut self.harmless };
                slot.get_or_insert(error);
                self.closed = flag == Flag::Requisite;
            }
        }
    }

    /// The first module that succeeds says who it is. One that then names somebody else has failed: its roles belong to
    /// another person. (Java would merge the two.)
    fn same_person(&self, outcome: Outcome) -> Outcome {
        match (&outcome, self.proofs.first()) {
            (Outcome::Succeed(identity), Some(first)) if identity.user != first.user => {
                let detail = format!("it vouched for `{}`, {} for `{}`", identity.user, first.class, first.user);
                Outcome::Fail(LoginError::new(ErrorKind::Login, detail))
            }
            _ => outcome,
        }
    }

    /// The person all successful modules vouched for.
    ///
    /// # Errors
    /// The first failure of a `Required` or `Requisite` module; when nobody succeeded, the first failure of another
    /// one; `LoginException` when all ignored the login, or when somebody was still to be asked.
    pub fn finish(self) -> Result<Subject, LoginError> {
        if let Some(module) = self.next() {
            return Err(LoginError::new(ErrorKind::Login, format!("module {module} was not asked")));
        }
        match (self.fatal, Subject::from_proofs(self.proofs), self.harmless) {
            (Some(error), _, _) => Err(error),
            (None, Some(subject), _) => Ok(subject),
            (None, None, Some(error)) => Err(error),
            (None, None, None) => Err(LoginError::new(ErrorKind::Login, "Login Failure: all modules ignored")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Deserialize;

    use super::super::subject::Attributes;
    use super::*;

    /// Stacks as a real `LoginContext` ran them.
    #[derive(Deserialize)]
    struct Vectors {
        count: usize,
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        modules: Vec<Module>,
        overall: String,
        exception: Option<String>,
        exception_from_module: Option<usize>,
        exception_message: Option<String>,
        called: Vec<Called>,
        order: Vec<String>,
        principals: BTreeSet<String>,
    }

    #[derive(Debug, Deserialize)]
    struct Module {
        flag: JsonFlag,
        outcome: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct JsonFlag(Flag);

    impl TryFrom<String> for JsonFlag {
        type Error = UnknownFlag;

        fn try_from(text: String) -> Result<Self, UnknownFlag> {
            text.parse().map(Self)
        }
    }

    #[derive(Deserialize)]
    struct Called {
        login: bool,
        commit: bool,
        abort: bool,
    }

    fn identity(user: &str, roles: &[&str]) -> ModuleIdentity {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let attributes = Attributes::new();
        ModuleIdentity { class: "test", user: user.to_owned(), source_id: None, credential: None, roles, attributes }
    }

    /// A module of the vectors: on failure its message is `m` and its place.
    fn outcome(module: usize, name: &str) -> Outcome {
        let kind = match name {
            "succeed" => return Outcome::Succeed(identity("u", &[&format!("role-m{module}"), "role-shared"])),
            "ignore" => return Outcome::Ignore,
            "failed-login" => ErrorKind::FailedLogin,
            "account-expired" => ErrorKind::AccountExpired,
            "account-locked" => ErrorKind::AccountLocked,
            "credential-expired" => ErrorKind::CredentialExpired,
            _ => ErrorKind::Login,
        };
        Outcome::Fail(LoginError::new(kind, format!("m{module}")))
    }

    fn run(outcomes: &[(Flag, Outcome)]) -> (Vec<usize>, Result<Subject, LoginError>) {
        let flags: Vec<Flag> = outcomes.iter().map(|(flag, _)| *flag).collect();
        let mut stack = Stack::new(&flags);
        let mut asked = Vec::new();
        while let Some(module) = stack.next() {
            asked.push(module);
            stack.record(module, outcomes[module].1.clone());
        }
        (asked, stack.finish())
    }

    fn check(case: &Case) {
        let outcomes: Vec<_> =
            case.modules.iter().enumerate().map(|(n, m)| (m.flag.0, outcome(n, &m.outcome))).collect();
        let (asked, result) = run(&outcomes);

        let logins: Vec<usize> =
            case.order.iter().filter_map(|step| step.strip_suffix(":login")?.parse().ok()).collect();
        assert_eq!(asked, logins, "order, {:?}", case.modules);
        for (module, called) in case.called.iter().enumerate() {
            assert_eq!(asked.contains(&module), called.login, "module {module}, {:?}", case.modules);
        }
        match result {
            Ok(subject) => {
                assert_eq!(case.overall, "ok", "{:?}", case.modules);
                assert_eq!(subject.roles, case.principals, "{:?}", case.modules);
                let proved: Vec<usize> = subject.proofs.iter().map(|proof| proof.module).collect();
                let committed: Vec<usize> = (0..case.modules.len())
                    .filter(|n| case.called[*n].commit && case.modules[*n].outcome == "succeed")
                    .collect();
                assert_eq!(proved, committed, "{:?}", case.modules);
            }
            Err(error) => {
                assert_eq!(case.overall, "err", "{:?}", case.modules);
                assert_eq!(Some(error.class()), case.exception.as_deref(), "{:?}", case.modules);
                let from = case.exception_from_module.map(|module| format!("m{module}"));
                assert_eq!(Some(error.detail), from.or(case.exception_message.clone()), "{:?}", case.modules);
                assert!(case.called.iter().all(|called| called.abort), "{:?}", case.modules);
            }
        }
    }

    #[test]
    fn stacks_end_as_java_ends_them() {
        let text = include_str!("../../../tests/data/jaas_stack.json");
        let vectors: Vectors = serde_json::from_str(text).unwrap();
        assert_eq!((vectors.cases.len(), vectors.count), (1637, 1637));
        vectors.cases.iter().for_each(check);
    }

    #[test]
    fn two_people_are_never_mixed() {
        for flag in Flag::ALL {
            let alice = Outcome::Succeed(identity("alice", &["user"]));
            let bob = Outcome::Succeed(identity("bob", &["admin"]));
            let (_, result) = run(&[(Flag::Required, alice), (flag, bob)]);
            match flag {
                Flag::Required | Flag::Requisite => assert_eq!(result.unwrap_err().kind, ErrorKind::Login),
                Flag::Sufficient | Flag::Optional => {
                    let subject = result.unwrap();
                    assert_eq!((subject.user.as_str(), subject.roles.len(), subject.proofs.len()), ("alice", 1, 1));
                }
            }
        }
    }

    /// The outcomes before, and whom a module that is asked then may take as proved.
    #[test]
    fn a_later_module_knows_whom_the_earlier_ones_proved() {
        let alice = || Outcome::Succeed(identity("alice", &[]));
        let failed = || Outcome::Fail(LoginError::new(ErrorKind::FailedLogin, ""));
        for (before, expected) in [
            (vec![], None),
            (vec![(Flag::Required, alice())], Some("alice")),
            (vec![(Flag::Required, failed())], None),
            (vec![(Flag::Required, failed()), (Flag::Required, alice())], None),
            (vec![(Flag::Required, alice()), (Flag::Required, failed())], None),
            (vec![(Flag::Optional, failed())], None),
            (vec![(Flag::Sufficient, failed()), (Flag::Optional, alice())], Some("alice")),
            (vec![(Flag::Required, Outcome::Ignore)], None),
        ] {
            let flags: Vec<Flag> = before.iter().map(|(flag, _)| *flag).chain([Flag::Required]).collect();
            let mut stack = Stack::new(&flags);
            for (module, (_, outcome)) in before.iter().enumerate() {
                stack.record(module, outcome.clone());
            }
            assert_eq!((stack.proved(), stack.next()), (expected, Some(before.len())), "{before:?}");
        }
    }

    #[test]
    fn misuse_is_never_a_login() {
        let alice = || Outcome::Succeed(identity("alice", &[]));
        assert!(Stack::new(&[]).finish().is_err(), "an empty stack");
        assert!(Stack::new(&[Flag::Optional]).finish().is_err(), "nobody was asked");

        let mut unfinished = Stack::new(&[Flag::Required, Flag::Required]);
        unfinished.record(0, alice());
        assert!(unfinished.finish().is_err(), "the second was not asked");

        for wrong in [1, 7] {
            let mut stack = Stack::new(&[Flag::Optional, Flag::Sufficient]);
            stack.record(wrong, alice());
            assert!(stack.finish().is_err(), "{wrong} answered first");
        }
        let mut twice = Stack::new(&[Flag::Sufficient, Flag::Required]);
        twice.record(0, alice());
        twice.record(0, alice());
        assert!(twice.finish().is_err(), "it answered twice");
    }

    #[test]
    fn flags_are_read_in_any_case() {
        for flag in Flag::ALL {
            assert_eq!(flag.to_string().to_lowercase().parse(), Ok(flag));
        }
        for wrong in ["", "REQUIRE", "REQUIRED "] {
            assert_eq!(wrong.parse::<Flag>(), Err(UnknownFlag));
        }
    }
}
