//! Connections that stay open: a WebSocket that echoes and a stream of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use axum::response::sse::{Event, Sse};
use futures_util::Stream;
use futures_util::stream;
use tokio::time;

/// The largest message echoed. An echo holds a message whole, so it must have a bound.
const MESSAGE_BYTES: usize = 1 << 20;

const BETWEEN_EVENTS: Duration = Duration::from_secs(1);

/// Sends every text and binary message back. Pings and the closing handshake are answered below this.
pub(super) async fn web_socket(upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES).on_upgrade(echo)
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let sent = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        };
        if sent.is_err() {
            break;
        }
    }
}

/// One numbered event a second, the first at once, until the client goes away.
pub(super) async fn events() -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let first = (time::interval(BETWEEN_EVENTS), 1_u64);
    Sse::new(stream::unfold(first, async |(mut clock, number)| {
        clock.tick().await;
        let event = Event::default().id(number.to_string()).data(format!("tick {number}"));
        Some((Ok(event), (clock, number + 1)))
    }))
}
