//! What is told of revoked certificates, asked of two policy servers on one store and judged by openssl, by pkilint and by
//! the Python library cryptography.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tests::link::address;
use tests::policy_server::{Files, PASSWORD};
use tests::services::{missing, target_dir};
use tests::{Link, Openssl, PolicyServer, Postgres};

const CLIENT: &str = "192.0.2.1";

/// An organisation whose user alice has a device: `device.pem`, issued by `account.pem`, issued by `ca.pem`.
struct Organisation {
    files: Files,
    links: [Link; 2],
    openssl: Openssl,
    ca: String,
    account: String,
    servers: [PolicyServer; 2],
    _other: Files,
    _postgres: Arc<Postgres>,
}

impl Organisation {
    async fn new() -> Option<Self> {
        let postgres = Postgres::shared().await?;
        let store = postgres.database();
        let files = Files::new("A", Some(&store));
        let other = files.peer("B", &store);
        let made = files.cams(&["ca", "create", "--json"]).success();
        let made: Value = serde_json::from_str(&made).unwrap();
        files.cams(&["agent", "add", "jami", "--host", "app.test", "--capability", "jami"]).success();
        let agent = files.path("conf/agents/jami");
        let servers = [files.start().await, other.start().await];
        let links = [Link::connect(servers[0].address, &agent).await, Link::connect(servers[1].address, &agent).await];
        let (openssl, ca) = (Openssl::new(), made["id"].as_str().unwrap().to_owned());
        let account = String::new();
        let mut new = Self { files, links, openssl, ca, account, servers, _other: other, _postgres: postgres };
        new.account = new.enrol("device").await;
        Some(new)
    }

    /// Enrols a new device of alice's: `NAME.pem` and, anew, those above it. The id of her account.
    async fn enrol(&self, name: &str) -> String {
        self.openssl.run(&format!("req -new -newkey rsa:2048 -nodes -keyout {name}.key -subj /CN=x -out {name}.csr"));
        let csr = fs::read_to_string(self.openssl.path(&format!("{name}.csr"))).unwrap();
        let request = self.basic("POST", "/api/auth/device");
        let body = json!({"csr": csr, "deviceName": name}).to_string();
        let answer = self.links[0].pass_on(CLIENT, request, body).await;
        assert_eq!(answer.status(), 200, "{answer:?} {}", self.servers[0].process.output());
        let answer: Value = serde_json::from_slice(answer.body()).unwrap();
        let chain = answer["certificateChain"].as_str().unwrap();
        let certificates: Vec<_> = chain.split_inclusive("-----END CERTIFICATE-----").collect();
        for (name, pem) in [name, "account", "ca"].into_iter().zip(certificates) {
            self.openssl.write(&format!("{name}.pem"), pem.trim_start());
        }
        let receipt: Value = serde_json::from_str(answer["deviceReceipt"].as_str().unwrap()).unwrap();
        receipt["id"].as_str().unwrap().to_owned()
    }

    fn basic(&self, verb: &str, path: &str) -> http::request::Builder {
        let credentials = STANDARD.encode(format!("alice:{PASSWORD}"));
        let request = Request::builder().method(verb).uri(address(path)).header("content-type", "application/json");
        request.header("authorization", format!("Basic {credentials}"))
    }

    /// Alice revokes a device of hers, at the first server.
    async fn revoke(&self, name: &str) {
        let login = self.links[0].pass_on(CLIENT, self.basic("POST", "/api/login"), "{}").await;
        let login: Value = serde_json::from_slice(login.body()).unwrap();
        let token = login["access_token"].as_str().unwrap();
        self.openssl.run(&format!("pkey -in {name}.key -pubout -outform DER -out public.der"));
        let id = self.openssl.run("dgst -sha256 -r public.der");
        let id = id.split_whitespace().next().unwrap();
        let request = Request::delete(address(&format!("/api/auth/device/{id}")));
        let request = request.header("authorization", format!("Bearer {token}"));
        let answer = self.links[0].pass_on(CLIENT, request, Bytes::new()).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    async fn get(&self, link: usize, verb: &str, path: &str) -> Response<Bytes> {
        let request = Request::builder().method(verb).uri(address(path));
        self.links[link].pass_on(CLIENT, request, Bytes::new()).await
    }

    /// The list of an issuer, from one of the servers.
    async fn list(&self, link: usize, issuer: &str) -> Bytes {
        let answer = self.get(link, "GET", &format!("/api/crl/{issuer}.crl")).await;
        assert_eq!(answer.status(), 200, "{answer:?} {}", self.servers[link].process.output());
        assert_eq!(answer.headers()["content-type"], "application/pkix-crl");
        assert_eq!(answer.headers()["cache-control"], "public, max-age=60");
        answer.into_body()
    }

    /// What openssl says of the device under the lists of now.
    async fn verify(&self, name: &str, link: usize) -> (bool, String) {
        let mut lists = String::new();
        for issuer in [&self.ca, &self.account] {
            self.openssl.write("list.crl", self.list(link, issuer).await);
            lists += &self.openssl.run("crl -inform DER -in list.crl");
        }
        self.openssl.write("lists.pem", lists);
        self.openssl.attempt(&format!(
            "verify -x509_strict -crl_check_all -CAfile ca.pem -untrusted account.pem -CRLfile lists.pem {name}.pem"
        ))
    }

    async fn ask(&self, link: usize, issuer: &str, request: Bytes) -> Bytes {
        let post = Request::post(address(&format!("/api/ocsp/{issuer}")));
        let post = post.header("content-type", "application/ocsp-request");
        let answer = self.links[link].pass_on(CLIENT, post, request).await;
        assert_eq!(answer.status(), 200, "{answer:?} {}", self.servers[link].process.output());
        assert_eq!(answer.headers()["content-type"], "application/ocsp-response");
        answer.into_body()
    }

    /// The status that openssl reads in the answer about a certificate, whose signature it checks; `extra` is how it asks.
    async fn status(&self, link: usize, (issuer, file): (&str, &str), asked: &str) -> String {
        self.openssl.run(&format!("ocsp {asked} -reqout request.der"));
        let request = fs::read(self.openssl.path("request.der")).unwrap();
        self.openssl.write("response.der", self.ask(link, issuer, request.into()).await);
        let said = self.openssl.run(&format!(
            "ocsp -reqin request.der -respin response.der -resp_text -CAfile ca.pem -verify_other {file}.pem"
        ));
        assert!(said.contains("Response verify OK"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
        assert_ne!(said.contains("OCSP Nonce"), asked.contains("no_nonce"), "{said}");
        let line =
            |name: &str| said.lines().filter_map(|line| line.trim().strip_prefix(name)).collect::<Vec<_>>().join(",");
        format!("{}{}", line("Cert Status: "), line("Revocation Reason: "))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_is_told_of_at_once() {
    let Some(organisation) = Organisation::new().await else { return };
    let (ca, account) = (organisation.ca.as_str(), organisation.account.as_str());
    let device = "-issuer account.pem -cert device.pem";
    let hashes = ["-no_nonce", "", "-sha256", "-sha256 -no_nonce", "-sha384", "-sha512"];
    for (link, options) in hashes.iter().enumerate() {
        let asked = format!("{options} {device}");
        assert_eq!(organisation.status(link % 2, (account, "account"), &asked).await, "good", "{options}");
        let asked = format!("{options} -issuer ca.pem -cert account.pem");
        assert_eq!(organisation.status(link % 2, (ca, "ca"), &asked).await, "good", "{options}");
    }
    let unknown = "-issuer account.pem -serial 0x1234 -cert device.pem -serial 1";
    assert_eq!(organisation.status(0, (account, "account"), unknown).await, "unknown,good,unknown");
    let before = organisation.list(0, account).await;
    assert_eq!(organisation.list(1, account).await, before, "one list for both servers");
    let (good, said) = organisation.verify("device", 0).await;
    assert!(good, "{said}");

    organisation.revoke("device").await;
    for link in [1, 0] {
        let (good, said) = organisation.verify("device", link).await;
        assert!(!good && said.contains("certificate revoked"), "{said}");
        for options in hashes {
            let status = organisation.status(link, (account, "account"), &format!("{options} {device}")).await;
            assert_eq!(status, "revokedcessationOfOperation (0x5)", "{options}");
        }
    }
    let said = |list: Bytes| {
        organisation.openssl.write("list.crl", list);
        organisation.openssl.run("crl -inform DER -in list.crl -noout -text -crlnumber -CAfile account.pem")
    };
    let (before, after) = (said(before), said(organisation.list(0, account).await));
    assert!(before.contains("crlNumber=0x01") && before.contains("No Revoked Certificates"), "{before}");
    for part in ["crlNumber=0x02", "verify OK", "Cessation Of Operation", "sha512With", "Authority Key Identifier"] {
        assert!(after.contains(part), "{part}: {after}");
    }
    // Another device of the account stays good, and so does the account.
    organisation.enrol("second").await;
    let (good, said) = organisation.verify("second", 1).await;
    assert!(good, "{said}");
    judge(&organisation).await;
}

/// What linters and another library make of the files that the test above left.
async fn judge(organisation: &Organisation) {
    let tools = |name: &str| target_dir().join("test-tools").join(name);
    let run = |program: PathBuf, arguments: &[&str]| {
        let output = Command::new(program).current_dir(organisation.openssl.path("")).args(arguments).output().unwrap();
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    if !tools("pkilint/bin/lint_crl").is_file() {
        missing("pkilint");
        return;
    }
    let (good, said) =
        run(tools("pkilint/bin/lint_crl"), &["lint", "-t", "CRL", "-p", "PKIX", "-s", "WARNING", "list.crl"]);
    assert!(good && said.trim().is_empty(), "{said}");
    let (good, said) = run(tools("pkilint/bin/lint_ocsp_response"), &["lint", "-s", "WARNING", "response.der"]);
    assert!(good && said.trim().is_empty(), "{said}");

    let script = include_str!("../data/jami/ocsp_client.py");
    let python = tools("pkilint/bin/python");
    let (made, said) = run(python.clone(), &["-c", script, "ask", "account.pem", "device.pem", "asked.der"]);
    assert!(made, "{said}");
    let request = fs::read(organisation.openssl.path("asked.der")).unwrap();
    organisation.openssl.write("answer.der", organisation.ask(0, &organisation.account, request.into()).await);
    let (good, said) = run(python, &["-c", script, "judge", "account.pem", "device.pem", "answer.der"]);
    assert!(good && said.trim() == "REVOKED cessation_of_operation sha512", "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_grow_and_no_revocation_is_late() {
    let Some(organisation) = Organisation::new().await else { return };
    let mut lists: BTreeMap<u64, Bytes> = BTreeMap::new();
    for round in 0..4 {
        let name = format!("device{round}");
        organisation.enrol(&name).await;
        organisation.revoke(&name).await;
        let serial = organisation.openssl.run(&format!("x509 -in {name}.pem -noout -serial"));
        let serial = serial.trim().rsplit('=').next().unwrap();
        let asked = (0..12).map(|n| organisation.list(n % 2, &organisation.account));
        let least = lists.keys().last().copied().unwrap_or(0);
        for list in futures_util::future::join_all(asked).await {
            organisation.openssl.write("list.crl", &list);
            let said =
                organisation.openssl.run("crl -inform DER -in list.crl -noout -text -crlnumber -CAfile account.pem");
            assert!(said.contains("verify OK") && said.contains(serial), "{serial}: {said}");
            let number = said.rsplit("crlNumber=0x").next().unwrap().split_whitespace().next().unwrap();
            let number = u64::from_str_radix(number, 16).unwrap();
            assert!(number > least, "{number} after {least}");
            let known = lists.entry(number).or_insert_with(|| list.clone());
            assert_eq!(*known, list, "one number is one list");
        }
    }
    let shown = organisation.files.cams(&["ca", "crl", "--issuer", &organisation.account, "--json"]).success();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["number"].as_u64(), lists.keys().last().copied(), "the command shows the same list");
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let next: jiff::Timestamp = shown["next_update"].as_str().unwrap().parse().unwrap();
    assert!((43_200..=86_400).contains(&(next.as_second().unsigned_abs() - seconds)), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_an_answer_and_no_more() {
    let Some(organisation) = Organisation::new().await else { return };
    let (ca, account) = (organisation.ca.as_str(), organisation.account.as_str());
    organisation.openssl.run("ocsp -no_nonce -issuer account.pem -cert device.pem -reqout request.der");
    let request = fs::read(organisation.openssl.path("request.der")).unwrap();
    let refused = |status: u8| Bytes::copy_from_slice(&[0x30, 3, 0x0a, 1, status]);
    for (issuer, body, expected) in [
        (account, b"".to_vec(), refused(1)),
        (account, b"garbage".to_vec(), refused(1)),
        (account, vec![0x30; 64 << 10], refused(1)),
        (account, [request.as_slice(), b"x"].concat(), refused(1)),
        (ca, request.clone(), refused(6)),
    ] {
        assert_eq!(organisation.ask(0, issuer, body.into()).await, expected, "{issuer}");
    }
    // The same in the path, with its slashes as they are and written out.
    let good = organisation.ask(0, account, request.clone().into()).await;
    let text = STANDARD.encode(&request);
    for text in [text.clone(), text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D")] {
        let answer = organisation.get(0, "GET", &format!("/api/ocsp/{account}/{text}")).await;
        assert_eq!((answer.status().as_u16(), answer.body()), (200, &good), "{text}");
    }
    assert_eq!(organisation.get(0, "GET", &format!("/api/ocsp/{account}/x%FF")).await.status(), 400);
    assert_eq!(organisation.get(0, "GET", &format!("/api/ocsp/{account}/!!")).await.body(), &refused(1));
    let head = organisation.get(0, "HEAD", &format!("/api/crl/{account}.crl")).await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    assert_ne!(head.headers()["content-length"], "0");

    let nobody = "0".repeat(40);
    for (verb, path, kind, length, expected) in [
        ("GET", format!("/api/crl/{nobody}.crl"), "", 0, 404),
        ("GET", format!("/api/crl/{account}"), "", 0, 404),
        ("GET", format!("/api/crl/{}.crl", account.to_uppercase()), "", 0, 404),
        ("GET", "/api/crl/..%2F..%2Fetc%2Fpasswd.crl".to_owned(), "", 0, 404),
        ("POST", format!("/api/crl/{account}.crl"), "", 0, 405),
        ("GET", format!("/api/ocsp/{account}"), "", 0, 405),
        ("POST", format!("/api/ocsp/{nobody}"), "application/ocsp-request", request.len(), 404),
        ("POST", format!("/api/ocsp/{account}"), "application/json", request.len(), 415),
        ("POST", format!("/api/ocsp/{account}"), "", request.len(), 415),
        ("POST", format!("/api/ocsp/{account}"), "application/ocsp-request", (64 << 10) + 1, 413),
    ] {
        let mut body = request.clone();
        body.resize(length, 0);
        let mut asked = Request::builder().method(verb).uri(address(&path));
        if !kind.is_empty() {
            asked = asked.header("content-type", kind);
        }
        let answer = organisation.links[0].pass_on(CLIENT, asked, body).await;
        assert_eq!(answer.status().as_u16(), expected, "{verb} {path} {kind} {length}");
    }

    // One that asks without end is put off, and nobody else.
    let mut put_off = 0;
    for _ in 0..200 {
        put_off += usize::from(organisation.ask(0, account, request.clone().into()).await == refused(3));
    }
    assert!((50..180).contains(&put_off), "{put_off}");
    let post =
        Request::post(address(&format!("/api/ocsp/{account}"))).header("content-type", "application/ocsp-request");
    assert_eq!(organisation.links[0].pass_on("192.0.2.2", post, request).await.body(), &good);
}
