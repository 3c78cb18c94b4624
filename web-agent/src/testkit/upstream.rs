//! A site behind the agent that keeps the very bytes it receives.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// Stops when dropped. What it answers depends on the end of the path:
/// `/ws` switches protocols and echoes, `/sse` sends an event for each call of [`Site::event`], `/cookies` and
/// `/trailers` try to set the agent's session cookie, everything else echoes the head it received.
pub struct Site {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<u8>>,
    changed: Notify,
    event: Notify,
}

impl Site {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let for_task = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, for_task.clone()));
            }
        });
        Self { address, shared, task: task.abort_handle() }
    }

    /// Everything received so far, on all connections.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.shared.received.lock().unwrap()).into_owned()
    }

    /// Waits until the site received `text`.
    pub async fn receives(&self, text: &str) {
        loop {
            let changed = self.shared.changed.notified();
            if self.received().contains(text) {
                return;
            }
            changed.await;
        }
    }

    pub fn event(&self) {
        self.shared.event.notify_one();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Some(head) = read_head(&mut stream, &shared).await {
        let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
        let answer = if path.ends_with("/ws") && head.to_ascii_lowercase().contains("upgrade: websocket") {
            tunnel(&mut stream, &shared).await
        } else if path.ends_with("/sse") {
            events(&mut stream, &shared).await
        } else {
            plain(&mut stream, &shared, &path, &head).await
        };
        if answer.is_none() {
            return;
        }
    }
}

async fn receive(stream: &mut TcpStream, shared: &Shared, buffer: &mut [u8]) -> Option<usize> {
    let read = stream.read(buffer).await.ok().filter(|read| *read > 0)?;
    shared.received.lock().unwrap().extend_from_slice(&buffer[..read]);
    shared.changed.notify_waiters();
    Some(read)
}

/// One byte at a time, so that nothing of the body is taken with it.
async fn read_head(stream: &mut TcpStream, shared: &Shared) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        receive(stream, shared, &mut byte).await?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

async fn plain(stream: &mut TcpStream, shared: &Shared, path: &str, head: &str) -> Option<()> {
    let lower = head.to_ascii_lowercase();
    if let Some(length) = lower.split("content-length: ").nth(1) {
        let mut left: usize = length.split("\r\n").next()?.parse().ok()?;
        let mut buffer = [0; 4096];
        while left > 0 {
            left = left.saturating_sub(receive(stream, shared, &mut buffer).await?);
        }
    } else if lower.contains("transfer-encoding: chunked") {
        let mut body = Vec::new();
        let mut byte = [0];
        while !body.ends_with(b"0\r\n\r\n") {
            receive(stream, shared, &mut byte).await?;
            body.push(byte[0]);
        }
    }
    if path.ends_with("/trailers") {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n2\r\nok\r\n0\r\n\
                      Set-Cookie: CAMS_SID_TEST_SYSTEM=stolen\r\nCAMS-HTTP-USER: leak\r\n\r\n";
        return stream.write_all(answer.as_bytes()).await.ok();
    }
    let more = if path.ends_with("/cookies") {
        "Set-Cookie: CAMS_SID_TEST_SYSTEM=stolen\r\nSet-Cookie: own=1\r\nCAMS-HTTP-USER: leak\r\n"
    } else {
        ""
    };
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Site: yes\r\n{more}\r\n{head}", head.len());
    stream.write_all(answer.as_bytes()).await.ok()
}

async fn tunnel(stream: &mut TcpStream, shared: &Shared) -> Option<()> {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(switch).await.ok()?;
    let mut buffer = [0; 1024];
    loop {
        let read = receive(stream, shared, &mut buffer).await?;
        stream.write_all(&buffer[..read]).await.ok()?;
    }
}

async fn events(stream: &mut TcpStream, shared: &Shared) -> Option<()> {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await.ok()?;
    loop {
        shared.event.notified().await;
        stream.write_all(b"9\r\ndata: x\n\n\r\n").await.ok()?;
    }
}
