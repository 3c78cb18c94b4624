//! What is said of an entry when it is built.

use std::path::Path;

use super::*;
use crate::auth::modules::Shared;
use crate::config::domain::UsersFile;
use crate::config::{cams_users, login_config};

const XML: &str = "com.cafesoft.cams.auth.login.module.XmlLoginModule";
const SQL: &str = "com.cafesoft.cams.auth.login.module.JdbcLoginModule";
const LDAP: &str = "com.cafesoft.cams.auth.login.module.LdapLoginModule";
const TOTP: &str = "com.cafesoft.cams.auth.login.module.TotpLoginModule";

/// The problems of an entry with these modules, class, flag and options each, and its warnings.
fn check(handler: &str, modules: &[(&str, Flag, &str)]) -> (String, String) {
    let module = |(class, flag, options): &(&str, Flag, &str)| {
        format!(
            "<login-module-entry className='{class}' flag='{flag}'>\n<options>{options}</options></login-module-entry>\n"
        )
    };
    let text = format!(
        "<login-config><login-config-entry name='http'>\n{}<callback-handler className='\
         com.cafesoft.cams.auth.callback.{handler}</callback-handler></login-config-entry></login-config>",
        modules.iter().map(module).collect::<String>()
    );
    let (mut problems, mut warnings) = (Problems::default(), Problems::default());
    let config = login_config::read(Path::new("l.xml"), &text, &mut problems).unwrap();
    let users = cams_users::read(Path::new("u.xml"), "<cams-users/>", &mut problems).unwrap();
    let users = [("users".to_owned(), UsersFile { path: "u.xml".into(), users })].into();
    let services = Services::new(Shared::offline(), "system", users);
    LoginEntry::build_all(config, &services, &mut problems, &mut warnings);
    (problems.to_string(), format!("{warnings}{}", services.warnings.take()))
}

#[test]
fn what_weakens_a_stack_is_told() {
    use Flag::{Optional, Required, Requisite, Sufficient};
    let asks = "ConfigurableCallbackHandler'><callback name='totp' label='x'/>";
    let users = "<option name='serviceId' value='users'/>";
    let clear = format!("{users}\n<option name='allowCleartext' value='true'/>");
    for (first, options, second, problem, warning) in [
        (Required, users, Required, "", ""),
        (Requisite, users, Requisite, "", ""),
        (Optional, users, Required, "", ""),
        (Required, users, Optional, "l.xml:5: flag OPTIONAL: a wrong code would not stop the login", ""),
        (Required, users, Sufficient, "l.xml:5: flag SUFFICIENT: a wrong code would not stop the login", ""),
        (Sufficient, users, Required, "", "l.xml:5: entry `http`: this module is behind a SUFFICIENT one"),
        (Required, &clear, Required, "", "l.xml:4: allowCleartext=true: "),
    ] {
        let (problems, warnings) = check(asks, &[(XML, first, options), (TOTP, second, "")]);
        for (told, expected) in [(problems, problem), (warnings, warning)] {
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{first} {second}: {told}");
        }
    }
}

/// A stack of these modules: LDAP and SQL by their options, XML where there are none; the line of the warning.
#[test]
fn time_outs_longer_than_a_login_are_told() {
    let option = |(name, value): &(&str, &str)| format!("<option name='{name}' value='{value}'/>");
    let ldap = [("host", "ldaps://a ldaps://b"), ("userBaseDn", "dc=test"), ("bindDn", "cn=s"), ("bindPassword", "x")];
    let statement = "SELECT P, N FROM T WHERE N = ?";
    let sql = [("userPreparedStatement", statement), ("passwordColumn", "P"), ("userNameColumn", "N")];
    let xml: &[_] = &[("serviceId", "users")];
    let with = |fixed: &[_], more: &[_]| fixed.iter().chain(more).map(option).collect::<String>();
    let (usual, slow) = (with(&ldap, &[]), with(&ldap, &[("connectTimeout", "4s"), ("readTimeout", "4s")]));
    let one = with(&sql, &[("jdbcUrl", "jdbc:postgresql://a/d?sslmode=verify-full")]);
    let two = with(&sql, &[("jdbcUrl", "jdbc:postgresql://a,b/d?sslmode=verify-full"), ("queryTimeout", "4s")]);
    let ten = with(&ldap, &[("connectTimeout", "10s")]);
    let xml = with(xml, &[]);
    for (modules, expected) in [
        (vec![(LDAP, &usual), (LDAP, &usual), (XML, &xml)], ""),
        (vec![(LDAP, &usual), (SQL, &one), (XML, &xml)], ""),
        (vec![(LDAP, &slow), (XML, &xml)], ""),
        (
            vec![(LDAP, &slow), (SQL, &one), (XML, &xml)],
            "l.xml:5: entry `http`: directories that hang would keep a login \
          waiting for 13s up to this module, and a login ends after 12s: ",
        ),
        (vec![(SQL, &two), (XML, &xml), (LDAP, &usual)], "l.xml:7: entry `http`: directories that hang"),
        (vec![(LDAP, &ten), (SQL, &one)], "l.xml:3: entry `http`: directories that hang"),
        (vec![(LDAP, &usual), (LDAP, &usual), (LDAP, &usual), (SQL, &one)], "l.xml:7: "),
    ] {
        let modules: Vec<_> = modules.iter().map(|(class, text)| (*class, Flag::Sufficient, text.as_str())).collect();
        let (problems, warnings) = check("NamePasswordCallbackHandler'>", &modules);
        assert_eq!(problems, "");
        assert!(warnings.contains(expected) && warnings.is_empty() == expected.is_empty(), "{modules:?}: {warnings}");
        assert!(warnings.lines().count() <= 1, "{warnings}");
    }
}

/// What the modules of an entry demand of its form and of their place.
#[test]
fn a_stack_that_cannot_work_is_a_problem() {
    let users = "<option name='serviceId' value='users'/>";
    let pin = format!("{users}\n<option name='passwordCallback' value='pin'/>");
    let asks = |name: &str| format!("ConfigurableCallbackHandler'><callback name='{name}' label='x'/>");
    let option = |name: &str, value: &str| format!("<option name='{name}' value='{value}'/>");
    let sql = option("jdbcUrl", "jdbc:sqlite:u.db")
        + &option("userPreparedStatement", "SELECT * FROM U WHERE N = ?")
        + &option("passwordColumn", "P");
    let named = format!("{sql}{}", option("userNameColumn", "N"));
    let plain = "NamePasswordCallbackHandler'>";
    for (handler, modules, expected) in [
        (asks("totp").as_str(), &[(XML, users), (TOTP, "")][..], ""),
        (&asks("code"), &[(XML, users), (TOTP, "<option name='callback' value='code'/>")], ""),
        (&asks("pin"), &[(XML, users), (XML, &pin)], ""),
        (
            plain,
            &[(XML, users), (TOTP, "")],
            "l.xml:5: the callback handler of this entry has no <callback name=\"totp\">",
        ),
        (plain, &[(XML, &pin)], "l.xml:4: the callback handler of this entry has no <callback name=\"pin\">"),
        (&asks("totp"), &[(TOTP, ""), (XML, users)], "l.xml:3: this module only adds to what another one proved: put"),
        (
            &asks("totp"),
            &[(XML, users), (TOTP, "<option name='passwordCallback' value='totp'/>")],
            "l.xml:5: option `passwordCallback`: this module asks for no password",
        ),
        (&asks("totp"), &[(SQL, &named), (TOTP, "")], ""),
        (plain, &[(SQL, &sql)], ""),
        (&asks("totp"), &[(SQL, &sql), (XML, users), (TOTP, "")], "l.xml:3: option `userNameColumn` is missing"),
        (
            &asks("totp"),
            &[(XML, users), (TOTP, "<option name='digits' value='4'/>")],
            "l.xml:5: option `digits`: write 6",
        ),
    ] {
        let modules: Vec<_> = modules.iter().map(|(class, options)| (*class, Flag::Required, *options)).collect();
        let (problems, _) = check(handler, &modules);
        assert!(problems.starts_with(expected) && problems.lines().count() <= 1, "{handler} {modules:?}: {problems}");
        assert_eq!(problems.is_empty(), expected.is_empty(), "{handler} {modules:?}: {problems}");
    }
}
