//! What `cams init` writes works as it stands: a site, and a login on a host name of its own.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::command::{binary, cams, cams_with_input};
use tests::process::Process;
use tests::quickstart::replace;
use tests::{Client, within_async};

use crate::single_sign_on;

fn serve(role: &str, conf: &Path) -> Process {
    Process::spawn(Command::new(binary()).arg(role).arg("--conf").arg(conf))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_login_on_its_own_host_opens_the_site() {
    let dir = tempfile::tempdir().unwrap();
    let site = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("http://{}", site.local_addr().unwrap());
    tokio::spawn(::cams::sample_site::serve(site));
    let written = cams([
        "init",
        "--dir",
        dir.path().to_str().unwrap(),
        "--site",
        "app.example.test",
        "--login",
        "login.example.test",
        "--upstream",
        &upstream,
    ]);
    assert_eq!(written.code, 0, "{written:?}");
    let file = |name: &str| dir.path().join(name);
    let (server_conf, agent_conf) = (file("conf/cams.conf"), file("agent/cams-webagent.conf"));
    for conf in [&server_conf, &agent_conf] {
        cams(["check".as_ref(), "--conf".as_ref(), conf.as_os_str()]).success();
    }

    // Nobody can log in with what was written: here is somebody.
    let digest = cams_with_input(["digest", "--scheme", "SSHA512"], b"right").success();
    let user = format!("<user name=\"carol\" password=\"{}\"><role name=\"user\"/></user></cams-users>", digest.trim());
    replace(&file("conf/domains/system/cams-users.xml"), |text| text.replace("</cams-users>", &user));
    let (port, link) = (free_port(), free_port());
    replace(&server_conf, |text| text.replace("127.0.0.1:9393", &format!("127.0.0.1:{link}")));
    replace(&agent_conf, |text| {
        text.replace("https://0.0.0.0:443", &format!("https://127.0.0.1:{port}"))
            .replace("127.0.0.1:9393", &format!("127.0.0.1:{link}"))
    });
    replace(&file("conf/domains/system/login-config.xml"), |text| {
        text.replace("https://login.example.test/", &format!("https://login.example.test:{port}/"))
    });

    let _processes = [serve("policy-server", &server_conf), serve("web-agent", &agent_conf)];
    let ca = fs::read(file("tls/ca.pem")).unwrap();
    let at = |host: &str| Client::new(&format!("https://{host}.example.test:{port}"), Some(&ca));
    let (app, login) = (at("app"), at("login"));
    let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    within_async(Duration::from_secs(10), "the agent listens", listens).await;
    within_async(Duration::from_secs(10), "everything answers", async || app.get("/").await.status == 200).await;

    let asked = app.get("/private/?a=b").await;
    assert_eq!(asked.status, 302);
    assert!(asked.location().starts_with(&format!("https://login.example.test:{port}/cams/login?")), "{asked:?}");
    assert_eq!(login.get("/private/").await.status, 404, "no site is behind the login host");
    let target = format!("https://app.example.test:{port}/private/?a=b");
    let failed = login.log_in("carol", "wrong", &target).await;
    assert!([401, 303].contains(&failed.status.as_u16()), "{failed:?}");
    let page = asked.location();
    let done = single_sign_on::log_in(&login, &page, "carol", "right").await;
    assert_eq!(done.status, 303);
    assert!(done.cookies().iter().all(|cookie| cookie.domain().is_none()), "{done:?}");
    let back = done.location();
    let back = back.strip_prefix(&format!("https://app.example.test:{port}")).unwrap();
    assert_eq!(app.get(back).await.location(), "/private/?a=b");
    assert_eq!(app.get("/private/?a=b").await.status, 200);
}
