//! Reader of `login-config.xml`: which modules a login entry asks, with which flags, and where its login page is.
//!
//! The options of a module are left for the module itself to take.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use shared_proto::names::is_name;
use shared_proto::options::Options;
use shared_proto::problem::{Problems, did_you_mean};

use super::callback_handler;
use super::xml::{self, Element};
use crate::auth::callback::CallbackHandler;
use crate::auth::modules::{self, ModuleKind};
use crate::auth::stack::Flag;

/// The login page the agent serves itself.
const DEFAULT_LOGIN_URL: &str = "/cams/login";

#[derive(Debug, Default)]
pub struct LoginConfig {
    pub entries: Vec<EntryConfig>,
}

#[derive(Debug)]
pub struct EntryConfig {
    pub name: String,
    /// In the order they are asked.
    pub modules: Vec<ModuleConfig>,
    pub handler: CallbackHandler,
    /// `camsLoginUrl`: absolute, or a path on the site.
    pub login_url: String,
    /// The other login parameters.
    pub parameters: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct ModuleConfig {
    pub kind: &'static ModuleKind,
    pub flag: Flag,
    pub options: Options,
}

/// The entries. Those with mistakes come along, so that the checks after this one can name theirs in the same run; a
/// configuration with problems is refused as a whole.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<LoginConfig> {
    let root = xml::parse_root(file, text, &["login-config"], problems)?;
    root.only(&[], &["login-config-entry"], problems);
    let mut names = BTreeSet::new();
    let mut entries = Vec::new();
    for element in root.children_named("login-config-entry") {
        let Some(entry) = entry(element, problems) else { continue };
        if !names.insert(entry.name.clone()) {
            element.problem(problems, format!("login-config-entry `{}` is there twice", entry.name));
        }
        entries.push(entry);
    }
    if root.children.is_empty() {
        root.problem(problems, "<login-config> needs at least one <login-config-entry>");
    }
    Some(LoginConfig { entries })
}

fn entry(element: &Element, problems: &mut Problems) -> Option<EntryConfig> {
    element.only(&["name"], &["login-module-entry", "callback-handler", "login-parameters"], problems);
    let name = element.require("name", problems).filter(|name| {
        let good = is_name(name);
        if !good {
            element.problem(problems, format!("entry name `{name}`: use letters, digits and _, at most 64"));
        }
        good
    });
    if element.children_named("login-module-entry").next().is_none() {
        element.problem(problems, "<login-config-entry> needs at least one <login-module-entry>");
    }
    let modules =
        element.children_named("login-module-entry").filter_map(|module| module_entry(module, problems)).collect();
    let handler = callback_handler::read(element, problems).unwrap_or(CallbackHandler::NAME_PASSWORD);
    let mut parameters = parameters(element, problems);
    let login_url = login_url(&mut parameters, problems);
    let parameters = parameters.take_prefixed("").into_iter().map(|(name, value, _)| (name, value)).collect();
    Some(EntryConfig { name: name?.to_owned(), modules, handler, login_url, parameters })
}

fn module_entry(element: &Element, problems: &mut Problems) -> Option<ModuleConfig> {
    element.only(&["className", "classname", "flag"], &["options"], problems);
    let kind = element.class_name(problems).and_then(|class| {
        let kind = modules::find(class);
        if kind.is_none() {
            element.problem(problems, unknown_class("login module", class, modules::classes()));
        }
        kind
    });
    let flag = element.require("flag", problems).and_then(|text| {
        let flag = text.parse::<Flag>();
        if let Err(error) = &flag {
            element.problem(problems, format!("flag `{text}` {error}"));
        }
        flag.ok()
    });
    let options = element.child_options("options", "option", "option", problems);
    Some(ModuleConfig { kind: kind?, flag: flag.unwrap_or(Flag::Required), options })
}

/// The parameters of all lists together.
fn parameters(entry: &Element, problems: &mut Problems) -> Options {
    let mut all = Options::new(entry.file(), entry.line, "login-parameter");
    for list in entry.children_named("login-parameters") {
        for (name, value, line) in list.options("login-parameter", "login-parameter", problems).take_prefixed("") {
            all.insert(name, value, line, problems);
        }
    }
    all
}

fn login_url(parameters: &mut Options, problems: &mut Problems) -> String {
    let Some((url, line)) = parameters.take("camsLoginUrl") else { return DEFAULT_LOGIN_URL.to_owned() };
    if !is_login_url(&url) {
        let message = format!("camsLoginUrl `{url}` is neither a path like /cams/login nor an http(s) URL");
        problems.add(parameters.file(), line, message);
    }
    url
}

/// A path on the site or an absolute URL. `//host` and `/\host` are other hosts to a browser.
fn is_login_url(url: &str) -> bool {
    let rooted = url.strip_prefix('/').is_some_and(|rest| !rest.starts_with('/'));
    let absolute = ["https://", "http://"]
        .iter()
        .any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')));
    (rooted || absolute) && !url.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\')
}

/// The message for a class that no table has, with those it has.
pub(super) fn unknown_class<'a>(what: &str, class: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match (did_you_mean(class, known.iter().copied()), known.is_empty()) {
        (Some(near), _) => format!("unknown {what} `{class}`, did you mean `{near}`?"),
        (None, true) => format!("unknown {what} `{class}`: there are none yet"),
        (None, false) => format!("unknown {what} `{class}`: known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"<login-config>
<login-config-entry name="http">
<login-module-entry className="com.cafesoft.cams.auth.login.module.XmlLoginModule" flag="REQUIRED">
<options><option name="serviceId" value="users"/></options>
</login-module-entry>
<login-module-entry classname="com.cafesoft.cams.auth.login.module.XmlLoginModule" flag="optional"/>
<callback-handler classname="com.cafesoft.cams.auth.callback.NamePasswordCallbackHandler"/>
<login-parameters><login-parameter name="camsLoginUrl" value="/cams/login"/></login-parameters>
<login-parameters><login-parameter name="theme" value="dark"/></login-parameters>
</login-config-entry>
</login-config>"#;

    fn read_text(text: &str) -> (Option<LoginConfig>, String) {
        let mut problems = Problems::default();
        let config = read(Path::new("l.xml"), text, &mut problems);
        (config, problems.to_string())
    }

    #[test]
    fn entries_are_read() {
        let (config, problems) = read_text(GOOD);
        assert_eq!(problems, "");
        let entry = &config.unwrap().entries[0];
        let flags: Vec<Flag> = entry.modules.iter().map(|module| module.flag).collect();
        assert_eq!((entry.name.as_str(), flags), ("http", vec![Flag::Required, Flag::Optional]));
        assert_eq!((entry.login_url.as_str(), &entry.handler), ("/cams/login", &CallbackHandler::NAME_PASSWORD));
        assert_eq!(entry.parameters, BTreeMap::from([("theme".to_owned(), "dark".to_owned())]));
    }

    /// Each change of the good file is one problem, reported where it stands.
    #[test]
    fn what_is_not_understood_is_refused() {
        let class = "com.cafesoft.cams.auth.login.module.XmlLoginModule";
        for (change, to, expected) in [
            ("\"REQUIRED\"", "\"NEEDED\"", "l.xml:3: flag `NEEDED` is not REQUIRED, REQUISITE, SUFFICIENT or OPTIONAL"),
            (" flag=\"REQUIRED\"", "", "l.xml:3: <login-module-entry> needs the attribute `flag`"),
            (
                " flag=\"REQUIRED\"",
                " flags=\"REQUIRED\"",
                "l.xml:3: unknown attribute `flags` of <login-module-entry>, did",
            ),
            (
                "XmlLoginModule",
                "XmlLoginModul",
                "l.xml:3: unknown login module `com.cafesoft.cams.auth.login.module.XmlLo",
            ),
            (class, "org.Ldap", "l.xml:3: unknown login module `org.Ldap`: known are com.cafesoft.cams.auth.login."),
            ("className=", "classname=\"x\" className=", "l.xml:3: className is given twice"),
            ("<options>", "<options><opt/>", "l.xml:4: unknown element <opt> in <options>"),
            ("<options>", "<options/><options>", "l.xml:4: <login-module-entry> may hold one <options> only"),
            (
                "users\"/>",
                "users\"/><option name=\"serviceId\" value=\"\"/>",
                "l.xml:4: option `serviceId` is given twice",
            ),
            ("callback.Name", "callback.Nme", "l.xml:7: unknown callback handler `com.cafesoft.cams.auth.callback.Nme"),
            ("callback-handler", "callbackhandler", "l.xml:2: <login-config-entry> needs a <callback-handler>"),
            (
                "<callback-handler ",
                "<callback-handler className='x'/><callback-handler ",
                "l.xml:7: <login-config-entry> may",
            ),
            ("/cams/login", "//evil.example/", "l.xml:8: camsLoginUrl `//evil.example/` is neither"),
            ("/cams/login", "javascript:x", "l.xml:8: camsLoginUrl `javascript:x` is neither"),
            ("/cams/login", "/\\evil.example", "l.xml:8: camsLoginUrl `/\\evil.example` is neither"),
            ("theme", "camsLoginUrl", "l.xml:9: login-parameter `camsLoginUrl` is given twice"),
            ("name=\"http\"", "name=\"a b\"", "l.xml:2: entry name `a b`: use letters"),
            ("name=\"http\"", "", "l.xml:2: <login-config-entry> needs the attribute `name`"),
            (
                "</login-config>",
                "<login-config-entry name='x'/></login-config>",
                "l.xml:11: <login-config-entry> needs at least",
            ),
            ("</login-config>", "<entry/></login-config>", "l.xml:11: unknown element <entry> in <login-config>"),
        ] {
            assert!(GOOD.contains(change), "{change}");
            let (_, problems) = read_text(&GOOD.replacen(change, to, 1));
            assert!(problems.lines().any(|problem| problem.starts_with(expected)), "{to}:\n{problems}");
        }
    }

    #[test]
    fn files_without_entries_and_doubled_entries_are_refused() {
        let entry = GOOD.trim_start_matches("<login-config>\n").trim_end_matches("</login-config>");
        for (text, expected) in [
            ("<login-config/>".to_owned(), "l.xml:1: <login-config> needs at least one <login-config-entry>"),
            ("<config/>".to_owned(), "l.xml:1: the root element is <config>, not <login-config>"),
            (
                format!("<login-config>{entry}{entry}</login-config>"),
                "l.xml:10: login-config-entry `http` is there twice",
            ),
        ] {
            let (_, problems) = read_text(&text);
            assert_eq!(problems, expected);
        }
    }

    #[test]
    fn login_pages_are_paths_or_urls() {
        for good in ["/", "/cams/login.jsp", "https://login.example/x?y=z", "http://localhost:8080/cams/login"] {
            assert!(is_login_url(good), "{good}");
        }
        for bad in ["", "login", "//h", "/a b", "/a\nb", "ftp://h/", "https://", "https:///x", "HTTPS//x", "data:x"] {
            assert!(!is_login_url(bad), "{bad}");
        }
    }
}
