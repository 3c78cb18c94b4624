//! The decision: the most specific permission that matches, and what its rule says about this person.
//!
//! No permission, no access: a request that nothing matches is denied to everybody, logged in or not, because no login
//! could change that. Somebody who is logged in is never sent to log in again for want of a role.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::rule::{Acr, Case, Rule, Verdict, Visitor};
use super::{Request, Who};
use crate::token::hex;
use shared_proto::pattern::{ResourcePattern, path_flaw, without_parameters};

/// A checked access control policy. Immutable; a changed file makes a new one.
#[derive(Debug)]
pub struct Policy {
    file: PathBuf,
    hash: String,
    /// Most specific first; of equals, the one that stands first in the file.
    permissions: Vec<Permission>,
}

/// Links the requests that a pattern covers to the rule that decides about them.
#[derive(Debug, Clone)]
pub struct Permission {
    /// What the admin calls it, if anything.
    pub name: Option<String>,
    pub line: usize,
    pub pattern: ResourcePattern,
    pub acr: Arc<Acr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome<'a> {
    Denied,
    /// A login through this entry can open the resource.
    LoginRequired {
        entry: &'a str,
    },
    Granted,
}

#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    pub outcome: Outcome<'a>,
    /// The one that decided; none matched, or the path could not be trusted, where there is none.
    pub permission: Option<&'a Permission>,
    /// Seconds after which time alone can make it another one; `None`: never.
    pub holds: Option<u64>,
}

impl Policy {
    /// `text` is the file's content, for the hash; `permissions` come in the order in which they stand there.
    pub fn new(file: &Path, text: &str, mut permissions: Vec<Permission>) -> Self {
        permissions.sort_by_key(|permission| Reverse(permission.pattern.specificity()));
        let hash = hex(&Sha256::digest(text.as_bytes()));
        Self { file: file.to_owned(), hash, permissions }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// SHA-256 of the file, in lower-case hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Most specific first.
    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    /// Every login entry that a rule in use names, so that whoever knows the entries can find a misspelt one.
    pub fn entries(&self) -> BTreeSet<&str> {
        fn collect<'a>(rule: &'a Rule, entries: &mut BTreeSet<&'a str>) {
            if let Rule::Auth(auth) = rule {
                entries.extend(auth.entries.iter().map(String::as_str));
            }
            rule.parts().iter().for_each(|part| collect(part, entries));
        }
        let mut entries = BTreeSet::new();
        self.permissions.iter().for_each(|permission| collect(&permission.acr.rule, &mut entries));
        entries
    }

    pub fn decide<'a>(&'a self, request: &Request<'a>, who: Option<&Who<'_>>) -> Decision<'a> {
        if path_flaw(request.path).is_some() {
            return Decision { outcome: Outcome::Denied, permission: None, holds: None };
        }
        let plain = decision(self.matching(request).next(), request, who);
        let Some(path) = without_parameters(request.path) else { return plain };
        // Some sites read `/admin;x=1/` as `/admin/`, others do not: whichever reading is refused, refuses.
        let other = decision(self.matching(&Request { path: &path, ..*request }).next(), request, who);
        let holds = plain.holds.into_iter().chain(other.holds).min();
        Decision { holds, ..if other.outcome < plain.outcome { other } else { plain } }
    }

    /// Every permission whose pattern covers the request, the one that decides first.
    pub fn matching<'a>(&'a self, request: &Request<'_>) -> impl Iterator<Item = &'a Permission> {
        self.permissions.iter().filter(move |permission| permission.pattern.matches(&request.resource()))
    }
}

fn decision<'a>(permission: Option<&'a Permission>, request: &Request<'a>, who: Option<&Who<'_>>) -> Decision<'a> {
    let outcome = permission.map_or(Outcome::Denied, |permission| outcome(&permission.acr.rule, request, who));
    let typed = who.and_then(|who| who.typed);
    let holds = permission.zip(typed).and_then(|(permission, typed)| permission.acr.rule.next_age(typed));
    Decision { outcome, permission, holds }
}

fn outcome<'a>(rule: &'a Rule, request: &Request<'a>, who: Option<&Who<'_>>) -> Outcome<'a> {
    match rule.verdict(Case::new(request, visitor(request, who))) {
        Verdict::Grant => Outcome::Granted,
        Verdict::Deny => Outcome::Denied,
        Verdict::NeedLogin => {
            promising_entry(rule, request, who).map_or(Outcome::Denied, |entry| Outcome::LoginRequired { entry })
        }
    }
}

/// A session of another security domain proves nothing here.
pub(super) fn visitor<'a>(request: &Request<'_>, who: Option<&'a Who<'a>>) -> Visitor<'a> {
    who.filter(|who| who.domain == request.domain).map_or(Visitor::Nobody, Visitor::Known)
}

/// An entry through which some login could be granted: the site's own if it could, else the first that the rule names.
///
/// Somebody whose session already belongs to an entry the rule demands has no other to try, and that one only if typing
/// once more is all that is missing. That ends every login loop: after one login through an entry found here, the answer
/// is granted or denied.
fn promising_entry<'a>(rule: &'a Rule, request: &Request<'a>, who: Option<&Who<'_>>) -> Option<&'a str> {
    let mut demanded: Vec<&'a str> = Vec::new();
    let case = Case::new(request, Visitor::Nobody);
    rule.for_each_demand(case, &mut |demand| demanded.extend(demand.entries()));
    if let Visitor::Known(who) = visitor(request, who)
        && let Some(own) = demanded.iter().copied().find(|entry| *entry == who.entry)
    {
        let anew = Who { typed: Some(0), ..*who };
        return (rule.verdict(Case::new(request, Visitor::Known(&anew))) == Verdict::Grant).then_some(own);
    }
    let own = demanded.iter().filter(|entry| **entry == request.entry);
    own.chain(&demanded)
        .copied()
        .find(|entry| rule.verdict(Case::new(request, Visitor::Through(entry))) != Verdict::Deny)
}
