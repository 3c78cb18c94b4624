//! Which site's page sent a request: the defence against requests forged in another site's name. Browsers always say so
//! with a form (`Origin`); a program that says nothing has no cookies of a person to misuse.

use crate::gate::request::Request;
use crate::head::{Head, Refusal};
use crate::origin::{Origin, split_url};

/// Whether another site's page is behind the request, or nobody yet: a browser that only looks ahead.
///
/// # Errors
/// 400 where a header that tells it is there twice.
pub fn is_foreign(request: &Request, head: &Head) -> Result<bool, Refusal> {
    let here = request.here();
    let is_ours = |origin: Option<Origin>| origin.is_some_and(|origin| request.config.is_ours(&here, &origin));
    let fetch_site = head.single("Sec-Fetch-Site")?;
    if is_prefetch(head) || !matches!(fetch_site, None | Some("same-origin" | "same-site" | "none")) {
        return Ok(true);
    }
    // `null` is an origin nobody owns.
    if let Some(origin) = head.single("Origin")? {
        return Ok(!is_ours(Origin::parse(origin)));
    }
    Ok(match (fetch_site, head.single("Referer")?) {
        (Some("same-origin" | "none"), _) | (None, None) => false,
        (_, Some(referer)) => !is_ours(split_url(referer).map(|(origin, _)| origin)),
        (_, None) => true,
    })
}

/// Whether a browser only looks ahead: nobody has asked for the page yet.
pub fn is_prefetch(head: &Head) -> bool {
    ["Sec-Purpose", "Purpose", "X-Moz"].iter().any(|name| head.values(name).next().is_some())
}

/// Whether a page of this very site is known to be behind the request. A page without a referrer policy that allows it
/// has its `Origin` sent as `null`; then `Sec-Fetch-Site`, which no page can write, has to say it.
pub fn is_same_origin(request: &Request, head: &Head) -> bool {
    let is_here = |origin| Origin::parse(origin).is_some_and(|origin| origin == request.here());
    match (head.single("Sec-Fetch-Site"), head.single("Origin")) {
        _ if is_prefetch(head) => false,
        (Ok(Some("same-origin")), Ok(None | Some("null"))) => true,
        (Ok(None | Some("same-origin")), Ok(Some(origin))) => is_here(origin),
        _ => false,
    }
}

/// Whether the request may be made in the name of somebody who was remembered. What only reads may come from anywhere,
/// as with a session; what changes something, or opens a tunnel, not from a page of another site.
pub fn may_be_remembered(request: &Request, head: &Head) -> bool {
    let only_reads = request.is_safe() && !request.is_websocket;
    only_reads || is_foreign(request, head).is_ok_and(|is_foreign| !is_foreign)
}

/// A page of any site can open a WebSocket, and the browser adds our cookie: with a session, only pages of ours may.
///
/// # Errors
/// 403, or 400 for a malformed handshake.
pub fn check_websocket(request: &Request, head: &Head) -> Result<(), Refusal> {
    if head.single("Sec-WebSocket-Key")?.is_none() {
        return Err(Refusal::bad("the WebSocket handshake has no key"));
    }
    if request.session.is_some() && head.single("Origin")?.is_some() && is_foreign(request, head)? {
        return Err(Refusal::new(403, "a page of another site opens a WebSocket"));
    }
    Ok(())
}
