//! The permit: proof that a request may reach its site, and all that is needed to send it there. Only the gate can make
//! one (I2): its constructor is visible there alone.

use std::sync::Arc;

use shared_proto::check::Identity;

use crate::site::Site;
use crate::target::Target;

#[derive(Debug)]
pub struct Permit {
    site: Arc<Site>,
    target: Target,
    identity: Option<Identity>,
    _private: (),
}

impl Permit {
    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    /// What was decided on, and what must be forwarded byte for byte (I9).
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Who the request is made for; `None` on a public page without a session.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether the request asks for a WebSocket.
    pub fn is_upgrade(&self) -> bool {
        false
    }

    /// The request headers for the site, made from those of the request (hop-by-hop ones already dealt with).
    pub fn request_headers<'a>(
        &self,
        received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<(String, Vec<u8>)> {
        received.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The response headers for the client, made from those of the site.
    pub fn response_headers<'a>(
        &self,
        received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<(String, Vec<u8>)> {
        received.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}
