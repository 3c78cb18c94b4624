//! What must hold for every policy, tried on thousands of small ones from fixed seeds.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::rule::{Case, Visitor};
use super::*;
use shared_proto::pattern::{HostPattern, PathPattern, ResourcePattern, path_flaw};

const SCHEMES: [&str; 2] = ["http", "https"];
const HOSTS: [&str; 4] = ["a.test", "x.a.test", "y.x.a.test", "b.test"];
const HOST_PATTERNS: [&str; 5] = ["*", "*.a.test", "*.x.a.test", "a.test", "x.a.test"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const SEGMENTS: [&str; 9] = ["a", "b", "aa", "ab", "ba", "bb", "aab", "abb", "bab"];
const PATTERN_SEGMENTS: [&str; 9] = ["a", "b", "ab", "*", "a*", "*b", "a*b", "b*", "ba"];
const ENTRIES: [&str; 3] = ["http", "strong", "device"];
const ROLES: [&str; 3] = ["r", "s", "t"];
const USERS: [&str; 2] = ["alice", "bob"];

/// xorshift64*: enough to try things out, the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.roll(items.len())]
    }

    fn some(&mut self, items: &[&str]) -> BTreeSet<String> {
        items.iter().filter(|_| self.roll(2) == 0).map(|item| (*item).to_owned()).collect()
    }

    fn typed(&mut self) -> Option<u64> {
        [None, Some(0), Some(9), Some(10), Some(100)][self.roll(5)]
    }

    fn who<'a>(&mut self, roles: &'a BTreeSet<String>) -> Who<'a> {
        Who { user: self.of(&USERS), roles, domain: "system", entry: self.of(&ENTRIES), typed: self.typed() }
    }

    fn path(&mut self) -> String {
        let mut path: String = (0..self.roll(4)).map(|_| format!("/{}", self.of(&SEGMENTS))).collect();
        if path.is_empty() || self.roll(4) == 0 {
            path.push('/');
        }
        path
    }

    fn request(&mut self, paths: &[&'static str]) -> Request<'static> {
        let path = self.of(paths);
        let method = self.of(&METHODS);
        let port = [80, 443][self.roll(2)];
        let (scheme, host) = (self.of(&SCHEMES), self.of(&HOSTS));
        Request { scheme, host, port, method, path, query: None, domain: "system", entry: "http" }
    }

    fn pattern(&mut self) -> ResourcePattern {
        let mut path: String = (0..self.roll(3)).map(|_| format!("/{}", self.of(&PATTERN_SEGMENTS))).collect();
        path.push_str(["", "/", "/*"][if path.is_empty() { 1 + self.roll(2) } else { self.roll(3) }]);
        ResourcePattern {
            scheme: (self.roll(4) == 0).then(|| self.of(&SCHEMES).to_owned()),
            host: HostPattern::parse(self.of(&HOST_PATTERNS)).unwrap(),
            port: (self.roll(4) == 0).then_some(443),
            path: PathPattern::parse(&path, false).unwrap(),
            methods: if self.roll(3) == 0 { self.some(&METHODS) } else { BTreeSet::new() },
        }
    }

    fn rule(&mut self, depth: usize, entries: bool) -> Rule {
        let parts = |dice: &mut Self| (0..1 + dice.roll(3)).map(|_| dice.rule(depth - 1, entries)).collect();
        match self.roll(if depth == 0 { 6 } else { 10 }) {
            0 => Rule::Granted,
            1 => Rule::Denied,
            2 => Rule::Confidential,
            3 | 4 => Rule::Auth(Auth {
                roles: self.some(&ROLES),
                principals: if self.roll(4) == 0 { self.some(&USERS) } else { BTreeSet::new() },
                entries: if entries { self.some(&ENTRIES) } else { BTreeSet::new() },
            }),
            5 => Rule::Method(Method { max_age: [None, Some(10)][self.roll(2)] }),
            6 => Rule::And(parts(self)),
            7 => Rule::Or(parts(self)),
            8 => Rule::Not(Box::new(self.rule(depth - 1, entries))),
            _ => Rule::Ref(acr(self.rule(depth - 1, entries))),
        }
    }

    fn permission(&mut self, line: usize) -> Permission {
        Permission { name: None, line, pattern: self.pattern(), acr: acr(self.rule(2, true)) }
    }
}

fn acr(rule: Rule) -> Arc<Acr> {
    Arc::new(Acr { id: String::new(), line: 0, rule })
}

fn policy(permissions: &[Permission]) -> Policy {
    Policy::new(Path::new("p.xml"), "", permissions.to_vec())
}

/// All paths of up to three of the segments, with and without a slash at the end.
fn all_paths() -> Vec<&'static str> {
    let mut paths = vec![String::new()];
    let mut level = paths.clone();
    for _ in 0..3 {
        level = level.iter().flat_map(|path| SEGMENTS.map(|segment| format!("{path}/{segment}"))).collect();
        paths.extend(level.clone());
    }
    let with_slash: Vec<String> = paths.iter().map(|path| format!("{path}/")).collect();
    paths.into_iter().filter(|path| !path.is_empty()).chain(with_slash).map(|path| &*path.leak()).collect()
}

/// Runs with the paths that patterns of two segments can tell apart, so that most requests meet a pattern.
fn each(seeds: u64, mut property: impl FnMut(&mut Dice, &[&'static str])) {
    let paths = all_paths();
    for seed in 1..=seeds {
        property(&mut Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)), &paths);
    }
}

#[test]
fn three_valued_laws() {
    each(3000, |dice, paths| {
        let request = dice.request(paths);
        let roles = dice.some(&ROLES);
        let who = dice.who(&roles);
        let visitor = [Visitor::Nobody, Visitor::Known(&who), Visitor::Through(who.entry)][dice.roll(3)];
        let case = Case::new(&request, visitor);
        let [a, b, c] = [0; 3].map(|_| dice.rule(2, false));
        let and = |x: &Rule, y: &Rule| Rule::And(vec![x.clone(), y.clone()]);
        let or = |x: &Rule, y: &Rule| Rule::Or(vec![x.clone(), y.clone()]);
        let not = |x: &Rule| Rule::Not(Box::new(x.clone()));
        for (name, left, right) in [
            ("reference", Rule::Ref(acr(a.clone())), a.clone()),
            ("double negation", not(&not(&a)), a.clone()),
            ("idempotence", and(&a, &a), or(&a, &a)),
            ("commutativity", and(&a, &b), and(&b, &a)),
            ("associativity", or(&or(&a, &b), &c), or(&a, &or(&b, &c))),
            ("De Morgan", not(&and(&a, &b)), or(&not(&a), &not(&b))),
            ("absorption", or(&a, &and(&a, &b)), a.clone()),
            ("distributivity", and(&a, &or(&b, &c)), or(&and(&a, &b), &and(&a, &c))),
            ("denied", and(&a, &Rule::Denied), Rule::Denied),
            ("granted", or(&a, &Rule::Granted), Rule::Granted),
        ] {
            assert_eq!(left.verdict(case), right.verdict(case), "{name}: {left:?} {right:?} {case:?}");
        }
    });
}

/// A login adds knowledge: what was certain before it stays as it was.
#[test]
fn what_is_certain_without_a_login_stays_so_with_one() {
    each(5000, |dice, paths| {
        let request = dice.request(paths);
        let rule = dice.rule(3, true);
        let before = rule.verdict(Case::new(&request, Visitor::Nobody));
        let roles = dice.some(&ROLES);
        for (user, entry) in USERS.iter().flat_map(|user| ENTRIES.map(|entry| (*user, entry))) {
            let who = Who { user, roles: &roles, domain: "system", entry, typed: dice.typed() };
            for visitor in [Visitor::Known(&who), Visitor::Through(entry)] {
                let after = rule.verdict(Case::new(&request, visitor));
                assert!(before == Verdict::NeedLogin || before == after, "{rule:?} {visitor:?}");
            }
        }
    });
}

#[test]
fn nobody_logs_in_twice_for_one_page() {
    let mut logins = 0;
    each(5000, |dice, paths| {
        let policy = policy(&[0; 6].map(|_| dice.permission(0)));
        let request = dice.request(paths);
        let roles = dice.some(&ROLES);
        let mut who = dice.who(&roles);
        for first in [None, Some(who)] {
            if let Outcome::LoginRequired { entry } = policy.decide(&request, first.as_ref()).outcome {
                logins += 1;
                (who.entry, who.typed) = (entry, Some(0));
                let second = policy.decide(&request, Some(&who)).outcome;
                assert!(
                    !matches!(second, Outcome::LoginRequired { .. }),
                    "{policy:#?} {request:?} {first:?} {second:?}"
                );
            }
        }
    });
    assert!(logins > 500, "{logins}");
}

/// Until the time that a decision names, its age makes no difference.
#[test]
fn a_decision_holds_for_as_long_as_it_says() {
    let mut limited = 0;
    each(5000, |dice, paths| {
        let policy = policy(&[0; 6].map(|_| dice.permission(0)));
        let (request, roles) = (dice.request(paths), dice.some(&ROLES));
        let who = Who { typed: Some(dice.roll(12) as u64), ..dice.who(&roles) };
        let now = policy.decide(&request, Some(&who));
        limited += usize::from(now.holds.is_some());
        for later in 0..now.holds.unwrap_or(100) {
            let who = Who { typed: who.typed.map(|ago| ago + later), ..who };
            assert_eq!(policy.decide(&request, Some(&who)).outcome, now.outcome, "{policy:#?} {who:?}");
        }
    });
    assert!(limited > 100, "{limited}");
}

#[test]
fn document_order_decides_ties_only() {
    each(2000, |dice, paths| {
        let mut permissions: Vec<Permission> = Vec::new();
        for line in 0..8 {
            let next = dice.permission(line);
            if permissions.iter().all(|known| known.pattern.specificity() != next.pattern.specificity()) {
                permissions.push(next);
            }
        }
        let straight = policy(&permissions);
        for at in (1..permissions.len()).rev() {
            permissions.swap(at, dice.roll(at + 1));
        }
        let shuffled = policy(&permissions);
        for _ in 0..20 {
            let request = dice.request(paths);
            let [a, b] = [&straight, &shuffled].map(|policy| policy.decide(&request, None));
            assert_eq!(a.outcome, b.outcome);
            assert_eq!(a.permission.map(|p| p.line), b.permission.map(|p| p.line));
        }
    });
}

#[test]
fn a_less_specific_permission_never_opens_what_a_more_specific_one_denies() {
    let mut held = 0;
    each(3000, |dice, paths| {
        let mut permissions = vec![Permission { acr: acr(Rule::Denied), ..dice.permission(0) }];
        let denied = permissions[0].pattern.clone();
        let mut added = dice.permission(1);
        added.acr = acr(Rule::Granted);
        let before = policy(&permissions);
        permissions.push(added.clone());
        let after = policy(&permissions);
        for _ in 0..20 {
            let request = dice.request(paths);
            let [was, is] = [&before, &after].map(|policy| policy.decide(&request, None).outcome);
            if denied.matches(&request.resource()) && denied.specificity() > added.pattern.specificity() {
                held += usize::from(added.pattern.matches(&request.resource()));
                assert_eq!(is, Outcome::Denied, "{denied} {added:?} {request:?}");
            }
            assert!(
                is == was || added.pattern.matches(&request.resource()),
                "a permission counts where it matches only"
            );
        }
    });
    assert!(held > 100, "{held}");
}

#[test]
fn what_no_pattern_matches_is_denied() {
    let mut unmatched = 0;
    each(2000, |dice, paths| {
        let policy = policy(&[dice.permission(0), dice.permission(1)]);
        let request = dice.request(paths);
        if policy.matching(&request).next().is_none() {
            unmatched += 1;
            let roles = dice.some(&ROLES);
            let who = dice.who(&roles);
            assert_eq!(policy.decide(&request, None).outcome, Outcome::Denied);
            assert_eq!(policy.decide(&request, Some(&who)).outcome, Outcome::Denied);
        }
    });
    assert!(unmatched > 200, "{unmatched}");
}

/// A pattern that covers a proper part of what another covers is the exception to it and must rank above it.
#[test]
fn the_narrower_of_two_nested_patterns_wins() {
    let mut nested = 0;
    each(1000, |dice, paths| {
        let [a, b] = [dice.pattern(), dice.pattern()];
        let request = dice.request(paths);
        let covered = |pattern: &ResourcePattern| -> Vec<bool> {
            let everywhere = ResourcePattern { path: pattern.path.clone(), ..any() };
            paths.iter().map(|path| everywhere.matches(&Request { path, ..request }.resource())).collect()
        };
        let (of_a, of_b) = (covered(&a), covered(&b));
        let within = |inner: &[bool], outer: &[bool]| inner.iter().zip(outer).all(|(inner, outer)| !inner || *outer);
        if of_a.contains(&true) && within(&of_a, &of_b) && !within(&of_b, &of_a) {
            nested += 1;
            let [a, b] = [a.path, b.path].map(|path| ResourcePattern { path, ..any() });
            assert!(a.specificity() > b.specificity(), "{a} is part of {b}");
        }
    });
    assert!(nested > 100, "{nested}");
}

fn any() -> ResourcePattern {
    let path = PathPattern::parse("/*", false).unwrap();
    ResourcePattern { scheme: None, host: HostPattern::Any, port: None, path, methods: BTreeSet::new() }
}

/// No spelling of a protected path decides otherwise than the plain one, unless it is refused.
#[test]
fn no_spelling_of_a_path_opens_it() {
    let open = Permission { name: None, line: 1, pattern: any(), acr: acr(Rule::Granted) };
    let pattern = ResourcePattern { path: PathPattern::parse("/aa/*", false).unwrap(), ..any() };
    let policy = policy(&[open, Permission { name: None, line: 2, pattern, acr: acr(Rule::Denied) }]);
    let inserts = [
        "/", "/.", "/..", "/%2e%2E", ";", ";x=1", "%2F", "%5c", "\\", "%00", "%", ".", "%20", "%3b", "/;", "?", "#",
        " ", "é",
    ];
    let mut plainly = 0;
    each(20_000, |dice, paths| {
        let plain = format!("/aa{}", dice.path());
        let mut text = String::new();
        for (at, letter) in plain.char_indices() {
            match dice.roll(6) {
                0 if letter != '/' => text.push_str(&format!("%{:02X}", letter as u32)),
                1 if letter != '/' => text.push_str(&format!("%{:02x}", letter as u32)),
                _ => text.push(letter),
            }
            let boundary = plain.get(at + 1..).is_none_or(|rest| rest.is_empty() || rest.starts_with('/'));
            if boundary && dice.roll(4) == 0 {
                text.push_str(dice.of(&inserts[..]));
            }
        }
        let request = Request { path: &text, ..dice.request(paths) };
        plainly += usize::from(path_flaw(&text).is_none());
        assert_eq!(policy.decide(&request, None).outcome, Outcome::Denied, "{text}");
    });
    assert!(plainly > 5_000, "{plainly}");
}
