//! An end to uploads in which nothing moves. The engine has a limit for each read of HTTP/1 and none for HTTP/2, where one
//! connection could hold a hundred connections to the site for ever. Nothing is watched once the site answers: from then
//! on it is the site that keeps the request open.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::open::KILL;

/// How long the next part of a body may take.
pub const UPLOAD_LIMIT: Duration = Duration::from_secs(60);

/// A body that is awaited, for as long as this lives.
#[derive(Debug)]
pub struct Upload(watch::Sender<()>);

impl Upload {
    /// Cuts the request that is being served where the next part of its body does not come in time.
    pub fn watch(limit: Duration) -> Self {
        let (sender, mut moved) = watch::channel(());
        let kill = KILL.try_with(Clone::clone).unwrap_or_default();
        tokio::spawn(async move {
            loop {
                match timeout(limit, moved.changed()).await {
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
        self.0.send_replace(());
    }
}
