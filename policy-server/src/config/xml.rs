//! XML as a tree that remembers its lines, so that every problem can be shown where it stands.
//!
//! A DOCTYPE is refused (it is how external entities and entity bombs get in), and so is anything beyond the caps: a
//! configuration file is small, and whatever is larger was not written by an admin.

use std::path::{Path, PathBuf};

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use shared_proto::options::Options;
use shared_proto::problem::{Problems, did_you_mean};

const MAX_BYTES: usize = 16 << 20;
const MAX_DEPTH: usize = 64;
const MAX_ATTRIBUTES: usize = 32;

/// An element, its attributes and its child elements in document order. Text between elements is ignored.
#[derive(Debug, Clone)]
pub struct Element {
    pub name: String,
    pub line: usize,
    attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    file: PathBuf,
}

/// The root element, or `None` with the reason in `problems`.
pub fn parse(file: &Path, text: &str, problems: &mut Problems) -> Option<Element> {
    match Builder::new(file, text).run() {
        Ok(root) => Some(root),
        Err((line, message)) => {
            problems.add(file, line, message);
            None
        }
    }
}

/// As [`parse`], for a file whose root element must have one of these names.
pub fn parse_root(file: &Path, text: &str, names: &[&str], problems: &mut Problems) -> Option<Element> {
    let root = parse(file, text, problems)?;
    if names.contains(&root.name.as_str()) {
        return Some(root);
    }
    root.problem(problems, format!("the root element is <{}>, not <{}>", root.name, names.join("> or <")));
    None
}

type Fault = (usize, String);

struct Builder<'a> {
    file: &'a Path,
    text: &'a str,
    /// Offset and line up to which line ends were counted.
    counted: (usize, usize),
    open: Vec<Element>,
    root: Option<Element>,
}

impl<'a> Builder<'a> {
    fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, counted: (0, 1), open: Vec::new(), root: None }
    }

    fn run(mut self) -> Result<Element, Fault> {
        if self.text.len() > MAX_BYTES {
            return Err((0, format!("is larger than {} MiB", MAX_BYTES >> 20)));
        }
        if self.text.contains('\0') {
            return Err((0, "holds a NUL character".to_owned()));
        }
        let text = self.text;
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = true;
        loop {
            let event = reader.read_event();
            let line = self.line_at(usize::try_from(reader.error_position().max(1)).unwrap_or(usize::MAX));
            let event = event.map_err(|error| (line, format!("is not well-formed XML: {error}")))?;
            let line = self.line_at(usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX));
            match event {
                Event::Start(start) => {
                    let element = self.element(&start, line)?;
                    if self.open.len() >= MAX_DEPTH {
                        return Err((line, format!("elements are nested deeper than {MAX_DEPTH}")));
                    }
                    self.open.push(element);
                }
                Event::Empty(start) => {
                    let element = self.element(&start, line)?;
                    self.close(element)?;
                }
                Event::End(_) => {
                    if let Some(element) = self.open.pop() {
                        self.close(element)?;
                    }
                }
                Event::DocType(_) => {
                    return Err((line, "a DOCTYPE is not accepted: remove it".to_owned()));
                }
                Event::Eof => break,
                _ => {}
            }
        }
        match (self.open.last(), self.root) {
            (Some(element), _) => Err((element.line, format!("<{}> is not closed", element.name))),
            (None, Some(root)) => Ok(root),
            (None, None) => Err((0, "holds no XML element".to_owned())),
        }
    }

    fn close(&mut self, element: Element) -> Result<(), Fault> {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None if self.root.is_none() => self.root = Some(element),
            None => return Err((element.line, format!("<{}> stands beside the root element", element.name))),
        }
        Ok(())
    }

    fn element(&self, start: &BytesStart<'_>, end_line: usize) -> Result<Element, Fault> {
        // A start tag may span lines; it is known by the line it begins on.
        let line = end_line.saturating_sub(start.matches('\n').count());
        let mut attributes: Vec<(String, String)> = Vec::new();
        // Duplicates are checked here, over at most MAX_ATTRIBUTES names, not by the library over any number of them.
        for attribute in start.attributes().with_checks(false) {
            let attribute = attribute.map_err(|error| (line, format!("is not well-formed XML: {error}")))?;
            let name = attribute.key.as_ref().to_owned();
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| (line, format!("attribute `{name}` is not well-formed: {error}")))?;
            if attributes.iter().any(|(known, _)| *known == name) {
                return Err((line, format!("attribute `{name}` is given twice")));
            }
            attributes.push((name, value.into_owned()));
            if attributes.len() > MAX_ATTRIBUTES {
                return Err((line, format!("an element has more than {MAX_ATTRIBUTES} attributes")));
            }
        }
        let name = start.name().as_ref().to_owned();
        Ok(Element { name, line, attributes, children: Vec::new(), file: self.file.to_owned() })
    }

    /// The line of a byte offset; offsets only grow, so each byte is looked at once.
    fn line_at(&mut self, offset: usize) -> usize {
        let (from, line) = self.counted;
        let offset = offset.min(self.text.len());
        if offset > from {
            let newlines =
                self.text.as_bytes().get(from..offset).map_or(0, |b| b.iter().filter(|b| **b == b'\n').count());
            self.counted = (offset, line + newlines);
        }
        self.counted.1
    }
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn problem(&self, problems: &mut Problems, message: impl Into<String>) {
        problems.add(&self.file, self.line, message);
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// An attribute that must be there and not be empty.
    pub fn require(&self, name: &str, problems: &mut Problems) -> Option<&str> {
        match self.attribute(name) {
            Some(value) if !value.trim().is_empty() => Some(value),
            Some(_) => {
                self.problem(problems, format!("attribute `{name}` of <{}> is empty", self.name));
                None
            }
            None => {
                self.problem(problems, format!("<{}> needs the attribute `{name}`", self.name));
                None
            }
        }
    }

    /// The class an element names: `className`, or `classname` as files of the original spell it here and there.
    pub fn class_name(&self, problems: &mut Problems) -> Option<&str> {
        match (self.attribute("className"), self.attribute("classname")) {
            (Some(_), Some(_)) => {
                self.problem(problems, "className is given twice: keep one");
                None
            }
            (None, Some(_)) => self.require("classname", problems),
            _ => self.require("className", problems),
        }
    }

    /// `true` or `false`, or `default` where the attribute is absent (or wrong, which is reported).
    pub fn flag(&self, name: &str, default: bool, problems: &mut Problems) -> bool {
        match self.attribute(name) {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                let message = format!("attribute `{name}` of <{}>: `{other}` is not true or false", self.name);
                self.problem(problems, message);
                default
            }
        }
    }

    /// Reports every attribute and child element that is not in these lists. Call it once for each element read.
    pub fn only(&self, attributes: &[&str], children: &[&str], problems: &mut Problems) {
        for (name, _) in &self.attributes {
            if !attributes.contains(&name.as_str()) {
                let message = format!("unknown attribute `{name}` of <{}>{}", self.name, hint(name, attributes));
                self.problem(problems, message);
            }
        }
        for child in &self.children {
            if !children.contains(&child.name.as_str()) {
                let message =
                    format!("unknown element <{}> in <{}>{}", child.name, self.name, hint(&child.name, children));
                child.problem(problems, message);
            }
        }
    }

    pub fn children_named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The child of this name; a second one is a problem.
    pub fn only_child(&self, name: &str, problems: &mut Problems) -> Option<&Element> {
        let mut found = self.children_named(name);
        let first = found.next();
        if let Some(second) = found.next() {
            second.problem(problems, format!("<{}> may hold one <{name}> only", self.name));
        }
        first
    }

    /// The items of the only child of this name, as [`options`](Self::options) reads them; none where it is absent.
    pub fn child_options(&self, name: &str, item: &str, noun: &'static str, problems: &mut Problems) -> Options {
        match self.only_child(name, problems) {
            Some(list) => list.options(item, noun, problems),
            None => Options::new(&self.file, self.line, noun),
        }
    }

    /// The `<item name="…" value="…"/>` children of an `<options>`, `<param-list>` or `<login-parameters>` element.
    pub fn options(&self, item: &str, noun: &'static str, problems: &mut Problems) -> Options {
        self.only(&[], &[item], problems);
        self.items(item, noun, problems)
    }

    /// The same of an element that has attributes of its own.
    pub fn items(&self, item: &str, noun: &'static str, problems: &mut Problems) -> Options {
        let mut options = Options::new(&self.file, self.line, noun);
        for child in self.children_named(item) {
            child.only(&["name", "value"], &[], problems);
            let value = child.attribute("value").unwrap_or_default().to_owned();
            if child.attribute("value").is_none() {
                child.problem(problems, format!("<{item}> needs the attribute `value`"));
            }
            if let Some(name) = child.require("name", problems) {
                options.insert(name.to_owned(), value, child.line, problems);
            }
        }
        options
    }
}

fn hint(word: &str, known: &[&str]) -> String {
    did_you_mean(word, known.iter().copied()).map(|known| format!(", did you mean `{known}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(text: &str) -> String {
        let mut problems = Problems::default();
        parse(Path::new("f.xml"), text, &mut problems);
        problems.to_string()
    }

    #[test]
    fn the_tree_remembers_lines() {
        let text = "<?xml version=\"1.0\"?>\n<!-- c -->\n<a>\n  <b x='1 &amp; 2'\n     y=\"é\"/>\n  <c/></a>\n";
        let root = parse(Path::new("f.xml"), text, &mut Problems::default()).unwrap();
        let seen: Vec<_> = root.children.iter().map(|e| (e.name.as_str(), e.line)).collect();
        assert_eq!((root.line, seen), (3, vec![("b", 4), ("c", 6)]));
        assert_eq!(root.children[0].attribute("x"), Some("1 & 2"));
        assert_eq!(root.children[0].attribute("y"), Some("é"));
    }

    #[test]
    fn what_is_not_plain_xml_is_refused_with_its_line() {
        for (text, expected) in [
            ("<a>\n<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]></a>", "f.xml:2: a DOCTYPE is not accepted"),
            ("<!DOCTYPE a>\n<a/>", "f.xml:1: a DOCTYPE is not accepted"),
            ("<a>\n<b>\n</a>", "f.xml:3: is not well-formed XML"),
            ("<a>\n<b/>", "f.xml:1: <a> is not closed"),
            ("<a x='1' x='2'/>", "f.xml:1: attribute `x` is given twice"),
            ("<a x='&unknown;'/>", "f.xml:1: attribute `x` is not well-formed"),
            ("<a/>\n<b/>", "f.xml:2: <b> stands beside the root element"),
            ("", "f.xml: holds no XML element"),
            ("<a>\0</a>", "f.xml: holds a NUL"),
        ] {
            let found = problems_of(text);
            assert!(found.starts_with(expected), "{text:?}: {found}");
        }
    }

    #[test]
    fn floods_are_refused_quickly() {
        let attributes: String = (0..80_000).map(|n| format!(" a{n}='1'")).collect();
        assert!(problems_of(&format!("<a{attributes}/>")).contains("more than 32 attributes"));
        let namespaces: String = (0..80_000).map(|n| format!(" xmlns:n{n}='u'")).collect();
        assert!(problems_of(&format!("<a{namespaces}/>")).contains("more than 32 attributes"));
        assert!(problems_of(&"<a>".repeat(100_000)).contains("nested deeper than 64"));
    }

    #[test]
    fn unknown_names_are_reported_with_a_suggestion() {
        let mut problems = Problems::default();
        let root = parse(Path::new("f.xml"), "<a clasName='x'>\n<optoin/></a>", &mut problems).unwrap();
        root.only(&["className"], &["option"], &mut problems);
        assert_eq!(
            problems.to_string(),
            "f.xml:1: unknown attribute `clasName` of <a>, did you mean `className`?\n\
             f.xml:2: unknown element <optoin> in <a>, did you mean `option`?"
        );
    }
}
