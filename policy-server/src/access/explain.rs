//! A decision in words: which permission was chosen, over which others, and what each part of its rule came to.

use std::fmt;

use serde::Serialize;

use super::evaluate::{Outcome, Permission, Policy, visitor};
use super::rule::{Case, Demand, Method, Rule, Verdict, Visitor, list};
use super::{Request, Who};
use shared_proto::pattern::path_flaw;

const NOBODY: &str = "nobody is logged in";

/// What `cams explain` shows. `Display` is for people, `Serialize` for scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `granted`, `denied` or `login-required`.
    pub decision: &'static str,
    /// The login entry to go through, where a login is required.
    pub entry: Option<String>,
    pub request: String,
    pub user: Option<String>,
    /// The permission that decided.
    pub permission: Option<Place>,
    /// The permissions that match too but are less specific, or stand later in the file.
    pub overruled: Vec<Place>,
    pub why: Vec<Step>,
    pub policy_hash: String,
}

impl Explanation {
    pub fn is_granted(&self) -> bool {
        self.decision == "granted"
    }
}

/// Where a permission stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub name: Option<String>,
    pub file: String,
    pub line: usize,
    pub pattern: String,
}

/// One thing that was found out on the way; its parts follow, one deeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub depth: usize,
    pub text: String,
}

/// The decision of [`Policy::decide`] with its reasons.
pub fn explain(policy: &Policy, request: &Request<'_>, who: Option<&Who<'_>>) -> Explanation {
    let decision = policy.decide(request, who);
    let place = |permission: &Permission| Place {
        name: permission.name.clone(),
        file: policy.file().display().to_string(),
        line: permission.line,
        pattern: permission.pattern.to_string(),
    };
    let chosen = |permission: &Permission| decision.permission.is_some_and(|it| std::ptr::eq(it, permission));
    let (decision_name, entry) = match decision.outcome {
        Outcome::Granted => ("granted", None),
        Outcome::Denied => ("denied", None),
        Outcome::LoginRequired { entry } => ("login-required", Some(entry.to_owned())),
    };
    Explanation {
        decision: decision_name,
        entry,
        request: shown(request),
        user: who.map(|who| who.user.escape_debug().to_string()),
        permission: decision.permission.map(place),
        overruled: policy.matching(request).filter(|permission| !chosen(permission)).map(place).collect(),
        why: why(policy, decision.permission, decision.outcome, request, who),
        policy_hash: policy.hash().to_owned(),
    }
}

fn shown(request: &Request<'_>) -> String {
    let Request { method, scheme, host, port, path, .. } = request;
    format!("{method} {scheme}://{host}:{port}{path}").escape_debug().to_string()
}

fn why(
    policy: &Policy,
    permission: Option<&Permission>,
    outcome: Outcome<'_>,
    request: &Request<'_>,
    who: Option<&Who<'_>>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let Some(permission) = permission else {
        let text = match path_flaw(request.path) {
            Some(flaw) => format!("the path could be read in two ways: {flaw}"),
            None => "no permission matches, and what no permission matches is denied to everybody".to_owned(),
        };
        return vec![Step { depth: 0, text }];
    };
    let case = Case::new(request, visitor(request, who));
    if let (Some(who), Visitor::Nobody) = (who, case.visitor) {
        let text =
            format!("the session is of the security domain {} and proves nothing in {}", who.domain, request.domain);
        steps.push(Step { depth: 0, text });
    }
    if !permission.pattern.matches(&request.resource()) {
        let text = "a site that cuts `;parameters` off the path reads another one, and that reading is the stricter";
        steps.push(Step { depth: 0, text: text.to_owned() });
    }
    let acr = &permission.acr;
    let text =
        format!("rule `{}` ({}:{}): {}", acr.id, policy.file().display(), acr.line, word(acr.rule.verdict(case)));
    steps.push(Step { depth: 0, text });
    walk(&acr.rule, case, 1, &mut steps);
    if outcome == Outcome::Denied && acr.rule.verdict(case) == Verdict::NeedLogin {
        let text = "no other login is asked for: the entry is one that the rule demands, or no entry could satisfy it";
        steps.push(Step { depth: 0, text: text.to_owned() });
    }
    steps
}

fn walk(rule: &Rule, case: Case<'_>, depth: usize, steps: &mut Vec<Step>) {
    let because = because(rule, case).map(|reason| format!(": {reason}")).unwrap_or_default();
    steps.push(Step { depth, text: format!("{rule}{because}: {}", word(rule.verdict(case))) });
    for part in rule.parts() {
        walk(part, case.within(rule), depth + 1, steps);
    }
}

/// The fact that decided a rule without parts.
fn because(rule: &Rule, case: Case<'_>) -> Option<String> {
    let auth = match rule {
        Rule::Confidential => return Some(format!("the scheme is {}", case.scheme)),
        Rule::Method(method) => return Some(because_of_typing(method, case)),
        Rule::Auth(auth) => auth,
        _ => return None,
    };
    let demand = auth.demand(case);
    let Visitor::Known(who) = case.visitor else { return Some(NOBODY.to_owned()) };
    let user = who.user.escape_debug();
    let roles = list(who.roles);
    Some(match (demand.contains(who.entry), auth.principals.is_empty(), auth.roles.is_empty()) {
        (false, ..) => another_door(who, demand),
        (true, true, true) => format!("{user} is logged in"),
        (true, false, _) if !auth.principals.contains(who.user) => format!("{user} is not among the principals"),
        (true, _, true) => format!("{user} is among the principals"),
        (true, _, false) if roles.is_empty() => format!("{user} has no role"),
        (true, _, false) => format!("{user} has the roles {}", roles.escape_debug()),
    })
}

fn because_of_typing(method: &Method, case: Case<'_>) -> String {
    let Visitor::Known(who) = case.visitor else { return NOBODY.to_owned() };
    let user = who.user.escape_debug();
    match who.typed {
        _ if !case.demand.contains(who.entry) => another_door(who, case.demand),
        None => format!("a remembered browser logged {user} in"),
        Some(ago) if method.max_age.is_some() => format!("{user} typed {ago} seconds ago"),
        Some(_) => format!("{user} typed at the login page"),
    }
}

fn another_door(who: &Who<'_>, demand: Demand<'_>) -> String {
    let demanded = demand.entries().collect::<Vec<_>>().join(" or ");
    format!("{} logged in through {}, not {demanded}", who.user.escape_debug(), who.entry)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Deny => "denied",
        Verdict::NeedLogin => "depends on a login",
        Verdict::Grant => "granted",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.user.as_deref().unwrap_or("nobody");
        write!(f, "{}: {user}, {}", self.decision, self.request)?;
        if let Some(entry) = &self.entry {
            write!(f, "\n  log in through the entry {entry}")?;
        }
        if let Some(place) = &self.permission {
            match self.overruled.len() {
                0 => write!(f, "\n  {place} is the only match")?,
                others => write!(f, "\n  {place} is the most specific of {} matches", others + 1)?,
            }
        }
        for place in &self.overruled {
            write!(f, "\n    rather than {place}")?;
        }
        for step in &self.why {
            write!(f, "\n  {:indent$}{}", "", step.text, indent = 2 * step.depth)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permission ")?;
        if let Some(name) = &self.name {
            write!(f, "`{name}` ")?;
        }
        write!(f, "({}:{}), pattern {}", self.file, self.line, self.pattern)
    }
}
