//! What agents report of their own decisions, on its way to the audit log. Nothing here is believed beyond that: an agent
//! that reports too much is counted instead.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use shared_proto::report::{AgentEvent, AuditRequest, RefusedRequest};

use crate::agents::Registered;
use crate::audit::{Audit, Detail, Kind};

/// Lines an agent may add to the audit log in one second.
const PER_SECOND: u32 = 100;
/// Lines it may have saved up.
const BURST: u32 = 1_000;

/// How much each agent may still report.
#[derive(Default)]
pub struct Reports {
    allowances: Mutex<HashMap<String, Allowance>>,
}

/// A bucket of lines that fills up with time.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    lines: u32,
    /// Seconds since 1970-01-01T00:00:00Z.
    filled: i64,
}

impl Allowance {
    fn take(&mut self, wanted: u32, now: i64) -> u32 {
        let seconds = u32::try_from(now.saturating_sub(self.filled).max(0)).unwrap_or(u32::MAX);
        self.lines = self.lines.saturating_add(seconds.saturating_mul(PER_SECOND)).min(BURST);
        self.filled = self.filled.max(now);
        let taken = wanted.min(self.lines);
        self.lines -= taken;
        taken
    }
}

impl Reports {
    /// Writes what the agent reports; what is too much is counted in one line.
    pub fn record(&self, audit: &Audit, agent: &Registered, request: &AuditRequest, now: i64) {
        let wanted = u32::try_from(request.events.len()).unwrap_or(u32::MAX);
        let taken = self.take(&agent.name, wanted, now) as usize;
        for event in request.events.iter().take(taken) {
            write(audit, agent, event);
        }
        let lost = request.dropped.saturating_add(request.events.len().saturating_sub(taken) as u64);
        if lost > 0 {
            let reason = format!("{lost} events of the agent were too many to be written");
            audit.record(
                Kind::AgentEventsLost,
                Detail { agent: Some(&agent.name), reason: Some(&reason), ..Detail::default() },
            );
        }
    }

    fn take(&self, agent: &str, wanted: u32, now: i64) -> u32 {
        let mut allowances = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        allowances.entry(agent.to_owned()).or_insert(Allowance { lines: BURST, filled: now }).take(wanted, now)
    }
}

fn write(audit: &Audit, agent: &Registered, event: &AgentEvent) {
    let detail = Detail { agent: Some(&agent.name), ..Detail::default() };
    match event {
        AgentEvent::RequestRefused(refused) => write_refused(audit, detail, refused),
        AgentEvent::ConfigurationLoaded { old_hash, new_hash, note } => {
            let reason = Some(note.as_str()).filter(|note| !note.is_empty());
            let hashes = Detail { old_hash: old_hash.as_deref(), new_hash: Some(new_hash), reason, ..detail };
            audit.record(Kind::AgentConfigurationLoaded, hashes);
        }
        AgentEvent::ConfigurationRefused { old_hash, reason } => {
            let detail = Detail { old_hash: Some(old_hash), reason: Some(reason), ..detail };
            audit.record(Kind::AgentConfigurationRefused, detail);
        }
        AgentEvent::Unknown => {
            let reason = Some("an event this server does not know");
            audit.record(Kind::AgentEventsLost, Detail { reason, ..detail });
        }
    }
}

fn write_refused(audit: &Audit, detail: Detail<'_>, refused: &RefusedRequest) {
    let detail = Detail {
        request_id: Some(&refused.request_id),
        client: refused.client.map(|client| client.to_string()),
        method: Some(&refused.method),
        host: Some(&refused.host),
        path: Some(&refused.path),
        status: Some(refused.status),
        reason: Some(&refused.reason),
        at: Some(refused.time),
        ..detail
    };
    audit.record(Kind::RequestRefused, detail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::Rights;

    fn agent(name: &str) -> Registered {
        let rights = Rights { domains: vec![], hosts: vec![], entries: vec![], capabilities: vec![] };
        Registered { name: name.into(), fingerprint: String::new(), rights, created: 0 }
    }

    fn refused(text: &str) -> AgentEvent {
        AgentEvent::RequestRefused(RefusedRequest {
            request_id: text.into(),
            client: "192.0.2.1".parse().ok(),
            method: text.into(),
            host: text.into(),
            path: text.into(),
            status: 400,
            reason: text.into(),
            time: 1,
        })
    }

    fn lines(requests: &[(&str, AuditRequest, i64)]) -> Vec<serde_json::Value> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let (audit, reports) = (Audit::open(&path).unwrap(), Reports::default());
        for (name, request, now) in requests {
            reports.record(&audit, &agent(name), request, *now);
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_is_one_line_with_all_that_is_known() {
        let nasty = "x\n\u{1b}[31m\u{202e}\u{2028}\u{9b}${jndi:ldap://x}".to_owned() + &"y".repeat(1 << 20);
        let lines = lines(&[("web", AuditRequest { events: vec![refused(&nasty)], dropped: 3 }, 0)]);
        assert_eq!(lines.len(), 2);
        let line = &lines[0];
        assert_eq!((&line["event"], &line["agent"]), (&"request-refused".into(), &"web".into()));
        assert_eq!((&line["status"], &line["client"]), (&400.into(), &"192.0.2.1".into()));
        for field in ["request_id", "method", "host", "path", "reason"] {
            let text = line[field].as_str().unwrap();
            assert!(text.starts_with("x") && text.contains("\\u{202e}") && text.len() < 1_000, "{field}: {text}");
        }
        assert!(lines[1]["reason"].as_str().unwrap().starts_with("3 events"), "{}", lines[1]);
    }

    #[test]
    fn too_many_are_counted_each_agent_for_itself() {
        let batch = |count| AuditRequest { events: vec![refused("x"); count], dropped: 0 };
        let count = |lines: &[serde_json::Value], event: &str| lines.iter().filter(|l| l["event"] == event).count();
        let flood = lines(&[("a", batch(5_000), 0), ("a", batch(500), 1), ("b", batch(10), 1)]);
        assert_eq!(count(&flood, "request-refused"), 1_000 + 100 + 10);
        assert_eq!(count(&flood, "agent-events-lost"), 2);
        assert!(flood[1_000]["reason"].as_str().unwrap().starts_with("4000 events"));
    }
}
