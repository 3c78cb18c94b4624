//! Web pages that call the API of Jami devices: those of one origin, where it is configured, and no others.

use http::Method;
use http::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN};
use tests::LinkClient;
use tests::policy_server::Files;
use tests::quickstart::replace;

use crate::census::PASSED_ON;

const ORIGIN: &str = "https://portal.example.org";

#[tokio::test]
async fn one_origin_may_call_where_it_is_configured() {
    for configured in [false, true] {
        let files = Files::new("Cors", None);
        if configured {
            replace(&files.conf(), |text| format!("{text}\ncams.jami.cors.domain.name={ORIGIN}\n"));
        }
        let mut add = vec!["agent", "add", "jami", "--host", "localhost"];
        add.extend(["--capability", "enforce", "--capability", "jami"]);
        files.cams(&add).success();
        let agent = files.path("conf/agents/jami");
        let server = files.start().await;
        let (certificate, key) = (agent.join("agent.pem"), agent.join("agent.key"));
        let address = server.address.to_string();
        let client = LinkClient::new(&address, &agent.join("policy-server-ca.pem"), Some((&certificate, &key)));
        let plain = LinkClient::new(&address, &agent.join("policy-server-ca.pem"), Some((&certificate, &key)));
        let client = client.with_headers(&PASSED_ON);
        for (verb, path, status) in [
            (Method::OPTIONS, "/api/login", if configured { 204 } else { 405 }),
            (Method::OPTIONS, "/api/auth/devices", if configured { 204 } else { 405 }),
            (Method::GET, "/api/auth/devices", 401),
            (Method::GET, "/api/info", 200),
            (Method::POST, "/api/login", 403),
        ] {
            let (found, headers) = client.answer(&verb, path, "{}".to_owned()).await.unwrap();
            assert_eq!(found, status, "{verb} {path} {configured}");
            let origin = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).map(|value| value.to_str().unwrap());
            assert_eq!(origin, configured.then_some(ORIGIN), "{verb} {path}");
            assert_eq!(headers.contains_key(ACCESS_CONTROL_ALLOW_HEADERS), status == 204, "{verb} {path}");
        }
        // Not of the API, and not passed on as such.
        let (status, headers) = client.answer(&Method::OPTIONS, "/agent/v1/check", String::new()).await.unwrap();
        assert!(status == 405 && !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        let (status, _) = plain.answer(&Method::OPTIONS, "/api/login", String::new()).await.unwrap();
        assert_eq!(status, if configured { 503 } else { 405 });
    }
}
