//! An end to uploads in which nothing moves. The engine has a limit for each read of HTTP/1 and none for HTTP/2, where one
//! connection could hold a hundred connections to the site for ever. Nothing is watched once a site answers: from then
//! on it is the site that keeps the request open. A policy server keeps none open, and nobody is to keep it waiting.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::open::KILL;

/// How long the next part of a body may take.
pub const UPLOAD_LIMIT: Duration = Duration::from_secs(60);
/// How long all the rest may take once the answer has begun that it is no matter for.
const REST_LIMIT: Duration = Duration::from_secs(10);

/// A body that is awaited, for as long as this lives.
#[derive(Debug)]
pub struct Upload(watch::Sender<bool>);

impl Upload {
    /// Cuts the request that is being served where the next part of its body does not come in time.
    pub fn watch(limit: Duration) -> Self {
        let (sender, mut moved) = watch::channel(false);
        let kill = KILL.try_with(Clone::clone).unwrap_or_default();
        tokio::spawn(async move {
            let mut end = None;
            loop {
                match timeout_at(end.unwrap_or_else(|| Instant::now() + limit), moved.changed()).await {
                    Ok(Ok(())) if end.is_none() && *moved.borrow_and_update() => {
                        end = Some(Instant::now() + limit.min(REST_LIMIT));
                    }
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => {
                        tracing::info!("cutting a request whose body does not come");
                        return kill.kill();
                    }
                }
            }
        });
        Self(sender)
    }

    pub fn moved(&self) {
        self.0.send_modify(|_| ());
    }

    /// The answer is there: what is still to come has an end.
    pub fn is_answered(&self) {
        self.0.send_replace(true);
    }
}
