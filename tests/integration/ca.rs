//! `cams ca`: what openssl makes is imported or refused with one line that says why, and what the command makes passes
//! openssl. Keys never come out.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};
use serde_json::Value;
use tests::Openssl;
use tests::command::at_terminal;
use tests::policy_server::Files;

const CA: [&str; 3] =
    ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign", "subjectKeyIdentifier=hash"];

fn json(files: &Files, arguments: &[&str]) -> Value {
    serde_json::from_str(&files.cams(&[arguments, &["--json"]].concat()).success()).unwrap()
}

/// Arguments with the files of the folder.
fn arguments(openssl: &Openssl, text: &str) -> Vec<String> {
    let argument = |word: &str| match word.strip_prefix('@') {
        Some(file) => openssl.path(file).to_str().unwrap().to_owned(),
        None => word.to_owned(),
    };
    ["ca", "import"].map(str::to_owned).into_iter().chain(text.split_whitespace().map(argument)).collect()
}

/// The import fails with one line that says this, and leaves nothing.
fn check_refused(files: &Files, openssl: &Openssl, import: &str, input: &[u8], expected: &str) {
    let arguments = arguments(openssl, import);
    let ended = files.cams_with_input(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), input);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{import}: {ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{import}: {ended:?}");
    assert!(ended.stderr.contains(expected), "{import}: {ended:?}, expected {expected}");
    let shown = files.cams(&["ca", "show"]);
    assert!(shown.code == 1 && shown.stderr.contains("cams ca create"), "{import}: {shown:?}");
}

/// Keys of every kind that the tests below need: `rsa`, `p256`, `p384` in PKCS#8.
fn keys() -> Openssl {
    let openssl = Openssl::new();
    openssl.run("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out rsa.key");
    openssl.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out p256.key");
    openssl.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out p384.key");
    openssl
}

#[test]
fn certificates_that_could_not_work_are_refused() {
    let (files, openssl) = (Files::new("S", None), keys());
    let [constraints, usage, identifier] = CA;
    for (name, subject, extensions, expected) in [
        ("leaf", "/CN=x", &["basicConstraints=CA:FALSE", usage][..], "not one of a CA"),
        ("bare", "/CN=x", &[usage, identifier], "not one of a CA"),
        ("usage", "/CN=x", &[constraints, identifier], "keyCertSign"),
        ("lists", "/CN=x", &[constraints, "keyUsage=cRLSign"], "keyCertSign"),
        ("accounts", "/CN=x", &[constraints, "keyUsage=keyCertSign"], "cRLSign"),
        ("short", "/CN=x", &["basicConstraints=critical,CA:TRUE,pathlen:0", usage], "pathlen 0"),
        ("names", "/CN=x", &[constraints, usage, "nameConstraints=permitted;DNS:example.org"], "nameConstraints"),
        ("policy", "/CN=x", &[constraints, usage, "policyConstraints=requireExplicitPolicy:0"], "policyConstraints"),
        ("code", "/CN=x", &[constraints, usage, "extendedKeyUsage=codeSigning"], "extendedKeyUsage"),
        ("strange", "/CN=x", &[constraints, usage, "1.2.3.4=critical,ASN1:UTF8:x"], "1.2.3.4"),
        ("nobody", "/", &CA, "subject"),
        ("twice", "/DC=org/DC=example/CN=x", &CA, "subject"),
        ("both", "/CN=x+OU=y", &CA, "subject"),
    ] {
        openssl.certificate(name, "p256.key", subject, extensions);
        check_refused(&files, &openssl, &format!("--certificate @{name}.pem --key @p256.key"), b"", expected);
    }
    for (name, from, until, expected) in
        [("future", 2099, 2199, "only from 2099-01-01"), ("past", 2001, 2002, "expired at 2002-01-01")]
    {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "x");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::from_pem(&fs::read_to_string(openssl.path("p256.key")).unwrap()).unwrap();
        openssl.write(&format!("{name}.pem"), params.self_signed(&key).unwrap().pem());
        check_refused(&files, &openssl, &format!("--certificate @{name}.pem --key @p256.key"), b"", expected);
    }
    // A signature counts where it is another one's.
    openssl.certificate("root", "rsa.key", "/CN=root", &CA);
    for hash in ["md5", "sha1"] {
        openssl.run("req -new -key p256.key -subj /CN=below -out below.csr");
        let extensions = openssl.extensions(&CA);
        openssl.run(&format!(
            "x509 -req -in below.csr -CA root.pem -CAkey rsa.key -CAcreateserial -{hash} -days 900 -extfile {extensions} \
             -extensions wanted -out {hash}.pem"
        ));
        check_refused(&files, &openssl, &format!("--certificate @{hash}.pem --key @p256.key"), b"", "is signed with");
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused() {
    let (files, openssl) = (Files::new("S", None), keys());
    openssl.certificate("ca", "p256.key", "/CN=x", &CA);
    for (name, made) in [
        ("weak", "genrsa -out weak.key 1024"),
        ("p521", "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out p521.key"),
        ("ed25519", "genpkey -algorithm ED25519 -out ed25519.key"),
    ] {
        openssl.run(made);
        openssl.certificate(name, &format!("{name}.key"), "/CN=x", &CA);
        check_refused(&files, &openssl, &format!("--certificate @{name}.pem --key @{name}.key"), b"", "2048 to 8192");
    }
    openssl.run("pkcs8 -topk8 -in p256.key -passout pass:secret -out locked.key");
    openssl.run("pkcs8 -topk8 -v1 PBE-SHA1-3DES -in p256.key -passout pass:secret -out old.key");
    openssl.run("ec -in p256.key -aes128 -passout pass:secret -out traditional.key");
    openssl.run("pkcs12 -export -inkey p256.key -in ca.pem -passout pass:secret -out ca.p12");
    openssl.run("pkcs12 -export -nokeys -in ca.pem -passout pass:secret -out nokey.p12");
    openssl
        .run("pkcs12 -export -inkey p256.key -in ca.pem -keypbe NONE -certpbe NONE -passout pass:secret -out ca2.p12");
    let both = ["rsa.key", "p256.key"].map(|key| fs::read_to_string(openssl.path(key)).unwrap()).concat();
    openssl.write("both.key", both);
    openssl.write("pass", "secret\n");
    openssl.write("wrong", "Secret\n");
    openssl.write("empty", "");
    openssl.write("large", vec![b'x'; 70_000]);
    for (import, input, expected) in [
        ("--certificate @ca.pem --key @rsa.key", "", "not the key of the certificate"),
        ("--certificate @ca.pem --key @locked.key", "", "there is no pass phrase"),
        ("--certificate @ca.pem --key @locked.key", "Secret", "does not open"),
        ("--certificate @ca.pem --key @locked.key --passphrase-file @wrong", "secret", "does not open"),
        ("--certificate @ca.pem --key @locked.key --passphrase-file @empty", "secret", "does not open"),
        ("--certificate @ca.pem --key @old.key --passphrase-file @pass", "", "openssl pkcs8 -topk8 -v2"),
        ("--certificate @ca.pem --key @traditional.key --passphrase-file @pass", "", "openssl pkcs8 -topk8"),
        ("--certificate @ca.pem --key @both.key", "", "2 private keys"),
        ("--certificate @ca.pem --key @ca.pem", "", "no PEM private key"),
        ("--certificate @ca.pem --key @empty", "", "no PEM private key"),
        ("--certificate @rsa.key --key @p256.key", "", "no PEM certificate"),
        ("--certificate @large --key @p256.key", "", "more than 65536 bytes"),
        ("--certificate @ca.pem --key @large", "", "more than 65536 bytes"),
        ("--certificate @nothing --key @p256.key", "", "No such file"),
        ("--pkcs12 @ca.p12", "", "there is no pass phrase"),
        ("--pkcs12 @ca.p12 --passphrase-file @wrong", "", "does not open"),
        ("--pkcs12 @nokey.p12 --passphrase-file @pass", "", "no private key"),
        ("--pkcs12 @ca.pem --passphrase-file @pass", "", "cannot be read"),
    ] {
        check_refused(&files, &openssl, import, input.as_bytes(), expected);
    }
    for (mode, import) in [
        (0o640, "--certificate @ca.pem --key @p256.key"),
        (0o604, "--pkcs12 @ca.p12"),
        (0o644, "--certificate @ca.pem --key @locked.key --passphrase-file @pass"),
    ] {
        let file = openssl.path(import.rsplit('@').next().unwrap());
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        check_refused(&files, &openssl, import, b"secret", &format!("mode {mode:04o}"));
    }
    for usage in [
        "",
        "--certificate @ca.pem",
        "--key @p256.key",
        "--pkcs12 @ca.p12 --certificate @ca.pem --key @p256.key",
        "--certificate @ca.pem --key @p256.key --passphrase secret",
    ] {
        let arguments = arguments(&openssl, usage);
        assert_eq!(files.cams(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).code, 2, "{usage}");
    }
}

/// Every form openssl writes a key in, one after the other.
#[test]
fn what_openssl_writes_is_imported() {
    let (files, openssl) = (Files::new("S", None), keys());
    openssl.certificate("rsa", "rsa.key", "/C=DE/O=Example/CN=Größe", &CA);
    openssl.certificate("p256", "p256.key", "/CN=p256", &CA);
    openssl.certificate("p384", "p384.key", "/CN=p384", &CA);
    openssl.run("genrsa -out small.key 2048");
    openssl.certificate("root", "p384.key", "/CN=root", &CA);
    openssl.run("req -new -key small.key -subj /CN=below -out below.csr");
    let extensions = openssl.extensions(&["basicConstraints=critical,CA:TRUE,pathlen:1", CA[1], CA[2]]);
    openssl.run(&format!(
        "x509 -req -in below.csr -CA root.pem -CAkey p384.key -CAcreateserial -days 300 -extfile {extensions} \
         -extensions wanted -out small.pem"
    ));
    let chain = ["root.pem", "small.pem"].map(|file| fs::read_to_string(openssl.path(file)).unwrap()).concat();
    openssl.write("chain.pem", chain);
    openssl.write("pass", "pass phrase\n");
    // Name of the certificate, how the key is written, what is imported, standard input, what is noted.
    let pass = "-passout file:pass";
    for (name, made, import, input, notes) in [
        ("rsa", "version".to_owned(), "--certificate @rsa.pem --key @rsa.key", "", 0),
        (
            "p256",
            "pkcs8 -topk8 -in p256.key PASS -out locked.key".to_owned(),
            "--certificate @p256.pem --key @locked.key --passphrase-file @pass",
            "",
            0,
        ),
        (
            "p384",
            "pkcs8 -topk8 -scrypt -in p384.key PASS -out locked.key".to_owned(),
            "--certificate @p384.pem --key @locked.key",
            "pass phrase\n",
            0,
        ),
        (
            "small",
            "rsa -traditional -in small.key -out small.pkcs1".to_owned(),
            "--certificate @chain.pem --key @small.pkcs1",
            "",
            3,
        ),
    ] {
        openssl.run(&made.replace("PASS", pass));
        let imported = import_one(&files, &openssl, name, import, input);
        assert_eq!(imported.matches("note: ").count(), notes, "{import}: {imported}");
    }
    // The same again would be the same CA: each form with keys of its own.
    for (name, curve, made, import) in [
        ("sec1", "P-256", "ec -in sec1.key -out written", "--certificate @sec1.pem --key @written"),
        ("sec1b", "P-384", "ec -in sec1b.key -out written", "--certificate @sec1b.pem --key @written"),
        (
            "p12",
            "P-256",
            "pkcs12 -export -inkey p12.key -in p12.pem -certfile root.pem PASS -out written",
            "--pkcs12 @written",
        ),
        (
            "old12",
            "P-256",
            "pkcs12 -export -legacy -inkey old12.key -in old12.pem PASS -out written",
            "--pkcs12 @written",
        ),
        (
            "bare12",
            "P-384",
            "pkcs12 -export -keypbe NONE -certpbe NONE -inkey bare12.key -in bare12.pem PASS -out written",
            "--pkcs12 @written",
        ),
    ] {
        openssl.run(&format!("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out {name}.key"));
        openssl.certificate(name, &format!("{name}.key"), &format!("/CN={name}"), &CA);
        openssl.run(&made.replace("PASS", pass));
        import_one(&files, &openssl, name, import, "pass phrase");
    }
    let again = files.cams(&[
        "ca",
        "import",
        "--replace",
        "--certificate",
        openssl.path("rsa.pem").to_str().unwrap(),
        "--key",
        openssl.path("rsa.key").to_str().unwrap(),
    ]);
    assert!(again.code == 1 && again.stderr.contains("this very key"), "{again:?}");
}

/// Imports the CA `NAME.pem` and checks what is told of it against openssl; what was noted.
fn import_one(files: &Files, openssl: &Openssl, name: &str, import: &str, input: &str) -> String {
    let arguments = arguments(openssl, &format!("{import} --replace"));
    let ended = files.cams_with_input(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), input.as_bytes());
    assert_eq!(ended.code, 0, "{import}: {ended:?}");
    let shown = json(files, &["ca", "show"]);
    openssl.run(&format!("x509 -in {name}.pem -noout -pubkey -out public.pem"));
    openssl.run("pkey -pubin -in public.pem -outform DER -out public.der");
    let id = openssl.run("dgst -sha1 -r public.der");
    assert_eq!(shown["id"], id.split_whitespace().next().unwrap(), "{import}");
    let fingerprint = openssl.run(&format!("x509 -in {name}.pem -noout -fingerprint -sha256")).replace(':', "");
    let fingerprint = fingerprint.trim().rsplit('=').next().unwrap().to_lowercase();
    assert_eq!(shown["fingerprint"], fingerprint, "{import}");
    openssl.write("shown.pem", files.cams(&["ca", "show", "--pem"]).success());
    assert_eq!(openssl.run("x509 -in shown.pem"), openssl.run(&format!("x509 -in {name}.pem")), "{import}");
    openssl.write("list.pem", files.cams(&["ca", "crl"]).success());
    assert!(openssl.run(&format!("crl -in list.pem -noout -CAfile {name}.pem")).contains("verify OK"), "{import}");
    ended.stderr
}

#[test]
fn a_ca_is_made_once_and_replaced_only_on_purpose() {
    let (files, openssl) = (Files::new("S", None), Openssl::new());
    let made = json(&files, &["ca", "create", "--name", "Größe & Söhne", "--organisation", "Example", "--years", "5"]);
    let shown = json(&files, &["ca", "show"]);
    assert_eq!(shown["id"], made["id"]);
    assert_eq!((&shown["key"], &shown["accounts"], &shown["devices"]), (&"RSA 4096".into(), &0.into(), &0.into()));
    let again = files.cams(&["ca", "create"]);
    assert!(again.code == 1 && again.stderr.contains("--replace") && again.stderr.lines().count() == 1, "{again:?}");
    let other = json(&files, &["ca", "create", "--replace"]);
    assert_ne!(other["id"], made["id"]);
    assert!(other["subject"].as_str().unwrap().contains("CA"), "{other}");
    openssl.write("ca.pem", files.cams(&["ca", "show", "--pem"]).success());
    openssl.run("verify -x509_strict -CAfile ca.pem ca.pem");
    // The list of the former one as well, in both forms, numbered from 1 and the same until something is revoked.
    let former = made["id"].as_str().unwrap();
    let list = json(&files, &["ca", "crl", "--issuer", former]);
    assert_eq!((&list["number"], &list["issuer"]), (&1.into(), &made["id"]));
    let der = openssl.path("list.crl");
    files.cams(&["ca", "crl", "--issuer", former, "--out", der.to_str().unwrap()]).success();
    openssl.write("list.pem", list["pem"].as_str().unwrap());
    assert_eq!(openssl.run("crl -inform DER -in list.crl"), openssl.run("crl -in list.pem"));
    for issuer in ["", "x", "0000000000000000000000000000000000000000", "../../etc/passwd"] {
        let unknown = files.cams(&["ca", "crl", "--issuer", issuer]);
        assert!(unknown.code == 1 && unknown.stderr.contains("not the id"), "{issuer}: {unknown:?}");
    }
    for wrong in [&["--years", "0"][..], &["--years", "51"], &["--name", ""], &["--name", "a\nb"]] {
        assert_eq!(files.cams(&[&["ca", "create", "--replace"], wrong].concat()).code, 2, "{wrong:?}");
    }
    let log = fs::read_to_string(files.path("data/audit.jsonl")).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = events.iter().filter(|event| event["event"] == "ca-created").collect();
    assert_eq!(events.iter().map(|event| &event["authority"]).collect::<Vec<_>>(), [&made["id"], &other["id"]]);
    assert!(events[1]["reason"].as_str().unwrap().contains(former) && events[1]["actor"].is_string());
}

#[test]
fn a_pass_phrase_is_asked_for_and_neither_it_nor_the_key_shows() {
    let (files, openssl) = (Files::new("S", None), keys());
    openssl.certificate("ca", "p256.key", "/CN=x", &CA);
    openssl.run("pkcs8 -topk8 -in p256.key -passout pass:canary-phrase -out locked.key");
    let arguments = arguments(&openssl, "--certificate @ca.pem --key @locked.key").join(" ");
    let conf = files.conf();
    let command = format!("{} {arguments} --conf {}", tests::command::binary().display(), conf.display());
    let said = at_terminal(&command, &[("Pass phrase of the key: ", "canary-phrase\n".to_owned())]);
    assert!(said.contains("the CA is imported") && said.contains("exit=0"), "{said}");
    assert!(!said.contains("canary"), "{said}");
    // The scalar of the key, which no file of the product may hold.
    openssl.run("pkcs8 -topk8 -nocrypt -in p256.key -outform DER -out p256.der");
    let der = fs::read(openssl.path("p256.der")).unwrap();
    let scalar = &der[36..68];
    for entry in fs::read_dir(files.path("data")).unwrap().map(Result::unwrap) {
        let bytes = fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(scalar.len()).any(|window| window == scalar), "{:?}", entry.path());
    }
}
