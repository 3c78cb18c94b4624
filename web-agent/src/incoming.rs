//! A request as the engine has it, turned into what the gate takes: the raw head, the connection, a bounded body.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, OrErr, Result};
use shared_proto::secret::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::gate::Answer;
use crate::head::{Connection, Head, Refusal, Scheme, Version};
use crate::tls::Handshake;

/// For the whole of a body that the gate asks for.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// What is read of a body that nobody wants, before and after the answer, and for how long each time.
const DRAIN_CAP: usize = 64 * 1024;
const LINGER_CAP: usize = 4 * 1024 * 1024;
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// 128 random bits in hexadecimal.
///
/// # Errors
/// The system has no randomness to give.
pub fn request_id() -> Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).or_err(ErrorType::InternalError, "no randomness")?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bits)))
}

/// 256 random bits in URL-safe base64.
///
/// # Errors
/// The system has no randomness to give.
pub fn nonce() -> Result<Secret> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).or_err(ErrorType::InternalError, "no randomness")?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bits)))
}

/// The head as it came over the wire: the engine's own view has lost a fragment and a contradicted `Content-Length`.
///
/// # Errors
/// Why the request must not be looked at further.
pub fn head(session: &Session) -> Result<Head, Refusal> {
    match session.as_http2() {
        None => Head::parse_h1(&session.to_h1_raw()),
        Some(_) => {
            let (head, uri) = (head_h2(session), &session.req_header().uri);
            // The engine drops the scheme where there is a Host for the authority.
            if uri.authority().is_some() && uri.scheme_str().and_then(Scheme::parse).is_none() {
                return Err(Refusal::bad("the scheme is neither http nor https"));
            }
            head.check().map(|()| head)
        }
    }
}

/// What can be made out of a head that is refused.
pub fn glimpse(session: &Session) -> Head {
    match session.as_http2() {
        None => Head::glimpse(&session.to_h1_raw()),
        Some(_) => head_h2(session),
    }
}

/// As the engine has it: of HTTP/2 there is nothing more.
pub fn head_h2(session: &ServerSession) -> Head {
    let request = session.req_header();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_owned())
    };
    Head {
        version: Version::H2,
        method: request.method.as_str().to_owned(),
        target: request.raw_path().to_owned(),
        authority: request.uri.authority().map(|authority| authority.as_str().to_owned()),
        headers: request.headers.iter().map(header).collect(),
    }
}

/// Lets a client go that was answered and may still be sending: a connection that is closed on unread bytes can take the
/// answer with it.
pub async fn part(mut connection: Stream) {
    let end = async {
        connection.shutdown().await?;
        tokio::io::copy(&mut connection.take(LINGER_CAP as u64), &mut tokio::io::sink()).await
    };
    drop(timeout(DRAIN_LIMIT, end).await);
}

/// The connection, as the operating system and the TLS handshake know it.
///
/// # Errors
/// It has no Internet address, which no listener of ours leads to.
pub fn connection(session: &Session) -> Result<Connection> {
    let address = |side: Option<&pingora::protocols::l4::socket::SocketAddr>| side.and_then(|a| a.as_inet()).copied();
    let (Some(peer), Some(local)) = (address(session.client_addr()), address(session.server_addr())) else {
        return Error::e_explain(ErrorType::InternalError, "the connection has no address");
    };
    let tls = session.digest().and_then(|digest| digest.ssl_digest.as_ref());
    let handshake = tls.and_then(|tls| tls.extension.get::<Handshake>());
    Ok(Connection {
        peer: peer.ip(),
        scheme: if tls.is_some() { Scheme::Https } else { Scheme::Http },
        port: local.port(),
        sni: handshake.and_then(|handshake| handshake.server_name.clone()),
        client_cert: handshake.and_then(|handshake| handshake.client_cert.clone()),
    })
}

/// Gives the word that a client may wait for before it sends a body.
///
/// # Errors
/// The client is gone.
pub async fn invite_body(session: &mut Session) -> Result<()> {
    match expects_continue(session) {
        true => session.write_continue_response().await,
        false => Ok(()),
    }
}

/// Reads the body for the gate.
///
/// # Errors
/// It did not come, or not in time.
pub async fn body(session: &mut Session, max: usize) -> Result<Answer> {
    if announced(session).is_some_and(|length| length > max as u64) {
        return Ok(Answer::BodyTooLarge);
    }
    invite_body(session).await?;
    let read = async {
        let mut body = Vec::new();
        while let Some(part) = session.read_request_body().await? {
            if body.len() + part.len() > max {
                return Ok(Answer::BodyTooLarge);
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer::Body(body))
    };
    match timeout(BODY_LIMIT, read).await {
        Ok(answer) => answer,
        Err(_) => Error::e_explain(ErrorType::HTTPStatus(408), "the body did not come in time"),
    }
}

/// Reads what is left of a short body before an answer that does not depend on it, so that the connection can be used
/// on. After a longer one the engine closes it: its next bytes are no request.
pub async fn drain(session: &mut Session) {
    if announced(session).is_none_or(|length| length <= DRAIN_CAP as u64) {
        discard(session, DRAIN_CAP).await;
    }
}

/// Reads on for a while after the answer to a body that was too long to drain: a connection that is closed on a client
/// that still sends can take the answer with it.
pub async fn linger(session: &mut Session) {
    discard(session, LINGER_CAP).await;
}

async fn discard(session: &mut Session, cap: usize) {
    if session.is_body_done() || expects_continue(session) {
        // Nothing comes, or only after a word that is not given.
        return;
    }
    let read = async {
        let mut left = cap;
        while let Ok(Some(part)) = session.read_request_body().await {
            match left.checked_sub(part.len()) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    drop(timeout(DRAIN_LIMIT, read).await);
}

/// Whether the body comes in chunks. The engine reads more into their sizes and extensions than RFC 9112 section 7.1
/// allows, so a proxy before us can see another end of such a body: nothing behind it may be taken for a request.
pub fn is_chunked(session: &Session) -> bool {
    session.get_header(TRANSFER_ENCODING).is_some()
}

/// Bytes of the body that are still to come, where the client says how many.
pub fn to_come(session: &mut Session) -> Option<u64> {
    if session.is_body_done() { Some(0) } else { announced(session) }
}

fn announced(session: &Session) -> Option<u64> {
    session.get_header(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the client waits for `100 Continue` before it sends the body (RFC 9110, section 10.1.1).
fn expects_continue(session: &Session) -> bool {
    session.get_header(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
