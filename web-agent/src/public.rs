//! Which requests are open to everybody, for the time in which no policy server answers. Pure. It decides as the policy
//! server would: the most specific pattern speaks, and a path that can be read in two ways passes only if it would both
//! times.

use shared_proto::check::CheckRequest;
use shared_proto::event::PublicMap;
use shared_proto::pattern::{Resource, path_flaw, without_parameters};

pub fn is_public(map: &PublicMap, question: &CheckRequest) -> bool {
    let speaks_for = |path: &str| {
        let CheckRequest { scheme, host, port, method, .. } = question;
        let resource = Resource { scheme, host, port: *port, method, path };
        map.patterns.iter().find(|pattern| pattern.pattern.matches(&resource)).is_some_and(|pattern| pattern.public)
    };
    path_flaw(&question.path).is_none()
        && speaks_for(&question.path)
        && without_parameters(&question.path).is_none_or(|path| speaks_for(&path))
}

#[cfg(test)]
mod tests {
    use shared_proto::event::PublicPattern;
    use shared_proto::pattern::{HostPattern, PathPattern, ResourcePattern};

    use super::*;
    use crate::testing::question;

    #[test]
    fn the_most_specific_pattern_speaks() {
        let pattern = |path: &str, methods: &[&str], public| PublicPattern {
            pattern: ResourcePattern {
                scheme: None,
                host: HostPattern::Any,
                port: None,
                path: PathPattern::parse(path, false).unwrap(),
                methods: methods.iter().map(|method| (*method).to_owned()).collect(),
            },
            public,
        };
        let map = PublicMap {
            domain: "system".into(),
            policy_hash: "h".into(),
            patterns: vec![
                pattern("/open/secret/*", &[], false),
                pattern("/open/*", &["POST"], false),
                pattern("/open/*", &[], true),
                pattern("/*", &[], false),
            ],
            forms: Default::default(),
        };
        let cases = [
            ("GET", "/open", true),
            ("GET", "/open/x", true),
            ("POST", "/open/x", false),
            ("GET", "/open/secret/x", false),
            ("GET", "/other", false),
            ("GET", "/open/x;y=1", true),
            ("GET", "/open/secret;y=1/x", false),
            ("GET", "/open/../secret", false),
            ("GET", "/open//x", false),
        ];
        for (method, path, expected) in cases {
            let question = CheckRequest { method: method.into(), ..question(path, None) };
            assert_eq!(is_public(&map, &question), expected, "{method} {path}");
        }
        let nothing = PublicMap { patterns: Vec::new(), ..map };
        assert!(!is_public(&nothing, &question("/open", None)));
    }
}
