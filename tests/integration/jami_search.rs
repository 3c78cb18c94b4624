//! People looked for in real directories: OpenLDAP, Samba, PostgreSQL, MariaDB, SQLite. What is typed is a text and nothing
//! else to each of them.

use std::fs;
use std::net::TcpListener;

use policy_server::directory::person::{Person, fold};
use policy_server::directory::{DirectoryError, Found};
use policy_server::wire::{self, Loaded};
use tests::databases::Database;
use tests::policy_server::Files;
use tests::samba::{BASE, DOMAIN, NETBIOS, Samba};
use tests::slapd::ODD_NAMES;
use tests::{Slapd, samba};

const MODULES: &str = "com.cafesoft.cams.auth.login.module";
const ALL: u32 = 10_000;

/// A login entry of one module.
fn entry(class: &str, options: &[(&str, &str)]) -> String {
    let escape = |value: &str| value.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let options: String = options
        .iter()
        .map(|(name, value)| format!("<option name=\"{name}\" value=\"{}\"/>\n", escape(value)))
        .collect();
    format!(
        "<login-config-entry name='http'><login-module-entry className='{MODULES}.{class}' flag='REQUIRED'>\n\
         <options>{options}</options></login-module-entry>\n\
         <callback-handler className='com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler'/>\n\
         </login-config-entry>"
    )
}

/// A configuration with this entry, read as the server reads it.
struct Setup {
    loaded: Loaded,
    _files: Files,
}

impl Setup {
    fn new(entry: &str) -> Self {
        let files = Files::new("search", None);
        let text = format!("<login-config>\n{entry}\n</login-config>");
        fs::write(files.path("conf/domains/system/login-config.xml"), text).unwrap();
        let (_, loaded) = wire::check(&files.conf()).unwrap_or_else(|problems| panic!("{problems}"));
        Self { loaded, _files: files }
    }

    fn directory(&self) -> Option<&dyn policy_server::directory::UserDirectory> {
        self.loaded.domains["system"].entry("http").unwrap().modules[0].module.directory()
    }

    async fn search(&self, text: &str) -> Result<Found, DirectoryError> {
        self.directory().unwrap().search(text, 0, ALL).await
    }

    async fn names(&self, text: &str) -> Vec<String> {
        let found = self.search(text).await.unwrap();
        assert_eq!(found.total, u64::try_from(found.people.len()).unwrap(), "{text}");
        found.people.into_iter().map(|person| person.name).collect()
    }

    async fn find(&self, name: &str) -> Option<Person> {
        self.directory().unwrap().find(name).await.unwrap()
    }

    /// Of whatever is typed, those are found who have it, and nobody else.
    async fn check_hostile_texts(&self, also: &str) {
        let everybody = self.search("").await.unwrap().people;
        for text in hostile() {
            for person in self.search(&text).await.unwrap_or_else(|error| panic!("{text:?}: {error}")).people {
                let known = format!("{}\n{}\n{}\n{also}", person.name, person.profile.mail, person.profile.full_name());
                assert!(fold(&known).contains(&fold(text.trim())), "{text:?} found {person:?}");
            }
            // What is longer is no user's name.
            if text.len() <= 256
                && let Some(person) = self.find(&text).await
            {
                assert_eq!(fold(&person.name), fold(&text));
            }
        }
        // Nothing was changed on the way.
        assert_eq!(self.search("").await.unwrap().people, everybody);
    }
}

/// Every two of these behind each other, in the middle of what could close a filter or a statement, and long ones.
fn hostile() -> Vec<String> {
    const PIECES: [&str; 10] = ["*", "(", ")", "\\2a", "'", "\"", "%", "_", "!", "\u{e9};--"];
    let pairs = PIECES.iter().flat_map(|one| PIECES.iter().map(move |other| format!("{one}{other}")));
    let closing = ["*)(uid=*", "*))(|(uid=*", "alice'; DROP TABLE USERS; --", "' OR '1'='1", "%' ESCAPE '!' OR 1=1 --"];
    let closing = closing.iter().map(|text| (*text).to_owned());
    pairs.chain(closing).chain([format!("a{}", "*".repeat(10_000)), "x".repeat(10_000)]).collect()
}

const PEOPLE: (&str, &str) = ("userBaseDn", "ou=people,dc=example,dc=test");
const PATTERN: (&str, &str) = ("userDnPattern", "uid={0},ou=people,dc=example,dc=test");
const ACCOUNT: [(&str, &str); 2] = [("bindDn", "cn=search,dc=example,dc=test"), ("bindPassword", "canary-of-search")];

#[tokio::test]
async fn people_of_openldap() {
    let Some(slapd) = Slapd::shared().await else { return };
    let host = format!("127.0.0.1:{}", slapd.port);
    let with = |more: &[(&str, &str)]| {
        let options = [&[("host", host.as_str())][..], more].concat();
        Setup::new(&entry("LdapLoginModule", &options))
    };
    assert!(with(&[PEOPLE]).directory().is_none(), "nobody searches without an account that may");
    for more in [&[PEOPLE, ("pageSize", "3")][..], &[PEOPLE, ("userScope", "sub")], &[PATTERN]] {
        let setup = with(&[more, &ACCOUNT].concat());
        let everybody = setup.names("").await;
        assert!(everybody.contains(&"alice".to_owned()) && everybody.contains(&"carol".to_owned()), "{everybody:?}");
        assert!(!everybody.contains(&"search".to_owned()));
        assert_eq!(setup.names("a person").await.len(), everybody.len(), "by `cn`");
        assert_eq!(setup.names("LICE").await, ["alice"]);
        assert_eq!(setup.names("twin@example").await, ["twin1", "twin2"]);
        for name in ODD_NAMES {
            assert_eq!(setup.names(name).await, [name]);
            assert_eq!(setup.find(name).await.unwrap().name, name);
        }
        let alice = setup.find("ALICE").await.unwrap();
        assert_eq!((alice.name.as_str(), alice.profile.full_name().as_str()), ("alice", "Alice Person"));
        assert!(alice.id.len() == 36 && alice.enabled && alice.profile.mail == "alice@example.test", "{alice:?}");
        assert!(!setup.find("locked").await.unwrap().enabled);
        assert!(setup.find("nobody").await.is_none() && setup.find("a*").await.is_none());
        setup.check_hostile_texts("A Person").await;
    }
    let few = with(&[&[PEOPLE, ("sizeLimit", "5")][..], &ACCOUNT].concat());
    let found = few.search("").await.unwrap();
    assert_eq!((found.people.len(), found.total), (5, 6), "there are more");
    let elsewhere = with(&[&[("userBaseDn", "ou=nowhere,dc=example,dc=test")][..], &ACCOUNT].concat());
    assert!(elsewhere.search("alice").await.is_err());
}

#[tokio::test]
async fn a_directory_that_is_down_finds_nobody_and_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let options = [&[("host", closed.as_str()), PEOPLE][..], &ACCOUNT].concat();
    let setup = Setup::new(&entry("LdapLoginModule", &options));
    assert!(setup.search("alice").await.is_err());
    assert!(setup.directory().unwrap().find("alice").await.is_err());
}

#[tokio::test]
async fn people_of_active_directory() {
    let Some(samba) = Samba::shared().await else { return };
    let (host, ca, base) = (samba.address.to_string(), samba.ca.display().to_string(), format!("OU=people,{BASE}"));
    let options = [
        ("host", host.as_str()),
        ("caFile", &ca),
        ("domain", DOMAIN),
        ("netbiosDomain", NETBIOS),
        ("userBaseDn", &base),
        ("connectTimeout", "60s"),
        ("readTimeout", "60s"),
    ];
    let with = |more: &[(&str, &str)]| Setup::new(&entry("ActiveDirectoryLoginModule", &[&options, more].concat()));
    assert!(with(&[]).directory().is_none());
    let setup = with(&[("bindDn", "search@ad.example.test"), ("bindPassword", samba::PASSWORD)]);
    let everybody = setup.names("").await;
    assert!(everybody.contains(&"alice".to_owned()) && everybody.contains(&"mallory".to_owned()), "{everybody:?}");
    assert_eq!(setup.names("LICE@example").await, ["alice"]);
    let alice = setup.find("Alice").await.unwrap();
    assert!(alice.name == "alice" && alice.id.len() == 36 && alice.enabled, "{alice:?}");
    assert!(!setup.find("disabled").await.unwrap().enabled);
    assert!(setup.find("nobody").await.is_none());
    setup.check_hostile_texts(" ").await;
}

#[tokio::test]
async fn people_of_databases() {
    const SEARCH: &str = "SELECT * FROM USERS WHERE LOWER(USER_NAME) LIKE LOWER(?) ESCAPE '!' \
                          OR LOWER(MAIL) LIKE LOWER(?) ESCAPE '!'";
    for database in Database::all().await {
        let what = database.name();
        database.sql("UPDATE USERS SET MAIL = 'a_b%c!d@example.test' WHERE USER_NAME = 'alice'");
        let more = [("searchPreparedStatement", SEARCH), ("attributeColumns", "person.mail=MAIL")];
        assert!(Setup::new(&database.entry("http", &[])).directory().is_none(), "{what}");
        let setup = Setup::new(&database.entry("http", &more));
        assert!(setup.names("").await.len() > 10, "{what}");
        for (text, expected) in [
            ("LIC", &["alice"][..]),
            ("a_b%c!d", &["alice"]),
            ("a_b%c!d@EXAMPLE.test", &["alice"]),
            ("O'B", &["o'brien"]),
            ("ün", &["ünï"]),
            ("%", &["alice"]),
            ("_", &["alice"]),
            ("a%e", &[]),
            ("ali_e", &[]),
            ("staff", &[]),
        ] {
            assert_eq!(setup.names(text).await, expected, "{what}: {text}");
        }
        assert!(!setup.find("disabled").await.unwrap().enabled && setup.find("twin").await.is_none(), "{what}");
        assert_eq!(setup.find("alice").await.unwrap().profile.mail, "a_b%c!d@example.test", "{what}");
        setup.check_hostile_texts("").await;
        let wrong = [("searchPreparedStatement", "SELECT USER_NAME FROM USERS WHERE USER_NAME LIKE ?")];
        assert!(
            Setup::new(&database.entry("http", &wrong)).search("alice").await.is_err(),
            "{what}: columns are missing"
        );
    }
}
