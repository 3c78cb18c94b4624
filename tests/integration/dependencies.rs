//! The lists of `deny.toml` hold in every build, also where cargo-deny is not installed.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    /// None for the workspace's own crates.
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    features: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every package of the locked graph, with all features of our own crates on.
fn metadata() -> Metadata {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new(&cargo).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version=1", "--locked", "--all-features", "--filter-platform", host]);
    let output = metadata.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The strings of the list `key = [` in `[section]`, which ends with a line that is `]`.
fn strings(section: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("deny.toml")).unwrap();
    let (_, section) = text.split_once(&format!("\n{section}\n")).unwrap();
    let (_, list) = section.split_once(&format!("{key} = [\n")).unwrap();
    let (list, _) = list.split_once("\n]").unwrap();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether a licence expression can be met with these licences alone. `OR` binds weaker than `AND`; `/` is the old
/// spelling of `OR`; an exception only adds to what `WITH` stands after.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a, 'b> = &'b mut std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: Words<'_, '_>, allowed: &[String]) -> bool {
    let met = match words.next() {
        Some("(") => {
            let met = any(words, allowed);
            words.next() == Some(")") && met
        }
        Some(licence) => allowed.iter().any(|name| name == licence),
        None => false,
    };
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    met
}

#[test]
fn licence_expressions() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned()];
    let cases = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("MIT AND ISC", true),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("MIT OR ISC AND GPL-3.0", true),
        ("(MIT OR GPL-3.0) AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND ISC", true),
        ("(GPL-3.0) OR MIT", true),
        ("(MIT", false),
        ("MIT WITH LLVM-exception OR GPL-3.0", true),
        ("MIT MIT", false),
        ("", false),
    ];
    for (expression, expected) in cases {
        assert_eq!(permitted(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn licences_are_permitted() {
    let allowed = strings("[licenses]", "allow");
    // Pairs of a crate and the one further licence it may have.
    let exceptions = strings("[licenses]", "exceptions");
    for package in metadata().packages.iter().filter(|package| package.source.is_some()) {
        let own = exceptions.chunks(2).filter(|pair| pair[0] == package.name).map(|pair| pair[1].clone());
        let allowed: Vec<_> = allowed.iter().cloned().chain(own).collect();
        let licence = package.license.as_deref().unwrap_or_default();
        assert!(permitted(licence, &allowed), "{} is under `{licence}`", package.name);
    }
}

#[test]
fn nothing_banned_is_in_the_graph() {
    let banned = strings("[bans]", "deny");
    assert!(banned.iter().any(|name| name == "openssl-sys"), "{banned:?}");
    let metadata = metadata();
    for package in &metadata.packages {
        assert!(!banned.contains(&package.name), "{} is banned", package.name);
        let source = package.source.as_deref().unwrap_or_default();
        let public = source == "registry+https://github.com/rust-lang/crates.io-index";
        assert!(public || source.is_empty(), "{} comes from {source}", package.name);
    }
    let rustls: Vec<_> = metadata.resolve.nodes.iter().filter(|node| node.id.contains("#rustls@")).collect();
    assert!(!rustls.is_empty());
    for node in rustls {
        let second = node.features.iter().find(|feature| feature.starts_with("aws"));
        assert_eq!(second, None, "rustls has a second provider beside ring");
    }
}
