//! Stacks of real modules over real directories end as the same stacks ended in Java.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::net::TcpListener;

use serde::Deserialize;
use serde_json::Value;
use tests::Slapd;
use tests::command::cams_with_input;
use tests::policy_server::Files;

use super::{LOCAL, entry, ldap, module, xml};
use tests::databases::Database;

const PASSWORD: &str = "first canary pass phrase";

/// A stack a line, each with people of its own: flag, directory, and what that directory knows of the person.
const STACKS: &str = "\
required xml good
required ldap wrong
required xml good, required ldap good
required xml good, required ldap wrong
required local wrong, required sql good
required xml good, requisite down good, optional sql good
requisite ldap wrong, required sql good
requisite ldap expired, required xml good
requisite xml good, requisite ldap good, required local good
requisite xml good, requisite ldap good, requisite local expired
sufficient ldap good, required xml good
sufficient ldap wrong, required xml good
sufficient down good, required local good
sufficient down good, sufficient sql wrong
sufficient sql unknown, required ldap good, sufficient xml good
required sql wrong, sufficient xml good
required sql good, sufficient xml wrong
required sql good, optional ldap expired
optional down good, sufficient xml good, required sql good
optional xml wrong, optional ldap unknown
optional xml wrong, optional local good
optional ldap expired, required local good
sufficient ldap good, sufficient sql wrong, requisite xml wrong
optional ldap good, sufficient sql wrong, requisite xml expired
requisite ldap good, sufficient sql good, requisite xml good
optional sql expired, sufficient down good, requisite xml unknown
required local expired, required xml good
required sql expired, requisite ldap good, sufficient local good
required xml good, required code none
requisite xml good, optional code none, required ldap wrong
sufficient xml wrong, optional ldap good, required code none
requisite sql good, sufficient code none, requisite local good";

/// What `LoginContext` of Java made of stacks of made-up modules.
#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    modules: Vec<Value>,
    overall: String,
    exception_from_module: Option<usize>,
    called: Vec<Value>,
    principals: BTreeSet<String>,
}

#[derive(Clone, Copy)]
struct Step<'a> {
    flag: &'a str,
    directory: &'a str,
    state: &'a str,
}

impl<'a> Step<'a> {
    fn of(stack: &'a str) -> Vec<Self> {
        let step = |text: &'a str| {
            let [flag, directory, state] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
            Self { flag, directory, state }
        };
        stack.split(", ").map(step).collect()
    }

    /// In the words of the vectors.
    fn outcome(self) -> &'static str {
        match (self.directory, self.state) {
            ("code", _) => "ignore",
            ("down", _) => "failed-login",
            (_, "good") => "succeed",
            (_, "expired") => "account-expired",
            _ => "failed-login",
        }
    }

    /// The class of its failure. OpenLDAP knows no end of an account: the person is locked there.
    fn exception(self) -> &'static str {
        match (self.directory, self.state) {
            ("down", _) => "LoginException",
            ("ldap", "expired") => "AccountLockedException",
            (_, "expired") => "AccountExpiredException",
            _ => "FailedLoginException",
        }
    }
}

/// The directories with the people of all stacks.
struct Directories {
    slapd: Slapd,
    sql: Database,
    files: Files,
    /// Nobody listens there.
    down: String,
}

impl Directories {
    async fn new() -> Option<Self> {
        let slapd = Slapd::start().await?;
        let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let directories = Self { slapd, sql: Database::sqlite(), files: Files::new("s", None), down };
        directories.fill();
        let entries: String = STACKS.lines().enumerate().map(|(n, stack)| directories.entry(n, stack)).collect();
        let domain = |name: &str| directories.files.path("conf/domains/system").join(name);
        fs::write(domain("login-config.xml"), format!("<login-config>{entries}</login-config>")).unwrap();
        Some(directories)
    }

    fn fill(&self) {
        let domain = |name: &str| self.files.path("conf/domains/system").join(name);
        let text = fs::read_to_string(domain("security-domain.xml")).unwrap();
        let text = text.replace("</service-manager>", &format!("{LOCAL}</service-manager>"));
        fs::write(domain("security-domain.xml"), text).unwrap();
        let digest = |password: &str| cams_with_input(["digest", "--scheme", "SSHA"], password.as_bytes()).success();
        let (right, other) = (digest(PASSWORD), digest("second canary pass phrase"));
        let (mut users, mut ldif, mut rows) = (String::new(), String::new(), String::new());
        for (number, stack) in STACKS.lines().enumerate() {
            for Step { directory, state, .. } in Step::of(stack).into_iter().filter(|step| step.state != "unknown") {
                let digest = if state == "wrong" { other.trim() } else { right.trim() };
                let expired = state == "expired";
                match directory {
                    "xml" => {
                        let end = if expired { "expires='2020-01-01'" } else { "" };
                        writeln!(users, "<user name='case{number}' password='{digest}' {end}/>").unwrap();
                    }
                    "ldap" => {
                        let lock = if expired { "pwdAccountLockedTime: 000001010000Z\n" } else { "" };
                        writeln!(
                            ldif,
                            "dn: uid=case{number},ou=people,dc=example,dc=test\nchangetype: add\n\
                             objectClass: inetOrgPerson\ncn: A\nsn: B\nuserPassword: {digest}\n{lock}"
                        )
                        .unwrap();
                    }
                    "sql" => {
                        let end = if expired { "'2020-01-01'" } else { "NULL" };
                        writeln!(
                            rows,
                            "INSERT INTO USERS (USER_NAME, PASSWORD, EXPIRES) VALUES ('case{number}', '{digest}', {end});"
                        )
                        .unwrap();
                    }
                    "local" => self.add_local(number, state),
                    _ => {}
                }
            }
        }
        self.files
            .write_private("conf/domains/system/cams-users.xml", &format!("<cams-users>\n{users}</cams-users>\n"));
        self.slapd.modify(&ldif);
        self.sql.sql(&rows);
    }

    fn add_local(&self, number: usize, state: &str) {
        let user = format!("case{number}");
        let password = if state == "wrong" { "second canary pass phrase" } else { PASSWORD };
        self.files.cams_with_input(&["user", "add", &user], password.as_bytes()).success();
        if state == "expired" {
            self.files.cams(&["user", "set", &user, "--expires", "2020-01-01"]).success();
        }
    }

    fn entry(&self, number: usize, stack: &str) -> String {
        let modules = Step::of(stack).into_iter().enumerate().map(|(place, step)| {
            // The vectors' modules give a role of their own and one that they share.
            let roles = ("defaultRoles".to_owned(), format!("role-m{place},role-shared"));
            let slapd = format!("127.0.0.1:{}", self.slapd.port);
            let options = match step.directory {
                "ldap" => ldap(&slapd, &[]),
                "down" => ldap(&self.down, &[]),
                // The people of the sample tables have roles; these have none.
                "sql" => self.sql.options(&[]),
                "xml" => xml(),
                "code" => {
                    let nobody = ("role.none".to_owned(), "nobody".to_owned());
                    return module("RoleMap", &step.flag.to_uppercase(), [nobody]);
                }
                _ => Vec::new(),
            };
            let class = match step.directory {
                "ldap" | "down" => "Ldap",
                "sql" => "Jdbc",
                "xml" => "Xml",
                _ => "Local",
            };
            module(class, &step.flag.to_uppercase(), options.into_iter().chain([roles]))
        });
        entry(&format!("case{number}"), &modules.collect::<String>())
    }

    fn check(&self, number: usize, stack: &str, vectors: &Vectors) {
        let steps = Step::of(stack);
        let is_it = |vector: &&Vector| {
            let same = |(module, step): (&Value, &Step)| {
                module["flag"] == step.flag.to_uppercase() && module["outcome"] == step.outcome()
            };
            vector.modules.len() == steps.len() && vector.modules.iter().zip(&steps).all(same)
        };
        let expected = vectors.cases.iter().find(is_it).unwrap_or_else(|| panic!("{stack}: not among the vectors"));

        let case = format!("case{number}");
        let arguments = ["test-login", "--json", "--domain", "system", "--entry", &case, "--user", &case];
        let output = self.files.cams_with_input(&arguments, PASSWORD.as_bytes());
        assert!(output.stderr.is_empty() && !output.stdout.contains("canary"), "{stack}: {output:?}");
        let report = output.json();

        let is_ok = expected.overall == "ok";
        assert_eq!((report["ok"] == true, output.code), (is_ok, i32::from(!is_ok)), "{stack}: {report}");
        // Nobody gets a role of a stack that failed.
        let roles: BTreeSet<String> = serde_json::from_value(report["roles"].clone()).unwrap();
        assert_eq!(roles, expected.principals, "{stack}: {report}");
        assert_eq!(report["user"].as_str(), is_ok.then_some(case.as_str()), "{stack}: {report}");
        let exception = report["exception"].as_str().map(|class| class.rsplit('.').next().unwrap());
        let class = expected.exception_from_module.map_or("LoginException", |module| steps[module].exception());
        assert_eq!(exception, (!is_ok).then_some(class), "{stack}: {report}");
        // In the order of the stack, and nobody more than in Java.
        let modules = report["modules"].as_array().unwrap();
        let outcomes: Vec<&str> = modules.iter().map(|module| module["outcome"].as_str().unwrap()).collect();
        let asked = |(step, called): (&Step, &Value)| match step.outcome() {
            _ if called["login"] == false => "not-asked",
            outcome @ ("succeed" | "ignore") => outcome,
            _ => "fail",
        };
        let wanted: Vec<&str> = steps.iter().zip(&expected.called).map(asked).collect();
        assert_eq!(outcomes, wanted, "{stack}: {report}");
    }
}

#[tokio::test]
async fn real_modules_stack_as_in_java() {
    let Some(directories) = Directories::new().await else { return };
    let vectors: Vectors = serde_json::from_str(include_str!("../../data/jaas_stack.json")).unwrap();
    for (number, stack) in STACKS.lines().enumerate() {
        directories.check(number, stack, &vectors);
    }
}

/// With their usual time-outs, hosts and databases that take connections and say nothing.
#[test]
fn directories_that_hang_leave_time_for_the_next() {
    let files = Files::new("s", None);
    let silent: Vec<TcpListener> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let address: Vec<String> = silent.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect();
    let (two, two_more) = (address[..2].join(" "), address[2..4].join(" "));
    let options = |options: &[(&str, &str)]| {
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
    };
    let domain = options(&[("host", &two_more), ("domain", "corp.test")]);
    let sql = options(&[
        ("jdbcUrl", &format!("jdbc:postgresql://{}/d", address[4])),
        ("userPreparedStatement", "SELECT P FROM T WHERE N = ?"),
        ("passwordColumn", "P"),
    ]);
    let last = module("Xml", "SUFFICIENT", xml());
    let sufficient = |class, options| module(class, "SUFFICIENT", options);
    let entries = entry("two", &(sufficient("Ldap", ldap(&two, &[])) + &sufficient("Jdbc", sql) + &last))
        + &entry("windows", &(sufficient("ActiveDirectory", domain) + &last));
    let file = files.path("conf/domains/system/login-config.xml");
    fs::write(file, format!("<login-config>{entries}</login-config>")).unwrap();
    for (entry, outcomes) in [("two", &["fail", "fail", "succeed"][..]), ("windows", &["fail", "succeed"])] {
        let arguments = ["test-login", "--json", "--domain", "system", "--entry", entry, "--user", "alice"];
        let report = files.cams_with_input(&arguments, super::PASSWORD.as_bytes()).json();
        let modules = report["modules"].as_array().unwrap();
        let found: Vec<&str> = modules.iter().map(|module| module["outcome"].as_str().unwrap()).collect();
        assert_eq!((found.as_slice(), &report["user"]), (outcomes, &"alice".into()), "{entry}: {report}");
    }
}
