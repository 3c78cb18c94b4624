//! A story of logins, and every byte it left: secrets stand where they belong and nowhere else (I3).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tests::{Client, Quickstart};
use web_agent::config::AgentConfig;

const SESSION: &str = "CAMS_SID_MYCAMSCLUSTER_SYSTEM";
const REMEMBERED: &str = "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM";
/// Typed by somebody who mistook a field, a site or a password.
const CANARY: &str = "canary-2vq8kd0x-password";

/// What is looked for, and the one file it stands in, from the product's folder.
pub struct Kept {
    what: String,
    spellings: Vec<Vec<u8>>,
    where_it_belongs: Option<String>,
}

impl Kept {
    pub fn new(what: &str, text: &str, where_it_belongs: Option<&str>) -> Self {
        let mut spellings = vec![text.as_bytes().to_vec()];
        // What a program may have decoded before it wrote it down.
        spellings.extend(URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() >= 16));
        spellings.extend(STANDARD.decode(text).ok().filter(|bytes| bytes.len() >= 16));
        Self { what: what.to_owned(), spellings, where_it_belongs: where_it_belongs.map(str::to_owned) }
    }

    /// The secret number of a private key, as it stands in the file and decoded.
    fn key(root: &Path, file: &Path) -> Self {
        let der = PrivateKeyDer::from_pem_file(file).unwrap();
        let text = fs::read_to_string(file).unwrap();
        // Before it stands what every key of the kind has in common, behind it the public key.
        let number = der.secret_der()[36..68].to_vec();
        let second_line = text.lines().nth(2).unwrap().as_bytes()[..24].to_vec();
        let spellings = vec![number, second_line];
        Self { what: "a private key".to_owned(), spellings, where_it_belongs: Some(name(root, file)) }
    }

    /// A password, in whatever a program may write it down.
    pub fn password(what: &str, text: &str, where_it_belongs: Option<&str>) -> Self {
        let bytes = text.as_bytes();
        // In Base64 it looks different for each place in a group of three; the ends depend on what is around it.
        let base64 = (0..3).map(|before| {
            let padded = [&b"..."[..before], bytes].concat();
            let coded = STANDARD.encode(padded).trim_end_matches('=').to_owned();
            coded.as_bytes()[before + 1..coded.len() - 2].to_vec()
        });
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let wide = bytes.iter().flat_map(|byte| [*byte, 0]).collect();
        let backwards = bytes.iter().rev().copied().collect();
        let others = [hex.to_uppercase().into_bytes(), hex.into_bytes(), wide, backwards];
        let mut kept = Self::new(what, text, where_it_belongs);
        kept.spellings.extend(base64.chain(others));
        kept
    }

    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.spellings.iter().any(|spelling| bytes.windows(spelling.len()).any(|window| window == spelling))
    }
}

fn name(root: &Path, file: &Path) -> String {
    let (root, file) = (root.canonicalize().unwrap(), file.canonicalize().unwrap());
    file.strip_prefix(root).unwrap().display().to_string()
}

/// Every file below the folder, by its name from there.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut folders, mut files) = (vec![root.to_owned()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(name(root, &path), bytes(&path))),
            }
        }
    }
    files
}

fn bytes(path: &PathBuf) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Logs in, on, wrongly and out; returns the tokens of all sessions.
async fn story(cams: &Quickstart) -> Vec<String> {
    let token = |client: &Client| client.cookie(SESSION).unwrap();
    let (alice, admin) = (cams.client_of("alice").await, cams.client_of("admin").await);
    let first = token(&alice);
    assert_eq!(log_in_to_be_remembered(cams, &alice).await, 303);
    let (second, remembered) = (token(&alice), alice.cookie(REMEMBERED).unwrap());
    let kept = URL_SAFE_NO_PAD.decode(&remembered).unwrap();
    let password = Kept::password("alice", &cams.user("alice").password, None);
    assert!(!password.is_in(remembered.as_bytes()) && !password.is_in(&kept), "the cookie holds the password");
    for client in [&alice, &admin] {
        assert_eq!(client.get("/private/echo").await.status, 200);
    }
    assert_eq!(alice.get("/admin/").await.status, 403);
    for user in ["alice", "nobody"] {
        assert_eq!(cams.client().log_in(user, CANARY, "/private/").await.status, 401);
    }
    let page = format!("/cams/login?cams_cb_username=alice&cams_cb_password={CANARY}");
    cams.client().get(&page).await;
    cams.client().get(&format!("/private/?password={CANARY}")).await;
    cams.client().log_in("alice", CANARY, &format!("/private/?password={CANARY}")).await;
    let malformed = format!("GET /private/ HTTP/1.1\r\nHost: x y\r\nAuthorization: Basic {CANARY}\r\n\r\n");
    cams.raw().exchange(malformed.as_bytes()).await;
    let back = cams.client();
    back.set_cookie(REMEMBERED, &remembered);
    assert_eq!(back.get("/private/").await.status, 200);
    let tokens = vec![first, second.clone(), remembered, token(&back), back.cookie(REMEMBERED).unwrap(), token(&admin)];
    assert_eq!(alice.get("/cams/logout").await.status, 200);
    alice.set_cookie(SESSION, &second);
    assert_eq!(alice.get("/private/").await.status, 302);
    // What the store keeps of a browser goes with the logout: one more stays.
    assert_eq!(log_in_to_be_remembered(cams, &alice).await, 303);
    tokens
}

async fn log_in_to_be_remembered(cams: &Quickstart, client: &Client) -> u16 {
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", "http"),
        ("cams_original_url", "/private/"),
        ("cams_cb_username", "alice"),
        ("cams_cb_password", cams.user("alice").password.as_str()),
        ("cams_cb_autologin_flag", "true"),
    ];
    client.post_form("/cams/login", &fields).await.status.as_u16()
}

#[tokio::test]
async fn secrets_stand_where_they_belong_alone() {
    let mut cams = Quickstart::start(&[]).await;
    let root = cams.dir();
    let root = root.path();
    let tokens = story(&cams).await;
    let mut secrets: Vec<Kept> = Vec::new();
    for user in &cams.users {
        secrets.push(Kept::password(&user.name, &user.password, Some("quickstart.json")));
    }
    for token in &tokens {
        secrets.push(Kept::new("a session's token or a cookie", token, None));
    }
    secrets.push(Kept::password("a wrong password", CANARY, None));
    let key = fs::read_to_string(root.join("keys/key-encryption.key")).unwrap();
    secrets.push(Kept::new("the key-encryption key", key.trim(), Some("keys/key-encryption.key")));
    let agent = AgentConfig::load(&cams.facts().agent_conf).unwrap();
    for key in [&agent.link.key, &agent.certificates[0].key] {
        secrets.push(Kept::key(root, key));
    }

    // While the store is in use, and after its log is merged into it.
    for moment in ["running", "stopped"] {
        let files = files(root);
        for wanted in ["data/cams.db", "data/audit.jsonl", "log/policy-server.log", "log/web-agent.log"] {
            assert!(files.get(wanted).is_some_and(|bytes| !bytes.is_empty()), "{wanted}: {:?}", files.keys());
        }
        for secret in &secrets {
            let found: BTreeSet<_> =
                files.iter().filter(|(_, bytes)| secret.is_in(bytes)).map(|(name, _)| name.as_str()).collect();
            let expected = secret.where_it_belongs.iter().map(String::as_str).collect();
            assert_eq!(found, expected, "{moment}: {}", secret.what);
        }
        if moment == "running" {
            cams.process.terminate(Duration::from_secs(5)).await;
        }
    }
}
