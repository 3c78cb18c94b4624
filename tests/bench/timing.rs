//! Whether the time of a refused login tells who exists: for each login module, wrong passwords of somebody it knows and
//! of people nobody knows take turns, in this process and without the valves. The digests are those of every day, so
//! these are the optimised hash functions in otherwise unoptimised code.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use policy_server::auth::pipeline::{LOGIN_LIMIT, LoginEntry};
use policy_server::config::trial::Trial;
use policy_server::wire::check_trial;
use shared_proto::secret::Secret;
use tests::Slapd;
use tests::command::cams_with_input;
use tests::databases::Database;
use tests::policy_server::Files;
use tests::samba::{self, Samba};

use crate::figure;

const SAMPLES: usize = 200;
const PASSWORD: &str = "right horse battery";
/// Of no password that is tried, and cheaper than a new one would be.
const BCRYPT: &str = "{CRYPT}$2b$09$NYiIwvUXyFkPkHTJ5DQAp.0BlbwK3oCboBEhDOKN/CQqzkrOPunzi";
const MODULES: &str = "com.cafesoft.cams.auth.login.module";
const SERVICES: &str = "com.cafesoft.security.engine.service";
const PEOPLE: &str = "userBaseDn=ou=people,dc=example,dc=test";
const PATTERN: &str = "userDnPattern=uid={0},ou=people,dc=example,dc=test";
const ACCOUNT: [&str; 2] = ["bindDn=cn=search,dc=example,dc=test", "bindPassword=canary-of-search"];

/// Login entries, each to be tried with somebody it knows.
#[derive(Default)]
struct Table {
    xml: String,
    rows: Vec<(String, &'static str)>,
}

impl Table {
    /// An entry of this number in the table; `name` is for people.
    fn row(&mut self, name: &str, known: &'static str, entry: impl FnOnce(&str) -> String) {
        self.xml.push_str(&entry(&format!("e{}", self.rows.len())));
        self.rows.push((name.to_owned(), known));
    }
}

pub async fn measure() {
    let (databases, slapd, samba) = tokio::join!(Database::all(), Slapd::start(), Samba::shared());
    let mut table = Table::default();
    table.row("xml, Argon2id", "known", |id| entry(id, &[module("Xml", &["serviceId=argon2"])]));
    table.row("xml, bcrypt", "known", |id| entry(id, &[module("Xml", &["serviceId=bcrypt"])]));
    table.row("xml, disabled", "disabled", |id| entry(id, &[module("Xml", &["serviceId=argon2"])]));
    table.row("xml, no password", "locked", |id| entry(id, &[module("Xml", &["serviceId=argon2"])]));
    table.row("local", "known", |id| entry(id, &[module("Local", &[])]));
    for database in &databases {
        table.row(&format!("sql, {}", database.name()), "bob", |id| database.entry(id, &[]));
    }
    if let Some(slapd) = &slapd {
        of_ldap(&mut table, &format!("host=127.0.0.1:{}", slapd.port));
    }
    if let Some(samba) = &samba {
        of_active_directory(&mut table, samba);
    }
    let files = prepare(&table.xml);
    // The built-in directory's entry: the store is opened for it, and with it for all.
    let place = table.rows.iter().position(|(name, _)| name == "local").expect("it was written");
    let trial = Trial { domain: "system".to_owned(), entry: format!("e{place}"), settings: Vec::new() };
    let loaded = check_trial(&files.conf(), &trial).await.unwrap_or_else(|error| panic!("{error}"));
    for (place, (name, known)) in table.rows.iter().enumerate() {
        let entry = loaded.domains["system"].entry(&format!("e{place}")).expect("it was written");
        compare(name, known, entry).await;
    }
}

fn of_ldap(table: &mut Table, host: &str) {
    let mut row = |name: &str, known, options: &[&str]| {
        let module = module("Ldap", &[&[host], options].concat());
        table.row(name, known, |id| entry(id, &[module]));
    };
    row("ldap, search and bind", "alice", &[PEOPLE, ACCOUNT[0], ACCOUNT[1]]);
    row("ldap, bind, Argon2id", "argon2", &[PEOPLE]);
    row("ldap, bind by pattern", "bob", &[PATTERN]);
    row("ldap, bind, locked", "locked", &[PEOPLE]);
    row("ldap, compare", "plain", &[PEOPLE, ACCOUNT[0], ACCOUNT[1], "authMethod=compare"]);
    row("ldap, retrieve", "argon2", &[PEOPLE, ACCOUNT[0], ACCOUNT[1], "authMethod=retrieve"]);
    let stack = [module("Ldap", &[host, PEOPLE]), module("Totp", &[])];
    table.row("ldap and totp", "carol", |id| entry(id, &stack));
}

fn of_active_directory(table: &mut Table, samba: &Samba) {
    let place = [
        format!("host={}", samba.address),
        format!("caFile={}", samba.ca.display()),
        format!("domain={}", samba::DOMAIN),
        format!("userBaseDn=OU=people,{}", samba::BASE),
    ];
    let account = [format!("bindDn=search@{}", samba::DOMAIN), format!("bindPassword={}", samba::PASSWORD)];
    let mut row = |name: &str, known, options: &[&str]| {
        let place = place.each_ref().map(String::as_str);
        let module = module("ActiveDirectory", &[&place, options].concat());
        table.row(name, known, |id| entry(id, &[module]));
    };
    row("active directory, bind", "alice", &[]);
    row("active directory, search and bind", "alice", &["bindMode=search", &account[0], &account[1]]);
    row("active directory, bind, locked", "locked", &[]);
}

/// A `<login-module-entry>`.
fn module(class: &str, options: &[&str]) -> String {
    let options = options.iter().map(|option| option.split_once('=').expect("name=value"));
    let options: String = options.map(|(name, value)| format!("<option name=\"{name}\" value=\"{value}\"/>")).collect();
    let class = format!("{MODULES}.{class}LoginModule");
    format!(
        "<login-module-entry className=\"{class}\" flag=\"REQUIRED\"><options>{options}</options></login-module-entry>"
    )
}

fn entry(id: &str, modules: &[String]) -> String {
    format!(
        "<login-config-entry name=\"{id}\">{}\
         <callback-handler className=\"com.cafesoft.cams.auth.callback.ConfigurableCallbackHandler\">\
         <callback name=\"totp\" label=\"Code\" maxLength=\"10\"/></callback-handler></login-config-entry>",
        modules.concat()
    )
}

/// The files of a domain with these entries, and with the people whom they are to know.
fn prepare(entries: &str) -> Files {
    let files = Files::new("timing", None);
    let mut services = format!("<service id=\"people\" className=\"{SERVICES}.LocalDirectoryService\"/>");
    let argon2 = cams_with_input(["digest"], PASSWORD.as_bytes()).success();
    for (scheme, digest) in [("argon2", argon2.trim()), ("bcrypt", BCRYPT)] {
        let users = format!(
            "<cams-users><user name=\"known\" password=\"{digest}\"/><user name=\"locked\" password=\"{{CRYPT}}!\"/>\
             <user name=\"disabled\" password=\"{digest}\" enabled=\"false\"/></cams-users>"
        );
        files.write_private(&format!("conf/domains/system/{scheme}.xml"), &users);
        services += &format!(
            "<service id=\"{scheme}\" className=\"{SERVICES}.XmlUserRepositoryService\">\
             <param-list><param name=\"path\" value=\"{scheme}.xml\"/></param-list></service>"
        );
    }
    let domain = files.path("conf/domains/system");
    let wrap = |element: &str, text: &str| format!("<{element}>{text}</{element}>");
    fs::write(domain.join("login-config.xml"), wrap("login-config", entries)).expect("our own folder");
    fs::write(domain.join("security-domain.xml"), wrap("service-manager", &services)).expect("our own folder");
    let policy = files.path("conf/domains/system/access-control-policy.xml");
    let text = fs::read_to_string(&policy).expect("cams init wrote it");
    fs::write(policy, text.replace("entries=\"http\"", "")).expect("our own folder");
    files.cams_with_input(&["user", "add", "known"], PASSWORD.as_bytes()).success();
    if entries.contains("TotpLoginModule") {
        files.cams(&["user", "totp", "enrol", "carol", "--domain", "system"]).success();
    }
    files
}

/// Prints the medians and how they compare.
async fn compare(name: &str, known: &str, entry: &LoginEntry) {
    let (mut of_known, mut of_unknown) = (Vec::new(), Vec::new());
    for sample in 0..=SAMPLES {
        let stranger = format!("n{:x}", RandomState::new().hash_one(sample));
        let mut turns = [(known, &mut of_known), (&stranger, &mut of_unknown)];
        // Nobody always follows the other.
        if sample % 2 == 1 {
            turns.reverse();
        }
        for (user, times) in turns {
            let took = refused(entry, user).await;
            // The first of each opens connections.
            if sample > 0 {
                times.push(took);
            }
        }
    }
    let [known, unknown] = [of_known, of_unknown].map(|times| median(times).as_secs_f64() * 1000.0);
    let ratio = unknown / known;
    figure(name, &format!("known {known:6.2} ms   unknown {unknown:6.2} ms   ratio {ratio:.3}   of {SAMPLES} each"));
}

/// How long a wrong password takes.
async fn refused(entry: &LoginEntry, user: &str) -> Duration {
    let answers = [("username", user), ("password", "wrong horse"), ("totp", "000000")];
    let answers: BTreeMap<String, Secret> =
        answers.into_iter().map(|(name, value)| (name.to_owned(), Secret::from(value))).collect();
    let now = Timestamp::now();
    let begun = Instant::now();
    let run = entry.login(&answers, now, None, (begun + LOGIN_LIMIT).into()).await;
    let took = begun.elapsed();
    assert!(run.result.is_err() && run.refused && !run.unavailable, "{user}: {run:?}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
