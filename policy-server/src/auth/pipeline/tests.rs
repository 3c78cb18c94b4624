//! The pipeline with modules that do as they are told.

use std::collections::BTreeSet;
use std::path::Path;

use async_trait::async_trait;
use shared_proto::login::{FormField, InputMode};

use super::*;
use crate::auth::modules::{Recheck, Shared};
use crate::auth::subject::{Attributes, ModuleIdentity};
use crate::config::domain::UsersFile;
use crate::config::{cams_users, login_config};

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
}

struct Scripted {
    script: Script,
    /// What a recheck says; without one the module cannot be asked again. `None` inside: it panics.
    standing: Option<Option<Standing>>,
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
        }
    }

    fn recheck(&self) -> Option<&dyn Recheck> {
        self.standing.is_some().then_some(self)
    }
}

#[async_trait]
impl Recheck for Scripted {
    async fn recheck(&self, user: &str, _: Timestamp) -> Standing {
        assert_eq!(user, "alice");
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
    let modules = modules.into_iter().map(|(flag, script, standing)| {
        let module = Box::new(Scripted { script, standing });
        EntryModule { class: CLASS, flag, module, password: None }
    });
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
    entry.login(&answers, Timestamp::UNIX_EPOCH).await
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
    for (flags, kinds, unavailable) in [
        ([Flag::Sufficient, Flag::Sufficient], [BAD, DOWN], true),
        ([Flag::Sufficient, Flag::Sufficient], [DOWN, BAD], true),
        ([Flag::Sufficient, Flag::Sufficient], [BAD, BAD], false),
        ([Flag::Sufficient, Flag::Sufficient], [BAD, ErrorKind::Login], false),
        ([Flag::Optional, Flag::Required], [DOWN, BAD], false),
        ([Flag::Required, Flag::Required], [BAD, DOWN], false),
        ([Flag::Required, Flag::Required], [DOWN, BAD], true),
        ([Flag::Required, Flag::Requisite], [DOWN, DOWN], true),
    ] {
        let modules = flags.into_iter().zip(kinds.clone()).map(|(flag, kind)| (flag, fail(kind), None));
        let run = login(&entry(modules.collect()), "pw").await;
        assert_eq!(run.unavailable, unavailable, "{flags:?} {kinds:?}");
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
        let entry = entry(vec![(flag, succeed("a"), standing), (Flag::Required, succeed("b"), None)]);
        let subject = login(&entry, "pw").await.result.unwrap();
        match (entry.recheck(&subject, Depth::Full, Timestamp::UNIX_EPOCH).await, expected) {
            (RecheckRun::Current(now), Some(roles)) => {
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
    let shorter = entry(vec![(Flag::Required, succeed("a"), None)]);
    for changed in [renamed, shorter] {
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
        let run = entry.login(&answers, Timestamp::UNIX_EPOCH).await;
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

/// What the modules of an entry demand of its form and of their place.
#[test]
fn a_stack_that_cannot_work_is_a_problem() {
    const SQL: &str = "com.cafesoft.cams.auth.login.module.JdbcLoginModule";
    const XML: &str = "com.cafesoft.cams.auth.login.module.XmlLoginModule";
    const TOTP: &str = "com.cafesoft.cams.auth.login.module.TotpLoginModule";
    let check = |handler: &str, modules: &[(&str, &str)]| {
        let module = |(class, options): &(&str, &str)| {
            format!(
                "<login-module-entry className='{class}' flag='REQUIRED'>\n<options>{options}</options></login-module-entry>\n"
            )
        };
        let text = format!(
            "<login-config><login-config-entry name='http'>\n{}<callback-handler className='\
             com.cafesoft.cams.auth.callback.{handler}</callback-handler></login-config-entry></login-config>",
            modules.iter().map(module).collect::<String>()
        );
        let mut problems = Problems::default();
        let config = login_config::read(Path::new("l.xml"), &text, &mut problems).unwrap();
        let users = cams_users::read(Path::new("u.xml"), "<cams-users/>", &mut problems).unwrap();
        let users = [("users".to_owned(), UsersFile { path: "u.xml".into(), users })].into();
        let services = Services::new(Shared::offline(), "system", users);
        LoginEntry::build_all(config, &services, &mut problems, &mut Problems::default());
        problems.to_string()
    };
    let users = "<option name='serviceId' value='users'/>";
    let pin = format!("{users}\n<option name='passwordCallback' value='pin'/>");
    let option = |name: &str, value: &str| format!("<option name='{name}' value='{value}'/>");
    let sql = option("jdbcUrl", "jdbc:sqlite:u.db")
        + &option("userPreparedStatement", "SELECT * FROM U WHERE N = ?")
        + &option("passwordColumn", "P");
    let named = format!("{sql}{}", option("userNameColumn", "N"));
    let asks = |name: &str| format!("ConfigurableCallbackHandler'><callback name='{name}' label='x'/>");
    let plain = "NamePasswordCallbackHandler'>";
    for (handler, modules, expected) in [
        (asks("totp").as_str(), &[(XML, users), (TOTP, "")][..], ""),
        (&asks("code"), &[(XML, users), (TOTP, "<option name='callback' value='code'/>")], ""),
        (&asks("pin"), &[(XML, users), (XML, &pin)], ""),
        (
            plain,
            &[(XML, users), (TOTP, "")],
            "l.xml:5: the callback handler of this entry has no <callback name=\"totp\">",
        ),
        (plain, &[(XML, &pin)], "l.xml:4: the callback handler of this entry has no <callback name=\"pin\">"),
        (&asks("totp"), &[(TOTP, ""), (XML, users)], "l.xml:3: this module only adds to what another one proved: put"),
        (
            &asks("totp"),
            &[(XML, users), (TOTP, "<option name='passwordCallback' value='totp'/>")],
            "l.xml:5: option `passwordCallback`: this module asks for no password",
        ),
        (&asks("totp"), &[(SQL, &named), (TOTP, "")], ""),
        (plain, &[(SQL, &sql)], ""),
        (&asks("totp"), &[(SQL, &sql), (XML, users), (TOTP, "")], "l.xml:3: option `userNameColumn` is missing"),
        (
            &asks("totp"),
            &[(XML, users), (TOTP, "<option name='digits' value='4'/>")],
            "l.xml:5: option `digits`: write 6",
        ),
    ] {
        let problems = check(handler, modules);
        assert!(problems.starts_with(expected) && problems.lines().count() <= 1, "{handler} {modules:?}: {problems}");
        assert_eq!(problems.is_empty(), expected.is_empty(), "{handler} {modules:?}: {problems}");
    }
}
