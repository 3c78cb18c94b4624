//! `ActiveDirectoryLoginModule` against a real domain controller: Samba, with the people of `data/samba/accounts.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use policy_server::auth::error::ErrorKind;
use policy_server::auth::pipeline::{Depth, LOGIN_LIMIT, RecheckRun};
use policy_server::auth::subject::Subject;
use policy_server::wire::Loaded;
use serde_json::Value;
use shared_proto::secret::Secret;
use tests::command::{Output, cams_with_input};
use tests::policy_server::Files;
use tests::quickstart::replace;
use tests::samba::{BASE, DOMAIN, NETBIOS, PASSWORD, Samba, person};
use tests::{Quickstart, within_async};
use tokio::time::Instant;

const CLASS: &str = "com.cafesoft.cams.auth.login.module.ActiveDirectoryLoginModule";
const WRONG: &str = "not-this-1";
const MALLORYS: &str = "Mallory1!";

/// What every entry has unless a test says otherwise: a busy machine is no directory that does not answer.
const COMMON: [(&str, &str); 5] = [
    ("domain", DOMAIN),
    ("netbiosDomain", NETBIOS),
    ("userBaseDn", "OU=people,DC=ad,DC=example,DC=test"),
    ("connectTimeout", "60s"),
    ("readTimeout", "60s"),
];
const SEARCH_ACCOUNT: [(&str, &str); 2] = [("bindDn", "search@ad.example.test"), ("bindPassword", PASSWORD)];

type Options<'a> = &'a [(&'a str, &'a str)];

/// A login entry of one module. An empty value takes an option away.
fn entry(samba: &Samba, name: &str, own: Options) -> String {
    let (host, ca) = (samba.address.to_string(), samba.ca.display().to_string());
    let mut options = BTreeMap::from([("host", host.as_str()), ("caFile", ca.as_str())]);
    options.extend(COMMON);
    options.extend(own.iter().copied());
    let options = options.iter().filter(|(_, value)| !value.is_empty());
    let escape = |value: &str| value.replace('&', "&amp;");
    let options: String =
        options.map(|(name, value)| format!("<option name='{name}' value='{}'/>\n", escape(value))).collect();
    format!(
        "<login-config-entry name='{name}'>\n<login-module-entry className='{CLASS}' flag='REQUIRED'>\n\
         <options>\n{options}</options>\n</login-module-entry>\n\
         <callback-handler className='com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler'/>\n\
         <login-parameters><login-parameter name='camsLoginUrl' value='/cams/login'/></login-parameters>\n\
         </login-config-entry>\n"
    )
}

/// A configuration whose entries ask the domain controller.
struct Setup {
    samba: Arc<Samba>,
    files: Files,
}

impl Setup {
    /// `None` where there is no Samba.
    async fn new(entries: &[(&str, Options<'_>)]) -> Option<Self> {
        Some(Self::of(Samba::shared().await?, entries))
    }

    fn of(samba: Arc<Samba>, entries: &[(&str, Options<'_>)]) -> Self {
        let setup = Self { samba, files: Files::new("ad", None) };
        setup.set(entries);
        setup
    }

    fn set(&self, entries: &[(&str, Options<'_>)]) {
        let entries: String = entries.iter().map(|(name, options)| entry(&self.samba, name, options)).collect();
        let file = self.files.path("conf/domains/system/login-config.xml");
        fs::write(file, format!("<login-config>\n{entries}</login-config>\n")).unwrap();
    }

    /// What `cams test-login` says. On a busy machine Samba may need longer than a login may take: then once more.
    fn login(&self, entry: &str, user: &str, password: &str) -> Value {
        let conf = self.files.conf();
        let arguments = ["test-login", "--json", "--domain", "system", "--entry", entry, "--user", user, "--conf"];
        let ask = || cams_with_input(arguments.iter().map(Path::new).chain([conf.as_path()]), password.as_bytes());
        let is_late = |output: &Output| format!("{output:?}").contains("took too long");
        let output = (0..3).map(|_| ask()).find(|output| !is_late(output)).unwrap_or_else(ask);
        assert!(password == " " || !format!("{output:?}").contains(password), "{output:?}");
        output.json()
    }

    #[track_caller]
    fn accepts(&self, entry: &str, user: &str, password: &str) -> Value {
        let report = self.login(entry, user, password);
        assert_eq!(report["ok"], true, "{entry} {user}: {report}");
        report
    }

    /// The exception is this one, and the detail for administrators holds these words.
    #[track_caller]
    fn refuses(&self, entry: &str, user: &str, password: &str, exception: &str, detail: &str) {
        let report = self.login(entry, user, password);
        let class = format!("javax.security.auth.login.{exception}");
        assert_eq!((&report["ok"], &report["exception"]), (&false.into(), &class.into()), "{entry} {user}: {report}");
        assert!(report["detail"].as_str().unwrap().contains(detail), "{entry} {user}: {report}");
    }
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

const UPN: (&str, Options) = ("upn", &[]);
const SEARCH: (&str, Options) =
    ("search", &[("bindMode", "search"), SEARCH_ACCOUNT[0], SEARCH_ACCOUNT[1], ("roleSearchAs", "service")]);

#[tokio::test]
async fn three_forms_of_a_name_are_one_user() {
    let unnamed: Options = &[("netbiosDomain", "")];
    let Some(setup) = Setup::new(&[UPN, SEARCH, ("unnamed", unnamed)]).await else { return };
    let own = ["alice", " Alice ", "alice@ad.example.test", "ALICE@AD.EXAMPLE.TEST", "ad.example.test\\alice"];
    for typed in own {
        for entry in ["upn", "search", "unnamed"] {
            let report = setup.accepts(entry, typed, PASSWORD);
            assert_eq!(report["user"], "alice", "{report}");
            assert_eq!(names(&report["roles"]), ["Domain Users", "Sales, EMEA (#1)", "inner"], "{report}");
        }
    }
    for entry in ["upn", "search"] {
        for typed in ["EXAMPLEAD\\alice", "exampleAD\\ALICE"] {
            assert_eq!(setup.accepts(entry, typed, PASSWORD)["user"], "alice");
        }
        // The two names of this account have nothing in common, and its entry is named by neither.
        for typed in ["renamed", "new.name@example.test", "EXAMPLEAD\\Renamed"] {
            assert_eq!(setup.accepts(entry, typed, PASSWORD)["user"], "renamed");
        }
    }
    setup.refuses("unnamed", "EXAMPLEAD\\alice", PASSWORD, "FailedLoginException", "`netbiosDomain` is not set");
}

#[tokio::test]
async fn nobody_else_gets_in() {
    let nowhere: Options = &[("userBaseDn", "OU=nowhere,DC=ad,DC=example,DC=test")];
    let Some(setup) = Setup::new(&[UPN, SEARCH, ("nowhere", nowhere)]).await else { return };
    let names = [
        ("OTHER\\alice", "domain `OTHER`"),
        ("other.test\\alice", "domain `other.test`"),
        ("CN=alice,OU=people,DC=ad,DC=example,DC=test", "no account"),
        ("alice@evil@ad.example.test", "no userPrincipalName"),
        ("*", "no account"),
        ("al*", "no account"),
        ("alice)(|(cn=*", "no account"),
        ("alice\\2a", "domain `alice`"),
        ("a*@ad.example.test", "no userPrincipalName"),
        ("*)(objectClass=*@ad.example.test", "no userPrincipalName"),
    ];
    for (typed, detail) in names {
        for entry in ["upn", "search"] {
            setup.refuses(entry, typed, PASSWORD, "FailedLoginException", detail);
        }
    }
    // These are asked for, and there is nobody.
    for typed in
        ["nobody", "alice)", "(alice", "alice@other.test", "nobody@ad.example.test", "EXAMPLEAD\\ali\u{2a69}ce"]
    {
        setup.refuses("upn", typed, PASSWORD, "FailedLoginException", "(52e)");
        setup.refuses("search", typed, PASSWORD, "FailedLoginException", "");
    }
    for entry in ["upn", "search"] {
        for wrong in [WRONG, "passw0rd!", "Passw0rd! "] {
            setup.refuses(entry, "alice", wrong, "FailedLoginException", "(52e)");
        }
        setup.refuses(entry, "alice", " ", "FailedLoginException", "no module was asked");
    }
    // Nobody may be sure that the place is there: that is no word about a person.
    setup.refuses("nowhere", "alice", PASSWORD, "LoginException", "OU=nowhere");
    // Outside the place where people are.
    setup.refuses("upn", "Administrator", "Adm1n-Passw0rd!", "FailedLoginException", "found nothing");
}

#[tokio::test]
async fn a_name_of_two_people_is_nobodys() {
    let ambiguous: Options = &[("userFilter", "(|(sAMAccountName={0})(sAMAccountName=bob))")];
    let bobs: Options =
        &[("userFilter", "(&(sAMAccountName={0})(memberOf=CN=other,OU=groups,DC=ad,DC=example,DC=test))")];
    let unnamed: Options = &[("netbiosDomain", "")];
    let Some(setup) = Setup::new(&[UPN, SEARCH, ("unnamed", unnamed), ("ambiguous", ambiguous), ("bobs", bobs)]).await
    else {
        return;
    };
    // victim@ad.example.test is what mallory logs in with: the directory has it so.
    for entry in ["upn", "search"] {
        assert_eq!(setup.accepts(entry, "victim@ad.example.test", MALLORYS)["user"], "mallory");
        assert_eq!(setup.accepts(entry, "victim", PASSWORD)["user"], "victim");
        for typed in ["victim", "EXAMPLEAD\\victim"] {
            setup.refuses(entry, typed, MALLORYS, "FailedLoginException", "(52e)");
        }
    }
    // Without the short name victim is asked for as victim@ad.example.test.
    setup.refuses("unnamed", "victim", MALLORYS, "FailedLoginException", "bind as CN=victim");
    setup.refuses("ambiguous", "alice", PASSWORD, "FailedLoginException", "more than one entry");
    // What an admin demands holds for every form of a name.
    for typed in ["bob", "bob@ad.example.test", "EXAMPLEAD\\bob"] {
        assert_eq!(setup.accepts("bobs", typed, PASSWORD)["user"], "bob");
    }
    for typed in ["alice", "alice@ad.example.test", "EXAMPLEAD\\alice"] {
        setup.refuses("bobs", typed, PASSWORD, "FailedLoginException", "found nothing");
    }
}

#[tokio::test]
async fn the_state_of_an_account_is_told_to_its_owner() {
    let Some(setup) = Setup::new(&[UPN, SEARCH]).await else { return };
    for entry in ["upn", "search"] {
        for (user, exception, detail) in [
            ("hours", "FailedLoginException", "at this time (530)"),
            ("elsewhere", "FailedLoginException", "from this computer (531)"),
            ("stale", "CredentialExpiredException", "(532)"),
            ("disabled", "AccountException", "(533)"),
            ("expired", "AccountExpiredException", "(701)"),
            ("mustchange", "CredentialExpiredException", "(773)"),
        ] {
            setup.refuses(entry, user, PASSWORD, exception, detail);
            setup.refuses(entry, user, WRONG, "FailedLoginException", "(52e)");
        }
    }
    for _ in 0..2 {
        setup.refuses("upn", "locked", WRONG, "FailedLoginException", "(52e)");
    }
    // This one the directory tells everybody.
    for password in [PASSWORD, WRONG] {
        for entry in ["upn", "search"] {
            setup.refuses(entry, "locked", password, "AccountLockedException", "(775)");
        }
    }
}

#[tokio::test]
async fn groups_become_roles() {
    const NESTED: [&str; 6] = ["Domain Users", "Sales, EMEA (#1)", "Users", "above-everybody", "inner", "outer"];
    let alone = |list: &'static [&str]| list.to_vec();
    let cases: [(&str, Options, Vec<&str>); 17] = [
        ("member_of", &[], alone(&["Domain Users", "Sales, EMEA (#1)", "inner"])),
        ("no_primary", &[("includePrimaryGroup", "false")], alone(&["Sales, EMEA (#1)", "inner"])),
        ("accounts", &[("roleAttribute", "sAMAccountName")], alone(&["Domain Users", "inner", "sales-emea"])),
        ("nested", &[("nestedGroups", "true")], NESTED.to_vec()),
        (
            "nested_own",
            &[("nestedGroups", "true"), ("includePrimaryGroup", "false")],
            alone(&["Sales, EMEA (#1)", "inner", "outer"]),
        ),
        ("found", &[("roleSource", "search")], alone(&["Domain Users", "Sales, EMEA (#1)", "inner"])),
        (
            "filtered",
            &[("roleSource", "search"), ("roleFilter", "(&(member={0})(cn=inner))")],
            alone(&["Domain Users", "inner"]),
        ),
        ("found_nested", &[("roleSource", "search"), ("nestedGroups", "true")], NESTED.to_vec()),
        ("token", &[("roleSource", "tokenGroups")], NESTED.to_vec()),
        (
            "token_own",
            &[("roleSource", "tokenGroups"), ("includePrimaryGroup", "false"), ("roleAttribute", "sAMAccountName")],
            alone(&["Users", "above-everybody", "inner", "outer", "sales-emea"]),
        ),
        ("below", &[("roleBaseDn", "OU=groups,DC=ad,DC=example,DC=test")], alone(&["Sales, EMEA (#1)", "inner"])),
        (
            "below_nested",
            &[("roleBaseDn", "OU=groups,DC=ad,DC=example,DC=test"), ("nestedGroups", "true"), ("groupScope", "one")],
            alone(&["Sales, EMEA (#1)", "above-everybody", "inner", "outer"]),
        ),
        ("not_so_deep", &[("groupScope", "one"), ("defaultRoles", "staff")], alone(&["staff"])),
        ("prefixed", &[("rolePrefix", "ad-"), ("groupScope", "base")], alone(&[])),
        ("start_tls", &[("startTls", "true")], alone(&["Domain Users", "Sales, EMEA (#1)", "inner"])),
        ("whole_domain", &[("userBaseDn", BASE)], alone(&["Domain Users", "Sales, EMEA (#1)", "inner"])),
        ("catalogue", &[("port", "3269")], alone(&["Domain Users", "Sales, EMEA (#1)", "inner"])),
    ];
    let entries: Vec<(&str, Options)> = cases.iter().map(|(name, options, _)| (*name, *options)).collect();
    let Some(setup) = Setup::new(&entries).await else { return };
    for (name, _, roles) in &cases {
        assert_eq!(names(&setup.accepts(name, "alice", PASSWORD)["roles"]), *roles, "{name}");
    }
}

#[tokio::test]
async fn very_many_groups_are_as_many_roles_or_none() {
    // Which keeps a server busy: one of its own.
    let Some(samba) = Samba::start().await else { return };
    let whole: Options = &[("roleSource", "search"), ("includePrimaryGroup", "false")];
    let account: Options = &[("roleAttribute", "sAMAccountName"), ("includePrimaryGroup", "false")];
    let token: Options = &[("roleSource", "tokenGroups"), ("roleBaseDn", "OU=groups,DC=ad,DC=example,DC=test")];
    let own: Options = &[("includePrimaryGroup", "false")];
    let few: Options = &[("roleSource", "search"), ("sizeLimit", "1000")];
    let entries = [("member_of", own), ("accounts", account), ("found", whole), ("token", token), ("too_few", few)];
    let setup = Setup::of(Arc::new(samba), &entries);
    let expected: Vec<String> = (0..1600).map(|number| format!("many-{number:04}")).collect();
    for entry in ["member_of", "accounts", "found", "token"] {
        let report = setup.accepts(entry, "many", PASSWORD);
        let mut roles = names(&report["roles"]);
        roles.retain(|role| *role != "above-everybody");
        assert_eq!(roles, expected, "{entry}");
    }
    setup.refuses("too_few", "many", PASSWORD, "LoginException", "`sizeLimit`");
}

#[tokio::test]
async fn a_directory_that_cannot_be_trusted_or_reached_is_no_verdict() {
    let Some(samba) = Samba::shared().await else { return };
    let other = tempfile::NamedTempFile::new().unwrap();
    let made = rcgen::generate_simple_self_signed([samba.address.to_string()]).unwrap();
    fs::write(other.path(), made.cert.pem()).unwrap();
    let other = other.path().to_str().unwrap();
    let wrong: Options = &[("bindMode", "search"), SEARCH_ACCOUNT[0], ("bindPassword", WRONG)];
    let entries: [(&str, Options); 7] = [
        ("another_ca", &[("caFile", other)]),
        ("another_ca_later", &[("caFile", other), ("startTls", "true")]),
        ("system_cas", &[("caFile", "")]),
        ("clear", &[("ssl", "false")]),
        ("closed", &[("port", "1")]),
        ("no_dns", &[("host", ""), ("domain", "ad.invalid")]),
        ("search_account", wrong),
    ];
    let setup = Setup::new(&entries).await.expect("it runs");
    for (entry, detail) in [
        ("another_ca", "certificate"),
        ("another_ca_later", "certificate"),
        ("system_cas", "certificate"),
        ("clear", "(8)"),
        ("closed", "reached"),
        ("no_dns", "_ldap._tcp.dc._msdcs.ad.invalid."),
        ("search_account", "search"),
    ] {
        setup.refuses(entry, "alice", PASSWORD, "LoginException", detail);
    }
}

/// The entries as the policy server has them.
fn load(setup: &Setup) -> Loaded {
    policy_server::wire::check(&setup.files.conf()).unwrap_or_else(|problems| panic!("{problems}")).1
}

async fn log_in(loaded: &Loaded, entry: &str, user: &str) -> Subject {
    let answers = [("username", user), ("password", PASSWORD)].map(|(name, value)| (name.to_owned(), value.into()));
    let answers: BTreeMap<String, Secret> = answers.into();
    let end = Instant::now() + LOGIN_LIMIT;
    let run = loaded.domains["system"].entry(entry).unwrap().login(&answers, Timestamp::now(), None, end).await;
    run.result.unwrap_or_else(|error| panic!("{user}: {error}"))
}

async fn recheck(loaded: &Loaded, entry: &str, subject: &Subject) -> RecheckRun {
    loaded.domains["system"].entry(entry).unwrap().recheck(subject, Depth::Full, Timestamp::now()).await
}

#[tokio::test]
async fn what_becomes_of_an_account_counts_while_somebody_is_logged_in() {
    let entries: [(&str, Options); 3] =
        [("search", &SEARCH_ACCOUNT), UPN, ("wrong", &[SEARCH_ACCOUNT[0], ("bindPassword", WRONG)])];
    let Some(setup) = Setup::new(&entries).await else { return };
    let loaded = load(&setup);
    let set = |user: &str, attribute: &str, value: &str| {
        format!("dn: {}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n", person(user))
    };
    let delete = |user: &str| format!("dn: {}\nchangetype: delete\n", person(user));
    let again = |user: &str| {
        format!(
            "{}\ndn: {}\nchangetype: add\nobjectClass: user\nsAMAccountName: {user}\nuserAccountControl: 66080\n",
            delete(user),
            person(user)
        )
    };
    let moved = format!(
        "dn: {}\nchangetype: moddn\nnewrdn: CN=to-move\ndeleteoldrdn: 1\nnewsuperior: CN=Users,{BASE}\n",
        person("to-move")
    );
    for (user, change, expected) in [
        ("to-disable", set("to-disable", "userAccountControl", "514"), ErrorKind::Account),
        ("to-expire", set("to-expire", "accountExpires", "116444736000000000"), ErrorKind::AccountExpired),
        ("to-change", set("to-change", "pwdLastSet", "0"), ErrorKind::CredentialExpired),
        ("to-delete", delete("to-delete"), ErrorKind::FailedLogin),
        ("to-replace", again("to-replace"), ErrorKind::FailedLogin),
        ("to-move", moved, ErrorKind::FailedLogin),
    ] {
        let subject = log_in(&loaded, "search", user).await;
        assert_eq!(recheck(&loaded, "search", &subject).await, RecheckRun::Current(subject.clone()), "{user}");
        setup.samba.change(&change);
        let mut run = recheck(&loaded, "search", &subject).await;
        if let (RecheckRun::Current(now), "to-delete" | "to-move") = (&run, user) {
            assert!(now.proofs[0].absent, "looked for twice: {now:?}");
            run = recheck(&loaded, "search", now).await;
        }
        match run {
            RecheckRun::Ended(error) => assert_eq!(error.kind, expected, "{user}: {error}"),
            RecheckRun::Current(_) | RecheckRun::Unsure(_) => panic!("{user} goes on"),
        }
        // Nobody who could be asked, or who may ask: the login stands.
        assert_eq!(recheck(&loaded, "upn", &subject).await, RecheckRun::Current(subject.clone()));
        assert_eq!(recheck(&loaded, "wrong", &subject).await, RecheckRun::Unsure(subject.clone()));
    }
    let subject = log_in(&loaded, "search", "to-lock").await;
    for _ in 0..2 {
        setup.refuses("upn", "to-lock", WRONG, "FailedLoginException", "(52e)");
    }
    let ended = recheck(&loaded, "search", &subject).await;
    assert!(matches!(&ended, RecheckRun::Ended(error) if error.kind == ErrorKind::AccountLocked), "{ended:?}");

    let subject = log_in(&loaded, "search", "to-demote").await;
    assert!(subject.roles.contains("inner"));
    let group = format!("CN=inner,OU=groups,{BASE}");
    setup.samba.change(&format!("dn: {group}\nchangetype: modify\ndelete: member\nmember: {}\n", person("to-demote")));
    let RecheckRun::Current(now) = recheck(&loaded, "search", &subject).await else { panic!("the account is good") };
    assert!(!now.roles.contains("inner") && now.roles.contains("Domain Users"), "{now:?}");
}

#[tokio::test]
async fn a_person_of_the_domain_reaches_a_site() {
    let Some(samba) = Samba::shared().await else { return };
    let cams = Quickstart::start(&[]).await;
    let file = cams.domain_file("login-config.xml");
    let entry = entry(&samba, "http", &[("nestedGroups", "true"), SEARCH_ACCOUNT[0], SEARCH_ACCOUNT[1]]);
    replace(&file, |_| {
        format!(
            "<login-config>
{entry}</login-config>
"
        )
    });
    let client = cams.client();
    // Until the changed file is taken over, nobody of the domain is known.
    within_async(Duration::from_secs(30), "the login is accepted", async || {
        client.log_in("EXAMPLEAD\\alice", PASSWORD, "/private/echo").await.status == 303
    })
    .await;
    let reply = client.get("/private/echo").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen: Value = serde_json::from_str(&reply.text()).unwrap();
    let header = |name: &str| {
        let headers = seen["headers"].as_array().unwrap();
        headers.iter().find(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name)).map(|header| &header[1])
    };
    assert_eq!(header("CAMS-HTTP-USER"), Some(&"alice".into()), "{seen}");
    let roles = header("CAMS-HTTP-ROLES").unwrap().as_str().unwrap();
    assert!(roles.contains("outer") && roles.contains("Domain Users"), "{roles}");

    let refused = cams.client().log_in("disabled@ad.example.test", PASSWORD, "/private/echo").await;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert!(!refused.text().contains("533") && !refused.text().contains("EXAMPLEAD"), "{}", refused.text());
}
