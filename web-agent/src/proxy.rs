//! The proxy engine's hooks: they carry out what the gate decides. Whatever path a request takes through the engine, it
//! comes to an upstream only with the [`Permit`] in its context, and only as the permit describes it (I2, I9).

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, OrErr, Result};
use shared_proto::check::{CheckRequest, CheckResponse, Decision};
use shared_proto::login::AutoLoginResponse;

use crate::access_log::Record;
use crate::client::LinkError;
use crate::decisions::Decisions;
use crate::failure::{failed, failed_jami, status_of};
use crate::feed::Following;
use crate::gate::{Answer, Audit, Event, Gate, Question, Reply, Step};
use crate::head::Head;
use crate::incoming;
use crate::jami;
use crate::open::Open;
use crate::passing::{Passed, Passing, patience};
use crate::permit::Permit;
use crate::reply::Replies;
use crate::report::{self, Reports};
use crate::site::GateConfig;
use crate::target::Target;
use crate::upload::Upload;
use crate::upstream::{PolicyServers, Upstreams};
use crate::voucher::Voucher;
use crate::watched::Awaited;

/// For a single write to the client; a slow reader that still reads is not cut.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// What a configuration makes; replaced as a whole.
pub struct Live {
    pub gate: Arc<GateConfig>,
    pub replies: Replies,
    pub upstreams: Upstreams,
}

/// What is served to a connection, by the listener that it came in at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serves {
    Sites,
    /// Revocation lists and answers about certificates, and nothing else.
    Revocation,
}

/// What all requests share.
pub struct AgentProxy {
    pub serves: Serves,
    pub live: Arc<ArcSwap<Live>>,
    pub decisions: Arc<Decisions>,
    pub policy_servers: Arc<PolicyServers>,
    /// Kept for as long as requests are served.
    pub following: Arc<Following>,
    pub voucher: Arc<Voucher>,
    pub reports: Reports,
    /// For the next part of a body that goes to a site.
    pub upload_limit: Duration,
    pub passing: Arc<Passing>,
    /// For the answer of a policy server to a whole request.
    pub answer_limit: Duration,
}

/// What belongs to one request.
pub struct Context {
    /// The configuration it began with, and ends with.
    live: Arc<Live>,
    permit: Option<Permit>,
    /// Addresses of the upstream that did not answer.
    tried: Vec<SocketAddr>,
    record: Record,
    /// Lets the request be cut when its grant is over.
    open: Option<Open>,
    /// While its body is still to come.
    upload: Option<Upload>,
    /// Of a request that goes to a policy server.
    passed: Option<Passed>,
}

impl AgentProxy {
    /// Leads the request through the gate, up to a permit or an answer of our own.
    async fn decide(&self, session: &mut Session, ctx: &mut Context) -> Result<Step> {
        let connection = incoming::connection(session)?;
        ctx.record.peer = Some(connection.peer);
        let head = match incoming::head(session) {
            Ok(head) => head,
            Err(refusal) => {
                let glimpse = incoming::glimpse(session);
                let reply = Reply::unread(refusal, &glimpse);
                ctx.record.method.clone_from(&glimpse.method);
                ctx.record.host = report::host(glimpse.host());
                self.report(&ctx.record, &glimpse.target, &reply);
                return Ok(Step::Respond(reply));
            }
        };
        ctx.record.method.clone_from(&head.method);
        ctx.record.host = report::host(head.host());
        let start = match self.serves {
            Serves::Sites => Gate::start,
            Serves::Revocation => Gate::start_for_revocation,
        };
        let (mut gate, mut step) = start(&ctx.live.gate, &connection, &head, &ctx.record.id);
        while let Step::Ask(question) = step {
            step = gate.answer(self.answer(session, ctx, question).await?);
        }
        if let Step::Forward(permit) = &step
            && permit.to_policy_server().is_some()
        {
            ctx.passed = self.passing.enter(permit.client()).await;
            if ctx.passed.is_none() {
                step = Step::Respond(Reply::jami_busy());
            }
        }
        if let Step::Respond(reply) = &step {
            self.report(&ctx.record, &head.target, reply);
            ctx.record.path = Target::parse(&head.target).map(|target| target.path().to_owned()).unwrap_or_default();
        }
        Ok(step)
    }

    /// Tells the policy server of a request that it was not asked about.
    fn report(&self, record: &Record, target: &[u8], reply: &Reply) {
        if matches!(reply.audit.event, Event::Refused | Event::Unavailable) {
            self.reports.refused(record, target, reply.status, reply.audit.reason);
        }
    }

    async fn answer(&self, session: &mut Session, ctx: &mut Context, question: Question) -> Result<Answer> {
        let answer = match question {
            Question::Body { max } => return incoming::body(session, max).await,
            Question::Assertion(claims) => {
                return Ok(self.voucher.assertion(claims).await.map_or(Answer::NoKey, Answer::Assertion));
            }
            Question::Keys { host } => {
                return Ok(self.voucher.public_keys(&host).await.map_or(Answer::NoKey, Answer::Keys));
            }
            Question::Nonce => return Ok(Answer::Nonce(incoming::nonce()?)),
            Question::HandOver(question) => self.decisions.link.hand_over(&question).await.map(Answer::HandOver),
            Question::Redeem(question) => self.decisions.redeem(&question).await.map(Answer::Redeem),
            Question::Form { entry } => return Ok(Answer::Form(self.decisions.memory.form(&entry))),
            Question::Check(question) => self.check(ctx, question).await.map(Answer::Check),
            Question::AutoLogin(question) => {
                let response = self.decisions.auto_login(question).await;
                ctx.record.auto_login = Some(auto_login(&response));
                return Ok(Answer::AutoLogin(response));
            }
            Question::Login(question) => self.decisions.login(&question).await.map(Answer::Login),
            Question::Account(question) => self.decisions.link.account(&question).await.map(Answer::Account),
            Question::AccountEnd(question) => self.decisions.end_of_account(&question).await.map(Answer::AccountEnd),
            Question::Logout(question) => self.decisions.logout(&question).await.map(|()| Answer::Logout),
            Question::Park(question) => self.decisions.link.park(&question).await.map(Answer::Parked),
            Question::TakeParked(question) => self.decisions.link.take_parked(&question).await.map(Answer::Taken),
        };
        Ok(answer.unwrap_or_else(|error| {
            tracing::warn!(id = ctx.record.id, "no answer from a policy server: {error}");
            Answer::LinkDown
        }))
    }

    /// The request is entered as open before it is decided on, so that no change is missed between the two.
    async fn check(&self, ctx: &mut Context, question: CheckRequest) -> std::result::Result<CheckResponse, LinkError> {
        let question = Arc::new(question);
        let open = self.decisions.open.enter(question.clone());
        let decided = self.decisions.check(&question).await?;
        ctx.record.decided_by = Some(decided.source.as_str());
        if decided.answer.decision == Decision::Granted {
            open.settle(decided.standing);
            ctx.open = Some(open);
        }
        Ok(decided.answer)
    }
}

#[async_trait]
impl ProxyHttp for AgentProxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        let live = self.live.load_full();
        Context {
            live,
            permit: None,
            tried: Vec::new(),
            record: Record::default(),
            open: None,
            upload: None,
            passed: None,
        }
    }

    /// None: what passes is not ours to change.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Called when the head is read and was not refused by the engine: [`crate::app`] waits for the word.
    fn on_connection_reuse(&self, _: &mut Session, _: &mut Context, awaited: Box<dyn Any + Send + Sync>) {
        if let Ok(awaited) = awaited.downcast::<Awaited>() {
            awaited.is_read();
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        ctx.record.id = incoming::request_id()?;
        session.set_write_timeout(Some(WRITE_LIMIT));
        if incoming::is_chunked(session) {
            session.set_keepalive(None);
        }
        match self.decide(session, ctx).await? {
            Step::Forward(permit) => {
                permit.target().path().clone_into(&mut ctx.record.path);
                ctx.record.user = permit.identity().map(|identity| identity.user.clone());
                if ctx.passed.is_some() {
                    incoming::invite_body(session).await?;
                }
                if permit.is_upgrade() {
                    // A tunnel may be silent for as long as its two ends like.
                    session.set_read_timeout(None);
                }
                if (session.is_http2() || ctx.passed.is_some()) && !session.is_body_done() {
                    ctx.upload = Some(Upload::watch(self.upload_limit));
                }
                ctx.permit = Some(permit);
                Ok(false)
            }
            Step::Respond(reply) => {
                audit(&ctx.record, &reply.audit);
                ctx.record.user.clone_from(&reply.audit.user);
                ctx.live.replies.send(session, reply).await?;
                Ok(true)
            }
            Step::Ask(_) => Err(Error::explain(ErrorType::InternalError, "the gate did not decide")),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let permit = ctx.permit.as_ref().ok_or_else(no_permit)?;
        let peer = ctx.live.upstreams.peer(permit, &self.policy_servers, &ctx.tried).await;
        let peer = peer.map_err(|error| Error::because(ErrorType::HTTPStatus(502), "no upstream", error))?;
        let mut peer =
            peer.ok_or_else(|| Error::explain(ErrorType::HTTPStatus(502), "no address of the upstream answers"))?;
        if let Some((passed, limit)) = ctx.passed.as_mut().zip(permit.to_policy_server()) {
            passed.left = limit;
            peer.options.read_timeout = Some(patience(self.answer_limit, incoming::to_come(session)));
        }
        Ok(peer)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent yet: the next address may try.
        ctx.tried.extend(peer.address().as_inet());
        error.set_retry(true);
        error
    }

    /// As the engine does it, which marks what the other side certainly did not act on; but a device may ask again whatever
    /// its method is, once: everything it asks for is the same when it is done twice.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let may = match &mut ctx.passed {
            Some(passed) => passed.retry(),
            None => session.req_header().method.is_idempotent(),
        };
        match may && !session.as_ref().retry_buffer_truncated() {
            true => error.retry.decide_reuse(reused),
            false => error.set_retry(false),
        }
        error
    }

    /// Builds the request anew, from the permit. The engine has dealt with the hop-by-hop headers.
    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let permit = ctx.permit.as_ref().ok_or_else(no_permit)?;
        let headers = permit.request_headers(request.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())));
        let target = permit.target().as_str().as_bytes();
        let mut permitted = RequestHeader::build(request.method.clone(), target, Some(headers.len()))?;
        permitted.set_version(request.version);
        for (name, value) in headers {
            permitted.append_header(name, value)?;
        }
        *request = permitted;
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if let (Some(Passed { left, .. }), Some(part)) = (&mut ctx.passed, body) {
            // The client's fault, or the engine would go on without the rest.
            let too_large = || Error::explain(ErrorType::HTTPStatus(413), "the body is too large").into_down();
            *left = left.checked_sub(part.len() as u64).ok_or_else(too_large)?;
        }
        match &ctx.upload {
            Some(_) if end_of_stream => ctx.upload = None,
            Some(upload) => upload.moved(),
            None => {}
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        match &ctx.upload {
            Some(upload) if ctx.passed.is_some() => upload.is_answered(),
            _ => ctx.upload = None,
        }
        let permit = ctx.permit.as_ref().ok_or_else(no_permit)?;
        let names = response.headers.keys().map(HeaderName::as_str);
        if ctx.passed.is_some() && !jami::is_meant(response.status.as_u16(), names) {
            return Err(Error::explain(ErrorType::HTTPStatus(503), "a 401 that is not about the device").into_up());
        }
        let headers = permit.response_headers(response.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())));
        let mut permitted = ResponseHeader::build(response.status, Some(headers.len()))?;
        permitted.set_version(response.version);
        permitted.set_reason_phrase(response.get_reason_phrase())?;
        for (name, value) in headers {
            permitted.append_header(name, value)?;
        }
        *response = permitted;
        Ok(())
    }

    /// Trailers are headers that come late: the same may not pass in them.
    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<()> {
        let permit = ctx.permit.as_ref().ok_or_else(no_permit)?;
        let permitted = permit.response_trailers(trailers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())));
        trailers.clear();
        for (name, value) in permitted {
            let name = HeaderName::try_from(name).or_err(ErrorType::InvalidHTTPHeader, "a trailer's name")?;
            let value = HeaderValue::try_from(value).or_err(ErrorType::InvalidHTTPHeader, "a trailer's value")?;
            trailers.append(name, value);
        }
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let mut status = status_of(error);
        // Not the whole error: it can quote what the site or the client sent.
        let cause = error.root_cause().downcast_ref::<io::Error>().map(tracing::field::display);
        let kind = error.etype().as_str();
        tracing::warn!(id = ctx.record.id, status, kind, by = error.esource().as_str(), cause, "the request failed");
        if status > 0 && session.response_written().is_none() {
            let mut reply = if ctx.passed.is_some() { failed_jami(status) } else { failed(status) };
            status = reply.status;
            reply.set_cookies(ctx.permit.iter().flat_map(Permit::set_cookies));
            let sent = ctx.live.replies.send(session, reply).await;
            if let Err(error) = sent {
                tracing::debug!(id = ctx.record.id, "the answer could not be sent: {error}");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut Context) {
        ctx.record.status = session.response_written().map(|response| response.status.as_u16());
    }

    fn request_summary(&self, _session: &Session, ctx: &Context) -> String {
        format!("request {}", ctx.record.id)
    }
}

fn no_permit() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "there is no permit")
}

/// For the log.
fn auto_login(response: &AutoLoginResponse) -> &'static str {
    match response {
        AutoLoginResponse::Success { .. } => "success",
        AutoLoginResponse::Refused { .. } => "refused",
        AutoLoginResponse::Unavailable | AutoLoginResponse::Unknown => "unavailable",
        AutoLoginResponse::NoService => "no service",
    }
}

/// Tells of a request that none of the engine's hooks saw: `glimpse` is what could be made out of it.
pub fn refused_unseen(reports: &Reports, record: &mut Record, glimpse: &Head, reply: &Reply) {
    record.method.clone_from(&glimpse.method);
    record.host = report::host(glimpse.host());
    reports.refused(record, &glimpse.target, reply.status, reply.audit.reason);
    audit(record, &reply.audit);
}

fn audit(record: &Record, audit: &Audit) {
    tracing::info!(
        target: "audit",
        id = record.id,
        event = ?audit.event,
        reason = audit.reason,
        user = audit.user.as_deref().map(tracing::field::debug),
        peer = record.peer.map(tracing::field::display),
        path = ?record.path,
    );
}
