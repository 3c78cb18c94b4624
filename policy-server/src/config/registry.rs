//! `security-domain-registry.xml`: which security domains there are and where their files lie.
//!
//! ```xml
//! <security-domain-registry>
//!   <security-domain name="system" path="system" enabled="true"/>
//! </security-domain-registry>
//! ```

use std::path::{Path, PathBuf};

use shared_proto::names::is_name;
use shared_proto::problem::Problems;

use super::xml;

/// An enabled security domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredDomain {
    pub name: String,
    /// The folder of its files.
    pub folder: PathBuf,
}

/// The enabled domains. At least one must be.
pub fn read(file: &Path, text: &str, problems: &mut Problems) -> Vec<RegisteredDomain> {
    let Some(root) = xml::parse(file, text, problems) else { return Vec::new() };
    if root.name != "security-domain-registry" {
        root.problem(problems, format!("the root element is <{}>, not <security-domain-registry>", root.name));
        return Vec::new();
    }
    root.only(&[], &["security-domain"], problems);
    let base = file.parent().unwrap_or(Path::new("."));
    let mut names: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for element in &root.children {
        element.only(&["name", "path", "enabled"], &[], problems);
        let enabled = element.flag("enabled", true, problems);
        let Some(name) = element.require("name", problems) else { continue };
        if !is_name(name) {
            element.problem(problems, format!("`{name}` may hold only letters, digits and _ (at most 64)"));
        }
        // Cookies carry the name in upper case, so two that differ in case alone would share one.
        if names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            element.problem(problems, format!("the security domain `{name}` is registered twice"));
        }
        names.push(name);
        if enabled {
            let folder = base.join(element.attribute("path").unwrap_or(name));
            found.push(RegisteredDomain { name: name.to_owned(), folder });
        }
    }
    if found.is_empty() {
        root.problem(problems, "no security domain is enabled: nobody could log in");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str], problem: &str) {
        let mut problems = Problems::default();
        let found = read(Path::new("/c/r.xml"), text, &mut problems);
        let found: Vec<String> = found.iter().map(|d| format!("{} {}", d.name, d.folder.display())).collect();
        assert_eq!(found, expected);
        assert!(problems.to_string().contains(problem), "{problems}");
        assert_eq!(problems.is_empty(), problem.is_empty(), "{problems}");
    }

    #[test]
    fn domains_and_their_folders() {
        let text = "<security-domain-registry><security-domain name='system'/>\
            <security-domain name='b' path='../b' enabled='true'/><security-domain name='c' enabled='false'/>\
            </security-domain-registry>";
        check(text, &["system /c/system", "b /c/../b"], "");
    }

    #[test]
    fn mistakes() {
        check("<security-domain-registry/>", &[], "/c/r.xml:1: no security domain is enabled");
        check("<registry/>", &[], "the root element is <registry>");
        let twice = "<security-domain-registry>\n<security-domain name='a'/>\n<security-domain name='A'/>\n\
            </security-domain-registry>";
        check(twice, &["a /c/a", "A /c/A"], "/c/r.xml:3: the security domain `A` is registered twice");
    }
}
