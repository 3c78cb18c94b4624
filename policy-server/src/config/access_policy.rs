//! Reads `access-control-policy.xml`: permissions that link resource patterns to access control rules.
//!
//! A rule that is misspelt, missing or refers to itself never becomes a policy: a policy in use is one without problems.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use shared_proto::names::is_name;
use shared_proto::options::parse_duration;
use shared_proto::problem::{Problems, did_you_mean};

use super::xml::{self, Element};
use crate::access::{Acr, Auth, Method, Permission, Policy, Rule};
use shared_proto::pattern::{HostPattern, PathPattern, ResourcePattern};

/// Rules within rules, counted through references.
const MAX_DEPTH: usize = 32;
/// Parts of one rule, counted through references: a dozen rules that each name another twice are a bomb.
const MAX_PARTS: usize = 1000;

const EXPRESSIONS: [&str; 9] =
    ["granted", "denied", "confidential", "auth", "auth-method", "and", "or", "not", "acr-ref"];
/// Of the original's language, but not of ours: known, so that the message can say so.
const FOREIGN: [&str; 6] = ["host", "attr", "obligation", "sql-data", "acr-type", "owner"];

/// The policy, if nothing in this file is wrong.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Option<Policy> {
    let before = problems.len();
    let root = xml::parse(file, text, problems)?;
    if root.name != "access-control-policy" {
        root.problem(problems, format!("expected <access-control-policy>, found <{}>", root.name));
        return None;
    }
    root.only(&["ignore-case"], &["permission-collection", "acr-lib"], problems);
    let ignore_case = root.flag("ignore-case", false, problems);
    let mut library = Library::collect(&root, problems);
    for acr in library.definitions.clone().into_values() {
        library.acr(acr, problems);
    }
    let mut permissions = Vec::new();
    for collection in root.children_named("permission-collection") {
        collection.only(&["name"], &["permission"], problems);
        for element in collection.children_named("permission") {
            permissions.extend(permission(element, ignore_case, &mut library, problems));
        }
    }
    (problems.len() == before).then(|| Policy::new(file, text, permissions))
}

fn permission(
    element: &Element,
    ignore_case: bool,
    library: &mut Library<'_>,
    problems: &mut Problems,
) -> Option<Permission> {
    allow(element, &["name"], &["resource-pattern", "acr-ref"], problems);
    let pattern = one(element, "resource-pattern", problems).and_then(|e| resource_pattern(e, ignore_case, problems));
    let acr = one(element, "acr-ref", problems).and_then(|e| library.reference(e, problems));
    let name = element.attribute("name").map(str::to_owned);
    Some(Permission { name, line: element.line, pattern: pattern?, acr: acr? })
}

fn resource_pattern(element: &Element, ignore_case: bool, problems: &mut Problems) -> Option<ResourcePattern> {
    element.only(&["scheme", "host", "port", "path", "methods"], &[], problems);
    let path = element.require("path", problems);
    let given = |name| element.attribute(name).filter(|value| *value != "*");
    let mut wrong = |name: &str, why: String| {
        element.problem(problems, format!("attribute `{name}` of <resource-pattern>: {why}"));
    };
    let scheme = given("scheme").map(scheme).transpose().map_err(|why| wrong("scheme", why));
    let host = given("host").map_or(Ok(HostPattern::Any), HostPattern::parse).map_err(|why| wrong("host", why));
    let port = given("port").map(port).transpose().map_err(|why| wrong("port", why));
    let methods = given("methods").map_or(Ok(BTreeSet::new()), methods).map_err(|why| wrong("methods", why));
    let path = PathPattern::parse(path?, ignore_case).map_err(|why| wrong("path", why));
    Some(ResourcePattern {
        scheme: scheme.ok()?,
        host: host.ok()?,
        port: port.ok()?,
        path: path.ok()?,
        methods: methods.ok()?,
    })
}

fn scheme(text: &str) -> Result<String, String> {
    match text {
        "http" | "https" => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is not `http`, `https` or `*`")),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or_else(|| format!("`{text}` is no number from 1 to 65535 and not `*`"))
}

/// Methods are case-sensitive (RFC 9110, section 9.1); nobody means `get`.
fn methods(text: &str) -> Result<BTreeSet<String>, String> {
    let methods = list(text)?;
    match methods.iter().find(|method| !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')) {
        Some(odd) => Err(format!("`{odd}` is no method: write them in capitals, as in `GET,POST`")),
        None => Ok(methods),
    }
}

/// A comma list without empty items.
fn list(text: &str) -> Result<BTreeSet<String>, String> {
    let items: BTreeSet<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    if items.contains("") { Err("is empty or has an empty item".to_owned()) } else { Ok(items) }
}

/// The rules of the `<acr-lib>`, made when first asked for.
struct Library<'a> {
    definitions: BTreeMap<&'a str, &'a Element>,
    /// `None` for one that is wrong, which has been reported.
    made: BTreeMap<&'a str, Option<Made>>,
    /// Those that are being made; one that is met again leads back to itself.
    open: Vec<&'a str>,
}

#[derive(Clone)]
struct Made {
    acr: Arc<Acr>,
    size: Size,
}

#[derive(Clone, Copy)]
struct Size {
    depth: usize,
    parts: usize,
}

impl<'a> Library<'a> {
    fn collect(root: &'a Element, problems: &mut Problems) -> Self {
        let mut definitions: BTreeMap<&str, &Element> = BTreeMap::new();
        let Some(library) = root.only_child("acr-lib", problems) else { return Self::of(definitions) };
        allow(library, &[], &["acr"], problems);
        for element in library.children_named("acr") {
            let Some(id) = element.require("id", problems) else { continue };
            if let Some(first) = definitions.get(id) {
                element.problem(problems, format!("the rule `{id}` is already defined in line {}", first.line));
            } else {
                definitions.insert(id, element);
            }
        }
        Self::of(definitions)
    }

    fn of(definitions: BTreeMap<&'a str, &'a Element>) -> Self {
        Self { definitions, made: BTreeMap::new(), open: Vec::new() }
    }

    /// The rule that an `<acr-ref>` names.
    fn reference(&mut self, element: &Element, problems: &mut Problems) -> Option<Arc<Acr>> {
        self.made_by(element, problems).map(|made| made.acr)
    }

    fn made_by(&mut self, element: &Element, problems: &mut Problems) -> Option<Made> {
        element.only(&["id"], &[], problems);
        let id = element.require("id", problems)?;
        let Some(definition) = self.definitions.get(id) else {
            let hint = did_you_mean(id, self.definitions.keys().copied());
            let hint = hint.map(|known| format!(", did you mean `{known}`?")).unwrap_or_default();
            element.problem(problems, format!("no rule `{id}` in the <acr-lib>{hint}"));
            return None;
        };
        if self.open.contains(&id) {
            element.problem(problems, format!("the rule `{id}` refers to itself: {} -> {id}", self.open.join(" -> ")));
            return None;
        }
        self.acr(definition, problems)
    }

    fn acr(&mut self, element: &'a Element, problems: &mut Problems) -> Option<Made> {
        let id = element.attribute("id")?;
        if let Some(made) = self.made.get(id) {
            return made.clone();
        }
        self.open.push(id);
        let made = self.make(id, element, problems);
        self.open.pop();
        self.made.insert(id, made.clone());
        made
    }

    fn make(&mut self, id: &str, element: &'a Element, problems: &mut Problems) -> Option<Made> {
        if self.open.len() > MAX_DEPTH {
            element.problem(problems, format!("rules are nested deeper than {MAX_DEPTH}, references included"));
            return None;
        }
        allow(element, &["id"], &EXPRESSIONS, problems);
        let (rule, size) = self.only_part(element, problems)?;
        if size.depth > MAX_DEPTH || size.parts > MAX_PARTS {
            let message = format!("the rule `{id}` is too large: {MAX_DEPTH} levels, {MAX_PARTS} parts at most");
            element.problem(problems, format!("{message}, references included"));
            return None;
        }
        Some(Made { acr: Arc::new(Acr { id: id.to_owned(), line: element.line, rule }), size })
    }

    fn rule(&mut self, element: &'a Element, problems: &mut Problems) -> Option<(Rule, Size)> {
        let mut plain = |rule| {
            element.only(&[], &[], problems);
            Some((rule, Size::ONE))
        };
        match element.name.as_str() {
            "granted" => plain(Rule::Granted),
            "denied" => plain(Rule::Denied),
            "confidential" => plain(Rule::Confidential),
            "auth" => auth(element, problems).map(|auth| (Rule::Auth(auth), Size::ONE)),
            "auth-method" => method(element, problems).map(|method| (Rule::Method(method), Size::ONE)),
            "and" => self.parts(element, problems).map(|(rules, size)| (Rule::And(rules), size)),
            "or" => self.parts(element, problems).map(|(rules, size)| (Rule::Or(rules), size)),
            "not" => {
                allow(element, &[], &EXPRESSIONS, problems);
                self.only_part(element, problems).map(|(rule, size)| (Rule::Not(Box::new(rule)), size.and_one_around()))
            }
            "acr-ref" => self.made_by(element, problems).map(|made| (Rule::Ref(made.acr), made.size.and_one_around())),
            // Reported where its parent was checked.
            _ => None,
        }
    }

    fn only_part(&mut self, element: &'a Element, problems: &mut Problems) -> Option<(Rule, Size)> {
        match element.children.as_slice() {
            [part] => self.rule(part, problems),
            parts => {
                let message = format!("<{}> holds exactly one rule, not {}", element.name, parts.len());
                element.problem(problems, message);
                None
            }
        }
    }

    fn parts(&mut self, element: &'a Element, problems: &mut Problems) -> Option<(Vec<Rule>, Size)> {
        allow(element, &[], &EXPRESSIONS, problems);
        if element.children.is_empty() {
            element.problem(problems, format!("<{}> is empty: it needs at least one rule", element.name));
            return None;
        }
        // All of them are read before one that is wrong ends it, so that every problem is found.
        let parts: Vec<_> = element.children.iter().map(|part| self.rule(part, problems)).collect();
        let (rules, sizes): (Vec<_>, Vec<_>) = parts.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let whole = sizes.into_iter().fold(Size { depth: 0, parts: 0 }, Size::beside);
        Some((rules, whole.and_one_around()))
    }
}

impl Size {
    const ONE: Self = Self { depth: 1, parts: 1 };

    fn and_one_around(self) -> Self {
        Self { depth: self.depth + 1, parts: self.parts + 1 }
    }

    fn beside(self, other: Self) -> Self {
        Self { depth: self.depth.max(other.depth), parts: self.parts + other.parts }
    }
}

fn auth(element: &Element, problems: &mut Problems) -> Option<Auth> {
    element.only(&["roles", "principals", "entries"], &[], problems);
    let mut set = |name| match element.attribute(name).map_or(Ok(BTreeSet::new()), list) {
        Ok(set) => Some(set),
        Err(why) => {
            element.problem(problems, format!("attribute `{name}` of <auth>: {why}"));
            None
        }
    };
    let (roles, principals, entries) = (set("roles"), set("principals"), set("entries"));
    if let Some(odd) = entries.iter().flatten().find(|entry| !is_name(entry)) {
        element.problem(problems, format!("`{odd}` is no login entry: a name has letters, digits and `_` only"));
    }
    Some(Auth { roles: roles?, principals: principals?, entries: entries? })
}

fn method(element: &Element, problems: &mut Problems) -> Option<Method> {
    element.only(&["name", "maxAge"], &[], problems);
    let name = element.require("name", problems)?;
    if name != "form" {
        element.problem(
            problems,
            format!("attribute `name` of <auth-method>: `{name}` is not `form`, the only one there is"),
        );
    }
    let Some(text) = element.attribute("maxAge") else { return Some(Method { max_age: None }) };
    let age = parse_duration(text).map(|age| age.as_secs()).filter(|seconds| *seconds > 0);
    if age.is_none() {
        let message =
            format!("attribute `maxAge` of <auth-method>: `{text}` is no time of a second or more, such as 15m");
        element.problem(problems, message);
    }
    age.map(|seconds| Method { max_age: Some(seconds) })
}

/// The child that must be there exactly once.
fn one<'a>(element: &'a Element, name: &'a str, problems: &mut Problems) -> Option<&'a Element> {
    let child = element.only_child(name, problems);
    if child.is_none() {
        element.problem(problems, format!("<{}> needs one <{name}>", element.name));
    }
    child
}

/// Like [`Element::only`], with a word of its own for what the original's language has and ours has not.
fn allow(element: &Element, attributes: &[&str], children: &[&str], problems: &mut Problems) {
    element.only(attributes, &[children, &FOREIGN].concat(), problems);
    for child in element.children.iter().filter(|child| FOREIGN.contains(&child.name.as_str())) {
        child.problem(problems, format!("<{}> is part of the original's rule language but not supported", child.name));
    }
}

#[cfg(test)]
#[path = "access_policy_tests.rs"]
mod tests;
