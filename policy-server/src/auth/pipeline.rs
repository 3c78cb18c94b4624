//! A login entry at work: asks its modules as the stack says, and asks them again while the session lives.

mod checks;
mod lasting;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use shared_proto::problem::Problems;
use shared_proto::secret::Secret;
use tokio::time::{Instant, timeout_at};

use super::callback::{CallbackHandler, Callbacks};
use super::error::{ErrorKind, LoginError};
use super::modules::{self, LoginContext, LoginModule, Remembered, Services, Standing};
use super::stack::{Flag, Outcome, Stack};
use super::subject::{Proof, Subject};
use crate::config::login_config::{EntryConfig, LoginConfig, ModuleConfig};
use crate::config::login_xml;

/// A login takes no longer up to the verdict: an agent waits 15 s, and whoever waits in vain could not be told.
pub const LOGIN_LIMIT: Duration = Duration::from_secs(12);
/// A directory that took this long to say nothing about somebody is not asked about others for a while, so that it does not
/// keep the rest of its security domain waiting.
const SLOW: Duration = Duration::from_secs(3);
const REST: Duration = Duration::from_secs(60);

/// An entry of `login-config.xml`, ready to be used.
pub struct LoginEntry {
    pub name: String,
    pub modules: Vec<EntryModule>,
    pub handler: CallbackHandler,
    /// Where its login page is: absolute, or a path on the site.
    pub login_url: String,
    pub parameters: BTreeMap<String, String>,
    /// The element of `login-config.xml` that means this entry, without secrets.
    pub xml: String,
}

pub struct EntryModule {
    pub class: &'static str,
    pub flag: Flag,
    pub module: Box<dyn LoginModule>,
    /// The further callback that this module is shown as the password, of option `passwordCallback`.
    pub password: Option<String>,
    /// See [`Proof::settings`].
    settings: String,
    /// Until when nobody is looked up in its directory.
    rests: Mutex<Option<Instant>>,
}

/// What came of a login.
#[derive(Debug)]
pub struct LoginRun {
    pub result: Result<Subject, LoginError>,
    /// One for each module of the entry, for logs and `test-login`.
    pub modules: Vec<ModuleReport>,
    /// The failure is no verdict on the password: a module could not be asked, and none refused whose word decides. The
    /// stack may report another module's `FailedLogin` all the same, as Java does.
    pub unavailable: bool,
    /// A module could not be asked, whatever the stack made of it.
    pub partly: bool,
    /// Somebody did not accept the credentials, whatever the stack made of it: this was a guess.
    pub refused: bool,
    /// The same credentials will not do later either: a module whose word decides rejects them, or the stack does.
    pub rejected: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleReport {
    pub class: &'static str,
    pub flag: Flag,
    /// `succeed`, `ignore`, `fail` or `not-asked`.
    pub outcome: &'static str,
    pub detail: String,
}

/// Which modules are asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Those whose answer is at hand: fit for every request.
    AtHand,
    Full,
}

/// What came of asking again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecheckRun {
    Ended(LoginError),
    /// Who the person is now; the same subject where nothing changed.
    Current(Subject),
    /// The same, as far as is known: a module that should have been asked could not be.
    Unsure(Subject),
}

impl LoginEntry {
    /// The entry with its modules, or `None` with the reasons in `problems`.
    fn build(
        config: EntryConfig,
        services: &Services,
        problems: &mut Problems,
        warnings: &mut Problems,
    ) -> Option<Self> {
        let xml = login_xml::write(&config);
        let EntryConfig { name, modules, handler, login_url, parameters } = config;
        let places: Vec<_> = modules.iter().map(|m| (m.options.file().to_owned(), m.options.line())).collect();
        let modules: Vec<Option<EntryModule>> = modules
            .into_iter()
            .enumerate()
            .map(|(place, module)| {
                let (file, line) = (module.options.file().to_owned(), module.options.line());
                let built = EntryModule::build(place, module, &handler, services, problems)?;
                if built.module.recheck().is_none() {
                    let class = built.class.rsplit('.').next().unwrap_or_default();
                    let message = format!(
                        "entry `{name}`: {class} cannot look anybody up without the password: a disabled account or a \
                         lost role counts only from the next login on, and Jami clients find its people by user names alone; \
                         give the module a search account (`bindDn`, `bindPassword`)"
                    );
                    warnings.add(&file, line, message);
                }
                Some(built)
            })
            .collect();
        let modules = modules.into_iter().collect::<Option<_>>()?;
        let entry = Self { name, modules, handler, login_url, parameters, xml };
        entry.check_factors(&places, problems, warnings);
        entry.check_times(&places, warnings);
        Some(entry)
    }

    /// All entries by name, or `None` with the reasons in `problems`; what works, but should be known, is in `warnings`.
    pub fn build_all(
        config: LoginConfig,
        services: &Services,
        problems: &mut Problems,
        warnings: &mut Problems,
    ) -> Option<BTreeMap<String, Self>> {
        let before = problems.len();
        let built = config.entries.into_iter().filter_map(|entry| Self::build(entry, services, problems, warnings));
        let entries = built.map(|entry| (entry.name.clone(), entry)).collect();
        (problems.len() == before).then_some(entries)
    }

    /// Whether a module of it keeps its users in the store.
    pub fn needs_store(&self) -> bool {
        self.modules.iter().any(|module| modules::find(module.class).is_some_and(|kind| kind.needs_store))
    }

    /// A login that ended before its stack was run.
    pub(super) fn not_run(&self, error: LoginError) -> LoginRun {
        let unavailable = error.kind == ErrorKind::Unavailable;
        let modules = self.modules.iter().map(EntryModule::not_asked).collect();
        LoginRun { result: Err(error), modules, unavailable, partly: unavailable, refused: false, rejected: false }
    }

    /// Runs the login stack once, without the valves that belong around every login of a person
    /// ([`AuthPipeline`](super::valve::AuthPipeline)). `answers` are callback values by name, without the `cams_cb_` prefix.
    /// A module that has not answered at the end could not be asked.
    pub async fn login(
        &self,
        answers: &BTreeMap<String, Secret>,
        now: Timestamp,
        remembered: Option<&Remembered>,
        end: Instant,
    ) -> LoginRun {
        let mut modules: Vec<ModuleReport> = self.modules.iter().map(EntryModule::not_asked).collect();
        let callbacks = match self.handler.answers(answers) {
            Ok(callbacks) => callbacks,
            Err(error) => {
                let (unavailable, partly) = (false, false);
                return LoginRun { result: Err(error), modules, unavailable, partly, refused: true, rejected: true };
            }
        };
        let mut stack = Stack::new(&self.modules.iter().map(|module| module.flag).collect::<Vec<_>>());
        let (mut down, mut decided, mut refused, mut rejected) = (false, false, false, false);
        let mut told = BTreeSet::new();
        while let Some(place) = stack.next() {
            let (Some(entry), Some(report)) = (self.modules.get(place), modules.get_mut(place)) else { break };
            let asked = timeout_at(end, entry.ask(&callbacks, now, stack.proved(), remembered)).await;
            let outcome = match asked.unwrap_or_else(|_| Outcome::Fail(late())) {
                Outcome::Succeed(identity) => match identity.check_roles(told.iter()) {
                    Ok(()) => {
                        told.extend(identity.roles.iter().cloned());
                        Outcome::Succeed(identity)
                    }
                    Err(error) => Outcome::Fail(error),
                },
                outcome => outcome,
            };
            if let Outcome::Fail(error) = &outcome {
                let unavailable = error.kind == ErrorKind::Unavailable;
                down |= unavailable;
                decided |= !unavailable && entry.flag.decides();
                refused |= error.refuses();
                rejected |= error.rejects() && entry.flag.decides();
            }
            report.note(&outcome);
            stack.record(place, outcome);
        }
        let mut result = stack.finish();
        if let Ok(subject) = &mut result {
            subject.proofs.iter_mut().for_each(|proof| proof.settings = self.settings_of(proof.module));
        }
        let unavailable =
            result.as_ref().is_err_and(|error| error.kind == ErrorKind::Unavailable || (down && !decided));
        rejected |= !unavailable && result.as_ref().is_err_and(LoginError::rejects);
        LoginRun { result, modules, unavailable, partly: down, refused, rejected }
    }

    /// Asks the modules that proved the subject whether it still holds. A module that cannot be asked, or is too far away
    /// for this depth, keeps its word. An account that is merely not found ends the session at the second look in a row.
    pub async fn recheck(&self, subject: &Subject, depth: Depth, now: Timestamp) -> RecheckRun {
        let (mut proofs, mut unsure) = (Vec::new(), false);
        for proof in &subject.proofs {
            // The stack was configured anew since the login: what this proof is worth now, nobody can say.
            let Some(entry) = self.modules.get(proof.module).filter(|entry| entry.class == proof.class) else {
                let detail = format!("module {} of the login is not {} any more", proof.module, proof.class);
                return RecheckRun::Ended(LoginError::new(ErrorKind::Login, detail));
            };
            if proof.settings != entry.settings {
                let detail = format!("module {} was configured anew since the login", proof.module);
                return RecheckRun::Ended(LoginError::new(ErrorKind::Login, detail));
            }
            let standing = entry.standing(proof, depth, now).await.map(|standing| match standing {
                Standing::Current(identity) => {
                    let others = proofs.iter().flat_map(|proof: &Proof| &proof.roles);
                    let too_many = identity.check_roles(others).err();
                    too_many.map_or(Standing::Current(identity), |error| Standing::Unknown(error.to_string()))
                }
                standing => standing,
            });
            match standing {
                None => proofs.push(proof.clone()),
                Some(Standing::Unknown(why)) => {
                    tracing::warn!(class = entry.class, user = proof.user, why, "account not rechecked");
                    unsure = true;
                    proofs.push(proof.clone());
                }
                Some(Standing::Absent(error)) if !proof.absent => {
                    let (user, account, why) = (&proof.user, &proof.source_id, error.to_string());
                    tracing::warn!(
                        class = entry.class,
                        user,
                        account,
                        why,
                        "account not found in its directory: the session ends if it is not there at the next look either"
                    );
                    proofs.push(Proof { absent: true, ..proof.clone() });
                }
                Some(Standing::Current(identity)) if identity.is_of(proof) => {
                    let settings = proof.settings.clone();
                    proofs.push(Proof { settings, ..Proof::new(proof.module, identity) });
                }
                Some(Standing::Current(_)) => {
                    let detail = format!("`{}` is another person now, or has another password", proof.user);
                    return RecheckRun::Ended(LoginError::new(ErrorKind::FailedLogin, detail));
                }
                Some(Standing::Gone(_) | Standing::Absent(_)) if entry.flag == Flag::Optional => {}
                Some(Standing::Gone(error) | Standing::Absent(error)) => return RecheckRun::Ended(error),
            }
        }
        // A second factor adds to what another module proves, and vouches for nobody alone.
        let only_adds = |proof: &Proof| self.modules.get(proof.module).is_none_or(|entry| entry.module.only_adds());
        let is_vouched = !proofs.iter().all(only_adds);
        match Subject::from_proofs(proofs).filter(|_| is_vouched) {
            Some(subject) if unsure => RecheckRun::Unsure(subject),
            Some(subject) => RecheckRun::Current(subject),
            None => {
                RecheckRun::Ended(LoginError::new(ErrorKind::FailedLogin, "no module vouches for the user any more"))
            }
        }
    }
}

impl LoginEntry {
    fn settings_of(&self, place: usize) -> String {
        self.modules.get(place).map(|module| module.settings.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
impl EntryModule {
    pub(crate) fn of(class: &'static str, flag: Flag, module: Box<dyn LoginModule>) -> Self {
        let (password, settings, rests) = Default::default();
        Self { class, flag, module, password, settings, rests }
    }
}

impl EntryModule {
    fn build(
        place: usize,
        config: ModuleConfig,
        handler: &CallbackHandler,
        services: &Services,
        problems: &mut Problems,
    ) -> Option<Self> {
        let ModuleConfig { kind, flag, mut options } = config;
        let (file, line) = (options.file().to_owned(), options.line());
        let settings = login_xml::settings_hash(&options);
        if options.in_order().any(|(name, value)| name == "allowCleartext" && value == "true") {
            let message = "allowCleartext=true: whoever reads the stored passwords can log in with them; store digests \
                           (`cams digest`) and take the option away";
            services.warn(&file, options.line_of("allowCleartext"), message.to_owned());
        }
        let password = options.take("passwordCallback");
        let demand = |name: &str, line, problems: &mut Problems| {
            if !handler.asks_for(name) {
                let message = format!("the callback handler of this entry has no <callback name=\"{name}\">");
                problems.add(&file, line, message);
            }
        };
        if let Some((name, line)) = &password {
            demand(name, *line, problems);
        }
        let module = kind.build(options, services, problems)?;
        if let Some(factor) = module.second_factor() {
            demand(&factor.callback, line, problems);
            if place == 0 {
                problems.add(&file, line, "this module only adds to what another one proved: put that one before it");
            }
            if let Some((_, line)) = &password {
                problems.add(&file, *line, "option `passwordCallback`: this module asks for no password");
            }
        }
        let password = password.map(|(name, _)| name);
        Some(Self { class: kind.class, flag, module, password, settings, rests: Mutex::default() })
    }

    async fn ask(
        &self,
        callbacks: &Callbacks,
        now: Timestamp,
        proved: Option<&str>,
        remembered: Option<&Remembered>,
    ) -> Outcome {
        let own = match &self.password {
            None => None,
            Some(name) => match callbacks.with_password(name) {
                None => {
                    let detail = format!("callback `{name}`, the password of this module, was left open");
                    return Outcome::Fail(LoginError::new(ErrorKind::FailedLogin, detail));
                }
                own => own,
            },
        };
        let remembered = remembered.filter(|remembered| remembered.methods.contains(self.class));
        let cx = LoginContext { callbacks: own.as_ref().unwrap_or(callbacks), now, proved, remembered };
        guarded(self.module.login(&cx)).await.unwrap_or_else(|| Outcome::Fail(crash()))
    }

    fn not_asked(&self) -> ModuleReport {
        ModuleReport { class: self.class, flag: self.flag, outcome: "not-asked", detail: String::new() }
    }

    fn is_second_factor(&self) -> bool {
        self.module.second_factor().is_some()
    }

    /// `None` where nobody is to be asked.
    async fn standing(&self, proof: &Proof, depth: Depth, now: Timestamp) -> Option<Standing> {
        let recheck = self.module.recheck().filter(|recheck| depth == Depth::Full || recheck.is_at_hand());
        let recheck = recheck?;
        let asked = Instant::now();
        if self.resting().is_some_and(|end| asked < end) {
            return Some(Standing::Unknown("its directory did not answer about others a moment ago".to_owned()));
        }
        let standing = guarded(recheck.recheck(&proof.user, now))
            .await
            .unwrap_or_else(|| Standing::Unknown("the login module crashed".to_owned()));
        if matches!(standing, Standing::Unknown(_)) && asked.elapsed() >= SLOW {
            *self.resting() = Some(Instant::now() + REST);
        }
        Some(standing)
    }

    fn resting(&self) -> MutexGuard<'_, Option<Instant>> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModuleReport {
    fn note(&mut self, outcome: &Outcome) {
        (self.outcome, self.detail) = match outcome {
            Outcome::Succeed(identity) => {
                let roles: Vec<&str> = identity.roles.iter().map(String::as_str).collect();
                let roles =
                    if roles.is_empty() { "no roles".to_owned() } else { format!("roles {}", roles.join(", ")) };
                ("succeed", format!("user `{}`, {roles}", identity.user))
            }
            Outcome::Ignore => ("ignore", String::new()),
            Outcome::Fail(error) => ("fail", error.to_string()),
        };
    }
}

/// The future's answer, or `None` where it panicked: one crashing module must not take the others down, and can never
/// count as a success.
async fn guarded<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Option<T> {
    poll_fn(|task| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
        Ok(poll) => poll.map(Some),
        // It is not polled again.
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// A `LoginException`, as Java reports any other exception of a module.
fn crash() -> LoginError {
    LoginError::new(ErrorKind::Unavailable, "the login module crashed")
}

fn late() -> LoginError {
    LoginError::new(ErrorKind::Unavailable, "the login took too long")
}

#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod tests;
