//! The answers of the agent itself, from what the gate says to bytes for the client.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderName, Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::gate::{Reply, ReplyBody};
use crate::incoming;
use crate::pages::{Pages, SECURITY_HEADERS};

/// Renders and sends replies.
pub struct Replies {
    pub pages: Pages,
}

/// What is answered to one is not for others, nor for later.
const PRIVATE: &str = "no-store";

/// A body and the headers that belong to it.
struct Content {
    cache: &'static str,
    body: Bytes,
    headers: Vec<(HeaderName, String)>,
}

impl Replies {
    /// Sends an answer, after the body of the request is out of the way.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send(&self, session: &mut Session, reply: Reply) -> Result<()> {
        let content = self.content(reply.body);
        let mut response = ResponseHeader::build(reply.status, Some(16))?;
        for (name, value) in SECURITY_HEADERS {
            response.insert_header(name, value)?;
        }
        for (name, value) in content.headers {
            response.insert_header(name, value)?;
        }
        for (name, value) in reply.headers {
            response.append_header(name, value)?;
        }
        response.insert_header(CACHE_CONTROL, content.cache)?;
        let bodyless = response.status == StatusCode::NO_CONTENT;
        if !bodyless {
            response.insert_header(CONTENT_LENGTH, content.body.len())?;
        }
        incoming::drain(session).await;
        if reply.close {
            session.set_keepalive(None);
        }
        let head_only = bodyless || content.body.is_empty() || session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(response), head_only).await?;
        if !head_only {
            session.write_response_body(Some(content.body), true).await?;
        }
        incoming::linger(session).await;
        Ok(())
    }

    fn content(&self, body: ReplyBody) -> Content {
        match body {
            ReplyBody::Page(page) => {
                let rendered = self.pages.render(&page);
                if let Some(problem) = rendered.problem {
                    tracing::error!("the built-in page is shown instead: {problem}");
                }
                let headers = vec![
                    (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
                    (CONTENT_SECURITY_POLICY, rendered.content_security_policy),
                ];
                Content { cache: PRIVATE, body: rendered.html.into(), headers }
            }
            ReplyBody::Json(value) => {
                let headers = vec![(CONTENT_TYPE, "application/json".to_owned())];
                Content { cache: PRIVATE, body: value.to_string().into(), headers }
            }
            ReplyBody::Keys(keys) => {
                // RFC 7517, section 8.5.2.
                let headers = vec![(CONTENT_TYPE, "application/jwk-set+json".to_owned())];
                Content { cache: "public, max-age=300", body: keys.to_string().into(), headers }
            }
            ReplyBody::Empty => Content { cache: PRIVATE, body: Bytes::new(), headers: Vec::new() },
        }
    }
}
