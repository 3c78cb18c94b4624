//! An OpenLDAP server of the tests' own: a new database with people in every state, groups, and TLS.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::*;
use tempfile::TempDir;

use crate::port;
use crate::process::Process;
use crate::services::missing;
use crate::shared::Shared;
use crate::within;

const READY: Duration = Duration::from_secs(30);
/// The password of everybody, but for those of whom it is said otherwise.
pub const PASSWORD: &str = "canary-of-people";
/// The password of `cn=search,dc=example,dc=test`.
pub const SEARCH_PASSWORD: &str = "canary-of-search";

/// Names that are syntax somewhere: in filters (RFC 4515), in names (RFC 4514), elsewhere.
pub const ODD_NAMES: [&str; 9] = ["a*b", "a(b)", "a\\b", "a,b", "a+b=c", "#a", "a\"<b>;", "äö", "o'neil"];

/// Circles, a chain, and a group that only the search account sees.
const GROUPS: [(&str, &[&str]); 11] = [
    ("staff", &["uid=alice", "uid=bob"]),
    ("admins", &["uid=alice"]),
    ("secret", &["uid=alice"]),
    ("ring1", &["uid=bob", "cn=ring3"]),
    ("ring2", &["cn=ring1"]),
    ("ring3", &["cn=ring2"]),
    ("chain1", &["uid=carol"]),
    ("chain2", &["cn=chain1"]),
    ("chain3", &["cn=chain2"]),
    ("chain4", &["cn=chain3"]),
    ("self", &["cn=self", "uid=carol"]),
];

#[derive(Debug)]
pub struct Slapd {
    pub port: u16,
    pub tls_port: u16,
    process: Process,
    // Last: the folder goes when the server has gone.
    dir: TempDir,
}

impl Slapd {
    /// A server of this test's own, or `None` where OpenLDAP is not installed.
    pub async fn start() -> Option<Self> {
        let programs = Path::new("/usr/sbin");
        if !programs.join("slapd").is_file() || !Path::new("/usr/lib/ldap/pw-sha2.so").is_file() {
            missing("OpenLDAP with its modules");
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        prepare(dir.path());
        fs::write(dir.path().join("people.ldif"), ldif()).expect("our own folder");
        let mut add = Command::new(programs.join("slapadd"));
        run(add.args(["-q", "-f"]).arg(conf(&dir)).arg("-l").arg(dir.path().join("people.ldif")));
        let (port, tls_port) = (port::free(), port::free());
        let urls = format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/");
        let mut process =
            Process::spawn(Command::new(programs.join("slapd")).args(["-d", "256", "-h", &urls, "-f"]).arg(conf(&dir)));
        within(READY, "slapd listens", || {
            assert!(!process.has_ended(), "{}", process.output());
            std::net::TcpStream::connect(("127.0.0.1", tls_port)).is_ok()
        })
        .await;
        Some(Self { port, tls_port, process, dir })
    }

    /// A server that tests running at the same time share. Nobody fails at its passwords so often that it locks somebody.
    pub async fn shared() -> Option<Arc<Self>> {
        static SHARED: Shared<Slapd> = Shared::new();
        SHARED.get(Self::start).await
    }

    /// The certificate of the server, for 127.0.0.1 and for no other name. It is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("certificate.pem")
    }

    /// What it wrote down: a line for every operation and a line for every answer.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// The key of that certificate.
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// Changes the directory as its administrator, by LDIF.
    pub fn modify(&self, ldif: &str) {
        let file = self.dir.path().join("change.ldif");
        fs::write(&file, ldif).expect("our own folder");
        let url = format!("ldap://127.0.0.1:{}/", self.port);
        let mut command = Command::new("ldapmodify");
        command.args([
            "-x",
            "-e",
            "relax",
            "-H",
            &url,
            "-D",
            "cn=root,dc=example,dc=test",
            "-w",
            "canary-of-slapd",
            "-f",
        ]);
        run(command.arg(file));
    }
}

fn prepare(dir: &Path) {
    fs::create_dir(dir.join("db")).expect("our own folder");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    fs::write(dir.join("certificate.pem"), made.cert.pem()).expect("our own folder");
    fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).expect("our own folder");
    let conf = include_str!("../data/slapd.conf").replace("DIR", dir.to_str().expect("UTF-8"));
    fs::write(dir.join("slapd.conf"), conf).expect("our own folder");
}

fn conf(dir: &TempDir) -> PathBuf {
    dir.path().join("slapd.conf")
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A digest of [`PASSWORD`] by OpenLDAP's own program.
fn digest(arguments: &[&str]) -> String {
    let mut command = Command::new("/usr/sbin/slappasswd");
    run(command.args(["-o", "module-path=/usr/lib/ldap"]).args(arguments).args(["-s", PASSWORD])).trim().to_owned()
}

/// As a name spells a value, all of it in hexadecimal.
fn hex(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "\\{byte:02x}").expect("a string");
        out
    })
}

fn ldif() -> String {
    let mut out = include_str!("../data/slapd.ldif").replace("SEARCH-PASSWORD", SEARCH_PASSWORD);
    let ssha = digest(&["-h", "{SSHA}"]);
    let mut person = |uid: &str, rdn: &str, more: &str| {
        write!(
            out,
            "dn: uid={rdn},ou=people,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid:: {}\n\
             cn: A Person\nsn: Person\n{more}\n\n",
            BASE64_STANDARD.encode(uid)
        )
        .expect("a string");
    };
    let password = |digest: &str| format!("userPassword: {digest}");
    let alice = format!(
        "mail: alice@example.test\ngivenName: Alice\nemployeeType: clerk\n\
         memberOf: cn=staff,ou=groups,dc=example,dc=test\n\
         memberOf: cn=odd\\2c group,ou=groups,dc=example,dc=test\n{}",
        password(&ssha)
    );
    person("alice", "alice", &alice);
    for name in ["bob", "carol", "blind"] {
        person(name, name, &password(&ssha));
    }
    for (name, made) in [
        ("sha512", digest(&["-o", "module-load=pw-sha2", "-h", "{SSHA512}"])),
        ("argon2", digest(&["-o", "module-load=argon2", "-h", "{ARGON2}"])),
        ("crypt", digest(&["-h", "{CRYPT}", "-c", "$6$%.16s"])),
        ("plain", PASSWORD.to_owned()),
        ("two", format!("{{SSHA}}AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nuserPassword: {ssha}")),
        ("broken", "{SSHA}nonsense".to_owned()),
    ] {
        person(name, name, &password(&made));
    }
    person("nopassword", "nopassword", "mail: none@example.test");
    for name in ["twin1", "twin2"] {
        person(name, name, &format!("mail: twin@example.test\n{}", password(&ssha)));
    }
    for (name, mails) in
        [("ceo", "mail: ceo@example.test"), ("mallory", "mail: mallory@example.test\nmail: ceo@example.test")]
    {
        person(name, name, &format!("{mails}\n{}", password(&ssha)));
    }
    person("both", "both", &format!("mail: b1@example.test\nmail: b2@example.test\n{}", password(&ssha)));
    for (name, state) in [
        ("reset", "pwdReset: TRUE"),
        ("locked", "pwdAccountLockedTime: 000001010000Z"),
        ("guessed", "pwdAccountLockedTime: 20260101000000Z"),
        ("expired", "pwdChangedTime: 20200101000000Z\npwdPolicySubentry: cn=expired,ou=policies,dc=example,dc=test"),
        ("grace", "pwdChangedTime: 20200101000000Z\npwdPolicySubentry: cn=grace,ou=policies,dc=example,dc=test"),
    ] {
        person(name, name, &format!("{}\n{state}", password(&ssha)));
    }
    for name in ODD_NAMES {
        person(name, &hex(name), &password(&ssha));
    }
    for (name, members) in GROUPS {
        write!(out, "dn: cn={name},ou=groups,dc=example,dc=test\nobjectClass: groupOfUniqueNames\ncn: {name}\n")
            .expect("a string");
        for member in members {
            let unit = if member.starts_with("uid") { "people" } else { "groups" };
            writeln!(out, "uniqueMember: {member},ou={unit},dc=example,dc=test").expect("a string");
        }
        out.push('\n');
    }
    out
}
