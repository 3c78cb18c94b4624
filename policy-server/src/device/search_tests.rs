use async_trait::async_trait;

use super::*;
use crate::auth::callback::CallbackHandler;
use crate::auth::modules::{LoginContext, LoginModule};
use crate::auth::pipeline::EntryModule;
use crate::auth::stack::{Flag, Outcome};
use crate::auth::subject::{ModuleIdentity, Proof};
use crate::directory::Found;
use crate::store::tests::temporary;

/// A directory of these people, or one that is down.
struct Module(Option<Vec<Person>>);

#[async_trait]
impl LoginModule for Module {
    async fn login(&self, _: &LoginContext<'_>) -> Outcome {
        Outcome::Ignore
    }

    fn directory(&self) -> Option<&dyn UserDirectory> {
        Some(self)
    }
}

impl Module {
    fn people(&self) -> Result<&Vec<Person>, DirectoryError> {
        self.0.as_ref().ok_or_else(|| DirectoryError("down".to_owned()))
    }
}

#[async_trait]
impl UserDirectory for Module {
    async fn search(&self, text: &str, offset: u32, limit: u32) -> Result<Found, DirectoryError> {
        let found = self.people()?.iter().filter(|person| person.name.contains(text)).cloned().collect();
        Ok(Found::page(found, false, offset, limit))
    }

    async fn find(&self, name: &str) -> Result<Option<Person>, DirectoryError> {
        Ok(self.people()?.iter().find(|person| person.name == name).cloned())
    }
}

/// `name`, `name#id`, and `!` before somebody who is disabled.
fn person(text: &str, family_name: &str) -> Person {
    let (name, id) = text.trim_start_matches('!').split_once('#').unwrap_or((text.trim_start_matches('!'), ""));
    let profile = Profile { family_name: family_name.to_owned(), ..Profile::default() };
    Person { id: id.to_owned(), name: name.to_owned(), profile, enabled: !text.starts_with('!') }
}

fn directory(class: &'static str, people: &[&str]) -> EntryModule {
    let people = people.iter().map(|text| person(text, class)).collect();
    EntryModule::of(class, Flag::Sufficient, Box::new(Module(Some(people))))
}

fn entry(modules: Vec<EntryModule>) -> LoginEntry {
    LoginEntry {
        name: "http".to_owned(),
        modules,
        handler: CallbackHandler::NAME_PASSWORD,
        login_url: String::new(),
        parameters: BTreeMap::new(),
        xml: String::new(),
    }
}

/// Accounts as `name#id of class`.
async fn put(store: &Store, accounts: &[(&str, &str)]) {
    for (text, class) in accounts {
        let Person { name, id, .. } = person(text, "");
        store.put_jami_account(&jami_id(&name), &name).await;
        store.set_jami_account(&jami_id(&name), "source", &format!("'{class}'")).await;
        store.set_jami_account(&jami_id(&name), "source_id", &format!("'{id}'")).await;
    }
}

fn jami_id(name: &str) -> String {
    format!("id of {name}")
}

async fn check(directories: Directories<'_>, text: &str, expected: &[&str]) {
    let page = directories.search(text, 1).await.unwrap();
    let found: Vec<String> = page.people.iter().map(|c| format!("{} {}", c.user, c.profile.family_name)).collect();
    assert_eq!(found, expected, "{text}");
    assert!(page.people.iter().all(|contact| contact.id == jami_id(&contact.user)), "{text}");
}

#[tokio::test]
async fn people_are_found_with_the_account_that_is_theirs() {
    let (store, _dir) = temporary().await;
    let accounts = [
        ("ann#1", "a"),
        ("anna#2", "b"),
        ("andy", "a"),
        ("bob#3", "a"),
        ("annex#9", "a"),
        ("!ansel", "a"),
        ("ante", "c"),
    ];
    put(&store, &accounts).await;
    let first = directory("a", &["ann#1", "andy#5", "bob#4", "anton#6", "!ansel", "annex#8"]);
    let second = directory("b", &["anna#2", "ann#7", "ante"]);
    let entry = entry(vec![first, second]);
    let directories = Directories { store: &store, domain: "system", entry: &entry };
    // Not: anton without an account, ansel who is disabled, bob and annex who are other people than had these names, ante
    // whose account is of a module that is not asked.
    for everybody in ["", "*", "  "] {
        check(directories, everybody, &["andy a", "ann a", "anna b"]).await;
    }
    check(directories, "ann", &["ann a", "anna b"]).await;
    check(directories, " ann ", &["ann a", "anna b"]).await;
    check(directories, "x", &[]).await;
    for hostile in ["a\0", "an\u{202e}n", "*)(uid=*", "%", &"a".repeat(10_000)] {
        check(directories, hostile, &[]).await;
    }
    let elsewhere = Directories { domain: "other", ..directories };
    check(elsewhere, "*", &[]).await;
    check(elsewhere, "ann", &[]).await;
    let found = |name: &str| {
        let name = name.parse().unwrap();
        async move { directories.find(&name).await.unwrap().map(|contact| contact.user) }
    };
    for (name, expected) in
        [("ANN", Some("ann")), ("anna", Some("anna")), ("bob", None), ("anton", None), ("ansel", None)]
    {
        assert_eq!(found(name).await.as_deref(), expected, "{name}");
    }
    for (column, value) in [("suspended", "1"), ("detached", "1")] {
        store.set_jami_account(&jami_id("ann"), column, value).await;
        check(directories, "ann", &["anna b"]).await;
        check(directories, "*", &["andy a", "anna b"]).await;
        assert_eq!(found("ann").await, None);
        store.set_jami_account(&jami_id("ann"), "suspended", "0").await;
    }
}

#[tokio::test]
async fn pages_hold_everybody_once() {
    let (store, _dir) = temporary().await;
    let names: Vec<String> = (0..60).map(|number| format!("user{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    put(&store, &names.iter().map(|name| (*name, "a")).collect::<Vec<_>>()).await;
    let entry = entry(vec![directory("a", &names), directory("b", &names)]);
    let directories = Directories { store: &store, domain: "system", entry: &entry };
    for text in ["*", "user"] {
        let mut found = Vec::new();
        for number in 1..=3 {
            let page = directories.search(text, number).await.unwrap();
            assert_eq!(page.pages, 3);
            found.extend(page.people.into_iter().map(|contact| contact.user));
        }
        assert_eq!(found, names, "{text}");
        assert_eq!(directories.search(text, 0).await.unwrap(), directories.search(text, 1).await.unwrap());
        for beyond in [4, u32::MAX] {
            assert_eq!(directories.search(text, beyond).await.unwrap().people, [], "{text}");
        }
    }
}

#[tokio::test]
async fn a_directory_that_is_down_is_not_left_out() {
    let (store, _dir) = temporary().await;
    put(&store, &[("ann", "a"), ("anna", "b")]).await;
    let down = || EntryModule::of("b", Flag::Sufficient, Box::new(Module(None)));
    let entry = entry(vec![directory("a", &["ann"]), down()]);
    let directories = Directories { store: &store, domain: "system", entry: &entry };
    for text in ["*", "ann"] {
        let error = directories.search(text, 1).await.unwrap_err();
        assert!(matches!(error, SearchError::Directory(_)), "{text}: {error}");
    }
    assert!(directories.find(&"ann".parse().unwrap()).await.unwrap().is_some(), "the other one is not asked");
    assert!(directories.find(&"anna".parse().unwrap()).await.is_err());
    let none = super::tests::entry(Vec::new());
    let directories = Directories { entry: &none, ..directories };
    assert_eq!(directories.search("*", 1).await.unwrap(), Page { people: Vec::new(), pages: 0 });
}

#[tokio::test]
async fn a_full_name_comes_from_the_login_or_from_its_directory() {
    let entry = entry(vec![directory("a", &["ann"]), EntryModule::of("b", Flag::Required, Box::new(Module(None)))]);
    let subject = |module: usize, class: &'static str, attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let identity = ModuleIdentity {
            class,
            user: "ann".to_owned(),
            source_id: None,
            credential: None,
            roles: Default::default(),
            attributes: [("n".to_owned(), attributes)].into(),
        };
        Subject::from_proofs(vec![Proof::new(module, identity)]).unwrap()
    };
    for (subject, expected) in [
        (subject(0, "a", &[]), Some("a")),
        (subject(1, "b", &[("given-name", "Ann"), ("familyName", "Ng")]), Some("Ann Ng")),
        (subject(1, "b", &[("mail", "x")]), None),
        (subject(0, "b", &[]), None),
        (subject(7, "a", &[]), None),
    ] {
        assert_eq!(full_name(&entry, &subject).await.as_deref(), expected);
    }
}
