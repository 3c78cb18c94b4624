//! Floods of HTTP/2 frames that cost the sender next to nothing. Each must end, cost the agent little memory, and leave
//! everybody else served.

use std::time::{Duration, Instant};

use tests::h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, H2, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, Seen,
    WINDOW_UPDATE, frame, literal, request,
};
use tests::process::memory;
use tests::{Client, Quickstart, Recorder};

const MIB: u64 = 1 << 20;
/// What the agent may grow by, whatever is sent.
const GROWTH: u64 = 64 * MIB;
/// For a request of somebody else meanwhile, on a busy machine.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

/// What one flood consists of: parts that are sent one after the other until the connection ends.
struct Flood {
    name: &'static str,
    parts: Box<dyn Fn(u32) -> Vec<u8>>,
    count: u32,
    /// Whether the agent has to end it; what is only slow or useless it may as well read.
    is_cut: bool,
}

fn flood(name: &'static str, count: u32, is_cut: bool, parts: impl Fn(u32) -> Vec<u8> + 'static) -> Flood {
    Flood { name, parts: Box::new(parts), count, is_cut }
}

/// A request for a protected page, by nobody.
fn ask(authority: &str, stream: u32, flags: u8) -> Vec<u8> {
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", authority.as_bytes()),
        (b":path", b"/private/flood"),
    ];
    request(stream, flags, &fields)
}

fn floods(authority: &str) -> Vec<Flood> {
    let ask = |stream: u32, flags: u8| ask(authority, stream, flags);
    let first = ask(1, 0);
    let open = move |at: u32, then: Vec<u8>| if at == 0 { [first.clone(), then].concat() } else { then };
    let each = {
        let authority = authority.to_owned();
        move |at: u32, flags: u8, then: &dyn Fn(u32) -> Vec<u8>| {
            let stream = 2 * at + 1;
            [self::ask(&authority, stream, flags), then(stream)].concat()
        }
    };
    let word = |number: u32| number.to_be_bytes();
    let headers = |at: u32| if at == 0 { frame(HEADERS, END_STREAM, 1, &literal(0, b"x-a", b"b")) } else { Vec::new() };
    let filler = literal(0, b"x-a", &[b'b'; 16_000]);
    let (each_2, each_3, each_4) = (each.clone(), each.clone(), each.clone());
    let (each_5, each_6, each_7) = (each.clone(), each.clone(), each.clone());
    let (open_2, open_3) = (open.clone(), open.clone());
    vec![
        flood("continuations", 10_000, true, move |at| [headers(at), frame(CONTINUATION, 0, 1, &filler)].concat()),
        flood("empty continuations", 100_000, true, move |at| [headers(at), frame(CONTINUATION, 0, 1, b"")].concat()),
        flood("rapid resets", 20_000, true, move |at| {
            each(at, END_STREAM, &|stream| frame(RST_STREAM, 0, stream, &word(8)))
        }),
        flood("resets by a window of nothing", 20_000, true, move |at| {
            each_2(at, END_STREAM, &|stream| frame(WINDOW_UPDATE, 0, stream, &word(0)))
        }),
        flood("resets by too much window", 20_000, true, move |at| {
            each_3(at, END_STREAM, &|stream| frame(WINDOW_UPDATE, 0, stream, &word(0x7fff_ffff)))
        }),
        flood("resets by a body after its end", 20_000, true, move |at| {
            each_4(at, END_STREAM, &|stream| frame(DATA, 0, stream, b"x"))
        }),
        flood("resets by a priority of itself", 20_000, true, move |at| {
            each_5(at, END_STREAM, &|stream| frame(PRIORITY, 0, stream, &[&word(stream)[..], &[0]].concat()))
        }),
        flood("open requests", 20_000, true, move |at| each_6(at, 0, &|_| Vec::new())),
        flood("answers nobody takes", 20_000, true, move |at| {
            let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
            [if at == 0 { no_window } else { Vec::new() }, each_7(at, END_STREAM, &|_| Vec::new())].concat()
        }),
        flood("bodies of nothing", 200_000, true, move |at| open(at, frame(DATA, 0, 1, b""))),
        flood("small windows", 100_000, false, move |at| open_2(at, frame(WINDOW_UPDATE, 0, 1, &word(1)))),
        flood("priorities", 100_000, false, move |at| open_3(at, frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0]))),
        flood("settings", 100_000, false, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        flood("pings", 100_000, false, |_| frame(PING, 0, 0, &[0; 8])),
        flood("frames of no kind", 100_000, false, |_| frame(0xbe, 0, 0, b"x")),
        // A name that is stored once and named sixteen thousand times, in request after request.
        flood("references to a long field", 2_000, true, |at| {
            let stored = if at == 0 { literal(0x40, b"x-a", &[b'b'; 3_900]) } else { Vec::new() };
            let block = [stored, vec![0xbe; 12_000]].concat();
            frame(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, &block)
        }),
        flood("tables made smaller and larger", 2_000, true, |at| {
            frame(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, &[0x20, 0x3f, 0xe1, 0x1f].repeat(4_000))
        }),
    ]
}

/// Sends until the end or until the server has had enough.
async fn send(client: &mut H2, flood: &Flood) -> Seen {
    const AT_ONCE: usize = 100;
    let mut at = 0;
    while at < flood.count && !client.seen().is_cut() {
        let end = flood.count.min(at + AT_ONCE as u32);
        let bytes: Vec<u8> = (at..end).flat_map(|at| (flood.parts)(at)).collect();
        if !client.send(&bytes).await {
            break;
        }
        at = end;
    }
    if flood.is_cut {
        client.until(flood.name, Seen::is_cut).await;
    }
    client.seen()
}

async fn served(client: &Client) {
    let began = Instant::now();
    assert_eq!(client.get("/public/meanwhile").await.status, 200);
    assert!(began.elapsed() < SERVED_WITHIN, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_end_and_cost_little() {
    let site = Recorder::start().await;
    let cams = Quickstart::start(&["--upstream", &site.url]).await;
    let (raw, other, pid) = (cams.raw(), cams.client(), cams.facts().web_agent_pid);
    served(&other).await;
    let before = memory(pid);
    for flood in floods(&raw.authority()) {
        let mut client = raw.h2().await;
        let (seen, ()) = tokio::join!(send(&mut client, &flood), served(&other));
        assert!(seen.answers.iter().all(|(_, status)| *status == 0 || *status >= 400), "{}: {seen:?}", flood.name);
        let grown = memory(pid).saturating_sub(before);
        assert!(grown < GROWTH, "{}: {} MiB more", flood.name, grown / MIB);
        served(&other).await;
        assert!(site.about("flood").is_empty(), "{}: {:?}", flood.name, site.about("flood"));
    }
    assert_eq!(cams.facts().web_agent_pid, pid, "it never died");
}
