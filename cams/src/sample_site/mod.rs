//! The site that `cams quickstart` protects when it is not given one: pages, a form, an echo, a WebSocket, a stream.
//!
//! It shows what a protected site receives and believes the identity headers of whoever connects, as any site behind
//! an agent does. It must never listen where anybody but the agent can reach it.

mod echo;
mod live;
mod page;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use tokio::net::TcpListener;

/// Serves the sample site until the task is dropped. Errors only when the listener itself fails.
pub async fn serve(listener: TcpListener) -> anyhow::Result<()> {
    Ok(axum::serve(listener, router()).await?)
}

fn router() -> Router {
    let mut site = Router::new()
        .route("/favicon.ico", get(|| asset("image/svg+xml", include_str!("favicon.svg"))))
        .route("/public/site.css", get(|| asset("text/css; charset=utf-8", include_str!("site.css"))))
        .route("/private/ws", any(live::web_socket))
        .route("/private/sse", get(live::events))
        .fallback(page::not_found);
    for page in page::PAGES {
        site = site.route(page.path, get(async move |request| page.show(&request)));
    }
    for path in ["/public/echo", "/private/echo", "/admin/echo"] {
        site = site.route(path, any(echo::echo));
    }
    site
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "max-age=3600")], text)
}

#[cfg(test)]
mod tests;
