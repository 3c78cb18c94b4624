//! A thousand remembered browsers return at the same moment: how long it takes until all are in, what it costs next to
//! bare hashing, and that whoever has to come again is told so and keeps the cookie. And how long a cookie that is of no use
//! takes, whatever is wrong with it.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use futures_util::stream::iter;
use http::StatusCode;
use tests::command::{cams as command, cams_with_input};
use tests::policy_server::{Files, PASSWORD};
use tests::quickstart::replace;
use tests::{Agent, Client, WebServer};

use crate::load::processor_time;
use crate::logins::{cores, hash, without_throttle};
use crate::{figure, spread};

const HOST: &str = "app.test";
const BROWSERS: usize = 1_000;
/// Of each kind of useless cookie.
const SAMPLES: usize = 200;
const REMEMBERED: &str = "CAMS_AUTO_LOGIN_MYCAMSCLUSTER_SYSTEM";
const PAGE: &str = "/private/kept";

pub async fn measure() {
    let Some(site) = WebServer::nginx().await else { return };
    let files = Files::new("One", None);
    let folder = files.path("conf/domains/system");
    let digest = cams_with_input(["digest"], PASSWORD.as_bytes()).success();
    replace(&folder.join("cams-users.xml"), |_| {
        let user = format!("<user name='alice' password='{}'><role name='user'/></user>", digest.trim());
        format!("<cams-users>\n{user}\n</cams-users>\n")
    });
    without_throttle(&files);
    let valve = format!(
        "<auth-valve className=\"com.cafesoft.security.engine.auth.AutoLoginAuthValve\" enabled=\"true\"><param-list>\n\
         {}</param-list></auth-valve>\n</auth-pipeline>",
        command(["keygen"]).success()
    );
    replace(&folder.join("security-domain.xml"), |text| text.replace("</auth-pipeline>", &valve));
    replace(&folder.join("login-config.xml"), |text| {
        text.replace("callback.NamePasswordCallbackHandler", "callback.AutoLoginNamePasswordCallbackHandler")
    });
    let server = files.start().await;
    let address = server.address.to_string();
    let properties = [
        ("cams.policy.server.1", address.as_str()),
        ("cams.autologin.enabled", "true"),
        ("cams.connections.per.network", "4000"),
    ];
    let agent = Agent::of(&files.conf(), "a", &[(HOST, &site.url())], &properties).await;
    let client = || Client::new(&format!("http://{HOST}:{}", agent.address.port()), None);

    let browsers: Vec<Client> = iter(0..BROWSERS).map(|_| remembered(client())).buffer_unordered(16).collect().await;
    refuse(&browsers[0]).await;
    let before = processor_time(std::process::id());
    let hashes = hash();
    let of_hash = (processor_time(std::process::id()) - before) / u32::try_from(hashes).expect("a few");

    let both = || processor_time(server.process.pid()) + processor_time(agent.process.pid());
    let (before, start) = (both(), Instant::now());
    let visits: Vec<(Duration, usize)> =
        iter(&browsers).map(|browser| returns(browser, start)).buffer_unordered(BROWSERS).collect().await;
    let (took, cost) = (start.elapsed(), (both() - before) / u32::try_from(BROWSERS).expect("a few"));

    let told = visits.iter().map(|(_, told)| told).sum::<usize>();
    let least = of_hash * u32::try_from(BROWSERS / cores()).expect("a few");
    figure(
        "1,000 remembered browsers at once",
        &format!(
            "all in after {:.1} s, hashing alone takes {:.1} s   {:.1} ms of processor time each, a hash {:.1} ms   \
             503 and again: {told} times",
            took.as_secs_f64(),
            least.as_secs_f64(),
            cost.as_secs_f64() * 1000.0,
            of_hash.as_secs_f64() * 1000.0,
        ),
    );
    spread("until such a browser was in", visits.into_iter().map(|(time, _)| time).collect());
}

/// Shows cookies that are wrong in several ways, in turns.
async fn refuse(browser: &Client) {
    let good = URL_SAFE_NO_PAD.decode(browser.cookie(REMEMBERED).expect("a cookie")).expect("Base64");
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let kinds = [
        ("another version", flip(0)),
        ("another key", flip(1)),
        ("another nonce", flip(6)),
        ("another tag", flip(good.len() - 1)),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("one byte", vec![1]),
    ];
    let mut times = vec![Vec::new(); kinds.len()];
    for _ in 0..SAMPLES {
        for ((_, bytes), times) in kinds.iter().zip(&mut times) {
            let thief = Client::new(&browser.origin().origin(), None);
            thief.set_cookie(REMEMBERED, &URL_SAFE_NO_PAD.encode(bytes));
            let start = Instant::now();
            let reply = thief.get(PAGE).await;
            times.push(start.elapsed());
            assert!(reply.status == StatusCode::FOUND && thief.cookie(REMEMBERED).is_none(), "{reply:?}");
        }
    }
    for ((kind, _), times) in kinds.iter().zip(times) {
        spread(&format!("a cookie refused, {kind}"), times);
    }
}

/// A browser that asked to be remembered, with nothing but the cookie of that.
async fn remembered(client: Client) -> Client {
    let fields = [
        ("cams_security_domain", "system"),
        ("cams_login_config", "http"),
        ("cams_original_url", PAGE),
        ("cams_cb_username", "alice"),
        ("cams_cb_password", PASSWORD),
        ("cams_cb_autologin_flag", "true"),
    ];
    let reply = client.post_form("/cams/login", &fields).await;
    let cookie = client.cookie(REMEMBERED).unwrap_or_else(|| panic!("not remembered: {reply:?}"));
    let back = Client::new(&client.origin().origin(), None);
    back.set_cookie(REMEMBERED, &cookie);
    back
}

/// Asks until it is let in, and no sooner again than it was told; when that was, and how often it was told.
async fn returns(browser: &Client, start: Instant) -> (Duration, usize) {
    let mut told = 0;
    loop {
        let reply = browser.get(PAGE).await;
        match reply.status {
            StatusCode::OK => return (start.elapsed(), told),
            StatusCode::SERVICE_UNAVAILABLE => {
                told += 1;
                assert!(browser.cookie(REMEMBERED).is_some(), "{reply:?}");
                let seconds = reply.header("retry-after").parse().expect("Retry-After");
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            _ => panic!("neither let in nor told to come again: {reply:?}"),
        }
    }
}
