//! The answers of the agent itself, from what the gate says to bytes for the client.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, DATE};
use http::{HeaderName, Method, StatusCode};
use pingora::ErrorType::{WriteError, WriteTimedout};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::date::get_cached_date;
use pingora::proxy::Session;
use pingora::{OrErr, Result};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::gate::{Reply, ReplyBody};
use crate::incoming;
use crate::pages::{Pages, SECURITY_HEADERS};

/// Renders and sends replies.
pub struct Replies {
    pub pages: Pages,
}

/// What is answered to one is not for others, nor for later.
const PRIVATE: &str = "no-store";

/// For the whole of an answer to somebody who has asked for nothing.
const WRITE_LIMIT: Duration = Duration::from_secs(2);

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
        let close = reply.close;
        let (response, body) = self.response(reply)?;
        incoming::drain(session).await;
        if close {
            session.set_keepalive(None);
        }
        let head_only = body.is_empty() || session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(response), head_only).await?;
        if !head_only {
            session.write_response_body(Some(body), true).await?;
        }
        incoming::linger(session).await;
        Ok(())
    }

    /// Sends an answer on a stream of HTTP/2 that the engine does not serve.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send_h2(&self, session: &mut ServerSession, reply: Reply) -> Result<()> {
        let (response, body) = self.response(reply)?;
        session.write_error_response(response, body).await
    }

    /// Sends an answer on a connection of HTTP/1 that the engine has let go, and closes it.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn send_last(&self, mut connection: Stream, reply: Reply, head_only: bool) -> Result<()> {
        let (mut response, body) = self.response(reply)?;
        response.insert_header(DATE, get_cached_date())?;
        response.insert_header(CONNECTION, "close")?;
        let mut bytes = Vec::with_capacity(1024 + body.len());
        bytes.extend_from_slice(format!("HTTP/1.1 {}\r\n", response.status).as_bytes());
        response.header_to_h1_wire(&mut bytes);
        bytes.extend_from_slice(b"\r\n");
        if !head_only {
            bytes.extend_from_slice(&body);
        }
        let written = timeout(WRITE_LIMIT, connection.write_all(&bytes)).await;
        written.or_err(WriteTimedout, "an answer")?.or_err(WriteError, "an answer")?;
        incoming::part(connection).await;
        Ok(())
    }

    fn response(&self, reply: Reply) -> Result<(ResponseHeader, Bytes)> {
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
        if response.status != StatusCode::NO_CONTENT {
            response.insert_header(CONTENT_LENGTH, content.body.len())?;
        }
        Ok((response, content.body))
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
