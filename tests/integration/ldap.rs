//! `LdapLoginModule` against a real OpenLDAP, by `cams test-login`, and once through the whole product.

mod accounts;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tests::command::cams_with_input;
use tests::policy_server::Files;
use tests::quickstart::replace;
use tests::slapd::{ODD_NAMES, PASSWORD};
use tests::{Quickstart, Slapd, within_async};

const CLASS: &str = "com.cafesoft.cams.auth.login.module.LdapLoginModule";
const PEOPLE: &str = "userBaseDn=ou=people,dc=example,dc=test";
const PATTERN: &str = "userDnPattern=uid={0},ou=people,dc=example,dc=test";
const GROUPS: &str = "roleBaseDn=ou=groups,dc=example,dc=test";
const ACCOUNT: [&str; 2] = ["bindDn=cn=search,dc=example,dc=test", "bindPassword=canary-of-search"];

/// How the module's options are written, and the answers that its stack gives.
struct Cams {
    files: Files,
    slapd: std::sync::Arc<Slapd>,
}

impl Cams {
    /// `None` where OpenLDAP is not installed.
    async fn new() -> Option<Self> {
        let slapd = Slapd::shared().await?;
        Some(Self { files: Files::new("ldap", None), slapd })
    }

    /// The options with the server's own address before them, if they name no host.
    fn options(&self, options: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        if !options.iter().any(|option| option.starts_with("host=")) {
            all.push(format!("host=127.0.0.1:{}", self.slapd.port));
        }
        all
    }

    fn configure(&self, options: &[&str]) {
        fs::write(self.files.path("conf/domains/system/login-config.xml"), entry(&self.options(options))).unwrap();
    }

    /// What `cams test-login --json` says.
    fn login(&self, user: &str, password: &str) -> Value {
        let conf = self.files.conf();
        let arguments = ["test-login", "--json", "--domain", "system", "--entry", "http", "--user", user, "--conf"];
        let output =
            cams_with_input(arguments.iter().map(AsRef::as_ref).chain([conf.as_os_str()]), password.as_bytes());
        assert!(!format!("{output:?}").contains("canary"), "{output:?}");
        output.json()
    }

    /// The user and roles, or the exception without its package and the module's own words.
    fn verdict(&self, user: &str, password: &str) -> Result<String, String> {
        let answer = self.login(user, password);
        if answer["ok"] == true {
            let roles: Vec<&str> =
                answer["roles"].as_array().unwrap().iter().map(|role| role.as_str().unwrap()).collect();
            return Ok(format!("{}: {}", answer["user"].as_str().unwrap(), roles.join(" ")).trim_end().to_owned());
        }
        let exception = answer["exception"].as_str().unwrap().rsplit('.').next().unwrap();
        Err(format!("{exception} {}", answer["modules"][0]["detail"].as_str().unwrap_or_default()))
    }

    /// `expected`: what stands in a success, or after `!` in a failure.
    #[track_caller]
    fn check(&self, what: &str, user: &str, password: &str, expected: &str) {
        let verdict = self.verdict(user, password);
        match (expected.strip_prefix('!'), &verdict) {
            (None, Ok(found)) => assert_eq!(found, expected, "{what}"),
            (Some(words), Err(found)) => {
                for word in words.split('|') {
                    assert!(found.contains(word), "{what}: {user}: no {word} in {found}");
                }
            }
            _ => panic!("{what}: {user}: expected {expected}, found {verdict:?}"),
        }
    }
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

fn entry(options: &[String]) -> String {
    let options: String = options
        .iter()
        .map(|option| option.split_once('=').unwrap())
        .map(|(name, value)| format!("<option name=\"{name}\" value=\"{}\"/>\n", xml(value)))
        .collect();
    format!(
        "<login-config><login-config-entry name=\"http\">\n\
         <login-module-entry className=\"{CLASS}\" flag=\"REQUIRED\"><options>{options}</options></login-module-entry>\n\
         <callback-handler className=\"com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler\"/>\n\
         </login-config-entry></login-config>"
    )
}

#[tokio::test]
async fn every_way_to_prove_a_password_takes_the_right_one_alone() {
    let Some(cams) = Cams::new().await else { return };
    let search: [&[&str]; 6] = [
        &[PEOPLE],
        &[PEOPLE, ACCOUNT[0], ACCOUNT[1], "poolSize=2"],
        &[PATTERN],
        &[PEOPLE, ACCOUNT[0], ACCOUNT[1], "authMethod=retrieve", "allowCleartext=true"],
        &[PATTERN, ACCOUNT[0], ACCOUNT[1], "authMethod=retrieve", "allowCleartext=true"],
        &["userBaseDn=dc=example,dc=test", "userScope=sub", "userFilter=(&(objectClass=inetOrgPerson)(uid={0}))"],
    ];
    for options in search {
        cams.configure(options);
        let what = options.join(" ");
        for user in ["alice", "ALICE", " alice ", "sha512", "argon2", "crypt", "plain", "two"] {
            let name = user.trim().to_lowercase();
            cams.check(&what, user, PASSWORD, &format!("{name}:"));
        }
        for (user, password) in [
            ("alice", "wrong"),
            ("argon2", "wrong"),
            ("nobody", PASSWORD),
            ("nopassword", PASSWORD),
            ("broken", PASSWORD),
            ("alice", ""),
            ("alice", " \0"),
        ] {
            cams.check(&what, user, password, "!FailedLoginException");
        }
    }
}

/// slapd compares the bytes it stores: only a password in clear text can be compared.
#[tokio::test]
async fn a_compare_asks_the_directory() {
    let Some(cams) = Cams::new().await else { return };
    cams.configure(&[PEOPLE, ACCOUNT[0], ACCOUNT[1], "authMethod=compare"]);
    cams.check("compare", "plain", PASSWORD, "plain:");
    cams.check("compare", "plain", "wrong", "!FailedLoginException|does not have this value");
    cams.check("compare", "nopassword", PASSWORD, "!FailedLoginException|is not there");
    cams.check("compare", "nobody", PASSWORD, "!FailedLoginException|found nothing");
    cams.configure(&[PEOPLE, ACCOUNT[0], ACCOUNT[1], "authMethod=compare", "passwordAttribute=employeeType"]);
    cams.check("another attribute", "alice", "clerk", "alice:");
}

#[tokio::test]
async fn no_name_is_syntax() {
    let Some(cams) = Cams::new().await else { return };
    let injections = [
        "*",
        "a*",
        "alice)(|(uid=*",
        "*)(objectClass=*",
        "alice\\00",
        "alice\\2a",
        "alice,ou=people",
        "a\\2ab",
        "al*",
        "uid=alice",
        "alice)(uid=alice",
        "{0}",
        "(&)",
        "elsewhere",
    ];
    let filters = ["userFilter=(uid={0})", "userFilter=(|(uid={0})(&(mail={0})(objectClass=person)))"];
    for options in [[PEOPLE, filters[0]].as_slice(), &[PEOPLE, filters[1]], &[PATTERN]] {
        cams.configure(options);
        for name in injections {
            cams.check(&options.join(" "), name, PASSWORD, "!FailedLoginException");
        }
        for name in ODD_NAMES {
            cams.check(&options.join(" "), name, PASSWORD, &format!("{name}:"));
        }
    }
}

#[tokio::test]
async fn one_entry_or_nobody() {
    let Some(cams) = Cams::new().await else { return };
    cams.configure(&[PEOPLE, "userFilter=(|(uid={0})(mail={0}))"]);
    cams.check("by mail", "alice@example.test", PASSWORD, "alice:");
    cams.check("by mail", "twin1", PASSWORD, "twin1:");
    cams.check("by mail", "twin@example.test", PASSWORD, "!FailedLoginException|more than one entry");
    cams.check(
        "referral",
        "elsewhere",
        PASSWORD,
        "!FailedLoginException|1 referrals to other servers were not followed",
    );
    let server = format!("ldap://127.0.0.1:{}", cams.slapd.port);
    for (user, password, expected) in [
        ("alice", "wrong", "bind as uid=alice,ou=people,dc=example,dc=test refused: invalid credentials (49)"),
        (
            "nobody",
            "wrong",
            "search under ou=people,dc=example,dc=test with (|(uid=nobody)(mail=nobody)) found nothing",
        ),
        ("nobody", "wrong", "for an anonymous search"),
    ] {
        cams.check("words", user, password, &format!("!FailedLoginException: {server}: |{expected}"));
    }
    cams.configure(&["userBaseDn=ou=nowhere,dc=example,dc=test"]);
    cams.check("no base", "alice", PASSWORD, "!LoginException|the base is not there");
    cams.configure(&[PATTERN]);
    cams.check("own entry", "blind", PASSWORD, "!LoginException|may not read its own entry");
}

#[tokio::test]
async fn roles_come_from_groups_and_from_the_entry() {
    let Some(cams) = Cams::new().await else { return };
    let service = "roleSearchAs=service";
    let nested = "roleNested=true";
    for (user, options, roles) in [
        ("alice", [GROUPS].as_slice(), "admins staff"),
        ("alice", &[GROUPS, service], "admins secret staff"),
        ("alice", &[GROUPS, "authMethod=retrieve"], "admins secret staff"),
        ("alice", &[GROUPS, "rolePrefix=ldap-", "defaultRoles=user"], "ldap-admins ldap-staff user"),
        ("alice", &[GROUPS, "roleFilter=(&(objectClass=groupOfUniqueNames)(uniqueMember={0})(cn=a*))"], "admins"),
        ("alice", &[GROUPS, "roleFilter=(uniqueMember=uid={1},ou=people,dc=example,dc=test)"], "admins staff"),
        ("alice", &["userRoleAttribute=memberOf"], "odd, group staff"),
        (
            "alice",
            &[GROUPS, "userRoleAttribute=memberOf", "userRoleBaseDn=ou=people,dc=example,dc=test"],
            "admins staff",
        ),
        ("alice", &["userRoleAttribute=employeeType", "userRoleAttributeIsDn=false"], "clerk"),
        ("alice", &[GROUPS, "userRoleAttribute=memberOf"], "admins odd, group staff"),
        ("bob", &[GROUPS], "ring1 staff"),
        ("bob", &[GROUPS, nested], "ring1 ring2 ring3 staff"),
        ("bob", &[GROUPS, nested, "pageSize=1"], "ring1 ring2 ring3 staff"),
        ("carol", &[GROUPS, nested], "chain1 chain2 chain3 chain4 self"),
        ("carol", &[GROUPS, nested, "roleNestedMaxDepth=2"], "chain1 chain2 chain3 self"),
    ] {
        cams.configure(&[&[PEOPLE, ACCOUNT[0], ACCOUNT[1]], options].concat());
        cams.check(&options.join(" "), user, PASSWORD, &format!("{user}: {roles}"));
    }
    cams.configure(&[PEOPLE, GROUPS, "sizeLimit=1"]);
    cams.check(
        "more groups than the limit",
        "alice",
        PASSWORD,
        "!LoginException|there are more than 1 groups: raise option `sizeLimit`",
    );
}

#[tokio::test]
async fn the_password_policy_decides() {
    // Its own server: it writes down failures.
    let Some(slapd) = Slapd::start().await else { return };
    let cams = Cams { files: Files::new("ldap", None), slapd: slapd.into() };
    cams.configure(&[PEOPLE]);
    cams.check("locked", "locked", PASSWORD, "!AccountLockedException");
    cams.check("locked", "locked", "wrong", "!AccountLockedException");
    cams.check("expired", "expired", PASSWORD, "!CredentialExpiredException|the password expired");
    cams.check("expired", "expired", "wrong", "!FailedLoginException");
    cams.check("reset", "reset", PASSWORD, "!CredentialExpiredException|must be changed");
    cams.check("reset", "reset", "wrong", "!FailedLoginException");
    cams.check("the one grace login", "grace", PASSWORD, "grace:");
    cams.check("no grace login left", "grace", PASSWORD, "!CredentialExpiredException");
    cams.configure(&[PEOPLE, "usePasswordPolicy=false"]);
    cams.check("not asked", "locked", PASSWORD, "!FailedLoginException");
    cams.check("not asked", "reset", PASSWORD, "reset:");
    // Nobody binds as them: the entry tells.
    cams.configure(&[PEOPLE, ACCOUNT[0], ACCOUNT[1], "authMethod=retrieve"]);
    cams.check("retrieve", "locked", PASSWORD, "!AccountLockedException|pwdAccountLockedTime");
    cams.check("retrieve", "locked", "wrong", "!FailedLoginException");
    cams.check("retrieve", "reset", PASSWORD, "!CredentialExpiredException|pwdReset");
    cams.check("retrieve", "guessed", PASSWORD, "!AccountLockedException|pwdAccountLockedTime");
    cams.check("retrieve", "guessed", "wrong", "!FailedLoginException");
    for mode in [PEOPLE, PATTERN] {
        cams.configure(&[mode, "maskLocked=true"]);
        for (user, password) in [("locked", PASSWORD), ("locked", "wrong"), ("guessed", PASSWORD)] {
            cams.check("masked", user, password, "!FailedLoginException|the account is locked");
        }
    }
}

#[tokio::test]
async fn tls_is_up_or_nothing_is_said() {
    let Some(cams) = Cams::new().await else { return };
    let ca = |path: &Path| format!("caFile={}", path.display());
    let right = ca(&cams.slapd.certificate());
    let other = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(other.path().join("ca.pem"), made.cert.pem()).unwrap();
    let wrong = ca(&other.path().join("ca.pem"));
    let ldap = format!("host=127.0.0.1:{}", cams.slapd.port);
    let ldaps = format!("host=ldaps://127.0.0.1:{}", cams.slapd.tls_port);
    let named = format!("host=ldaps://localhost:{}", cams.slapd.tls_port);
    let (ssl, start_tls, any_name) = ("ssl=true", "startTls=true", "verifyHostname=false");
    let bare = format!("host=127.0.0.1:{}", cams.slapd.tls_port);
    let certificate = format!("clientCertFile={}", cams.slapd.certificate().display());
    let key = format!("clientKeyFile={}", cams.slapd.key().display());
    fs::set_permissions(cams.slapd.key(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let unknown = "!LoginException|invalid peer certificate";
    for (options, expected) in [
        ([ldaps.as_str(), &right].as_slice(), "alice:"),
        (&[&bare, ssl, &right], "alice:"),
        (&[&ldap, start_tls, &right], "alice:"),
        (&[&named, &right, any_name], "alice:"),
        (&[&ldaps, &right, &certificate, &key], "alice:"),
        (&[&named, &right], "!LoginException|not valid for name"),
        (&[&ldaps, &wrong], unknown),
        (&[&ldaps], unknown),
        (&[&ldap, start_tls, &wrong], unknown),
        (&[&named, &wrong, any_name], unknown),
        (&[&bare, &right], "!LoginException"),
        (&[&ldap, ssl, &right], "!LoginException"),
    ] {
        let options: Vec<&str> =
            [PEOPLE, "connectTimeout=2s", "readTimeout=2s"].into_iter().chain(options.iter().copied()).collect();
        cams.configure(&options);
        cams.check(&options.join(" "), "alice", PASSWORD, expected);
    }
}

#[tokio::test]
async fn the_next_host_is_asked() {
    let Some(cams) = Cams::new().await else { return };
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Takes connections (the system does) and says nothing.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging = hanging.local_addr().unwrap();
    let good = format!("127.0.0.1:{}", cams.slapd.port);
    let refused = format!("!LoginException|no directory server can be reached: ldap://{dead}: Connection refused");
    for (hosts, expected) in [
        (format!("{dead} {good}"), "alice:"),
        (format!("{dead},ldaps://{hanging},ldap://{good}"), "alice:"),
        (format!("{dead}"), &refused),
        (format!("ldaps://{hanging}"), "!LoginException|in time"),
        (format!("{hanging}"), "!LoginException|in time"),
    ] {
        cams.configure(&[&format!("host={hosts}"), PEOPLE, "connectTimeout=500ms", "readTimeout=1s"]);
        cams.check(&hosts, "alice", PASSWORD, expected);
    }
    cams.configure(&[PEOPLE, ACCOUNT[0], "bindPassword=wrong"]);
    cams.check(
        "search account",
        "alice",
        PASSWORD,
        "!LoginException|the search account (`bindDn`, `bindPassword`) cannot log in: ldap://127.0.0.1:|\
         bind as cn=search,dc=example,dc=test refused: invalid credentials (49)",
    );
}

#[tokio::test]
async fn mistakes_are_named_with_their_lines() {
    let Some(cams) = Cams::new().await else { return };
    for (options, expected) in [
        (["userFilter=(uid={0})"].as_slice(), "`userBaseDn` is missing"),
        (&[PEOPLE, "userFilter=(uid=alice)"], "{0} is missing"),
        (&[PEOPLE, "userFilter=(uid={0}"], "`)` is missing"),
        (&[PEOPLE, "userFilter=(cn=*{0}*)"], "no attribute is compared with {0} alone"),
        (&[PEOPLE, "userNameAttribute=mail"], "does not compare `mail`"),
        (&[PEOPLE, PATTERN], "keep one"),
        (&["userDnPattern=ou=people,uid={0}"], "is not a name that begins"),
        (&["userBaseDn=people"], "is not a name such as"),
        (&[PEOPLE, "userRoleBaseDn=ou=groups"], "only for `userRoleAttribute`"),
        (&[PEOPLE, "verifyHostname=false"], "`false` needs `caFile`"),
        (&[PEOPLE, "authMethod=guess"], "not bind, compare or retrieve"),
        (&[PEOPLE, "authMethod=retrieve"], "retrieve needs `bindDn`"),
        (&[PEOPLE, "allowCleartext=true"], "only for `authMethod` retrieve"),
        (&[PEOPLE, "roleNested=true"], "without `roleBaseDn`"),
        (&[PEOPLE, GROUPS, "authMethod=compare", "roleSearchAs=user"], "nobody is bound as the user"),
        (&[PEOPLE, GROUPS, "roleNested=true", "roleNestedMaxDepth=0"], "from 1 to 20"),
        (&[PEOPLE, GROUPS, "roleNested=true", "roleFilter=(memberUid={1})"], "`roleFilter` needs {0}"),
        (&[PEOPLE, "attributes=mail,sn=mail"], "`mail` is there twice"),
        (&[PEOPLE, "attributes=mail=x y"], "write attribute"),
        (&[PEOPLE, "roleScop=sub"], "unknown option `roleScop`, did you mean `roleScope`?"),
    ] {
        cams.configure(options);
        let output = cams.files.cams(&["check"]);
        assert_eq!(output.code, 1, "{options:?}: {output:?}");
        let line = output.stderr.lines().find(|line| line.contains(expected));
        let line = line.unwrap_or_else(|| panic!("{options:?}: no {expected} in {}", output.stderr));
        assert!(line.contains("login-config.xml:"), "{line}");
    }
}

/// Form, session, page; then a role that is gone and an account that is locked count without a login.
#[tokio::test]
async fn a_login_through_the_whole_product() {
    let Some(slapd) = Slapd::start().await else { return };
    let cams = Quickstart::start(&[]).await;
    let options = [
        format!("host=ldaps://127.0.0.1:{}", slapd.tls_port),
        format!("caFile={}", slapd.certificate().display()),
        PEOPLE.to_owned(),
        GROUPS.to_owned(),
        ACCOUNT[0].to_owned(),
        ACCOUNT[1].to_owned(),
        "poolSize=2".to_owned(),
        "roleSearchAs=service".to_owned(),
        "attributes=mail,givenName=first".to_owned(),
        "roleFilter=(&(uniqueMember={0})(!(cn=admins)))".to_owned(),
    ];
    // Logins fail until the new configuration is taken over; that is not to lock anybody.
    replace(&cams.domain_file("security-domain.xml"), |text| {
        let text = text.replace("ThrottleAuthValve\" enabled=\"true\"", "ThrottleAuthValve\" enabled=\"false\"");
        text.replace("\"recheckInterval\" value=\"5m\"", "\"recheckInterval\" value=\"1s\"")
    });
    fs::write(cams.domain_file("login-config.xml"), entry(&options)).unwrap();
    let soon = Duration::from_secs(20);
    let client = cams.client();
    let logged_in = async || client.log_in("ALICE", PASSWORD, "/private/").await.status == 303;
    within_async(soon, "the new configuration", logged_in).await;
    let echo: Value = serde_json::from_str(&client.get("/private/echo").await.text()).unwrap();
    let header = |name: &str| {
        let headers = echo["headers"].as_array().unwrap().iter();
        headers.filter(|header| header[0].as_str().unwrap().eq_ignore_ascii_case(name)).map(|h| h[1].clone()).next()
    };
    assert_eq!(header("CAMS-HTTP-USER"), Some("alice".into()), "{echo}");
    assert_eq!(header("CAMS-HTTP-ROLES"), Some("secret,staff".into()), "{echo}");
    assert_eq!(header("CAMS-HTTP-LDAP-MAIL"), Some("alice@example.test".into()), "{echo}");
    assert_eq!(header("CAMS-HTTP-LDAP-FIRST"), Some("Alice".into()), "{echo}");
    assert_eq!(cams.client().log_in("alice", "wrong", "/private/").await.status, 401);

    slapd.modify(
        "dn: cn=staff,ou=groups,dc=example,dc=test\nchangetype: modify\n\
         delete: uniqueMember\nuniqueMember: uid=alice,ou=people,dc=example,dc=test\n",
    );
    let roles = async || client.get("/private/echo").await.text().contains("[\"cams-http-roles\",\"secret\"]");
    within_async(soon, "the role is gone", roles).await;
    slapd.modify(
        "dn: uid=alice,ou=people,dc=example,dc=test\nchangetype: modify\n\
         add: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n",
    );
    let ended = async || client.get_unless_cut("/private/").await.is_some_and(|reply| reply.status == 302);
    within_async(soon, "the session of a locked account ends", ended).await;
}
