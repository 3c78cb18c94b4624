//! The permit: proof that a request may reach its site, and all that is needed to send it there. Only the gate can make
//! one (I2): its constructor is visible there alone.

use std::sync::Arc;

use shared_proto::check::Identity;
use shared_proto::names::header;

use crate::assertion::Assertion;
use crate::cookies;
use crate::gate::request::Request;
use crate::headers;
use crate::site::Site;
use crate::target::Target;

#[derive(Debug)]
pub struct Permit {
    /// Boxed, as a request is large and a permit is passed on as one of several things.
    request: Box<Request>,
    /// Nobody is named to a site without an assertion beside it.
    identity: Option<(Identity, Assertion)>,
}

impl Permit {
    pub(in crate::gate) fn for_person(request: Request, identity: Identity, assertion: Assertion) -> Self {
        Self { request: Box::new(request), identity: Some((identity, assertion)) }
    }

    /// For a public page.
    pub(in crate::gate) fn for_anybody(request: Request) -> Self {
        Self { request: Box::new(request), identity: None }
    }

    pub fn site(&self) -> &Arc<Site> {
        &self.request.site
    }

    /// What was decided on, and what must be forwarded byte for byte (I9).
    pub fn target(&self) -> &Target {
        &self.request.target
    }

    /// Who the request is made for; `None` on a public page without a session.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref().map(|(identity, _)| identity)
    }

    /// Whether the request asks for a WebSocket.
    pub fn is_upgrade(&self) -> bool {
        self.request.is_websocket
    }

    /// The request headers for the site, made from those of the request (hop-by-hop ones already dealt with).
    pub fn request_headers<'a>(
        &self,
        received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<(String, Vec<u8>)> {
        let config = &self.request.config;
        let mut ours: Vec<(&str, String)> = vec![
            ("X-Real-IP", self.request.client.address.to_string()),
            ("X-Forwarded-For", self.request.client.address.to_string()),
            ("X-Forwarded-Proto", self.request.scheme.to_string()),
            ("X-Forwarded-Host", self.request.authority.to_string()),
        ];
        let mut headers = vec![("Host".to_owned(), self.request.authority.to_string().into_bytes())];
        // HTTP/2 may split cookies over several headers, HTTP/1 may not (RFC 9113 section 8.2.3).
        let mut cookies: Vec<Vec<u8>> = Vec::new();
        for (name, value) in received {
            if name.eq_ignore_ascii_case("Cookie") {
                cookies.extend(cookies::without_ours(config, value));
            } else if !headers::is_dropped(name) {
                headers.push((name.to_owned(), value.to_owned()));
            }
        }
        if let Some(certificate) = &self.request.client_cert {
            headers.push((header::CLIENT_CERT.to_owned(), certificate.escaped().as_bytes().to_owned()));
        }
        if !cookies.is_empty() {
            headers.push(("Cookie".to_owned(), cookies.join(b"; ".as_slice())));
        }
        headers.extend(ours.drain(..).map(|(name, value)| (name.to_owned(), value.into_bytes())));
        if let Some((identity, assertion)) = &self.identity {
            headers.extend(headers::identity(identity).into_iter().map(|(name, value)| (name, value.into_bytes())));
            headers.push((header::ASSERTION.to_owned(), assertion.as_str().as_bytes().to_owned()));
        }
        headers
    }

    /// The values of `Set-Cookie` that the client is to have with any answer, also where the site gives none.
    pub fn set_cookies(&self) -> Vec<String> {
        self.request.set_cookies()
    }

    /// The response headers for the client, made from those of the site.
    pub fn response_headers<'a>(
        &self,
        received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<(String, Vec<u8>)> {
        let mut headers = headers::response(&self.request.config, self.identity.is_some(), received);
        let cookies = self.set_cookies();
        if !cookies.is_empty() {
            headers::make_unstored(&mut headers);
        }
        headers.extend(cookies.into_iter().map(|cookie| ("Set-Cookie".to_owned(), cookie.into_bytes())));
        headers
    }

    /// The response trailers for the client, made from those of the site.
    pub fn response_trailers<'a>(
        &self,
        received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<(String, Vec<u8>)> {
        headers::response(&self.request.config, false, received)
    }
}
