//! Reader of `jami-blueprints.xml`: what the Jami clients of people with a role are set to.
//!
//! ```xml
//! <blueprints>
//!   <blueprint name="staff" role="staff">
//!     <policy name="videoEnabled" value="false"/>
//!   </blueprint>
//! </blueprints>
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use shared_proto::options::Options;
use shared_proto::problem::Problems;
use shared_proto::secret::SecretRef;

use super::xml::{self, Element};

/// A blueprint as its file has it.
#[derive(Debug)]
pub struct BlueprintConfig {
    pub name: String,
    /// `None` is for everybody.
    pub role: Option<String>,
    /// Values by the names that clients have for them, each with its line.
    pub settings: BTreeMap<&'static str, (SecretRef, usize)>,
    /// Whether these people may search the directory.
    pub may_search: bool,
    /// For problems with a secret.
    pub file: std::path::PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Flag,
    Text,
    /// The text of a JSON object.
    Json,
    /// The text, `file:` or `env:`.
    Secret,
}

/// The name of JAMS, where it had one, and that of the client.
const POLICIES: [(&str, &str, Value); 25] = [
    ("turnEnabled", "TURN.enable", Value::Flag),
    ("turnServer", "TURN.server", Value::Text),
    ("turnServerUserName", "TURN.username", Value::Text),
    ("turnServerPassword", "TURN.password", Value::Secret),
    ("", "TURN.realm", Value::Text),
    ("proxyEnabled", "Account.proxyEnabled", Value::Flag),
    ("proxyServer", "Account.proxyServer", Value::Text),
    ("dhtProxyListUrl", "Account.dhtProxyListUrl", Value::Text),
    ("", "Account.proxyListEnabled", Value::Flag),
    ("bootstrap", "Account.hostname", Value::Text),
    ("videoEnabled", "Account.videoEnabled", Value::Flag),
    ("accountDiscovery", "Account.accountDiscovery", Value::Flag),
    ("peerDiscovery", "Account.peerDiscovery", Value::Flag),
    ("rendezVous", "Account.rendezVous", Value::Flag),
    ("upnpEnabled", "Account.upnpEnabled", Value::Flag),
    ("accountPublish", "Account.accountPublish", Value::Flag),
    ("autoAnswer", "Account.autoAnswer", Value::Flag),
    ("defaultModerators", "Account.defaultModerators", Value::Text),
    ("", "Account.localModeratorsEnabled", Value::Flag),
    ("", "Account.allModeratorsEnabled", Value::Flag),
    ("uiCustomization", "Account.uiCustomization", Value::Json),
    ("publicInCalls", "DHT.PublicInCalls", Value::Flag),
    ("", "Account.allowCertFromHistory", Value::Flag),
    ("", "Account.allowCertFromContact", Value::Flag),
    ("", "Account.allowCertFromTrusted", Value::Flag),
];
/// What the server itself follows: no client has a setting for it.
const LOOKUP: &str = "allowLookup";

/// All blueprints in their order, or `None` with the reasons in `problems`.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<Vec<BlueprintConfig>> {
    let before = problems.len();
    let root = xml::parse_root(file, text, &["blueprints"], problems)?;
    root.only(&[], &["blueprint"], problems);
    let mut blueprints: Vec<BlueprintConfig> = Vec::new();
    for element in root.children_named("blueprint") {
        let Some(blueprint) = blueprint(element, problems) else { continue };
        for earlier in &blueprints {
            if earlier.name == blueprint.name {
                element.problem(problems, format!("blueprint `{}` is there twice", blueprint.name));
            } else if earlier.role.is_none() || earlier.role == blueprint.role {
                let message = format!(
                    "blueprint `{}` is for nobody: `{}` before it is for the same people, and the first one counts",
                    blueprint.name, earlier.name
                );
                element.problem(problems, message);
            }
        }
        blueprints.push(blueprint);
    }
    (problems.len() == before).then_some(blueprints)
}

fn blueprint(element: &Element, problems: &mut Problems) -> Option<BlueprintConfig> {
    element.only(&["name", "role"], &["policy"], problems);
    let mut options = element.items("policy", "policy", problems);
    let settings = POLICIES.iter().filter_map(|(jams, client, value)| {
        setting(&mut options, jams, client, *value, problems).map(|setting| (*client, setting))
    });
    let settings = settings.collect();
    let may_search = options.take_bool(LOOKUP, true, problems);
    options.finish(problems);
    let role = element.attribute("role").map(str::to_owned);
    if role.as_deref().is_some_and(|role| role.trim().is_empty()) {
        element.problem(problems, "attribute `role` is empty: leave it out for everybody");
    }
    let name = element.require("name", problems)?.to_owned();
    Some(BlueprintConfig { name, role, settings, may_search, file: element.file().to_owned() })
}

/// A policy by either of its names.
fn setting(
    options: &mut Options,
    jams: &str,
    client: &str,
    value: Value,
    problems: &mut Problems,
) -> Option<(SecretRef, usize)> {
    let by_jams = if jams.is_empty() { None } else { options.take(jams) };
    let by_client = options.take(client);
    if let (Some(_), Some((_, line))) = (&by_jams, &by_client) {
        problems.add(options.file(), *line, format!("policy `{client}` is `{jams}`, which is there too: keep one"));
    }
    let (text, line) = by_jams.or(by_client)?;
    let flaw = match value {
        Value::Flag if !matches!(text.as_str(), "true" | "false") => Some("is not true or false"),
        Value::Json if !serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|json| json.is_object()) => {
            Some("is not a JSON object")
        }
        _ if text.chars().any(char::is_control) => Some("has control characters"),
        _ => None,
    };
    if let Some(flaw) = flaw {
        // Never with the value: it may be a password.
        problems.add(options.file(), line, format!("policy `{}` {flaw}", if jams.is_empty() { client } else { jams }));
    }
    let value = if value == Value::Secret { SecretRef::parse(&text) } else { SecretRef::Literal(text.into()) };
    Some((value, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> (Option<Vec<BlueprintConfig>>, String) {
        let mut problems = Problems::default();
        let found = read(Path::new("j.xml"), text, &mut problems);
        (found, problems.to_string())
    }

    fn policy(name: &str, value: &str) -> String {
        format!("<blueprints>\n<blueprint name='b'>\n<policy name='{name}' value='{value}'/></blueprint></blueprints>")
    }

    #[test]
    fn names_of_jams_and_of_clients_are_those_of_clients() {
        for (jams, client, kind) in POLICIES {
            let value = match kind {
                Value::Flag => "false",
                Value::Json => "{}",
                Value::Text | Value::Secret => "x y",
            };
            for name in [jams, client].into_iter().filter(|name| !name.is_empty()) {
                let (found, problems) = read_text(&policy(name, value));
                let found = found.unwrap_or_else(|| panic!("{name}: {problems}")).remove(0);
                assert_eq!(found.settings.keys().collect::<Vec<_>>(), [&client]);
                let SecretRef::Literal(text) = &found.settings[client].0 else { panic!("{name}") };
                assert_eq!((text.expose_str(), found.may_search), (Some(value), true));
            }
        }
        let (found, _) = read_text(&policy("allowLookup", "false"));
        let found = found.unwrap().remove(0);
        assert!(found.settings.is_empty() && !found.may_search);
        let (found, _) = read_text(&policy("TURN.password", "file:turn.txt"));
        assert!(matches!(found.unwrap()[0].settings["TURN.password"], (SecretRef::File(_), 3)));
        assert!(read_text("<blueprints/>").0.is_some_and(|found| found.is_empty()));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let two = |first: &str, second: &str| {
            format!("<blueprints>\n<blueprint {first}/>\n<blueprint {second}/>\n</blueprints>")
        };
        for (text, expected) in [
            (policy("videoEnabeld", "true"), "j.xml:3: unknown policy `videoEnabeld`, did you mean `videoEnabled`?"),
            (policy("Account.videoEnable", "true"), "did you mean `Account.videoEnabled`?"),
            (policy("videoEnabled", "yes"), "j.xml:3: policy `videoEnabled` is not true or false"),
            (policy("allowLookup", "no"), "j.xml:3"),
            (policy("uiCustomization", "[]"), "j.xml:3: policy `uiCustomization` is not a JSON object"),
            (policy("turnServer", "a&#10;b"), "j.xml:3: policy `turnServer` has control characters"),
            (two("name='a'", "name='a' role='r'"), "j.xml:3: blueprint `a` is there twice"),
            (two("name='a'", "name='b' role='r'"), "j.xml:3: blueprint `b` is for nobody"),
            (two("name='a' role='r'", "name='b' role='r'"), "j.xml:3: blueprint `b` is for nobody"),
            (two("role='r'", "name='b'"), "j.xml:2: "),
            (two("name='a' role=''", "name='b'"), "j.xml:2: attribute `role` is empty"),
            (two("name='a' group='r'", "name='b'"), "j.xml:2: unknown attribute `group`"),
            ("<blueprint/>".to_owned(), "j.xml:1: "),
            (
                "<blueprints><blueprint name='a'>\n<policy name='bootstrap' value='x'/>\n\
                 <policy name='Account.hostname' value='x'/></blueprint></blueprints>"
                    .to_owned(),
                "j.xml:3: policy `Account.hostname` is `bootstrap`, which is there too",
            ),
        ] {
            let (found, problems) = read_text(&text);
            assert!(found.is_none() && problems.contains(expected), "{text}: {problems}");
        }
        assert!(read_text(&two("name='a' role='r'", "name='b'")).0.is_some());
    }
}
