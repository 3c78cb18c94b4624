//! The sample loads, and every mistake is reported where it stands.

use super::*;
use crate::site::JamiConfig;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cams-webagent.conf");

const GOOD: &str = "cams.cluster.name=C\ncams.security.domain=d\ncams.policy.server.1=p:9191\ncams.policy.server.ca=ca.pem\n\
    cams.agent.certificate=a.pem\ncams.agent.key=a-key.pem\ncams.listen.1=http://127.0.0.1:0\n\
    cams.site.app.host=App.test\ncams.site.app.upstream=http://127.0.0.1:8000/\n";

fn parse(text: &str) -> Result<AgentConfig, Problems> {
    AgentConfig::parse(Path::new("/etc/cams/agent.conf"), text)
}

#[test]
fn the_sample_loads_as_it_stands() {
    let config = AgentConfig::load(Path::new(SAMPLE)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.gate.cookies.session, "CAMS_SID_MYCAMSCLUSTER_SYSTEM");
    assert_eq!(config.listeners, [Listener { address: "127.0.0.1:8443".parse().unwrap(), tls: true }]);
    assert!(config.gate.trusted_proxies.is_empty() && !config.gate.auto_login);
}

/// Every line that the sample shows commented out is a property that exists.
#[test]
fn the_examples_in_the_sample_load_too() {
    let text = std::fs::read_to_string(SAMPLE).unwrap();
    let uncommented: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| rest.starts_with("cams.")).unwrap_or(line))
        .collect();
    let text = uncommented
        .join("\n")
        .replace("cams.cookie.domain=example.org", "")
        .replace("host=localhost", "host=x.example.org");
    let config = parse(&text).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.gate.sites.len(), config.listeners.len(), config.certificates.len()), (3, 2, 2));
    assert_eq!((config.gate.sites.iter().filter(|site| site.jami).count(), config.revocation_listeners.len()), (1, 1));
    assert_eq!((config.gate.cluster_sites.len(), config.gate.trusted_proxies.len()), (2, 2));
}

#[test]
fn defaults_and_paths() {
    let config = parse(GOOD).unwrap_or_else(|problems| panic!("{problems}"));
    let gate = &config.gate;
    assert_eq!(
        (gate.entry.as_str(), gate.cookie_prefix.as_str(), gate.cookie_domain.as_deref()),
        ("http", "CAMS", None)
    );
    assert_eq!((gate.login_uri.as_str(), gate.logout_uri.as_str()), ("/cams/login", "/cams/logout"));
    assert_eq!(gate.default_page, "/");
    assert_eq!(config.caps, Caps::default());
    assert_eq!(config.link.key, Path::new("/etc/cams/a-key.pem"));
    assert_eq!(config.policy_servers, [Authority { host: "p".to_owned(), port: Some(9191) }]);
    let [site] = gate.sites.as_slice() else { panic!("{:?}", gate.sites) };
    assert_eq!((site.name.as_str(), site.host.as_str(), site.port), ("app", "app.test", None));
    assert_eq!(
        site.upstream.as_ref().map(|upstream| (upstream.host.as_str(), upstream.port)),
        Some(("127.0.0.1", 8000))
    );
}

#[test]
fn caps_are_numbers_above_zero() {
    let with = |lines: &str| parse(&format!("{GOOD}{lines}"));
    let caps = with("cams.connections.max=20\ncams.connections.per.network=3\n").unwrap().caps;
    assert_eq!((caps.all.get(), caps.per_network.get()), (20, 3));
    for wrong in ["0", "-1", "many", ""] {
        let problems = with(&format!("cams.connections.max={wrong}\n")).unwrap_err().to_string();
        assert!(problems.contains("cams.connections.max"), "{problems}");
    }
}

#[test]
fn spellings_of_listeners() {
    for (text, expected) in [
        ("127.0.0.1:8080", Some(("127.0.0.1:8080", false))),
        ("127.0.0.1:8443 tls", Some(("127.0.0.1:8443", true))),
        ("http://0.0.0.0:80", Some(("0.0.0.0:80", false))),
        ("https://[::1]:8443", Some(("[::1]:8443", true))),
        ("https://localhost:8443", Some(("127.0.0.1:8443", true))),
        ("https://127.0.0.1:8443/", None),
        ("https://app.test:8443", None),
        ("127.0.0.1", None),
        (":8080", None),
    ] {
        let found = listener(text).map(|listener| (listener.address.to_string(), listener.tls));
        assert_eq!(found.as_ref().map(|(address, tls)| (address.as_str(), *tls)), expected, "{text}");
    }
}

/// One wrong line after nine good ones: the problem names it.
#[test]
fn mistakes_are_reported_where_they_stand() {
    for (more, expected) in [
        (
            "cams.loginconfig.entri=x",
            "10: unknown property `cams.loginconfig.entri`, did you mean `cams.loginconfig.entry`?",
        ),
        ("cams.loginconfig.entry=a b", "10: `a b` is not a name of letters, digits and `_`"),
        ("cams.cookie.prefix=C;AMS", "10: `C;AMS` is not a name"),
        ("cams.autologin.enabled=yes", "10: property `cams.autologin.enabled`: `yes` is not true or false"),
        ("cams.login.uri=cams/login", "10: `cams/login` is not a path"),
        ("cams.login.uri=/cams/%6cogin", "10: `/cams/%6cogin` is not a path"),
        ("cams.login.uri=/cams/login?x", "10: `/cams/login?x` is not a path"),
        ("cams.account.uri=/cams/login", "`/cams/login` is two of the agent's own pages"),
        ("cams.account.uri=/cams/jwks.json", "`/cams/jwks.json` is two of the agent's own pages"),
        ("cams.login.uri=/cams/logout", "`/cams/logout` is two of the agent's own pages"),
        ("cams.handover.uri=/cams/login", "`/cams/login` is two of the agent's own pages"),
        ("cams.default.page=//evil.test", "10: `//evil.test` is not a path"),
        ("cams.cluster.sites=https://a.test, b.test", "10: `b.test` is not an origin"),
        ("cams.trusted.proxies=10.0.0.0/8 proxy", "10: `proxy` is not an address or a network"),
        ("cams.trusted.proxies=0.0.0.0/0", "10: `0.0.0.0/0` is not an address or a network"),
        ("cams.trusted.proxies=::/0", "10: `::/0` is not an address or a network"),
        ("cams.trusted.proxies.client.cert=true", "10: `cams.trusted.proxies.client.cert`: nobody is in"),
        ("cams.logout.uri=/cams/jwks.json", "`/cams/jwks.json` is two of the agent's own pages"),
        ("cams.policy.server.2=p", "10: `p` is not host:port"),
        ("cams.policy.server.x=p:1", "10: `cams.policy.server.x`: write a number"),
        ("cams.listen.2=8080", "10: `8080` is not an address"),
        ("cams.listen.2=https://127.0.0.1:1", "a listener speaks https, but there is no"),
        ("cams.tls.app.test.certificate=x", "property `cams.tls.app.test.key` is missing"),
        (
            "cams.tls.app.test.kee=x",
            "10: unknown property `cams.tls.app.test.kee`, did you mean `cams.tls.app.test.key`?",
        ),
        ("cams.tls.key=x", "10: `cams.tls.key`: write `cams.tls.<name>.<property>`"),
        ("cams.site.app.hots=x", "10: unknown property `cams.site.app.hots`, did you mean `cams.site.app.host`?"),
        ("cams.site.app.jami=yes", "10: property `cams.site.app.jami`: `yes` is not true or false"),
        ("cams.site.app.jami=true\ncams.login.uri=/api/login", "`/api/login` belongs to the API of Jami devices"),
        ("cams.site.app.jami=true\ncams.account.uri=/api/auth/me", "`/api/auth/me` belongs to the API of Jami devices"),
        ("cams.site.app.jami=true", "no device can log in at the site `app`: no listener speaks https"),
        ("cams.site.app.jami=true\ncams.trusted.proxies=10.0.0.1", "no device can log in at the site `app`"),
        ("cams.jami.loginconfig.entry=a b", "10: `a b` is not a name"),
        ("cams.jami.cleartext.listen.1=127.0.0.1:80", "10: `cams.jami.cleartext.listen.<n>` is of no use without"),
        (
            "cams.site.app.jami=true\ncams.jami.cleartext.listen.1=http://127.0.0.1:80",
            "11: `http://127.0.0.1:80` is not",
        ),
        ("cams.site.app.jami=true\ncams.jami.cleartext.listen.1=127.0.0.1:80 tls", "11: `127.0.0.1:80 tls` is not"),
        (
            "cams.site.app.jami=true\ncams.jami.cleartext.listen.x=127.0.0.1:80",
            "11: `cams.jami.cleartext.listen.x`: write",
        ),
        (
            "cams.site.app.jami=true\ncams.jami.cleartext.listen.1=127.0.0.1:80\ncams.listen.2=127.0.0.1:80",
            "11: 127.0.0.1:80 is listened on twice",
        ),
        ("cams.site.app.upstream.ca=x", "10: a CA is of no use"),
        ("cams.site.b.host=b.test", "10: property `cams.site.b.upstream` is missing"),
        ("cams.site.b.host=b.test/x\ncams.site.b.upstream=http://u:1", "10: `b.test/x` is not a host name"),
        ("cams.site.b.host=b.test\ncams.site.b.upstream=http://u:1/x", "11: `http://u:1/x` is not an address"),
        ("cams.site.b.host=b.test\ncams.site.b.upstream=ftp://u:1", "11: `ftp://u:1` is not an address"),
        ("cams.site.b.host=b.test\ncams.site.b.upstream=none\ncams.site.b.upstream.ca=x", "12: a CA is of no use"),
        (
            "cams.site.b.host=APP.test:1\ncams.site.b.upstream=http://u:1",
            "10: the sites `app` and `b` answer to the same host",
        ),
        ("cams.cookie.domain=org", "10: `org` is not a domain"),
        ("cams.cookie.domain=example.org", "10: the site `app` (app.test) is not in example.org"),
        ("cams.cluster.name=twice", "10: `cams.cluster.name` is set twice"),
    ] {
        let problems = parse(&format!("{GOOD}{more}\n")).map(drop).unwrap_err().to_string();
        let expected = match expected.starts_with(|c: char| c.is_ascii_digit()) {
            true => format!("/etc/cams/agent.conf:{expected}"),
            false => expected.to_owned(),
        };
        assert!(problems.contains(&expected), "{more}: {problems}");
    }
}

#[test]
fn jami_devices() {
    let jami = |lines: &str| parse(&format!("{GOOD}{lines}")).unwrap_or_else(|problems| panic!("{problems}"));
    let default = jami("cams.loginconfig.entry=people\n");
    assert!(!default.gate.sites[0].jami && default.revocation_listeners.is_empty());
    assert_eq!(default.gate.jami, JamiConfig { entry: "people".to_owned(), body_limit: 100 * 1024 * 1024 });
    let given = jami(
        "cams.trusted.proxies=10.0.0.1\ncams.trusted.proxies.client.cert=true\ncams.site.app.jami=true\ncams.jami.loginconfig.entry=jami\ncams.jami.body.limit=7K\n\
         cams.jami.cleartext.listen.1=127.0.0.1:80\ncams.jami.cleartext.listen.2=localhost:81\n",
    );
    assert_eq!(given.gate.jami, JamiConfig { entry: "jami".to_owned(), body_limit: 7 * 1024 });
    assert!(given.gate.sites[0].jami);
    assert_eq!(given.revocation_listeners, ["127.0.0.1:80".parse().unwrap(), "127.0.0.1:81".parse().unwrap()]);
    // Where no devices enrol, these paths are like any other.
    assert_eq!(jami("cams.login.uri=/api/login\n").gate.login_uri, "/api/login");
    for (limit, expected) in [("1", 1), ("1024", 1024), ("2k", 2048), ("3M", 3 * 1024 * 1024)] {
        assert_eq!(jami(&format!("cams.jami.body.limit={limit}\n")).gate.jami.body_limit, expected, "{limit}");
    }
    for wrong in
        ["0", "0M", "-1", "+1", "M", "", "1G", "1.5M", "1 M", "99999999999999999999", "18446744073709551615K", "é"]
    {
        let problems = parse(&format!("{GOOD}cams.jami.body.limit={wrong}\n")).unwrap_err().to_string();
        assert!(problems.contains("is not a number of bytes such as 100M"), "{wrong}: {problems}");
    }
}

#[test]
fn an_empty_file_lists_all_that_is_needed() {
    let problems = parse("").map(drop).unwrap_err().to_string();
    for name in [
        "cluster.name",
        "security.domain",
        "policy.server.1",
        "policy.server.ca",
        "agent.certificate",
        "agent.key",
        "listen.1",
        "site.<name>.host",
    ] {
        assert!(problems.contains(&format!("`cams.{name}`")), "{name} is not asked for: {problems}");
    }
}

#[test]
fn every_site_needs_a_certificate_where_all_is_tls() {
    let tls = GOOD.replace("http://127.0.0.1:0", "https://127.0.0.1:0");
    let with = |host: &str| parse(&format!("{tls}cams.tls.{host}.certificate=c\ncams.tls.{host}.key=k\n")).is_ok();
    assert!(with("app.test") && with("APP.test") && with("*.test"));
    assert!(!with("other.test") && !with("*.app.test"));
}
