//! One attempt for all requests of a remembered browser: the tabs it opens again when it starts ask at the same moment
//! with the same cookie, and share what comes of it. It asks nobody itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared_proto::login::{AutoLoginRequest, AutoLoginResponse};
use tokio::sync::watch;
use tokio::time::sleep;

/// For how long an outcome is shared with those who come later, before the browser has its new cookies.
const KEPT: Duration = Duration::from_secs(2);
/// Attempts that are shared; beyond them everybody asks alone.
const MAX_SHARED: usize = 10_000;

/// What makes two attempts the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Of the cookie, which is not kept.
    sha256: [u8; 32],
    domain: String,
    entry: String,
    client: IpAddr,
}

impl Key {
    fn new(question: &AutoLoginRequest) -> Self {
        Self {
            sha256: Sha256::digest(question.cookie.expose()).into(),
            domain: question.domain.clone(),
            entry: question.entry.clone(),
            client: question.client.address,
        }
    }
}

type Outcome = watch::Receiver<Option<AutoLoginResponse>>;

/// The attempts under way, and those that have just ended.
#[derive(Debug, Default)]
pub struct AutoLogins(Mutex<HashMap<Key, Outcome>>);

/// How an attempt stands with one who asks for it.
enum Joined {
    Known(Outcome),
    /// The first to ask, who makes the attempt.
    First(watch::Sender<Option<AutoLoginResponse>>, Outcome),
    Full,
}

impl AutoLogins {
    /// What comes of an attempt: of one that is known, else of `ask`. Whoever asked first and goes away does not end it.
    pub async fn share(
        self: &Arc<Self>,
        question: &AutoLoginRequest,
        ask: impl Future<Output = AutoLoginResponse> + Send + 'static,
    ) -> AutoLoginResponse {
        let key = Key::new(question);
        let mut outcome = match self.join(&key) {
            Joined::Known(outcome) => outcome,
            Joined::Full => return ask.await,
            Joined::First(tell, outcome) => {
                let entered = Entered { all: self.clone(), key };
                tokio::spawn(async move {
                    tell.send_replace(Some(ask.await));
                    sleep(KEPT).await;
                    drop(entered);
                });
                outcome
            }
        };
        let known = outcome.wait_for(Option::is_some).await;
        known.ok().and_then(|known| known.clone()).unwrap_or(AutoLoginResponse::NoService)
    }

    fn join(&self, key: &Key) -> Joined {
        let mut attempts = self.lock();
        if let Some(outcome) = attempts.get(key) {
            return Joined::Known(outcome.clone());
        }
        if attempts.len() >= MAX_SHARED {
            return Joined::Full;
        }
        let (tell, outcome) = watch::channel(None);
        attempts.insert(key.clone(), outcome.clone());
        Joined::First(tell, outcome)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Outcome>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that others can join for as long as this lives, also if it ends badly.
struct Entered {
    all: Arc<AutoLogins>,
    key: Key,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.all.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use shared_proto::check::Client;

    use super::*;
    use crate::testing::alice;

    fn question(cookie: &str) -> AutoLoginRequest {
        AutoLoginRequest {
            request_id: "r1".to_owned(),
            host: "app.test".to_owned(),
            domain: "system".to_owned(),
            entry: "http".to_owned(),
            cookie: cookie.into(),
            client: Client { address: [192, 0, 2, 1].into(), user_agent: String::new() },
        }
    }

    /// Counts attempts; each takes a second and opens a session that is named after its number.
    #[derive(Clone, Default)]
    struct Server(Arc<AtomicUsize>);

    impl Server {
        async fn attempt(self) -> AutoLoginResponse {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            let session = number.to_string().into();
            AutoLoginResponse::Success { session, identity: alice(), remember: None }
        }

        async fn session(&self, all: &Arc<AutoLogins>, question: &AutoLoginRequest) -> Option<usize> {
            match all.share(question, self.clone().attempt()).await {
                AutoLoginResponse::Success { session, .. } => session.expose_str()?.parse().ok(),
                _ => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_browser_share_an_attempt_and_others_do_not() {
        let (all, server) = (Arc::new(AutoLogins::default()), Server::default());
        let one = question("one");
        let tabs = futures_util::future::join_all((0..20).map(|_| server.session(&all, &one))).await;
        assert_eq!(tabs, [Some(0); 20]);
        for (number, other) in [
            AutoLoginRequest { entry: "strong".to_owned(), ..one.clone() },
            AutoLoginRequest { domain: "other".to_owned(), ..one.clone() },
            AutoLoginRequest { client: Client { address: [192, 0, 2, 2].into(), ..one.client.clone() }, ..one.clone() },
            question("two"),
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(server.session(&all, other).await, Some(number + 1));
        }
        assert_eq!(server.0.load(Ordering::SeqCst), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_is_shared_for_a_moment() {
        let (all, server) = (Arc::new(AutoLogins::default()), Server::default());
        let one = question("one");
        assert_eq!(server.session(&all, &one).await, Some(0));
        sleep(KEPT - Duration::from_millis(1)).await;
        assert_eq!(server.session(&all, &one).await, Some(0));
        sleep(Duration::from_millis(2)).await;
        assert_eq!(server.session(&all, &one).await, Some(1));
        sleep(KEPT * 2).await;
        assert!(all.lock().is_empty(), "no session is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_takes_nothing_along() {
        let (all, server) = (Arc::new(AutoLogins::default()), Server::default());
        let one = question("one");
        let gone = tokio::time::timeout(Duration::from_millis(1), server.session(&all, &one)).await;
        assert!(gone.is_err());
        assert_eq!(server.session(&all, &one).await, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_ends_badly_is_no_login_and_is_not_kept() {
        let (all, server) = (Arc::new(AutoLogins::default()), Server::default());
        let one = question("one");
        let outcome = all.share(&one, async { panic!("a test's panic") }).await;
        assert!(matches!(outcome, AutoLoginResponse::NoService), "{outcome:?}");
        assert_eq!(server.session(&all, &one).await, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_limit_everybody_asks_alone() {
        let (all, server) = (Arc::new(AutoLogins::default()), Server::default());
        for number in 0..MAX_SHARED {
            drop(all.join(&Key::new(&question(&number.to_string()))));
        }
        let one = question("one");
        let both = tokio::join!(server.session(&all, &one), server.session(&all, &one));
        assert_eq!(both, (Some(0), Some(1)));
        assert_eq!(all.lock().len(), MAX_SHARED);
    }
}
