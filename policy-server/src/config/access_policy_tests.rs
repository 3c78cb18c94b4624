//! What the reader refuses, with the words and the line.

use super::*;

fn read_text(text: &str) -> (Option<Policy>, String) {
    let mut problems = Problems::default();
    let policy = read(Path::new("p.xml"), text, &mut problems);
    (policy, problems.to_string())
}

/// A policy with this pattern (in line 2) and these rules (from line 3 on).
fn policy(pattern: &str, rules: &str) -> String {
    format!(
        "<access-control-policy>\n<permission-collection><permission><resource-pattern {pattern}/><acr-ref id='a'/>\
         </permission></permission-collection><acr-lib>\n{rules}\n</acr-lib></access-control-policy>"
    )
}

fn check(text: &str, expected: &str) {
    let (policy, problems) = read_text(text);
    assert!(policy.is_none(), "a policy was made of\n{text}");
    assert_eq!(problems, expected, "{text}");
}

fn check_accepted(text: &str) {
    let (policy, problems) = read_text(text);
    assert!(policy.is_some(), "{problems}\n{text}");
}

#[test]
fn patterns_that_can_never_match_are_refused() {
    const NEVER: &str = "can never match";
    for (pattern, expected) in [
        ("host='*'", "needs the attribute `path`"),
        ("path=''", "`path` of <resource-pattern> is empty"),
        ("path='*'", NEVER),
        ("path='admin/*'", "a path begins with `/`"),
        ("path='/a?x=1'", "a path ends before `?` or `#`"),
        ("path='/a#x'", "a path ends before `?` or `#`"),
        ("path='/a b'", "must be percent-encoded"),
        ("path='/a\\b'", "must be percent-encoded"),
        ("path='/café'", "must be percent-encoded"),
        ("path='/a/../b'", "ends with a dot"),
        ("path='/a/.'", "ends with a dot"),
        ("path='/a/%2E%2E/b'", "ends with a dot"),
        ("path='//a'", "empty segment"),
        ("path='/a//*'", "empty segment"),
        ("path='/a%2Fb'", "encodes a slash"),
        ("path='/a%5Cb'", "encodes a slash"),
        ("path='/a%00'", "encodes a slash"),
        ("path='/a%'", "not followed by two hexadecimal digits"),
        ("path='/a%4'", "not followed by two hexadecimal digits"),
        ("path='/a%+4'", "not followed by two hexadecimal digits"),
        ("path='/%61dmin'", "write letters, digits and `-._~` as they are"),
        ("path='/caf%c3%a9'", "upper-case hexadecimal"),
        ("path='/a;x=1'", "parameters"),
        ("path='/a%3Bx'", "parameters"),
        ("path='/a./b'", "ends with a dot"),
        ("path='/a/*.'", "ends with a dot"),
        ("path='/a%20/*'", "begins or ends with a space"),
        ("path='/a/**'", "one `*` only"),
        ("path='/*a*/b'", "one `*` only"),
        ("path='/' host='a.test:8443'", "the port has its own `port`"),
        ("path='/' host='https://a.test'", "is no host"),
        ("path='/' host='a.*.test'", "is no host"),
        ("path='/' host='*a.test'", "is no host"),
        ("path='/' host='*.'", "is no host"),
        ("path='/' host='a.test.'", "is no host"),
        ("path='/' host=''", "is no host"),
        ("path='/' host='[::z]'", "is no host"),
        ("path='/' host='*.[::1]'", "is no host"),
        ("path='/' scheme='ftp'", "`ftp` is not `http`, `https` or `*`"),
        ("path='/' scheme='HTTPS'", "`HTTPS` is not"),
        ("path='/' port='0'", "no number from 1 to 65535"),
        ("path='/' port='+80'", "no number from 1 to 65535"),
        ("path='/' port='65536'", "no number from 1 to 65535"),
        ("path='/' methods='get'", "write them in capitals"),
        ("path='/' methods=''", "empty item"),
        ("path='/' methods='GET,'", "empty item"),
        ("path='/' method='GET'", "unknown attribute `method` of <resource-pattern>, did you mean `methods`?"),
    ] {
        let (policy, problems) = read_text(&policy(pattern, "<acr id='a'><granted/></acr>"));
        assert!(policy.is_none() && problems.lines().count() == 1, "{pattern}: {problems}");
        assert!(problems.starts_with("p.xml:2: ") && problems.contains(expected), "{pattern}: {problems}");
    }
}

#[test]
fn rules_that_mean_nothing_are_refused() {
    for (rules, expected) in [
        ("<acr id='a'/>", "p.xml:3: <acr> holds exactly one rule, not 0"),
        ("<acr id='a'><granted/><denied/></acr>", "p.xml:3: <acr> holds exactly one rule, not 2"),
        ("<acr id='a'><not/></acr>", "p.xml:3: <not> holds exactly one rule, not 0"),
        ("<acr id='a'><not><granted/>\n<denied/></not></acr>", "p.xml:3: <not> holds exactly one rule, not 2"),
        ("<acr id='a'><or>\n<and/></or></acr>", "p.xml:4: <and> is empty: it needs at least one rule"),
        ("<acr id='a'><or/></acr>", "p.xml:3: <or> is empty: it needs at least one rule"),
        ("<acr id='a'>\n<grantd/></acr>", "p.xml:4: unknown element <grantd> in <acr>, did you mean `granted`?"),
        ("<acr id='a'><auth role='x'/></acr>", "p.xml:3: unknown attribute `role` of <auth>, did you mean `roles`?"),
        ("<acr id='a'><auth roles=''/></acr>", "p.xml:3: attribute `roles` of <auth>: is empty or has an empty item"),
        (
            "<acr id='a'><auth principals='x,,y'/></acr>",
            "p.xml:3: attribute `principals` of <auth>: is empty or has an empty item",
        ),
        (
            "<acr id='a'><auth entries='x-y'/></acr>",
            "p.xml:3: `x-y` is no login entry: a name has letters, digits and `_` only",
        ),
        ("<acr id='a'><auth-method/></acr>", "p.xml:3: <auth-method> needs the attribute `name`"),
        (
            "<acr id='a'><auth-method name='cert'/></acr>",
            "p.xml:3: attribute `name` of <auth-method>: `cert` is not `form`, the only one there is",
        ),
        (
            "<acr id='a'><auth-method name='form' maxAge='0s'/></acr>",
            "p.xml:3: attribute `maxAge` of <auth-method>: `0s` is no time of a second or more, such as 15m",
        ),
        (
            "<acr id='a'><auth-method name='form' maxAge='soon'/></acr>",
            "p.xml:3: attribute `maxAge` of <auth-method>: `soon` is no time of a second or more, such as 15m",
        ),
        (
            "<acr id='a'><auth-method name='form' maxage='1m'/></acr>",
            "p.xml:3: unknown attribute `maxage` of <auth-method>, did you mean `maxAge`?",
        ),
        ("<acr id='a'><granted to='x'/></acr>", "p.xml:3: unknown attribute `to` of <granted>"),
        ("<acr id='a'><auth><role/></auth></acr>", "p.xml:3: unknown element <role> in <auth>"),
        (
            "<acr id='a'>\n<attr name='x'/></acr>",
            "p.xml:4: <attr> is part of the original's rule language but not supported",
        ),
        (
            "<acr id='a'><granted/></acr>\n<acr id='a'><denied/></acr>",
            "p.xml:4: the rule `a` is already defined in line 3",
        ),
        (
            "<acr id='a'><acr-ref id='adminss'/></acr>\n<acr id='admins'><denied/></acr>",
            "p.xml:3: no rule `adminss` in the <acr-lib>, did you mean `admins`?",
        ),
        ("<acr id='a'><acr-ref id='a'/></acr>", "p.xml:3: the rule `a` refers to itself: a -> a"),
        (
            "<acr id='a'><not><acr-ref id='b'/></not></acr>\n<acr id='b'><and><acr-ref id='c'/><denied/></and></acr>\n\
             <acr id='c'><acr-ref id='a'/></acr>",
            "p.xml:5: the rule `a` refers to itself: a -> b -> c -> a",
        ),
        ("<acr><granted/></acr><acr id='a'><denied/></acr>", "p.xml:3: <acr> needs the attribute `id`"),
    ] {
        check(&policy("path='/'", rules), expected);
    }
}

#[test]
fn permissions_that_mean_nothing_are_refused() {
    let with = |body: &str| {
        format!(
            "<access-control-policy>\n<permission-collection>{body}</permission-collection>\
             <acr-lib><acr id='a'><granted/></acr></acr-lib></access-control-policy>"
        )
    };
    let pattern = "<resource-pattern path='/'/>";
    let second = format!("<permission>{pattern}\n{pattern}<acr-ref id='a'/></permission>");
    for (body, expected) in [
        (format!("<permission>{pattern}</permission>"), "p.xml:2: <permission> needs one <acr-ref>"),
        ("<permission><acr-ref id='a'/></permission>".to_owned(), "p.xml:2: <permission> needs one <resource-pattern>"),
        (second, "p.xml:3: <permission> may hold one <resource-pattern> only"),
        (
            format!("<permission>{pattern}<acr-ref id='b'/></permission>"),
            "p.xml:2: no rule `b` in the <acr-lib>, did you mean `a`?",
        ),
        (
            format!("<permission>{pattern}<acr-ref id='a'/>\n<owner/></permission>"),
            "p.xml:3: <owner> is part of the original's rule language but not supported",
        ),
        (
            "\n<permision/>".to_owned(),
            "p.xml:3: unknown element <permision> in <permission-collection>, did you mean `permission`?",
        ),
    ] {
        check(&with(&body), expected);
    }
    check("<acl/>", "p.xml:1: expected <access-control-policy>, found <acl>");
    check(
        "<access-control-policy default='granted'/>",
        "p.xml:1: unknown attribute `default` of <access-control-policy>",
    );
}

#[test]
fn every_problem_is_found_at_once() {
    let (_, problems) = read_text(&policy(
        "path='x' port='y' host='z:1'",
        "<acr id='a'><or><grantd/><and/><not/><acr-ref id='q'/></or></acr>",
    ));
    assert_eq!(problems.lines().count(), 7, "{problems}");
}

#[test]
fn rule_bombs_are_refused() {
    let chain = |order: &mut dyn Iterator<Item = usize>| -> String {
        let rule = |n: usize| match n {
            0 => "<acr id='n0'><granted/></acr>".to_owned(),
            _ => format!("<acr id='n{n}'><acr-ref id='n{}'/></acr>", n - 1),
        };
        order.map(rule).collect()
    };
    let doubling: String = (1..25)
        .map(|n| format!("<acr id='n{n}'><and><acr-ref id='n{0}'/><acr-ref id='n{0}'/></and></acr>", n - 1))
        .collect();
    let root = "<acr id='a'><granted/></acr>";
    check_accepted(&policy("path='/'", &format!("{root}{}", chain(&mut (0..32)))));
    for rules in [
        chain(&mut (0..100)),
        chain(&mut (0..100).rev()),
        chain(&mut (0..50_000)),
        chain(&mut (0..50_000).rev()),
        format!("<acr id='n0'><granted/></acr>{doubling}"),
    ] {
        let (policy, problems) = read_text(&policy("path='/'", &format!("{root}{rules}")));
        assert!(policy.is_none());
        assert!(problems.contains("references included"), "{problems}");
    }
}

#[test]
fn the_parts_of_the_file_may_stand_in_any_order() {
    check_accepted(
        "<access-control-policy><acr-lib><acr id='a'><auth/></acr></acr-lib><permission-collection/>\
         <permission-collection name='x'><permission name='y'><acr-ref id='a'/>\
         <resource-pattern host='*' scheme='*' port='*' methods='*' path='/caf%C3%A9/*'/></permission>\
         </permission-collection></access-control-policy>",
    );
    check_accepted("<access-control-policy/>");
}
