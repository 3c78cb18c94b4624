//! Certificates of accounts and devices in the eyes of others: openssl builds chains of them, pkilint holds them against
//! RFC 5280. Nothing of theirs is excepted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use policy_server::pki::{AccountAuthority, CaKey, OrganisationCa, RsaKey, SpareKeys, Urls, csr};
use tests::services::{command, missing, target_dir};

/// From the client itself.
const REQUEST: &str = include_str!("../data/jami/request.pem");
const YEAR: i64 = 365 * 86_400;

fn write(folder: &Path, name: &str, der: &[u8]) -> PathBuf {
    let file = folder.join(name);
    let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines(&STANDARD.encode(der)));
    fs::write(&file, text).unwrap();
    file
}

fn lines(base64: &str) -> String {
    base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n")
}

/// Whether a program is content with these files.
fn check(program: &Path, arguments: &[&str], files: &[&Path]) {
    let output = Command::new(program).args(arguments).args(files).output().unwrap();
    assert!(output.status.success(), "{program:?} {arguments:?}: {output:?}");
}

/// The tools; none where tests may do without.
fn eyes() -> Option<(PathBuf, PathBuf, PathBuf)> {
    let pkilint = target_dir().join("test-tools/pkilint/bin");
    let (one, pair) = (pkilint.join("lint_pkix_cert"), pkilint.join("lint_pkix_signer_signee_cert_chain"));
    let Some(openssl) = command(&["openssl"]) else {
        missing("openssl");
        return None;
    };
    if !one.is_file() || !pair.is_file() {
        missing("pkilint");
        return None;
    }
    Some((openssl, one, pair))
}

/// An authority whose key was imported.
fn with_openssl(openssl: &Path, folder: &Path, curve: &str) -> OrganisationCa {
    let (key, certificate) = (folder.join(format!("{curve}.key")), folder.join(format!("{curve}.der")));
    let mut made = Command::new(openssl);
    made.args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", &format!("ec_paramgen_curve:{curve}")]);
    made.args(["-subj", "/C=CH/O=Example/CN=Example root", "-days", "3650", "-outform", "DER"]);
    made.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    assert!(made.output().unwrap().status.success());
    let pkcs8 =
        Command::new(openssl).args(["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in"]).arg(&key).output();
    OrganisationCa::new(CaKey::from_pkcs8(&pkcs8.unwrap().stdout).unwrap(), fs::read(certificate).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_pass_foreign_eyes() {
    let Some((openssl, one, pair)) = eyes() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = OrganisationCa::create("Example CA", Some("Example"), 20, Timestamp::now()).unwrap();
    let authorities = [ours, with_openssl(&openssl, folder, "P-256"), with_openssl(&openssl, folder, "P-384")];
    // Not before openssl's begin.
    let now = Timestamp::now();
    let key = SpareKeys::new(1).take().await.unwrap().to_pkcs8().unwrap();
    let device = csr::read(REQUEST).unwrap();
    let with = Urls { base: Some("http://pki.example.org:8080".to_owned()) };
    let names = ["alice", "jürgen@example.org", "O'Neil, \"Bob\" <b+c=d>", &"名".repeat(300)];
    let cases = [(&with, &names[..]), (&with, &names[..1]), (&Urls::default(), &names[..1])];
    for (ca, (urls, users)) in authorities.iter().zip(cases) {
        let root = write(folder, "root.pem", ca.certificate_der());
        check(&one, &["lint", "-s", "WARNING"], &[&root]);
        for user in users {
            let end = now.as_second() + 30 * YEAR;
            let key = RsaKey::from_pkcs8(&key).unwrap();
            let account = ca.issue_account(user, &key, end, now, urls).unwrap();
            let account = AccountAuthority::new(key, account.der).unwrap();
            let device = account.issue_device(&device, end, now, urls).unwrap();
            let account = write(folder, "account.pem", account.certificate_der());
            let device = write(folder, "device.pem", &device.der);
            let strictly = ["verify", "-x509_strict", "-check_ss_sig", "-CAfile"];
            check(&openssl, &strictly, &[&root, &account]);
            check(&openssl, &strictly, &[&root, Path::new("-untrusted"), &account, &device]);
            check(
                &openssl,
                &["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"],
                &[&root, Path::new("-untrusted"), &account, &device],
            );
            for file in [&account, &device] {
                check(&one, &["lint", "-s", "WARNING"], &[file]);
            }
            for (issuer, subject) in [(&root, &account), (&account, &device)] {
                check(&pair, &["lint", "-s", "WARNING"], &[issuer, subject]);
            }
        }
    }
}
