//! The pipeline with modules that do as they are told.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use shared_proto::login::{FormField, InputMode};
use shared_proto::options::Options;

use super::*;
use crate::auth::modules::totp::Codes;
use crate::auth::modules::{Recheck, SecondFactor};
use crate::auth::subject::{Attributes, ModuleIdentity};

const CLASS: &str = "test.Module";

#[derive(Clone)]
enum Script {
    Say(Outcome),
    /// Vouches for a person called as the password it is shown, or as it is told that somebody was proved.
    ShowPassword,
    ShowProved,
    /// Panics, after having waited once or at once.
    Crash {
        waits: bool,
    },
    /// As a directory that accepts connections and says nothing.
    Hang,
}

struct Scripted {
    script: Script,
    /// What a recheck says; without one the module cannot be asked again. `None` inside: it panics.
    standing: Option<Option<Standing>>,
    /// How long it takes.
    takes: Duration,
    /// How often it was asked again.
    asked: Arc<AtomicUsize>,
    factor: Option<SecondFactor>,
}

#[async_trait]
impl LoginModule for Scripted {
    async fn login(&self, cx: &LoginContext<'_>) -> Outcome {
        assert!(!cx.callbacks.password().is_empty(), "an empty password reached a module");
        match &self.script {
            Script::ShowPassword => succeed_as(cx.callbacks.password().expose_str().unwrap()),
            Script::ShowProved => succeed_as(cx.proved.unwrap_or("nobody")),
            Script::Say(outcome) => outcome.clone(),
            Script::Crash { waits } => {
                if *waits {
                    tokio::task::yield_now().await;
                }
                panic!("as a broken module might")
            }
            Script::Hang => std::future::pending().await,
        }
    }

    fn second_factor(&self) -> Option<&SecondFactor> {
        self.factor.as_ref()
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        self.standing.is_some().then_some(self)
    }
}

#[async_trait]
impl Recheck for Scripted {
    async fn recheck(&self, user: &str, _: Timestamp) -> Standing {
        assert_eq!(user, "alice");
        self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.takes).await;
        self.standing.clone().flatten().unwrap()
    }
}

fn roles(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn succeed(role: &str) -> Script {
    let attributes = Attributes::new();
    Script::Say(Outcome::Succeed(ModuleIdentity {
        class: CLASS,
        user: "alice".to_owned(),
        source_id: None,
        credential: None,
        roles: roles(&[role]),
        attributes,
    }))
}

fn succeed_as(user: &str) -> Outcome {
    let (user, attributes) = (user.to_owned(), Attributes::new());
    Outcome::Succeed(ModuleIdentity {
        class: CLASS,
        user,
        source_id: None,
        credential: None,
        roles: roles(&[]),
        attributes,
    })
}

fn fail(kind: ErrorKind) -> Script {
    Script::Say(Outcome::Fail(LoginError::new(kind, "as told")))
}

fn gone() -> Standing {
    Standing::Gone(LoginError::new(ErrorKind::Account, "disabled"))
}

fn current(names: &[&str]) -> Standing {
    Standing::Current(ModuleIdentity {
        class: CLASS,
        user: "alice".to_owned(),
        source_id: None,
        credential: None,
        roles: roles(names),
        attributes: Attributes::new(),
    })
}

fn entry(modules: Vec<(Flag, Script, Option<Option<Standing>>)>) -> LoginEntry {
    entry_of(modules.into_iter().map(|(flag, script, standing)| module(flag, Scripted::new(script, standing))))
}

fn module(flag: Flag, module: Scripted) -> EntryModule {
    EntryModule::of(CLASS, flag, Box::new(module))
}

impl Scripted {
    fn new(script: Script, standing: Option<Option<Standing>>) -> Self {
        Self { script, standing, takes: Duration::ZERO, asked: Arc::default(), factor: None }
    }
}

fn entry_of(modules: impl Iterator<Item = EntryModule>) -> LoginEntry {
    LoginEntry {
        name: "http".to_owned(),
        modules: modules.collect(),
        handler: CallbackHandler::NAME_PASSWORD,
        login_url: "/cams/login".to_owned(),
        parameters: BTreeMap::new(),
        xml: String::new(),
    }
}

async fn login(entry: &LoginEntry, password: &str) -> LoginRun {
    let answers = [("username", "alice"), ("password", password)];
    let answers = answers.into_iter().map(|(name, value)| (name.to_owned(), Secret::from(value))).collect();
    entry.login(&answers, Timestamp::UNIX_EPOCH, None, Instant::now() + LOGIN_LIMIT).await
}

fn outcomes(run: &LoginRun) -> Vec<&str> {
    run.modules.iter().map(|report| report.outcome).collect()
}

#[tokio::test]
async fn every_module_is_reported() {
    let modules = vec![
        (Flag::Optional, Script::Say(Outcome::Ignore), None),
        (Flag::Optional, fail(ErrorKind::FailedLogin), None),
        (Flag::Sufficient, succeed("user"), None),
        (Flag::Required, succeed("admin"), None),
    ];
    let run = login(&entry(modules), "pw").await;
    assert_eq!(outcomes(&run), ["ignore", "fail", "succeed", "not-asked"]);
    assert_eq!(run.modules[1].detail, "FailedLoginException: as told");
    assert_eq!(run.modules[2].detail, "user `alice`, roles user");
    let subject = run.result.unwrap();
    assert_eq!((subject.roles, subject.proofs[0].module), (roles(&["user"]), 2));
    let report = serde_json::to_value(&run.modules[1]).unwrap();
    let detail = "FailedLoginException: as told";
    assert_eq!(report, serde_json::json!({"class": CLASS, "flag": "OPTIONAL", "outcome": "fail", "detail": detail}));
}

#[tokio::test]
async fn no_module_sees_a_login_that_cannot_be_one() {
    for flag in Flag::ALL {
        let run = login(&entry(vec![(flag, succeed("user"), None)]), "").await;
        assert_eq!(outcomes(&run), ["not-asked"]);
        assert_eq!(run.result.unwrap_err().kind, ErrorKind::FailedLogin);
    }
}

#[tokio::test]
async fn a_crash_is_a_failure_of_that_module_alone() {
    for waits in [false, true] {
        for flag in Flag::ALL {
            let crash = Script::Crash { waits };
            let alone = login(&entry(vec![(flag, crash.clone(), None)]), "pw").await;
            let error = alone.result.unwrap_err();
            assert_eq!(error.class(), "javax.security.auth.login.LoginException", "{flag}");

            let run = login(&entry(vec![(flag, crash, None), (Flag::Required, succeed("user"), None)]), "pw").await;
            let harmless = matches!(flag, Flag::Sufficient | Flag::Optional);
            assert_eq!(run.result.is_ok(), harmless, "{flag}");
            assert_eq!(run.modules[0].outcome, "fail");
            assert_eq!(run.modules[1].outcome, if flag == Flag::Requisite { "not-asked" } else { "succeed" });
        }
    }
}

/// Java reports the first error; that a later directory was down is known all the same.
#[tokio::test]
async fn a_directory_that_is_down_is_noticed_behind_other_errors() {
    const BAD: ErrorKind = ErrorKind::FailedLogin;
    const DOWN: ErrorKind = ErrorKind::Unavailable;
    const LOCKED: ErrorKind = ErrorKind::AccountLocked;
    // The last column: whether the same credentials are not worth another try.
    for (flags, kinds, unavailable, rejected) in [
        ([Flag::Sufficient, Flag::Sufficient], [BAD, DOWN], true, false),
        ([Flag::Sufficient, Flag::Sufficient], [DOWN, BAD], true, false),
        ([Flag::Sufficient, Flag::Sufficient], [BAD, BAD], false, true),
        ([Flag::Sufficient, Flag::Sufficient], [BAD, ErrorKind::Login], false, true),
        ([Flag::Optional, Flag::Required], [DOWN, BAD], false, true),
        ([Flag::Required, Flag::Required], [BAD, DOWN], false, true),
        ([Flag::Required, Flag::Required], [DOWN, BAD], true, true),
        ([Flag::Required, Flag::Requisite], [DOWN, DOWN], true, false),
        ([Flag::Required, Flag::Optional], [LOCKED, BAD], false, false),
        ([Flag::Required, Flag::Required], [LOCKED, ErrorKind::Login], false, false),
        ([Flag::Required, Flag::Required], [LOCKED, ErrorKind::Account], false, true),
        ([Flag::Required, Flag::Required], [ErrorKind::Login, DOWN], false, false),
        ([Flag::Required, Flag::Optional], [ErrorKind::CredentialExpired, DOWN], false, true),
    ] {
        let modules = flags.into_iter().zip(kinds.clone()).map(|(flag, kind)| (flag, fail(kind), None));
        let run = login(&entry(modules.collect()), "pw").await;
        assert_eq!((run.unavailable, run.rejected), (unavailable, rejected), "{flags:?} {kinds:?}");
    }
    let modules = vec![(Flag::Optional, fail(DOWN), None), (Flag::Required, succeed("user"), None)];
    assert!(!login(&entry(modules), "pw").await.unavailable, "it did not fail");
}

/// The stack of a login by two modules, asked again: what the first says, and what becomes of the session.
#[tokio::test]
async fn rechecks_end_or_refresh_a_session() {
    let down = || Standing::Unknown("directory down".to_owned());
    let (role_a, role_ab, role_b) = (roles(&["a"]), roles(&["a", "b"]), roles(&["b"]));
    for (flag, standing, expected) in [
        (Flag::Required, None, Some(&role_ab)),
        (Flag::Required, Some(Some(down())), Some(&role_ab)),
        (Flag::Required, Some(None), Some(&role_ab)),
        (Flag::Required, Some(Some(current(&[]))), Some(&role_b)),
        (Flag::Required, Some(Some(current(&["a", "b"]))), Some(&role_ab)),
        (Flag::Required, Some(Some(gone())), None),
        (Flag::Requisite, Some(Some(gone())), None),
        (Flag::Sufficient, Some(Some(gone())), None),
        (Flag::Optional, Some(Some(gone())), Some(&role_b)),
        (Flag::Optional, Some(Some(down())), Some(&role_ab)),
    ] {
        let case = format!("{flag} {standing:?}");
        // One that crashes says as little.
        let could_not_ask = matches!(standing, Some(None | Some(Standing::Unknown(_))));
        let entry = entry(vec![(flag, succeed("a"), standing), (Flag::Required, succeed("b"), None)]);
        let subject = login(&entry, "pw").await.result.unwrap();
        let run = entry.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await;
        assert_eq!(matches!(run, RecheckRun::Unsure(_)), could_not_ask, "{case}");
        match (run, expected) {
            (RecheckRun::Current(now) | RecheckRun::Unsure(now), Some(roles)) => {
                assert_eq!((&now.user, &now.roles), (&subject.user, roles), "{case}")
            }
            (RecheckRun::Ended(error), None) => assert_eq!(error.kind, ErrorKind::Account, "{case}"),
            (run, _) => panic!("{case}: {run:?}"),
        }
    }
    for flag in Flag::ALL {
        let entry = entry(vec![(flag, succeed("a"), Some(Some(gone())))]);
        let subject = login(&entry, "pw").await.result.unwrap();
        assert_eq!(subject.roles, role_a);
        let run = entry.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await;
        assert!(matches!(run, RecheckRun::Ended(_)), "{flag}: nobody else vouches");
    }
}

/// What a directory says at each full look, of requests in between nothing, and how many looks the session outlives.
#[tokio::test]
async fn an_account_is_gone_when_two_looks_do_not_find_it() {
    let absent = || Standing::Absent(LoginError::new(ErrorKind::FailedLogin, "not found"));
    let down = || Standing::Unknown("directory down".to_owned());
    let here = || current(&["a"]);
    for (flag, looks, expected) in [
        (Flag::Required, vec![absent(), absent()], 1),
        (Flag::Sufficient, vec![absent(), here(), absent(), here(), absent(), absent()], 5),
        (Flag::Required, vec![absent(), down(), down(), absent()], 3),
        (Flag::Required, vec![down(), absent(), down(), here(), absent(), absent()], 5),
        (Flag::Required, vec![absent(), gone()], 1),
        (Flag::Required, vec![gone()], 0),
        (Flag::Optional, vec![absent(), absent()], 1),
    ] {
        let says = |standing| entry(vec![(flag, succeed("a"), Some(Some(standing)))]);
        let mut subject = login(&says(here()), "pw").await.result.unwrap();
        let mut outlived = 0;
        for standing in &looks {
            let entry = says(standing.clone());
            match entry.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await {
                RecheckRun::Ended(_) => break,
                RecheckRun::Current(now) | RecheckRun::Unsure(now) => subject = now,
            }
            assert_eq!(subject.roles, roles(&["a"]), "{looks:?}");
            outlived += 1;
            let request = entry.recheck(&subject, Depth::AtHand, Timestamp::UNIX_EPOCH).await;
            assert_eq!(request, RecheckRun::Current(subject.clone()), "a request is no look: {looks:?}");
        }
        assert_eq!(outlived, expected, "{flag} {looks:?}");
    }
}

#[tokio::test]
async fn a_stack_that_changed_ends_the_session() {
    let before =
        entry(vec![(Flag::Optional, Script::Say(Outcome::Ignore), None), (Flag::Required, succeed("a"), None)]);
    let subject = login(&before, "pw").await.result.unwrap();
    let mut renamed = entry(vec![(Flag::Required, succeed("a"), None), (Flag::Required, succeed("a"), None)]);
    assert_eq!(
        renamed.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await,
        RecheckRun::Current(subject.clone())
    );
    renamed.modules[1].class = "test.Other";
    let mut elsewhere = entry(vec![(Flag::Optional, succeed("a"), None), (Flag::Required, succeed("a"), None)]);
    elsewhere.modules[1].settings = "another directory".to_owned();
    let shorter = entry(vec![(Flag::Required, succeed("a"), None)]);
    for changed in [renamed, elsewhere, shorter] {
        let run = changed.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await;
        assert!(matches!(run, RecheckRun::Ended(_)), "{run:?}");
    }
}

/// A module with `passwordCallback` sees that answer as the password, and is not asked where there is none.
#[tokio::test]
async fn a_module_may_check_another_callback() {
    let mut handler = CallbackHandler::CONFIGURABLE;
    let (name, label) = ("pin".to_owned(), "PIN".to_owned());
    let field = FormField { name, label, required: false, secret: true, max_length: 9, input_mode: InputMode::Text };
    handler.add(field).unwrap();
    for (password, pin, expected) in
        [(None, "1234", Ok("pw")), (Some("pin"), "1234", Ok("1234")), (Some("pin"), " ", Err(ErrorKind::FailedLogin))]
    {
        let mut entry = entry(vec![(Flag::Required, Script::ShowPassword, None)]);
        entry.handler = handler.clone();
        entry.modules[0].password = password.map(str::to_owned);
        let answers = [("username", "alice"), ("password", "pw"), ("pin", pin)];
        let answers = answers.map(|(name, value)| (name.to_owned(), Secret::from(value))).into();
        let run = entry.login(&answers, Timestamp::UNIX_EPOCH, None, Instant::now() + LOGIN_LIMIT).await;
        let said = run.result.as_ref().map(|subject| subject.user.as_str()).map_err(|error| error.kind.clone());
        assert_eq!(said, expected, "{password:?} {pin}");
    }
}

#[tokio::test]
async fn modules_are_told_whom_earlier_ones_proved() {
    for (first, expected) in [(succeed("a"), "alice"), (fail(ErrorKind::FailedLogin), "nobody")] {
        let run =
            login(&entry(vec![(Flag::Optional, first, None), (Flag::Required, Script::ShowProved, None)]), "pw").await;
        assert_eq!(run.result.unwrap().user, expected);
    }
}

/// Modules and flags, whether the login succeeds, and whether it counts as a guess: a module that hangs is like one that
/// is down.
#[tokio::test]
async fn a_login_that_takes_too_long_comes_to_an_end() {
    let bad = || fail(ErrorKind::FailedLogin);
    for (modules, expected, refused) in [
        (vec![(Flag::Required, Script::Hang, None)], Err(ErrorKind::Unavailable), false),
        (
            vec![(Flag::Sufficient, bad(), None), (Flag::Sufficient, Script::Hang, None)],
            Err(ErrorKind::FailedLogin),
            true,
        ),
        (
            vec![(Flag::Required, succeed("a"), None), (Flag::Required, Script::Hang, None)],
            Err(ErrorKind::Unavailable),
            false,
        ),
        (vec![(Flag::Optional, Script::Hang, None), (Flag::Required, succeed("a"), None)], Ok(()), false),
    ] {
        let answers = [("username", "alice"), ("password", "pw")].map(|(name, value)| (name.to_owned(), value.into()));
        let run = entry(modules).login(&answers.into(), Timestamp::UNIX_EPOCH, None, Instant::now()).await;
        assert_eq!(run.unavailable, expected.is_err());
        assert_eq!((run.result.map(|_| ()).map_err(|error| error.kind), run.refused), (expected, refused));
    }
}

/// A code proves nobody alone.
#[tokio::test]
async fn a_second_factor_keeps_no_session() {
    for (standing, stays) in [(gone(), false), (current(&["a"]), true), (Standing::Unknown("down".to_owned()), true)] {
        let codes = Codes::take(&mut Options::new(Path::new("t"), 1, "option"), &mut Problems::default());
        let factor = Some(SecondFactor { callback: "totp".to_owned(), codes, remembered_browser: false });
        let factor = Scripted { factor, ..Scripted::new(succeed("b"), Some(Some(current(&["b"])))) };
        let password = Scripted::new(succeed("a"), Some(Some(standing)));
        let entry = entry_of([module(Flag::Optional, password), module(Flag::Required, factor)].into_iter());
        let subject = login(&entry, "pw").await.result.unwrap();
        let run = entry.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await;
        assert_eq!(!matches!(run, RecheckRun::Ended(_)), stays, "{run:?}");
    }
}

/// How long the first answer takes, what it is, and how many of three in a row are asked for, and of one a while later.
#[tokio::test(start_paused = true)]
async fn a_directory_that_hangs_is_left_alone_for_a_while() {
    for (takes, standing, expected) in [
        (SLOW, Standing::Unknown("timed out".to_owned()), (1, 2)),
        (Duration::ZERO, Standing::Unknown("refused".to_owned()), (3, 4)),
        (SLOW, current(&["a"]), (3, 4)),
    ] {
        let says = if matches!(standing, Standing::Unknown(_)) { RecheckRun::Unsure } else { RecheckRun::Current };
        let slow = Scripted { takes, ..Scripted::new(succeed("a"), Some(Some(standing))) };
        let asked = Arc::clone(&slow.asked);
        let entry = entry_of(std::iter::once(module(Flag::Required, slow)));
        let subject = login(&entry, "pw").await.result.unwrap();
        let recheck = async || entry.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await;
        for _ in 0..3 {
            assert_eq!(recheck().await, says(subject.clone()));
        }
        let at_once = asked.load(Ordering::Relaxed);
        tokio::time::sleep(REST).await;
        recheck().await;
        assert_eq!((at_once, asked.load(Ordering::Relaxed)), expected);
    }
}

#[tokio::test]
async fn half_an_answer_is_none_on_who_has_a_name() {
    let unknown = Standing::Unknown("down".to_owned());
    for (standings, expected) in [
        (vec![current(&["a"])], Ok(true)),
        (vec![gone()], Ok(false)),
        (vec![current(&["a"]), unknown.clone()], Err("down".to_owned())),
        (vec![unknown, current(&["a"])], Err("down".to_owned())),
    ] {
        let modules = standings.into_iter().map(|standing| (Flag::Optional, succeed("a"), Some(Some(standing))));
        let found = entry(modules.collect()).look_up("alice", Timestamp::now()).await;
        assert_eq!(found.map(|subject| subject.is_some()), expected);
    }
}
