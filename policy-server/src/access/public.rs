//! What a policy grants to everybody, whoever they are and however they come: what may go on without asking.

use std::collections::BTreeMap;

use shared_proto::event::{PublicMap, PublicPattern};

use super::{Policy, Rule};

/// Every pattern of the policy, most specific first: one that is not public hides broader ones that are. Of forms a
/// policy knows nothing.
pub fn public_map(domain: &str, policy: &Policy) -> PublicMap {
    let patterns = policy.permissions().iter().map(|permission| PublicPattern {
        pattern: permission.pattern.clone(),
        public: constant(&permission.acr.rule) == Some(true),
    });
    let (domain, policy_hash) = (domain.to_owned(), policy.hash().to_owned());
    PublicMap { domain, policy_hash, patterns: patterns.collect(), forms: BTreeMap::new() }
}

/// Whether the rule grants whatever the case, or denies whatever the case; `None` where it depends.
fn constant(rule: &Rule) -> Option<bool> {
    let parts = || rule.parts().iter().map(constant);
    match rule {
        Rule::Granted => Some(true),
        Rule::Denied => Some(false),
        Rule::Confidential | Rule::Auth(_) | Rule::Method(_) => None,
        Rule::Not(_) | Rule::Ref(_) => {
            let part = parts().next().flatten();
            if matches!(rule, Rule::Not(_)) { part.map(|grants| !grants) } else { part }
        }
        Rule::And(_) => {
            let denies = parts().len() == 0 || parts().any(|part| part == Some(false));
            if denies { Some(false) } else { parts().all(|part| part == Some(true)).then_some(true) }
        }
        Rule::Or(_) => {
            let grants = parts().any(|part| part == Some(true));
            if grants { Some(true) } else { parts().all(|part| part == Some(false)).then_some(false) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shared_proto::problem::Problems;

    use super::*;
    use crate::config::access_policy;

    fn public(rule: &str) -> bool {
        let text = format!(
            "<access-control-policy><permission-collection><permission><resource-pattern path='/*'/>\
             <acr-ref id='r'/></permission></permission-collection>\
             <acr-lib><acr id='r'>{rule}</acr><acr id='g'><granted/></acr></acr-lib></access-control-policy>"
        );
        let mut problems = Problems::default();
        let policy = access_policy::read(Path::new("p.xml"), &text, &mut problems);
        let policy = policy.unwrap_or_else(|| panic!("{rule}: {problems}"));
        public_map("d", &policy).patterns[0].public
    }

    #[test]
    fn only_what_no_case_can_change_is_public() {
        let expected = [
            ("<granted/>", true),
            ("<denied/>", false),
            ("<auth/>", false),
            ("<confidential/>", false),
            ("<auth-method name='form'/>", false),
            ("<acr-ref id='g'/>", true),
            ("<not><denied/></not>", true),
            ("<not><granted/></not>", false),
            ("<not><auth/></not>", false),
            ("<and><granted/><acr-ref id='g'/></and>", true),
            ("<and><granted/><auth/></and>", false),
            ("<and><granted/><denied/></and>", false),
            ("<or><auth/><granted/></or>", true),
            ("<or><auth/><denied/></or>", false),
            ("<or><auth/><confidential/></or>", false),
            ("<not><and><auth/><denied/></and></not>", true),
            ("<not><or><auth/><denied/></or></not>", false),
        ];
        for (rule, expected) in expected {
            assert_eq!(public(rule), expected, "{rule}");
        }
    }
}
