//! The permit: proof that a request may reach its site, and all that is needed to send it there. Only the gate can make
//! one (I2): its constructor is visible there alone.

use std::net::IpAddr;
use std::sync::Arc;

use shared_proto::check::Identity;
use shared_proto::names::{POLICY_SERVER_NAME, header};

use crate::assertion::Assertion;
use crate::cookies;
use crate::gate::request::Request;
use crate::headers;
use crate::jami::{self, Call};
use crate::site::Site;
use crate::target::Target;

#[derive(Debug)]
pub struct Permit {
    /// Boxed, as a request is large and a permit is passed on as one of several things.
    request: Box<Request>,
    grant: Grant,
}

/// For whom, and with that to whom it goes.
#[derive(Debug)]
enum Grant {
    /// Nobody is named to a site without an assertion beside it.
    Person(Identity, Assertion),
    Anybody,
    /// To the policy server, which decides about it by itself.
    Jami(Call),
}

impl Permit {
    pub(in crate::gate) fn for_person(request: Request, identity: Identity, assertion: Assertion) -> Self {
        Self { request: Box::new(request), grant: Grant::Person(identity, assertion) }
    }

    /// For a public page.
    pub(in crate::gate) fn for_anybody(request: Request) -> Self {
        Self { request: Box::new(request), grant: Grant::Anybody }
    }

    /// For a Jami device, to the policy server.
    pub(in crate::gate) fn for_jami(request: Request, call: Call) -> Self {
        Self { request: Box::new(request), grant: Grant::Jami(call) }
    }

    /// The longest body that may go to the policy server, in bytes; `None` where the request goes to its site.
    pub fn to_policy_server(&self) -> Option<u64> {
        match self.grant {
            Grant::Jami(call) => Some(call.body_limit(self.request.config.jami.body_limit)),
            Grant::Person(..) | Grant::Anybody => None,
        }
    }

    /// Whose request it is.
    pub fn client(&self) -> IpAddr {
        self.request.client.address
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
        match &self.grant {
            Grant::Person(identity, _) => Some(identity),
            Grant::Anybody | Grant::Jami(_) => None,
        }
    }

    /// Whether the request asks for a WebSocket.
    pub fn is_upgrade(&self) -> bool {
        self.request.is_websocket && self.to_policy_server().is_none()
    }

    /// The request headers for the site, or for the policy server, made from those of the request (hop-by-hop ones already
    /// dealt with).
    pub fn request_headers<'a>(
        &self,
        received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<(String, Vec<u8>)> {
        if let Grant::Jami(call) = self.grant {
            return self.jami_headers(call, received);
        }
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
        if let Grant::Person(identity, assertion) = &self.grant {
            headers.extend(headers::identity(identity).into_iter().map(|(name, value)| (name, value.into_bytes())));
            headers.push((header::ASSERTION.to_owned(), assertion.as_str().as_bytes().to_owned()));
        }
        headers
    }

    /// What the policy server is told of a device's request, all in our own words.
    fn jami_headers<'a>(
        &self,
        call: Call,
        received: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Vec<(String, Vec<u8>)> {
        let Request { config, id, client, client_cert, .. } = &*self.request;
        let shown = received.into_iter().filter(|(name, _)| call.shows(name));
        let mut headers: Vec<_> = shown.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let mut tell = |name: &str, value: &str| headers.push((name.to_owned(), value.as_bytes().to_owned()));
        tell("Host", POLICY_SERVER_NAME);
        tell(header::SECURITY_DOMAIN, &config.domain);
        tell(header::LOGIN_ENTRY, &config.jami.entry);
        tell(header::REQUEST_ID, id);
        tell(header::CLIENT_ADDRESS, &client.address.to_string());
        tell(header::ORIGIN, &self.request.audience());
        if let Some(certificate) = client_cert.as_ref().filter(|_| call.is_personal()) {
            tell(header::CLIENT_CERT, certificate.escaped());
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
        let is_jami = matches!(self.grant, Grant::Jami(_));
        let received = received.into_iter().filter(|(name, _)| !is_jami || jami::is_answered(name));
        let mut headers = headers::response(&self.request.config, self.identity().is_some(), received);
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
