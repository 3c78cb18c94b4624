//! `cams test-login` beyond a name and a password: further answers, other options, the entry as XML, and what a terminal
//! shows.

use std::fs;

use tests::command::{Output, at_terminal, binary, cams_with_input};
use tests::policy_server::Files;

const LOGIN_CONFIG: &str = "conf/domains/system/login-config.xml";
/// Of the users that `Files` knows.
const PASSWORD: &str = tests::policy_server::PASSWORD;

/// Two users files: the second is shown a PIN. A hint may be left open.
const TWO: &str = r#"<login-config>
<login-config-entry name="http">
  <login-module-entry className="com.cafesoft.cams.auth.login.module.XmlLoginModule" flag="REQUIRED">
    <options><option name="serviceId" value="cams-user-repository"/></options>
  </login-module-entry>
  <login-module-entry className="com.cafesoft.cams.auth.login.module.XmlLoginModule" flag="OPTIONAL">
    <options>
      <option name="serviceId" value="pins"/>
      <option name="passwordCallback" value="pin"/>
    </options>
  </login-module-entry>
  <callback-handler className="com.cafesoft.cams.auth.callback.ConfigurableCallbackHandler">
    <callback name="pin" label="Your PIN"/>
    <callback name="hint" label="A hint" required="false"/>
  </callback-handler>
</login-config-entry>
</login-config>
"#;

fn two() -> Files {
    let files = Files::new("trials", None);
    fs::write(files.path(LOGIN_CONFIG), TWO).unwrap();
    let service = r#"<service id="pins" className="com.cafesoft.security.engine.service.XmlUserRepositoryService">
        <param-list><param name="path" value="pins.xml"/></param-list></service></service-manager>"#;
    let file = files.path("conf/domains/system/security-domain.xml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("</service-manager>", service)).unwrap();
    let digest = cams_with_input(["digest", "--scheme", "SSHA256"], b"4711").success();
    let user = |name, digest: &str| format!("<user name='{name}' password='{digest}'><role name='pin'/></user>");
    let users = user("alice", digest.trim()) + &user("bob", "{CRYPT}!");
    files.write_private("conf/domains/system/pins.xml", &format!("<cams-users>{users}</cams-users>"));
    files
}

fn test_login(files: &Files, user: &str, arguments: &[&str], input: &str) -> Output {
    let fixed = ["test-login", "--domain", "system", "--entry", "http", "--user", user];
    files.cams_with_input(&[&fixed, arguments].concat(), input.as_bytes())
}

#[test]
fn each_callback_is_a_line_of_its_own() {
    let files = two();
    let (pin, hint) = (["--callback", "pin"], ["--callback", "hint"]);
    let both = [pin, hint].concat();
    let turned = [hint, pin].concat();
    let cases: [(&[&str], String, i32, &str); 12] = [
        (&pin, format!("{PASSWORD}\n4711\n"), 0, "logged in as alice, roles: pin, user"),
        (&pin, format!("{PASSWORD}\n4711"), 0, "roles: pin, user"),
        (&both, format!("{PASSWORD}\n4711\n\n"), 0, "roles: pin, user"),
        (&turned, format!("{PASSWORD}\nx\n4711\n"), 0, "roles: pin, user"),
        (&pin, format!("{PASSWORD}\n4712\n"), 0, "pins.xml: wrong password"),
        (&pin, format!("4711\n{PASSWORD}\n"), 1, "cams-users.xml: wrong password"),
        (&[], PASSWORD.to_owned(), 1, "callback `pin` is not answered; give `--callback pin`"),
        (&hint, format!("{PASSWORD}\n4711\n"), 1, "give `--callback pin`"),
        (&pin, PASSWORD.to_owned(), 1, "callback `pin` is not answered"),
        (&pin, format!("{PASSWORD}\n4711\nmore\n"), 1, "standard input has 3 lines, for 2 answers"),
        (&["--callback", "pni"], String::new(), 2, "--callback pni: the entry `http` asks for pin, hint"),
        (&["--callback", "pin", "--callback", "pin"], String::new(), 2, "--callback pin is there twice"),
    ];
    for (arguments, input, code, expected) in cases {
        let ended = test_login(&files, "alice", arguments, &input);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, code, "{arguments:?} {input:?}: {said}");
        assert!(said.contains(expected), "{arguments:?} {input:?}: no {expected} in {said}");
        assert!(!said.contains("4711") && !said.contains(PASSWORD), "{said}");
    }
    let ended = test_login(&files, "bob", &pin, &format!("{PASSWORD}\nx\n"));
    assert!(ended.stdout.contains("pins.xml: no password matches what is stored"), "{ended:?}");
    assert!(ended.stdout.contains("2. XmlLoginModule (OPTIONAL): fail\n   FailedLoginException: "), "{ended:?}");
}

#[test]
fn other_options_are_tried_without_changing_a_file() {
    let files = two();
    let input = format!("{PASSWORD}\n4711\n");
    let before = fs::read_to_string(files.path(LOGIN_CONFIG)).unwrap();
    let cases: [(&[&str], i32, &str); 14] = [
        (&["defaultRoles=a,b"], 0, "roles: a, b, pin, user"),
        (&["1.rolePrefix=x-", "2.rolePrefix=y-"], 0, "roles: x-user, y-pin"),
        (&["2.passwordCallback="], 0, "2. XmlLoginModule (OPTIONAL): fail"),
        (&["2.serviceId=cams-user-repository", "2.passwordCallback="], 0, "roles: user"),
        (&["usernameCase=upper"], 1, "user `ALICE` of "),
        (&["usernameCas=upper"], 1, "login-config.xml:4: unknown option `usernameCas`, did you mean `usernameCase`?"),
        (&["2.debug=1"], 1, "login-config.xml:9: option `debug`: `1` is not true or false"),
        (&["serviceId="], 1, "login-config.xml:4: option `serviceId` is missing"),
        (&["3.debug=true"], 2, "--set 3.…: the entry `http` has 2 login modules"),
        (&["0.debug=true"], 2, "modules are counted from 1"),
        (&["debug"], 2, "write [N.]OPTION=VALUE"),
        (&["bindPassword=canary"], 2, "write file:PATH or env:NAME"),
        (&["2.jdbcPassword=canary"], 2, "write file:PATH or env:NAME"),
        (&["jdbcUrl=jdbc:mysql://u:canary@h/d"], 2, "write file:PATH or env:NAME"),
    ];
    for (settings, code, expected) in cases {
        let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let ended = test_login(&files, "alice", &[&["--callback", "pin"], arguments.as_slice()].concat(), &input);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, code, "{settings:?}: {said}");
        assert!(said.contains(expected), "{settings:?}: no {expected} in {said}");
        assert!(!said.contains("canary"), "{said}");
    }
    assert_eq!(fs::read_to_string(files.path(LOGIN_CONFIG)).unwrap(), before);
}

#[test]
fn what_was_tried_is_printed_and_can_be_kept() {
    let files = two();
    let input = format!("{PASSWORD}\n4711\n");
    let set = ["--callback", "pin", "--xml", "--set", "defaultRoles=<a>,\"b\"&c", "--set", "2.rolePrefix=y-"];
    let tried = test_login(&files, "alice", &set, &input);
    assert!(tried.stderr.contains("logged in as alice, roles: \"b\"&c, <a>, user, y-pin"), "{tried:?}");
    assert!(tried.stdout.starts_with("<login-config-entry ") && tried.stdout.ends_with("</login-config-entry>\n"));
    fs::write(files.path(LOGIN_CONFIG), format!("<login-config>{}</login-config>", tried.stdout)).unwrap();
    files.cams(&["check"]).success();
    let kept = test_login(&files, "alice", &["--callback", "pin", "--xml", "--json"], &input).json();
    assert_eq!(kept["roles"], serde_json::json!(["\"b\"&c", "<a>", "user", "y-pin"]));
    assert_eq!(kept["xml"].as_str().unwrap(), tried.stdout, "again");
}

/// Of a directory that may only be asked with the password, nobody learns that somebody is gone.
#[test]
fn an_entry_that_cannot_be_rechecked_is_warned_of() {
    let files = Files::new("trials", None);
    let file = files.path(LOGIN_CONFIG);
    let entry = |account: &str| {
        let text = fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once("<login-module-entry").unwrap();
        let (_, after) = rest.split_once("</login-module-entry>").unwrap();
        let options = "<option name='host' value='127.0.0.1'/><option name='userBaseDn' value='dc=test'/>";
        let class = "com.cafesoft.cams.auth.login.module.LdapLoginModule";
        let module = format!(
            "<login-module-entry className='{class}' flag='REQUIRED'><options>{options}{account}</options>\
             </login-module-entry>"
        );
        fs::write(&file, format!("{before}{module}{after}")).unwrap();
        before.matches('\n').count() + 1
    };
    let line = entry("");
    let checked = files.cams(&["check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let place = format!("{}:{line}: entry `http`: LdapLoginModule cannot look anybody up", file.display());
    for expected in [place.as_str(), "only from the next login on", "`bindDn`", "(a warning)"] {
        assert!(checked.stderr.contains(expected), "no {expected} in {checked:?}");
    }
    files.write_private("conf/domains/system/search.password", "x");
    entry("<option name='bindDn' value='cn=s'/><option name='bindPassword' value='file:search.password'/>");
    let checked = files.cams(&["check"]);
    assert_eq!((checked.code, checked.stderr.as_str()), (0, ""), "{checked:?}");
}

/// At a terminal each answer is asked for and none is shown.
#[test]
fn a_terminal_shows_no_answer() {
    let files = two();
    let (cams, conf) = (binary(), files.conf());
    let command = format!(
        "{} test-login --domain system --entry http --user alice --callback pin --conf {}",
        cams.display(),
        conf.display()
    );
    for (answers, expected) in [
        (&[("Password of alice: ", "PASSWORD\n"), ("Your PIN: ", "4711\n")][..], ["roles: pin, user", "exit=0"]),
        (&[("Password of alice: ", "PASS\u{3}")], ["cams: interrupted", "exit=1"]),
    ] {
        let answers: Vec<_> =
            answers.iter().map(|(asked, typed)| (*asked, typed.replace("PASSWORD", PASSWORD))).collect();
        let said = at_terminal(&command, &answers);
        for expected in expected.iter().chain(&[" echo ", "\nisig "]) {
            assert!(said.contains(expected), "no {expected} in {said}");
        }
        assert!(!said.contains(PASSWORD) && !said.contains("4711") && !said.contains("PASS"), "{said}");
    }
}
