//! Who of a security domain has a Jami account, as a directory knows the person.
//!
//! A person counts only together with the account that is theirs: it is of the same login module, and where both know an
//! id, of the same id. Another person who has the name now is not shown with it. Where a directory cannot be searched, its
//! people are those who have accounts, and are known by their user names alone.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::identity;
use super::turns::Turns;
use crate::auth::pipeline::LoginEntry;
use crate::auth::subject::Subject;
use crate::directory::person::{Name, Person, Profile, fold, line};
use crate::directory::{DirectoryError, UserDirectory};
use crate::store::{Holder, Store, StoreError};

/// People on a page.
pub const PAGE: u32 = 24;
/// Of one directory, whether they have an account or not: who wants to see more has to type more.
const MAX_HITS: u32 = 1_000;
/// People whose directory is asked at once.
const AT_ONCE: usize = 4;
const AT_ONCE_OF_ALL: usize = 8;
/// All searches of this server together take no more of the directories, which logins need too.
static PLACES: Semaphore = Semaphore::const_new(AT_ONCE_OF_ALL);
/// One search at a time for each account: nobody has all the places.
pub static TURNS: Turns = Turns::new(AT_ONCE_OF_ALL * 2);
/// For a search, and for the name of somebody who waits for an enrolment.
const PATIENCE: Duration = Duration::from_secs(10);
const SHORT_PATIENCE: Duration = Duration::from_secs(3);

/// Somebody who has an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The Jami ID.
    pub id: String,
    pub user: String,
    pub profile: Profile,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub people: Vec<Contact>,
    pub pages: u64,
}

/// Why nobody knows who there is. That somebody was not found is none of it.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the directories took more than {PATIENCE:?} for a search, or others search too much")]
    Slow,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The people of a login entry.
#[derive(Clone, Copy)]
pub struct Directories<'a> {
    pub store: &'a Store,
    pub domain: &'a str,
    pub entry: &'a LoginEntry,
}

impl Directories<'_> {
    /// Those with this text in their name, mail address or full name; everybody for an empty text and for `*`. Pages
    /// count from 1.
    ///
    /// # Errors
    /// A directory that cannot be asked: the others' people are not passed off as all.
    pub async fn search(&self, text: &str, page: u32) -> Result<Page, SearchError> {
        let text = text.trim();
        // No directory has such a text, and some fall over it.
        if line(text).is_err() {
            return Ok(Page { people: Vec::new(), pages: 0 });
        }
        let skipped = u64::from(page.saturating_sub(1)).saturating_mul(PAGE.into());
        self.patiently(async {
            match text {
                "" | "*" => self.everybody(skipped).await,
                text => self.matching(text, skipped).await,
            }
        })
        .await
    }

    /// # Errors
    /// As [`search`](Self::search).
    pub async fn find(&self, name: &Name) -> Result<Option<Contact>, SearchError> {
        let holder = self.store.jami_holders(self.domain, std::slice::from_ref(name)).await?.pop();
        let Some(holder) = holder else { return Ok(None) };
        self.patiently(self.described(holder)).await
    }

    async fn patiently<T>(&self, work: impl Future<Output = Result<T, SearchError>>) -> Result<T, SearchError> {
        let work = async {
            let _place = PLACES.acquire().await.map_err(|_| SearchError::Slow)?;
            work.await
        };
        timeout(PATIENCE, work).await.map_err(|_| SearchError::Slow)?
    }

    /// In the order of the stack, each with the class of its login module.
    fn directories(&self) -> impl Iterator<Item = (&'static str, &dyn UserDirectory)> {
        self.entry.modules.iter().filter_map(|module| Some((module.class, module.module.directory()?)))
    }

    /// Whether people of this class log in here, and none of its directories can be searched.
    fn is_blind(&self, class: &str) -> bool {
        self.entry.modules.iter().any(|module| module.class == class)
            && !self.directories().any(|(searched, _)| searched == class)
    }

    /// By their accounts, as a directory may have many people without one.
    async fn everybody(&self, skipped: u64) -> Result<Page, SearchError> {
        let (holders, total) = self.store.all_jami_holders(self.domain, skipped, PAGE).await?;
        let described = stream::iter(holders.into_iter().map(|holder| self.described(holder)));
        let people: Vec<Option<Contact>> = described.buffered(AT_ONCE).try_collect().await?;
        Ok(Page { people: people.into_iter().flatten().collect(), pages: total.div_ceil(PAGE.into()) })
    }

    async fn matching(&self, text: &str, skipped: u64) -> Result<Page, SearchError> {
        let mut hits = Vec::new();
        for (class, directory) in self.directories() {
            let found = directory.search(text, 0, MAX_HITS).await?;
            let named = |person: Person| Some((class, person.name.parse::<Name>().ok()?, person));
            hits.extend(found.people.into_iter().filter_map(named));
        }
        let names: Vec<Name> = hits.iter().map(|(_, name, _)| name.clone()).collect();
        let holders = self.store.jami_holders(self.domain, &names).await?;
        let holders: BTreeMap<String, Holder> =
            holders.into_iter().map(|holder| (holder.key.clone(), holder)).collect();
        let mut people = BTreeMap::new();
        for (class, name, person) in hits {
            let contact = holders.get(name.key()).and_then(|holder| contact(holder, class, person));
            if let Some(contact) = contact {
                people.entry(name.key().to_owned()).or_insert(contact);
            }
        }
        for holder in self.store.jami_holders_with(self.domain, &fold(text), MAX_HITS).await? {
            if self.is_blind(&holder.source) {
                people.entry(holder.key.clone()).or_insert(by_name(holder));
            }
        }
        let pages = u64::try_from(people.len()).unwrap_or(u64::MAX).div_ceil(PAGE.into());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let people = people.into_values().skip(skipped).take(usize::try_from(PAGE).unwrap_or(usize::MAX));
        Ok(Page { people: people.collect(), pages })
    }

    /// The person that an account belongs to, as the directory knows them now.
    async fn described(&self, holder: Holder) -> Result<Option<Contact>, SearchError> {
        if self.is_blind(&holder.source) {
            return Ok(Some(by_name(holder)));
        }
        for (class, directory) in self.directories().filter(|(class, _)| *class == holder.source) {
            let person = directory.find(&holder.user).await?;
            if let Some(contact) = person.and_then(|person| contact(&holder, class, person)) {
                return Ok(Some(contact));
            }
        }
        Ok(None)
    }
}

/// The person with the account, if it is theirs and they may use it.
fn contact(holder: &Holder, class: &str, person: Person) -> Option<Contact> {
    let same_id = person.id == holder.source_id || person.id.is_empty() || holder.source_id.is_empty();
    let is_theirs = class == holder.source && same_id && person.enabled;
    is_theirs.then(|| Contact { id: holder.id.clone(), user: holder.user.clone(), profile: person.profile })
}

fn by_name(holder: Holder) -> Contact {
    Contact { id: holder.id, user: holder.user, profile: Profile::default() }
}

/// The full name of somebody who has just logged in, where it is known or can be had quickly.
pub async fn full_name(entry: &LoginEntry, subject: &Subject) -> Option<String> {
    let is_some = |name: &String| !name.is_empty();
    if let Some(known) = identity::full_name(&subject.attributes) {
        return Some(known);
    }
    let ask = async {
        for proof in &subject.proofs {
            let module = entry.modules.get(proof.module).filter(|module| module.class == proof.class);
            let Some(directory) = module.and_then(|module| module.module.directory()) else { continue };
            let person = directory.find(&proof.user).await;
            let person = person.inspect_err(|error| tracing::warn!(%error, "the full name of a user is not known"));
            let name = person.ok().flatten().map(|person| person.profile.full_name());
            if let Some(name) = name.filter(is_some) {
                return Some(name);
            }
        }
        None
    };
    timeout(SHORT_PATIENCE, ask).await.ok().flatten()
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
