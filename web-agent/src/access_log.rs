//! One line for every request, written when its record is dropped: also for requests that are cut, which the engine
//! never reports. Queries are not logged, they carry what people type.

use std::net::IpAddr;
use std::time::Instant;

/// What is known of a request so far.
#[derive(Debug)]
pub struct Record {
    pub id: String,
    pub peer: Option<IpAddr>,
    pub method: String,
    /// As the client named it, escaped.
    pub host: String,
    /// In canonical form; empty where the target has none.
    pub path: String,
    pub user: Option<String>,
    /// `None` until an answer was sent.
    pub status: Option<u16>,
    /// `server`, `memory`, or `public` where no server answered; `None` where nothing was decided.
    pub decided_by: Option<&'static str>,
    /// What came of a login with the cookie of a remembered browser: `success`, `refused`, `unavailable`.
    pub auto_login: Option<&'static str>,
    began: Instant,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            id: String::new(),
            peer: None,
            method: String::new(),
            host: String::new(),
            path: String::new(),
            user: None,
            status: None,
            decided_by: None,
            auto_login: None,
            began: Instant::now(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        tracing::info!(
            target: "access",
            id = self.id,
            peer = self.peer.map(tracing::field::display),
            // Quoted and escaped, since a refused request can contain anything.
            method = ?self.method,
            host = ?self.host,
            path = ?self.path,
            status = self.status,
            user = self.user.as_deref().map(tracing::field::debug),
            decided_by = self.decided_by,
            "auto-login" = self.auto_login,
            duration_us = self.began.elapsed().as_micros() as u64,
        );
    }
}
