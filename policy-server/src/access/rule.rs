//! Access control rules and their value: grant, deny, or "that depends on who logs in".
//!
//! Strong three-valued logic (Kleene): deny < need login < grant; `and` is the least, `or` the greatest, `not` turns
//! the order round. So a rule is granted or denied without a login exactly when no login could change it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::{Request, Who};

/// An access control rule of the library.
#[derive(Debug, PartialEq, Eq)]
pub struct Acr {
    pub id: String,
    pub line: usize,
    pub rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    Granted,
    Denied,
    /// The connection to the agent is encrypted.
    Confidential,
    Auth(Auth),
    Method(Method),
    And(Vec<Rule>),
    Or(Vec<Rule>),
    Not(Box<Rule>),
    /// Resolved when the policy was read: it cannot dangle or lead back to itself.
    Ref(Arc<Acr>),
}

/// Somebody is logged in, and each condition that is not empty holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {
    /// Holds one of these roles.
    pub roles: BTreeSet<String>,
    /// Is one of these users.
    pub principals: BTreeSet<String>,
    /// Logged in through one of these entries; empty: as [`Case::within`] says.
    pub entries: BTreeSet<String>,
}

/// Somebody is logged in, through an entry as [`Case::within`] says, and typed at the login page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Method {
    /// Less than so many seconds ago.
    pub max_age: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Deny,
    NeedLogin,
    Grant,
}

/// What is known of the person a rule is asked about.
#[derive(Debug, Clone, Copy)]
pub enum Visitor<'a> {
    Nobody,
    /// Somebody, not known yet, who logs in through this entry.
    Through(&'a str),
    Known(&'a Who<'a>),
}

impl std::ops::Not for Verdict {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Deny => Self::Grant,
            Self::NeedLogin => Self::NeedLogin,
            Self::Grant => Self::Deny,
        }
    }
}

/// The login entries one of which a session must belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand<'a> {
    /// The one that the site demands.
    Site(&'a str),
    Named(&'a BTreeSet<String>),
}

/// What a rule is valued for.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub scheme: &'a str,
    pub visitor: Visitor<'a>,
    /// For every `auth` that names no entries itself.
    pub demand: Demand<'a>,
}

impl<'a> Case<'a> {
    pub fn new(request: &Request<'a>, visitor: Visitor<'a>) -> Self {
        Self { scheme: request.scheme, visitor, demand: Demand::Site(request.entry) }
    }

    /// The case for the parts of this rule. Where one part of an `and` names entries, the others follow it instead of
    /// the site: "an admin, and logged in through `strong`" must not ask for two sessions at once.
    pub fn within(self, rule: &'a Rule) -> Self {
        match rule {
            Rule::And(_) => Self { demand: rule.named_entries().map_or(self.demand, Demand::Named), ..self },
            _ => self,
        }
    }
}

impl<'a> Demand<'a> {
    pub fn contains(&self, entry: &str) -> bool {
        match self {
            Self::Site(own) => *own == entry,
            Self::Named(entries) => entries.contains(entry),
        }
    }

    pub fn entries(self) -> impl Iterator<Item = &'a str> {
        let (own, named) = match self {
            Self::Site(own) => (Some(own), None),
            Self::Named(entries) => (None, Some(entries)),
        };
        own.into_iter().chain(named.into_iter().flatten().map(String::as_str))
    }
}

impl Rule {
    pub fn verdict(&self, case: Case<'_>) -> Verdict {
        let parts = || self.parts().iter().map(|part| part.verdict(case.within(self)));
        match self {
            Self::Granted => Verdict::Grant,
            Self::Denied => Verdict::Deny,
            Self::Confidential if case.scheme == "https" => Verdict::Grant,
            Self::Confidential => Verdict::Deny,
            Self::Auth(auth) => auth.verdict(case),
            Self::Method(method) => method.verdict(case),
            // An empty `and` is refused when the policy is read; should one be built all the same, it grants nothing.
            Self::And(_) => parts().min().unwrap_or(Verdict::Deny),
            Self::Or(_) => parts().max().unwrap_or(Verdict::Deny),
            Self::Not(rule) => !rule.verdict(case),
            Self::Ref(acr) => acr.rule.verdict(case),
        }
    }

    /// The rules this one is made of.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::And(rules) | Self::Or(rules) => rules,
            Self::Not(rule) => std::slice::from_ref(rule),
            Self::Ref(acr) => std::slice::from_ref(&acr.rule),
            Self::Granted | Self::Denied | Self::Confidential | Self::Auth(_) | Self::Method(_) => &[],
        }
    }

    /// Calls `visit` with the demand of every `auth` and `auth-method` within, in document order.
    pub fn for_each_demand<'a>(&'a self, outer: Case<'a>, visit: &mut impl FnMut(Demand<'a>)) {
        match self {
            Self::Auth(auth) => visit(auth.demand(outer)),
            Self::Method(_) => visit(outer.demand),
            _ => {}
        }
        for part in self.parts() {
            part.for_each_demand(outer.within(self), visit);
        }
    }

    /// Seconds until an age within is reached by somebody who typed so long ago; `None` where all that could be were.
    pub fn next_age(&self, typed: u64) -> Option<u64> {
        match self {
            Self::Method(Method { max_age }) => max_age.and_then(|max| max.checked_sub(typed)).filter(|left| *left > 0),
            _ => self.parts().iter().filter_map(|part| part.next_age(typed)).min(),
        }
    }

    /// The entries that must hold wherever this rule holds, if it says so.
    fn named_entries(&self) -> Option<&BTreeSet<String>> {
        match self {
            Self::Auth(auth) if !auth.entries.is_empty() => Some(&auth.entries),
            Self::And(rules) => rules.iter().find_map(Self::named_entries),
            Self::Ref(acr) => acr.rule.named_entries(),
            _ => None,
        }
    }
}

impl Auth {
    pub fn demand<'a>(&'a self, case: Case<'a>) -> Demand<'a> {
        if self.entries.is_empty() { case.demand } else { Demand::Named(&self.entries) }
    }

    /// Whether the person holds a demanded role and is a demanded principal.
    pub fn covers(&self, who: &Who<'_>) -> bool {
        (self.roles.is_empty() || !self.roles.is_disjoint(who.roles))
            && (self.principals.is_empty() || self.principals.contains(who.user))
    }

    fn verdict(&self, case: Case<'_>) -> Verdict {
        let demand = self.demand(case);
        match case.visitor {
            Visitor::Nobody => Verdict::NeedLogin,
            Visitor::Through(entry) if demand.contains(entry) => Verdict::NeedLogin,
            Visitor::Through(_) => Verdict::Deny,
            Visitor::Known(who) if !demand.contains(who.entry) => Verdict::NeedLogin,
            Visitor::Known(who) if self.covers(who) => Verdict::Grant,
            Visitor::Known(_) => Verdict::Deny,
        }
    }
}

impl Method {
    /// Whether the person typed, and lately enough.
    pub fn covers(&self, who: &Who<'_>) -> bool {
        who.typed.is_some_and(|ago| self.max_age.is_none_or(|max| ago < max))
    }

    fn verdict(&self, case: Case<'_>) -> Verdict {
        match case.visitor {
            Visitor::Through(entry) if !case.demand.contains(entry) => Verdict::Deny,
            Visitor::Known(who) if case.demand.contains(who.entry) && self.covers(who) => Verdict::Grant,
            // Whoever it is can type once more.
            Visitor::Nobody | Visitor::Through(_) | Visitor::Known(_) => Verdict::NeedLogin,
        }
    }
}

/// The rule by itself, without its parts: `and`, `auth roles=admin`, `acr-ref staff`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted => f.write_str("granted"),
            Self::Denied => f.write_str("denied"),
            Self::Confidential => f.write_str("confidential"),
            Self::Auth(auth) => auth.fmt(f),
            Self::Method(method) => method.fmt(f),
            Self::And(_) => f.write_str("and"),
            Self::Or(_) => f.write_str("or"),
            Self::Not(_) => f.write_str("not"),
            Self::Ref(acr) => write!(f, "acr-ref {}", acr.id),
        }
    }
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auth")?;
        for (name, set) in [("roles", &self.roles), ("principals", &self.principals), ("entries", &self.entries)] {
            if !set.is_empty() {
                write!(f, " {name}={}", list(set))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("auth-method name=form")?;
        self.max_age.map_or(Ok(()), |seconds| write!(f, " maxAge={seconds}s"))
    }
}

pub(super) fn list(set: &BTreeSet<String>) -> String {
    set.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
