//! What the options make of the module, and what they must not.

use std::path::Path;

use shared_proto::options::Options;
use shared_proto::problem::Problems;

use super::super::{Services, Shared, find};
use super::*;

/// The problems with these options, one a line.
fn problems(text: &str) -> String {
    let mut problems = Problems::default();
    let services = Services::new(Shared::offline(), "system", [].into());
    let options = Options::from_properties(Path::new("t"), text, &mut problems);
    let module = find(CLASS).unwrap().build(options, &services, &mut problems);
    assert!(module.is_some() || !problems.is_empty(), "{text}");
    problems.to_string()
}

#[tokio::test]
async fn complete_options_make_a_module() {
    for text in [
        "domain=corp.test",
        "domain=corp.test\nport=3269",
        "domain=corp.test\nhost=dc1.corp.test, dc2.corp.test:1636\nnetbiosDomain=CORP\nauthMethod=bind",
        "host=dc1\nnetbiosDomain=CORP\nuserBaseDn=DC=corp,DC=test\nroleBaseDn=DC=corp,DC=test",
        "domain=corp.test\nstartTls=true\nbindDn=CORP\\\\svc\nbindPassword=x\nbindMode=search\nroleSearchAs=service",
        "domain=corp.test\nroleSource=search\nroleFilter=(memberUid={1}{0})\nroleAttribute=sAMAccountName",
        "domain=corp.test\nroleSource=tokenGroups\nnestedGroups=true\nincludePrimaryGroup=false\ngroupScope=one",
    ] {
        assert_eq!(problems(text), "", "{text}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_told_when_it_is_loaded() {
    for (text, expected) in [
        ("netbiosDomain=CORP\nuserBaseDn=DC=c\nroleBaseDn=DC=c", "`host` or `domain` is missing"),
        ("domain=corp.test\nssl=false", "without TLS nothing proves what the DNS says"),
        ("host=dc1\nuserBaseDn=DC=c\nroleBaseDn=DC=c", "`bindMode`: to bind as user@domain"),
        ("host=dc1\nnetbiosDomain=C\nroleBaseDn=DC=c", "`userBaseDn` is missing"),
        ("host=dc1\nnetbiosDomain=C\nuserBaseDn=DC=c", "`roleBaseDn` is missing"),
        ("domain=corp test", "`corp test` is not the name of a domain"),
        ("domain=corp.test\nnetbiosDomain=CORP\\\\", "is not the name of a domain"),
        (
            "domain=corp.test\nauthMethod=retrieve",
            "`retrieve` is not possible: Active Directory gives out no passwords",
        ),
        ("domain=corp.test\nauthMethod=compare", "`compare` is not possible: Active Directory gives out no passwords"),
        ("domain=corp.test\npasswordAttribute=unicodePwd", "Active Directory gives out no passwords"),
        ("domain=corp.test\nbindMode=search", "`search` needs the account that searches"),
        ("domain=corp.test\nbindMode=ntlm", "`ntlm` is not upn or search"),
        ("domain=corp.test\nroleSearchAs=service", "`service` needs `bindDn`"),
        ("domain=corp.test\nroleSearchAs=admin", "`admin` is not user or service"),
        ("domain=corp.test\nroleSource=token", "`token` is not memberOf, search or tokenGroups"),
        ("domain=corp.test\nroleAttribute=displayName", "`displayName` is not cn or sAMAccountName"),
        ("domain=corp.test\nroleFilter=(member={0})", "`roleFilter` counts only with"),
        ("domain=corp.test\nroleSource=search\nnestedGroups=true\nroleFilter=(member={0})", "`roleFilter` counts only"),
        ("domain=corp.test\nuserFilter=(objectClass=user)", "`{0}` is missing"),
        ("domain=corp.test\nuserFilter=(cn={0}", "`userFilter`"),
        ("domain=corp.test\nuserBaseDn=people", "`people` is not a distinguished name"),
        ("domain=corp.test\nloginAttribute=mail", "`mail` is not auto, userPrincipalName or sAMAccountName"),
        ("domain=corp.test\nnetbios=CORP", "unknown property `netbios`"),
        ("domain=corp.test\nreferrals=follow", "`referrals`"),
        ("domain=corp.test\nverifyHostname=false", "`false` needs `caFile`"),
    ] {
        let found = problems(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[tokio::test]
async fn passwords_in_clear_text_are_warned_of() {
    for (text, expected) in [
        ("domain=corp.test\nhost=dc1 ldaps://dc2\nssl=false", &["ldap://dc1:389"][..]),
        ("domain=corp.test\nhost=127.0.0.1 dc1\nssl=false", &["ldap://dc1:389"]),
        ("domain=corp.test\nhost=localhost\nssl=false", &[]),
        ("domain=corp.test\nhost=dc1\nstartTls=true", &[]),
        ("domain=corp.test\nhost=dc1", &[]),
    ] {
        let mut problems = Problems::default();
        let services = Services::new(Shared::offline(), "system", [].into());
        let options = Options::from_properties(Path::new("t"), text, &mut problems);
        find(CLASS).unwrap().build(options, &services, &mut problems);
        let warnings = services.warnings.take();
        assert_eq!((warnings.len(), problems.len()), (expected.len(), 0), "{text}: {warnings}{problems}");
        for host in expected {
            assert!(warnings.to_string().contains(&format!("t:2: passwords go to {host} in clear text")), "{warnings}");
        }
    }
}
