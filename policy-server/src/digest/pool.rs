//! Password hashing for a server: on threads of its own, and no longer queue than can be served. Not pure.
//!
//! The threads have a lower priority than those that answer requests, so that a rush of logins holds up nobody who is
//! logged in already. Each keeps the memory that it hashes in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use shared_proto::secret::Secret;
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};

use super::kdf::Memory;
use super::{Decoys, DigestError, MAX_PASSWORD, Policy, SALT, Scheme, check, create, label};

/// Added to the niceness of the process, as nice(1) does. With 10 a page that is at hand takes two to three times as long in a
/// rush of logins, at the 99th percentile (`make bench`), with 15 less than twice; with 19 whatever else the machine does
/// leaves logins next to nothing.
const NICE: i32 = 15;

/// An Argon2id digest with the costs of new ones. Its hash was drawn at random: no password is known to match.
const DUMMY: &str = "{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$D1ckR1oZ9fJb1nQ7v8sYhw$\
                     5b6N0l2c1kqkS0yZ3wX9mT4uH7jPrVfGdQeLaWzBxCE";

/// Too many passwords are being hashed, or the server is shutting down: answer 503 and decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too much is being checked at once; try again")]
pub struct Overloaded;

/// Why a new digest was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CreateError {
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    #[error(transparent)]
    Digest(#[from] DigestError),
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

/// Bounds how many passwords are hashed at once and how many wait for it. The threads end with the last clone.
#[derive(Debug, Clone)]
pub struct DigestPool {
    admitted: Arc<Semaphore>,
    jobs: Sender<Job>,
}

impl DigestPool {
    /// `concurrency` hashes at once (the number of cores; at least one) and `queue` more that wait.
    #[must_use]
    pub fn new(concurrency: usize, queue: usize) -> Self {
        let threads = concurrency.max(1);
        let (jobs, next) = channel();
        let next = Arc::new(Mutex::new(next));
        for _ in 0..threads {
            let next = Arc::clone(&next);
            if let Err(error) = thread::Builder::new().name("digest".to_owned()).spawn(move || hash(&next)) {
                tracing::error!(%error, "a thread that hashes passwords cannot be started");
            }
        }
        let admitted = threads.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Self { admitted: Arc::new(Semaphore::new(admitted)), jobs }
    }

    /// As [`verify`](super::verify), for the user of this name in the directory that has these decoys. `None` stands for
    /// a user who does not exist: the answer is no, after the time that one who exists takes. Stored values that are
    /// cheap to check, or cannot match, take that time as well.
    ///
    /// # Errors
    /// [`Overloaded`] where the queue is full.
    pub async fn verify(
        &self,
        decoys: &Decoys,
        name: &str,
        stored: Option<String>,
        password: Secret,
        policy: Policy,
    ) -> Result<bool, Overloaded> {
        // Before the queue and the look at the stored value, so that it is the same for every user.
        if password.expose().len() > MAX_PASSWORD {
            return Ok(false);
        }
        if let Some(stored) = &stored {
            decoys.learn(stored);
        }
        let decoy = decoys.pick(name).unwrap_or_else(|| DUMMY.to_owned());
        self.run(move |memory| verify_evenly(stored.as_deref(), &decoy, password.expose(), policy, memory)).await
    }

    /// As [`create`](super::create), of the default scheme. The salt must come fresh from a cryptographic generator.
    ///
    /// # Errors
    /// As that, or [`Overloaded`] where the queue is full.
    pub async fn create(&self, password: Secret, salt: [u8; SALT]) -> Result<String, CreateError> {
        Ok(self.run(move |_| create(Scheme::default(), password.expose(), salt)).await??)
    }

    /// Other work of a login that takes a processor for a while: signing what a device gets.
    ///
    /// # Errors
    /// [`Overloaded`] where the queue is full.
    pub(crate) async fn lend<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Overloaded> {
        self.run(move |_| work()).await
    }

    async fn run<T, W>(&self, work: W) -> Result<T, Overloaded>
    where
        T: Send + 'static,
        W: FnOnce(&mut Memory) -> T + Send + 'static,
    {
        let place = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| Overloaded)?;
        let (answer, answered) = oneshot::channel();
        // The work holds its place: it goes on when the client that asked for it is gone.
        let job = move |memory: &mut Memory| {
            let result = catch_unwind(AssertUnwindSafe(|| work(memory)));
            drop(place);
            if let Ok(result) = result {
                let _ = answer.send(result);
            }
        };
        self.jobs.send(Box::new(job)).map_err(|_| Overloaded)?;
        answered.await.map_err(|_| Overloaded)
    }
}

/// Lowers the priority of the calling thread for good, below that of threads that answer requests.
pub(crate) fn give_way() {
    // On Linux this is the thread's own. Where it is refused, there is no more to it than that.
    let inherited = rustix::process::getpriority_process(None).unwrap_or(0);
    let _ = rustix::process::setpriority_process(None, inherited + NICE);
}

/// What each thread does until the pool is gone.
fn hash(next: &Mutex<Receiver<Job>>) {
    give_way();
    let mut memory = Memory::default();
    loop {
        // Whoever holds the lock for longer waits, so nothing is there.
        let waiting = next.try_lock().ok().and_then(|next| next.try_recv().ok());
        let job = waiting.or_else(|| {
            memory.wipe();
            next.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
        });
        let Some(job) = job else { return };
        job(&mut memory);
    }
}

fn verify_evenly(stored: Option<&str>, decoy: &str, password: &[u8], policy: Policy, memory: &mut Memory) -> bool {
    let outcome = stored.and_then(|stored| check(stored, password, policy, memory));
    if outcome.is_none() || stored.is_some_and(|stored| label(stored).is_legacy()) {
        std::hint::black_box(check(decoy, password, policy, memory));
    }
    outcome.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    impl DigestPool {
        /// Takes a thread until `finish` says something.
        pub(crate) async fn keep_busy(&self, finish: mpsc::Receiver<()>) {
            self.run(move |_| finish.recv()).await.unwrap().unwrap();
        }
    }

    const POLICY: Policy = Policy { allow_cleartext: true };

    #[test]
    fn the_dummy_is_really_hashed() {
        assert_eq!(check(DUMMY, b"secret", POLICY, &mut Memory::default()), Some(false));
    }

    #[tokio::test]
    async fn verifies_on_other_threads() {
        let pool = DigestPool::new(0, 2);
        let decoys = Decoys::default();
        for (stored, password, expected) in [
            (Some("secret"), "secret", true),
            (Some("secret"), "Secret", false),
            (Some("{CRYPT}*"), "*", false),
            (None, "secret", false),
            (None, "", false),
        ] {
            let stored = stored.map(str::to_owned);
            assert_eq!(pool.verify(&decoys, "alice", stored, Secret::from(password), POLICY).await, Ok(expected));
        }
        let long = "x".repeat(MAX_PASSWORD + 1);
        assert_eq!(pool.verify(&decoys, "alice", Some(long.clone()), Secret::from(long), POLICY).await, Ok(false));
        let made = create(Scheme::Ssha, b"secret", [7; SALT]).unwrap();
        assert_eq!(pool.verify(&decoys, "alice", Some(made), Secret::from("secret"), POLICY).await, Ok(true));
        let made = pool.create(Secret::from("secret"), [7; SALT]).await.unwrap();
        assert_eq!(pool.verify(&decoys, "alice", Some(made), Secret::from("secret"), POLICY).await, Ok(true));
        assert_eq!(pool.create(Secret::default(), [7; SALT]).await, Err(DigestError::Empty.into()));
    }

    #[tokio::test]
    async fn refuses_beyond_the_queue_and_keeps_the_place_of_abandoned_work() {
        let pool = DigestPool::new(1, 1);
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (finish, may_finish) = mpsc::channel::<()>();
        let running = pool.clone();
        let first = tokio::spawn(async move {
            let work = move |_: &mut Memory| {
                started.send(()).unwrap();
                may_finish.recv().unwrap();
            };
            running.run(work).await
        });
        has_started.await.unwrap();
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());

        let mut second = Box::pin(pool.run(|_| "second"));
        assert!(poll_once(&mut second).await.is_none(), "the abandoned work still runs");
        assert_eq!(pool.run(|_| "third").await, Err(Overloaded));
        finish.send(()).unwrap();
        assert_eq!(second.await, Ok("second"));
        assert_eq!(pool.run(|_| "fourth").await, Ok("fourth"));
    }

    #[tokio::test]
    async fn a_panic_is_no_answer() {
        let pool = DigestPool::new(1, 0);
        assert_eq!(pool.run(|_| -> bool { panic!("as a broken library might") }).await, Err(Overloaded));
        assert_eq!(pool.run(|_| true).await, Ok(true), "and gives its place back");
    }

    #[tokio::test]
    async fn hashing_gives_way_to_everything_else() {
        let own = rustix::process::getpriority_process(None).unwrap();
        let hashing = DigestPool::new(1, 0).run(|_| rustix::process::getpriority_process(None).unwrap()).await.unwrap();
        assert_eq!((hashing, rustix::process::getpriority_process(None).unwrap()), ((own + NICE).min(19), own));
    }

    /// What the future has to say now, without waiting for it.
    async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
